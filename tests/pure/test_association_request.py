"""The PDUs around an association request, against pynetdicom's own encoder and decoder."""

import struct
import time
import warnings
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom import build_context
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)

from santepacs.dicom.proposal import (
    APPLICATION_CONTEXT,
    WRONG_APPLICATION_CONTEXT,
    WRONG_PROTOCOL_VERSION,
    CommonExtended,
    Proposed,
    Role,
)
from santepacs.dicom.request import (
    LARGEST_REQUEST,
    MAXIMUM_NEGOTIATIONS,
    MAXIMUM_TRANSFER_SYNTAXES,
    abort_pdu,
    expected_length,
    parse,
    reject_pdu,
)
from santepacs.errors import Malformed

VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
STUDY_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"


# --- bytes ----------------------------------------------------------------------------------------


def item(kind, contents):
    return bytes([kind, 0]) + struct.pack(">H", len(contents)) + contents


def unknown_items(size):
    """Items of an unknown kind, so many bytes in all."""
    items = item(0x99, bytes(60_000 - 4)) * (size // 60_000)
    return items + item(0x99, bytes(size - len(items) - 4))


def counted(contents):
    return struct.pack(">H", len(contents)) + contents


def pdu(kind, body):
    return bytes([kind, 0]) + struct.pack(">L", len(body)) + body


ECHO, NATIVE = VERIFICATION.encode(), (IMPLICIT.encode(),)


def context(number=1, abstract=ECHO, transfer=NATIVE, more=b""):
    start = bytes([number, 0, 0, 0]) + item(0x30, abstract)
    return item(0x20, start + b"".join(item(0x40, uid) for uid in transfer) + more)


MAXIMUM_LENGTH = item(0x51, struct.pack(">L", 16384))
USER = item(0x50, MAXIMUM_LENGTH + item(0x52, b"1.2.3"))
APPLICATION = item(0x10, APPLICATION_CONTEXT.encode())


def request(
    *items, version=1, called=b"SANTEPACS", calling=b"RAW", application=APPLICATION, user=USER
):
    """An A-ASSOCIATE-RQ; by default one context."""
    titles = called.ljust(16) + calling.ljust(16)
    fixed = struct.pack(">HH", version, 0) + titles + bytes(32)
    return pdu(1, fixed + application + b"".join(items or (context(),)) + user)


def with_user(*items):
    return request(user=item(0x50, MAXIMUM_LENGTH + b"".join(items)))


def primitive(*contexts, negotiations=()):
    """An association request as pynetdicom's users know it."""
    asked = A_ASSOCIATE()
    asked.application_context_name = APPLICATION_CONTEXT
    asked.calling_ae_title = "CT 1"
    asked.called_ae_title = "SANTEPACS_E"
    length, uid = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = 131072
    uid.implementation_class_uid = "1.2.826.0.1.3680043.8.498"
    name = ImplementationVersionNameNotification()
    name.implementation_version_name = "TESTER_1"
    asked.user_information = [length, uid, name, *negotiations]
    asked.presentation_context_definition_list = list(contexts)
    return asked


def encoded(asked):
    whole = A_ASSOCIATE_RQ()
    whole.from_primitive(asked)
    return whole.encode()


def proposed(number, abstract, *transfer):
    made = build_context(abstract, list(transfer))
    made.context_id = number
    return made


def role(uid, scu, scp):
    made = SCP_SCU_RoleSelectionNegotiation()
    made.sop_class_uid, made.scu_role, made.scp_role = uid, scu, scp
    return made


# --- reading what others write --------------------------------------------------------------------


def test_a_request_of_pynetdicom_is_understood_completely():
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked, window.maximum_number_operations_performed = 5, 0
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid = STUDY_FIND
    extended.service_class_application_information = b"\x01\x01\x00"
    common = SOPClassCommonExtendedNegotiation()
    common.sop_class_uid = CT
    common.service_class_uid = "1.2.840.10008.4.2"
    common.related_general_sop_class_identification = ["1.2.3", "1.2.4"]
    asked = parse(
        encoded(
            primitive(
                proposed(1, VERIFICATION, IMPLICIT),
                proposed(255, CT, EXPLICIT, IMPLICIT),
                negotiations=(window, extended, common, role(CT, True, True)),
            )
        )
    )
    assert asked.refusal is None
    assert (asked.protocol_version, asked.application_context) == (1, APPLICATION_CONTEXT)
    assert (asked.called_ae_title, asked.calling_ae_title) == ("SANTEPACS_E", "CT 1")
    assert asked.contexts == (
        Proposed(1, VERIFICATION, (IMPLICIT,)),
        Proposed(255, CT, (EXPLICIT, IMPLICIT)),
    )
    assert asked.maximum_length == 131072
    assert asked.implementation_class_uid == "1.2.826.0.1.3680043.8.498"
    assert asked.implementation_version_name == "TESTER_1"
    assert asked.asynchronous_operations == (5, 0)
    assert asked.roles == {CT: Role(True, True)}
    assert asked.extended == {STUDY_FIND: b"\x01\x01\x00"}
    assert asked.common_extended == (CommonExtended(CT, "1.2.840.10008.4.2", ("1.2.3", "1.2.4")),)
    assert asked.user_identity_type is None


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5])
def test_of_a_users_identity_only_the_type_is_kept(kind):
    identity = UserIdentityNegotiation()
    identity.user_identity_type = kind
    identity.primary_field = b"secret name"
    if kind == 2:
        identity.secondary_field = b"secret word"
    identity.positive_response_requested = True
    asked = parse(encoded(primitive(proposed(1, CT, IMPLICIT), negotiations=(identity,))))
    assert asked.user_identity_type == kind
    assert "secret" not in repr(asked)


