"""What associations agree on, found out by asking the code as a caller would."""

from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from pynetdicom import build_context, evt

from docs.conformance_source.markdown import listed, table, uid_name
from santepacs.archive import syntaxes
from santepacs.dicom import contexts, proposal
from santepacs.dicom.negotiation import Negotiation
from santepacs.dicom.proposal import Refusal
from santepacs.model.peers import PERMISSIONS
from santepacs.model.transfer_syntaxes import STORAGE_TRANSFER_SYNTAXES

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"  # stands for every storage SOP class
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG_2000 = "1.2.840.10008.1.2.4.90"

REFUSALS = {
    "WRONG_APPLICATION_CONTEXT": "another application context name than DICOM's (not looked at on "
    "the port with TLS)",
    "CALLING_TITLE_UNKNOWN": "the calling AE title is none, or the caller is unknown and does not "
    "propose Verification",
    "CALLED_TITLE_UNKNOWN": "the called AE title is not one of this server's",
    "WRONG_PROTOCOL_VERSION": "another protocol version than 1",
    "CONGESTED": "who the caller is cannot be told now, because the database does not answer",
    "TOO_MANY": "as many associations are being served as may be, or the server is stopping",
}
"""When a refusal of `santepacs.dicom.proposal` is sent."""

FIND_OPTIONS = (
    "relational queries",
    "date and time matched as one interval",
    "fuzzy semantic matching of person names",
    "timezone query adjustment",
    "enhanced multi-frame image conversion",
)
RETRIEVE_OPTIONS = ("relational retrieval", "enhanced multi-frame image conversion")
"""The bytes of extended negotiations (PS3.4 C.5.1.1, C.5.2.1, C.5.3.1)."""

INCLUDED = {"store": ("commitment", "procedure"), "worklist": ("procedure",)}
"""What comes with a permission of a peer."""


def accepted(allowed: Iterable[str], proposed: Sequence[str] = ()) -> dict[str, list[str]]:
    """SOP class -> transfer syntaxes that a caller who is allowed this gets, best first."""
    every = [*STORAGE_TRANSFER_SYNTAXES, DEFLATED]
    flags: dict[str, Any] = dict.fromkeys((*PERMISSIONS, "commitment", "procedure"), False)
    flags |= dict.fromkeys(allowed, True)
    found = contexts.supported([build_context(uid, every) for uid in proposed], **flags)
    return {str(one.abstract_syntax): list(map(str, one.transfer_syntax)) for one in found}


def agreed(sop_class_uid: str) -> bytes:
    """What is agreed when a caller asks for every option."""
    session = SimpleNamespace(negotiated={})
    everybody: Any = SimpleNamespace(session=lambda _: session)
    nobody: Any = None
    handlers = dict(Negotiation(nobody, nobody, everybody).handlers())
    asked = SimpleNamespace(assoc=None, app_info={sop_class_uid: b"\1" * len(FIND_OPTIONS)})
    answer: Mapping[str, bytes] = handlers[evt.EVT_SOP_EXTENDED](asked)
    return answer.get(sop_class_uid, b"")


def permissions() -> str:
    """What each permission of a peer opens."""
    rows = []
    for permission in PERMISSIONS:
        found = accepted([permission, *INCLUDED.get(permission, ())], [CT_IMAGE])
        names = ["all storage SOP classes" if uid == CT_IMAGE else uid_name(uid) for uid in found]
        rows.append((permission, listed(names[1:])))
    return table(("Permission", "SOP classes accepted besides Verification"), rows)


def refusals() -> str:
    """Every A-ASSOCIATE-RJ."""
    found = {name: value for name, value in vars(proposal).items() if isinstance(value, Refusal)}
    ordered = sorted(found.items(), key=lambda item: item[1])
    rows = [(*value, REFUSALS[name]) for name, value in ordered]
    return table(("Result", "Source", "Reason", "When"), rows)


def service_contexts() -> str:
    """Presentation contexts that are accepted, storage aside."""
    found = accepted([*PERMISSIONS, "commitment", "procedure"])
    rows = [
        (uid_name(uid), uid, "<br>".join(map(uid_name, transfer)), "SCP", _negotiated(uid))
        for uid, transfer in found.items()
    ]
    return table(
        ("Abstract syntax", "UID", "Transfer syntaxes, best first", "Role", "Extended negotiation"),
        rows,
    )


def storage_syntaxes() -> str:
    """Transfer syntaxes of storage, and which of them can be turned into each other."""
    rows = [
        (
            uid_name(uid),
            uid,
            "yes" if uid in syntaxes.NATIVE or uid in syntaxes.DECODABLE else "no",
            "yes" if uid in syntaxes.NATIVE or uid in syntaxes.LOSSLESS else "no",
        )
        for uid in accepted(["store"], [CT_IMAGE])[CT_IMAGE]
    ]
    return table(("Transfer syntax", "UID", "Turned into others", "Others turned into it"), rows)


def proposed_to_store() -> str:
    """Presentation contexts for sending one object, as an example."""
    (classes,) = contexts.to_send([(CT_IMAGE, JPEG_2000)])
    rows = [
        (number, uid_name(CT_IMAGE), listed(map(uid_name, context.transfer_syntax)), "SCU", "none")
        for number, context in enumerate(classes[CT_IMAGE], 1)
    ]
    head = ("Context", "Abstract syntax", "Transfer syntax", "Role", "Extended negotiation")
    return table(head, rows)


def storage_classes() -> str:
    """Every storage SOP class, by name."""
    named = sorted((uid_name(uid), uid) for uid in contexts.storage_classes())
    return table(("SOP class", "UID"), named)


def query_options() -> str:
    """The options of queries and retrieval, and whether they are agreed to."""
    rows = []
    for name, uids in (("C-FIND", contexts.QUERY), ("C-MOVE, C-GET", contexts.RETRIEVE)):
        (answer,) = {agreed(uid) for uid in uids}
        for position, option in enumerate(_options(uids[0])):
            is_agreed = answer[position : position + 1] == b"\1"
            rows.append((name, position + 1, option, "yes" if is_agreed else "no"))
    return table(("Service", "Byte", "Option", "Agreed to when asked for"), rows)


def _options(sop_class_uid: str) -> tuple[str, ...]:
    if sop_class_uid in contexts.QUERY:
        return FIND_OPTIONS
    return RETRIEVE_OPTIONS if sop_class_uid in contexts.RETRIEVE else ()


def _negotiated(sop_class_uid: str) -> str:
    answer = agreed(sop_class_uid)
    options = zip(_options(sop_class_uid), answer, strict=False)
    return listed(option for option, yes in options if yes) or "none"