uids = st.from_regex(r"[0-9]{1,9}(\.[0-9]{1,9}){1,5}", fullmatch=True)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(uids, st.lists(uids, min_size=1, max_size=5)), min_size=1, max_size=128),
    st.dictionaries(uids, st.tuples(st.booleans(), st.booleans()).filter(any), max_size=20),
)
def test_any_proposal_is_read_as_pynetdicom_reads_it(pairs, roles):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        contexts = [proposed(2 * n + 1, *(a, *t)) for n, (a, t) in enumerate(pairs)]
        asked = parse(
            encoded(
                primitive(*contexts, negotiations=[role(uid, *both) for uid, both in roles.items()])
            )
        )
    assert asked.contexts == tuple(
        Proposed(c.context_id, c.abstract_syntax, tuple(c.transfer_syntax)) for c in contexts
    )
    assert asked.roles == roles


@pytest.mark.parametrize(
    ("field", "title"),
    [
        (b"CT1", "CT1"),
        (b"  CT 1 ", "CT 1"),
        (b"CT1\0\0\0\0\0\0\0\0\0\0\0\0\0", "CT1"),
        (b"", ""),
        (bytes(16), ""),
        (b"C\0T", "C\0T"),
        (b"../../x", "../../x"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"SIXTEEN_LETTERS_", "SIXTEEN_LETTERS_"),
    ],
)
def test_titles_lose_the_spaces_around_them(field, title):
    asked = parse(request(called=field, calling=field))
    assert (asked.called_ae_title, asked.calling_ae_title) == (title, title)


def test_padded_uids_are_read_without_it():
    asked = parse(request(context(abstract=b"1.2.3\0", transfer=(b"1.2 ",))))
    assert asked.contexts == (Proposed(1, "1.2.3", ("1.2",)),)


def test_unknown_items_are_skipped_wherever_they_stand():
    other = item(0x99, b"anything")
    asked = parse(
        request(context(more=other), other, user=item(0x50, other + MAXIMUM_LENGTH + other))
    )
    assert len(asked.contexts) == 1
    assert asked.maximum_length == 16384


def test_what_is_optional_may_be_missing():
    asked = parse(request(user=item(0x50, b"")))
    assert (asked.maximum_length, asked.implementation_class_uid) == (0, "")
    assert asked.implementation_version_name == ""
    assert (asked.roles, asked.extended, asked.common_extended) == ({}, {}, ())


@pytest.mark.parametrize("version", [0, 2, 0xFFFE])
def test_another_protocol_version_is_a_reason_to_refuse(version):
    assert parse(request(version=version)).refusal == WRONG_PROTOCOL_VERSION == (1, 2, 2)


@pytest.mark.parametrize("version", [1, 3, 0xFFFF])
def test_of_the_protocol_version_one_bit_counts(version):
    assert parse(request(version=version)).refusal is None


@pytest.mark.parametrize("name", [b"", b"1.2.3", b"1.2.840.10008.3.1.1.10", b"\xff"])
def test_another_application_context_is_a_reason_to_refuse(name):
    asked = parse(request(application=item(0x10, name)))
    assert asked.refusal == WRONG_APPLICATION_CONTEXT == (1, 1, 2)


def test_a_hundred_and_twenty_eight_contexts_are_the_most():
    every = [context(number) for number in range(1, 256, 2)]
    assert len(parse(request(*every)).contexts) == 128
    with pytest.raises(Malformed):
        parse(request(*every, context(1)))


def test_many_transfer_syntaxes_are_bounded():
    syntaxes = [b"1.2"] * MAXIMUM_TRANSFER_SYNTAXES
    assert len(parse(request(context(transfer=syntaxes))).contexts[0].transfer_syntaxes) == 128
    with pytest.raises(Malformed):
        parse(request(context(transfer=[*syntaxes, b"1.2"])))


@pytest.mark.parametrize("kind", [0x54, 0x56, 0x57])
def test_many_negotiations_are_bounded(kind):
    tail = {0x54: b"\1\1", 0x56: b"", 0x57: counted(b"1.2") + counted(b"")}[kind]
    one = item(kind, counted(b"1.2.3") + tail)
    assert parse(with_user(*[one] * MAXIMUM_NEGOTIATIONS))
    with pytest.raises(Malformed):
        parse(with_user(*[one] * (MAXIMUM_NEGOTIATIONS + 1)))


LONG_UID = b"1." + b"2" * 63


@pytest.mark.parametrize(
    "wrong",
    [
        # the whole
        b"",
        b"\x01",
        request()[:-1],
        request() + b"x",
        pdu(1, bytes(67)),
        pdu(1, bytes(68)),
        pdu(2, request()[6:]),
        # items
        request(b"\x20"),
        request(item(0x20, bytes(3))),
        request(context() + b"\x99\0\0\1"),
        request(b"\x20\0\xff\xff" + bytes(100)),
        request(user=USER[:-1]),
        request(user=USER + b"\x99\0\0"),
        # the items that must be there once
        request(application=b""),
        request(application=APPLICATION * 2),
        request(user=b""),
        request(user=USER * 2),
        request(item(0x99, b"")),
        request(application=item(0x10, LONG_UID)),
        # contexts
        request(context(0)),
        request(context(2)),
        request(context(254)),
        request(context(1), context(3), context(1)),
        request(context(transfer=())),
        request(context(abstract=LONG_UID)),
        request(context(transfer=(LONG_UID,))),
        request(context(more=item(0x30, b"1.2"))),
        request(context(more=b"\x40\0\0\x09" + bytes(8))),
        request(item(0x20, bytes([1, 0, 0, 0]) + item(0x40, b"1.2"))),
        # user information
        request(user=item(0x50, item(0x51, bytes(3)))),
        request(user=item(0x50, item(0x51, bytes(5)))),
        with_user(item(0x52, LONG_UID)),
        with_user(item(0x55, b"x" * 60_000)),
        with_user(item(0x53, bytes(3))),
        with_user(item(0x54, b"\0")),
        with_user(item(0x54, counted(b"1.2.3") + b"\1")),
        with_user(item(0x54, counted(b"1.2.3") + b"\1\1\1")),
        with_user(item(0x54, b"\xff\xff1.2.3\1\1")),
        with_user(item(0x54, counted(LONG_UID) + b"\1\1")),
        with_user(item(0x56, b"\0\x09" + bytes(8))),
        with_user(item(0x57, counted(b"1.2") + b"\0")),
        with_user(item(0x57, counted(b"1.2") + counted(b"1.2"))),
        with_user(item(0x57, counted(b"1.2") + counted(b"1.2") + counted(b"\0\x04123"))),
        with_user(item(0x58, b"")),
        with_user(b"\x58\0\xff\xff"),
    ],
)
def test_what_is_broken_is_malformed(wrong):
    with pytest.raises(Malformed):
        parse(wrong)


def test_no_cut_and_no_length_gone_wrong_does_more_than_raise_malformed():
    whole = with_user(
        item(0x54, counted(b"1.2.3") + b"\1\1"),
        item(0x57, counted(b"1.2") + counted(b"1.2") + counted(counted(b"1.2"))),
    )
    body = whole[6:]
    for cut in range(len(body)):
        with pytest.raises(Malformed):
            parse(pdu(1, body[:cut]))
    for place in range(68, len(body)):
        for value in (0x00, 0x7F, 0xFF):
            with suppress(Malformed):
                parse(pdu(1, body[:place] + bytes([value]) + body[place + 1 :]))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_noise_after_the_fixed_fields_does_no_more_than_raise_malformed(noise):
    with suppress(Malformed):
        parse(pdu(1, request()[6:74] + noise))


# --- the beginning --------------------------------------------------------------------------------


def test_what_is_to_come_is_known_from_the_header():
    whole = request()
    assert expected_length(whole[:1]) == 6
    assert expected_length(whole[:5]) == 6
    assert expected_length(whole[:6]) == expected_length(whole) == len(whole)


@pytest.mark.parametrize(
    "beginning",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"SSH-2.0-x",
        b"\x04\0\0\0\0\x06",
        b"\x05\0\0\0\0\x04",
        b"\0",
        b"\x01\0" + struct.pack(">L", LARGEST_REQUEST + 1),
        b"\x01\0\xff\xff\xff\xff",
    ],
)
def test_what_is_no_request_is_seen_at_once(beginning):
    with pytest.raises(Malformed):
        expected_length(beginning)


def test_a_request_of_the_greatest_length_is_read():
    filler = LARGEST_REQUEST - len(request()) + 6
    whole = request(context(), unknown_items(filler))
    assert len(whole) == LARGEST_REQUEST + 6
    assert len(parse(whole).contexts) == 1


# --- writing what others read ---------------------------------------------------------------------


@pytest.mark.parametrize("refusal", [(1, 1, 7), (1, 2, 2), (2, 3, 2)])
def test_a_rejection_is_read_by_pynetdicom(refusal):
    answer = A_ASSOCIATE_RJ()
    answer.decode(reject_pdu(*refusal))
    assert (answer.result, answer.source, answer.reason_diagnostic) == refusal
    assert len(reject_pdu(*refusal)) == 10


def test_an_abort_is_read_by_pynetdicom():
    answer = A_ABORT_RQ()
    answer.decode(abort_pdu())
    assert (answer.source, answer.reason_diagnostic) == (2, 0)
    answer.decode(abort_pdu(2, 6))
    assert (answer.source, answer.reason_diagnostic) == (2, 6)


# --- time -----------------------------------------------------------------------------------------


def quickest(function, times=20):
    spent = []
    for _ in range(times):
        began = time.process_time()
        function()
        spent.append(time.process_time() - began)
    return min(spent)


def test_the_worst_requests_take_no_longer_than_the_largest_honest_one():
    syntaxes = [b"1.2.840.10008.1.2.4.%d" % number for number in range(15)]
    honest = request(*(context(n, CT.encode(), syntaxes) for n in range(1, 256, 2)))
    size = 65_000  # what one item can hold
    worst = [
        request(context(), *[item(0x99, b"")] * (LARGEST_REQUEST // 4 - 100)),
        request(context(more=item(0x99, b"") * (size // 4))),
        request(user=item(0x50, item(0x99, b"") * (size // 4))),
        with_user(item(0x57, counted(b"1") + counted(b"1") + counted(counted(b"") * (size // 2)))),
        with_user(item(0x58, b"\1\0" + counted(b"x" * (size // 2)))),
    ]
    limit = max(20 * quickest(lambda: parse(honest)), 0.05)
    for each in worst:
        assert len(each) > size // 3
        assert quickest(lambda each=each: parse(each)) < limit
