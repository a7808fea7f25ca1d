"""Attacks with objects on the whole server, P-1 to P-15 of the table of attacks: by C-STORE, and by
`santepacs import` where it is the file around the data set that attacks.

After each the server is well (`Vitals.check`). Not here: pixels that attack who decodes them (P-5,
P-12), because nothing on the server opens pixels yet: it is tested that objects with such pixels
are stored as they are, or refused, without opening them; pictures and frames on request, and
uploads (P-6, P-7, P-15), come with those parts.
"""

import random
import re
import struct
import time
import zlib
from contextlib import ExitStack

import pytest

from support import raw_dicom as raw
from support.postgres import reachable_folder
from support.raw_dicom import (
    BIG_ENDIAN,
    CT,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    PATIENT_FIND,
    STUDY_FIND,
    Image,
    Peer,
    echo_command,
    explicit,
    implicit,
    new_uid,
)
from support.server import running_server
from support.vitals import MEMORY, PROMPT, Vitals, check_logs, complaints, greet

CDA, STL, PDF, RAW = (
    "1.2.840.10008.5.1.4.1.1.104.2", "1.2.840.10008.5.1.4.1.1.104.3",
    "1.2.840.10008.5.1.4.1.1.104.1", "1.2.840.10008.5.1.4.1.1.66",
)  # fmt: skip
RLE, JPEG = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50"
CONTEXTS = (
    *(raw.VERIFICATION, (CT, EXPLICIT), (CT, IMPLICIT), (CT, BIG_ENDIAN), (CT, RLE), (CT, JPEG)),
    *((CDA, EXPLICIT), (STL, EXPLICIT), (PDF, EXPLICIT), (RAW, EXPLICIT)),
    *(STUDY_FIND, PATIENT_FIND),
)
NUMBER = {syntax: 2 * n + 1 for n, syntax in enumerate(CONTEXTS)}
CHARSET, LEVEL, NAME, PATIENT_ID = 0x00080005, 0x00080052, 0x00100010, 0x00100020
STUDY, SERIES, INSTANCE, ISSUER = 0x0020000D, 0x0020000E, 0x00080018, 0x00100021
DATE, TIME, DESCRIPTION, PIXELS = 0x00080020, 0x00080030, 0x00081030, 0x7FE00010
SEQUENCE = 0x0040A730
STORED, REFUSED = True, False


@pytest.fixture(scope="module")
def server():
    with reachable_folder() as folder, running_server(folder / "data") as running:
        greet(running)
        running.vitals = Vitals(running)
        yield running
        check_logs(running, "Verysecret")


@pytest.fixture(autouse=True)
def alive(server):
    said = len(server.lines)
    yield
    server.vitals.check()
    assert complaints(server, since=said) == []
    assert list((server.data / "incoming").iterdir()) == []


@pytest.fixture
def connect(server):
    with ExitStack() as stack:
        yield lambda **named: stack.enter_context(Peer(server.dicom_port, **named))


@pytest.fixture
def peer(connect):
    """A peer associated for everything."""
    return connect().associate(*CONTEXTS)


def is_refusal(status):
    return status & 0xFF00 == 0xA900 or status & 0xF000 == 0xC000


def store(peer, image, data=None, syntax=(CT, EXPLICIT)):
    """Whether the object is said to be stored; nothing but that or a refusal is said."""
    status = peer.store(image, data, NUMBER[syntax])
    assert status == 0x0000 or is_refusal(status), hex(status)
    return status == 0x0000


def find(peer, image, *asked, level="STUDY"):
    """The answers about an image at a level, with the attributes asked for."""
    keys = {LEVEL: level, STUDY: image.study, **dict.fromkeys(asked, "")}
    if level == "IMAGE":
        keys |= {SERIES: image.series, INSTANCE: ""}
    found, status = peer.find(keys, STUDY_FIND, NUMBER[STUDY_FIND])
    assert status == 0x0000
    return found


def check(peer, image, outcome):
    """What was said is true: the study is there or is not, and the association goes on."""
    assert bool(find(peer, image)) == outcome
    assert peer.ask(echo_command()).status == 0x0000


def file_of(server, data):
    """The stored file with this data set."""
    for path in (server.data / "objects").rglob("*.dcm"):
        content = path.read_bytes()
        if content.endswith(data):
            return content
    return None


# --- P-1, P-2: too deep, too many -----------------------------------------------------------------


def nested(depth, kind="explicit"):
    """Sequences in sequences."""
    if kind == "explicit":
        start = explicit(SEQUENCE, "SQ", b"", 0xFFFFFFFF) + implicit(0xFFFEE000, b"", 0xFFFFFFFF)
    elif kind == "unknown":
        start = explicit(0x00091010, "UN", b"", 0xFFFFFFFF) + implicit(0xFFFEE000, b"", 0xFFFFFFFF)
    else:
        start = implicit(SEQUENCE, b"", 0xFFFFFFFF) + implicit(0xFFFEE000, b"", 0xFFFFFFFF)
    return start * depth + (implicit(0xFFFEE00D, b"") + implicit(0xFFFEE0DD, b"")) * depth


def nested_by_length(depth):
    value = b""
    for _ in range(depth):
        value = explicit(SEQUENCE, "SQ", implicit(0xFFFEE000, value))
    return value


@pytest.mark.parametrize("depth", [65, 300, 20_000])
@pytest.mark.parametrize("kind", ["explicit", "implicit", "unknown"])
def test_p1_too_deep_nesting_is_refused(peer, depth, kind):
    image = Image({SEQUENCE: nested(depth, kind)})
    if kind == "implicit":
        assert store(peer, image, image.implicit(), (CT, IMPLICIT)) == REFUSED
    else:
        assert store(peer, image) == REFUSED
    check(peer, image, REFUSED)


@pytest.mark.parametrize("depth", [65, 300, 2000])
def test_p1_too_deep_nesting_of_defined_length_is_refused(peer, depth):
    image = Image({SEQUENCE: nested_by_length(depth)})
    assert store(peer, image) == REFUSED
    items = implicit(0xFFFEE000, nested_by_length(depth))
    hidden = Image({SEQUENCE: explicit(0x00091010, "UN", items)})
    assert store(peer, hidden) == REFUSED


@pytest.mark.parametrize("depth", [1, 50, 64])
def test_p1_nesting_that_anybody_can_read_is_stored(peer, depth):
    for value in (nested(depth), nested_by_length(depth)):
        image = Image({SEQUENCE: value})
        assert store(peer, image) == STORED
        check(peer, image, STORED)


def many_items(count):
    return explicit(SEQUENCE, "SQ", implicit(0xFFFEE000, b"") * count)


def many_elements(count):
    pieces = []
    for number in range(count):
        group, element = 0x1001 + 2 * (number // 0xF000), 0x1000 + number % 0xF000
        pieces.append(struct.pack("<HH2sH", group, element, b"LO", 0))
    return b"".join(pieces)


def many_fragments(count):
    return explicit(PIXELS, "OB", implicit(0xFFFEE000, b"") * count + implicit(0xFFFEE0DD, b""),
                    0xFFFFFFFF)  # fmt: skip


MANY = {
    "1 000 000 items": (0x0040A730, many_items(1_000_000)),
    "3 000 000 items": (0x0040A730, many_items(3_000_000)),
    "1 000 000 private elements": (0x10011000, many_elements(1_000_000)),
    "1 000 000 fragments": (PIXELS, many_fragments(1_000_000)),
}


@pytest.mark.parametrize(("tag", "value"), MANY.values(), ids=MANY)
def test_p2_millions_of_elements_cost_little_time(server, peer, tag, value):
    image = Image({tag: value})
    before = server.vitals.processor_time(), server.vitals.memory()
    outcome = store(peer, image)
    assert server.vitals.processor_time() - before[0] < 5
    assert server.vitals.memory() - before[1] < MEMORY
    check(peer, image, outcome)


# --- P-3, P-4: lengths that lie -------------------------------------------------------------------

OPEN, ITEM = 0xFFFFFFFF, 0xFFFEE000
END_ITEM, END_SEQUENCE = implicit(0xFFFEE00D, b""), implicit(0xFFFEE0DD, b"")
INSIDE = explicit(0x00080060, "CS", b"CT")
LYING = {
    "a sequence without end": explicit(SEQUENCE, "SQ", implicit(ITEM, INSIDE), OPEN),
    "an item without end": explicit(SEQUENCE, "SQ", implicit(ITEM, INSIDE, OPEN), OPEN),
    "an item without end in a closed sequence": explicit(
        SEQUENCE, "SQ", implicit(ITEM, INSIDE, OPEN)
    ),
    "text of undefined length": explicit(SEQUENCE, "UT", b"text" + END_SEQUENCE, OPEN),
    "unlimited characters of undefined length": explicit(SEQUENCE, "UC", b"text", OPEN),
    "numbers of undefined length": explicit(SEQUENCE, "OF", b"text" + END_SEQUENCE, OPEN),
    "unknown of undefined length without end": explicit(0x00091010, "UN", b"1234567890", OPEN),
    "unknown in unknown without end": explicit(
        0x00091010,
        "UN",
        implicit(ITEM, implicit(0x00091010, implicit(ITEM, b"", OPEN), OPEN)),
        OPEN,
    )
    + END_SEQUENCE,
    "a sequence end with a length": explicit(SEQUENCE, "SQ", implicit(ITEM, INSIDE), OPEN)
    + implicit(0xFFFEE0DD, b"1234"),
    "an item end with a length": explicit(
        SEQUENCE, "SQ", implicit(ITEM, INSIDE, OPEN) + implicit(0xFFFEE00D, b"1234"), OPEN
    )
    + END_SEQUENCE,
    "an item beyond its sequence": explicit(SEQUENCE, "SQ", implicit(ITEM, INSIDE, 5000)),
    "an item of 4 GiB": explicit(SEQUENCE, "SQ", implicit(ITEM, INSIDE, 0xFFFFFFFE), OPEN)
    + END_SEQUENCE,
    "an element beyond its item": explicit(
        SEQUENCE, "SQ", implicit(ITEM, explicit(0x00080060, "CS", b"CT", 200))
    ),
    "an element cut in its item": explicit(SEQUENCE, "SQ", implicit(ITEM, INSIDE[:5])),
    "no item in a sequence": explicit(SEQUENCE, "SQ", INSIDE),
    "text in a sequence": explicit(SEQUENCE, "SQ", b"this is no item, but text"),
    "a fragment beyond the end": explicit(
        PIXELS, "OB", implicit(ITEM, b"") + implicit(ITEM, b"1234", 99_999), OPEN
    ),
    "fragments without end": explicit(PIXELS, "OB", implicit(ITEM, b"1234"), OPEN),
    "no fragment": explicit(PIXELS, "OB", b"1234567890123456" + END_SEQUENCE, OPEN),
    "a value of 4 GiB": explicit(PIXELS, "OB", b"AAAA", 0xFFFFFFFE),
    "a value of 2 GiB": explicit(PIXELS, "OB", b"AAAA", 0x7FFFFFFF),
    "a value one byte too long": explicit(PIXELS, "OW", bytes(127), 128),
    "a value one byte too short": explicit(PIXELS, "OW", bytes(129), 128),
    "a name of 65534 bytes": explicit(0x7FE10010, "PN", b"AAAA", 65_534),
    "half a header": explicit(PIXELS, "OW", bytes(128)) + b"\xfc\xff\xfc",
    "half a long header": explicit(PIXELS, "OW", bytes(128)) + b"\xfc\xff\xfc\xffOB\0\0",
    "garbage at the end": explicit(PIXELS, "OW", bytes(128)) + b"\0\1",
    "text at the end": explicit(PIXELS, "OW", bytes(128)) + b"and so on",
    "no pixels": b"",
}


def place(element):
    """The tag that an encoded element begins with."""
    group, number = struct.unpack_from("<HH", element)
    return group << 16 | number


@pytest.mark.parametrize("element", LYING.values(), ids=LYING)
def test_p3_p4_a_length_that_lies_is_refused(peer, element):
    image = Image({place(element) if element else PIXELS: element})
    if element and place(element) > PIXELS:
        image.elements[PIXELS] = None if element else b""
    assert store(peer, image) == REFUSED
    check(peer, image, REFUSED)


LYING_IMPLICIT = {
    "a name of undefined length": implicit(NAME, b"Doe^Jane", OPEN),
    "a number of undefined length": implicit(0x00280010, b"\x08\0", OPEN),
    "a name of 4 GiB": implicit(NAME, b"Doe^Jane", 0xFFFFFFFE),
    "a sequence without end": implicit(SEQUENCE, implicit(ITEM, b""), OPEN),
    "a private sequence without end": implicit(0x00091010, implicit(ITEM, b""), OPEN),
    "text in a sequence": implicit(SEQUENCE, b"this is no item, but text "),
    "a private value of 4 GiB": implicit(0x00091010, b"1234", 0xFFFFFFFE),
}


@pytest.mark.parametrize("element", LYING_IMPLICIT.values(), ids=LYING_IMPLICIT)
def test_p3_p4_a_length_that_lies_in_implicit_vr_is_refused(peer, element):
    image = Image({place(element): element})
    assert store(peer, image, image.implicit(), (CT, IMPLICIT)) == REFUSED
    check(peer, image, REFUSED)


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ((CT, EXPLICIT), "implicit"), ((CT, EXPLICIT), "big_endian"), ((CT, IMPLICIT), "explicit"),
        ((CT, IMPLICIT), "big_endian"), ((CT, BIG_ENDIAN), "explicit"),
        ((CT, BIG_ENDIAN), "implicit"),
    ],
)  # fmt: skip
def test_p3_another_encoding_than_the_negotiated_one_is_refused(peer, said, sent):
    image = Image()
    assert store(peer, image, getattr(image, sent)(), said) == REFUSED
    check(peer, image, REFUSED)


@pytest.mark.parametrize("encoding", ["explicit", "implicit", "big_endian"])
def test_p4_every_beginning_of_an_image_is_refused(peer, encoding):
    """Pixels come last: wherever it is cut, something is missing.

    Only where an element ends and nothing has said yet that pixels will come, nobody can see it.
    """
    syntax = (CT, {"explicit": EXPLICIT, "implicit": IMPLICIT}.get(encoding, BIG_ENDIAN))
    image = Image()
    data = getattr(image, encoding)()
    described = data.index(b"\0\x28\1\1" if encoding == "big_endian" else b"\x28\0\1\1")
    ends = set(element_ends(image, encoding))
    cuts = [cut for cut in range(len(data)) if cut >= described or cut not in ends]
    for cut in {0, 1, 7, 8, described, len(data) - 1, *random.sample(cuts, 60)}:
        assert store(peer, image, data[:cut], syntax) == REFUSED, cut
    check(peer, image, REFUSED)
    assert store(peer, image, data, syntax) == STORED
    check(peer, image, STORED)


def element_ends(image, encoding):
    """Where the elements of an image end."""
    part = Image()
    part.elements = {}
    for tag in sorted(image.elements):
        part.elements[tag] = image.elements[tag]
        yield len(getattr(part, encoding)())


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"\xff" * 1000, bytes(1000), b"DICM" * 100, b"<html>" * 50, b"MZ" * 500],
    ids=lambda data: repr(data[:6]),
)  # fmt: skip
def test_p4_what_is_no_data_set_is_refused(peer, data):
    for syntax in ((CT, EXPLICIT), (CT, IMPLICIT), (CT, BIG_ENDIAN), (CT, RLE)):
        image = Image()
        assert store(peer, image, data, syntax) == REFUSED
        check(peer, image, REFUSED)


# --- P-5, P-12: pixels ----------------------------------------------------------------------------


def test_p5_nothing_that_inflates_is_offered(connect):
    images = "1.2.840.10008.1.2.8.1"
    others = "1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.95"  # pixels elsewhere, and deflated
    peer = connect().associate(*((CT, syntax) for syntax in (DEFLATED, images, others[1])))
    assert 0 not in peer.results.values()


def test_p5_a_deflated_bomb_in_another_syntax_is_refused(server, peer):
    image = Image()
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(image.explicit())
    bomb += b"".join(packer.compress(bytes(2**20)) for _ in range(300)) + packer.flush()
    before = server.vitals.memory()
    assert store(peer, image, bomb) == REFUSED
    assert server.vitals.memory() - before < MEMORY


def fragments(*pieces):
    return explicit(PIXELS, "OB", b"".join(implicit(ITEM, p) for p in pieces) + END_SEQUENCE, OPEN)


JPEG_65500 = b"\xff\xd8\xff\xc0\0\x11\x08\xff\xdc\xff\xdc\3\1\x22\0\2\x11\1\3\x11\1\xff\xd9"
RLE_BOMB = struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\0" * 500_000
UNPICTURED = {
    "a JPEG of 65500 x 65500": {0x00280010: ("US", 65_500), 0x00280011: ("US", 65_500),
                                PIXELS: fragments(b"", JPEG_65500 + b"\0")},
    "10^9 frames": {0x00280008: ("IS", "1000000000"), PIXELS: fragments(b"", b"1234")},
    "2^31 frames": {0x00280008: ("IS", "2147483648"), PIXELS: fragments(b"", b"1234")},
    "10^400 frames": {0x00280008: ("IS", "1e400"), PIXELS: fragments(b"", b"1234")},
    "-1 frames": {0x00280008: ("IS", "-1"), PIXELS: fragments(b"", b"1234")},
    "an RLE bomb": {0x00280010: ("US", 60_000), PIXELS: fragments(b"", RLE_BOMB)},
    "no fragment": {PIXELS: fragments()},
    "empty fragments": {PIXELS: fragments(b"", b"", b"", b"")},
    "no offset table": {PIXELS: fragments(b"1234")},
    "huge offsets": {PIXELS: fragments(b"\xff\xff\xff\xff" * 4, b"1234")},
    "offsets backwards": {PIXELS: fragments(struct.pack("<3L", 900, 100, 0), b"1234", b"1234")},
    "an offset table cut off": {PIXELS: fragments(b"\0\0\0", b"1234")},
    "extended offsets that lie": {0x7FE00001: ("OV", b"\xff" * 16), PIXELS: fragments(b"", b"12")},
}  # fmt: skip
PICTURED = {
    "Rows as UL": {0x00280010: ("UL", struct.pack("<L", 8))},
    "Rows of 0": {0x00280010: ("US", 0)},
    "65535 x 65535": {0x00280010: ("US", 65_535), 0x00280011: ("US", 65_535)},
    "Rows beyond US": {0x00280010: ("UL", struct.pack("<L", 2**31 - 1))},
    "Rows cut off": {0x00280010: ("US", b"\x08")},
    "Rows as text": {0x00280010: ("LO", "many")},
    **{f"{bits} bits allocated": {0x00280100: ("US", bits)} for bits in (0, 1, 3, 64, 65_535)},
    "a high bit beyond": {0x00280102: ("US", 4711)},
    "planar configuration 9": {0x00280002: ("US", 3), 0x00280006: ("US", 9)},
    "0 samples": {0x00280002: ("US", 0)},
    "too few pixels": {PIXELS: ("OW", b"1234")},
    "no pixel": {PIXELS: ("OW", b"")},
    "too many pixels": {PIXELS: ("OW", bytes(100_000))},
    "an odd number of bytes": {PIXELS: explicit(PIXELS, "OB", b"123")},
    "a palette without colours": {0x00280004: ("CS", "PALETTE COLOR")},
    "a palette that lies": {
        0x00280004: ("CS", "PALETTE COLOR"), 0x00281101: ("US", b"\xff\xff\xff\xff\x10\0"),
        0x00281201: ("OW", b"\0\0"),
    },
    "fragments in an uncompressed syntax": {PIXELS: fragments(b"", b"1234")},
}  # fmt: skip


@pytest.mark.parametrize("changes", UNPICTURED.values(), ids=UNPICTURED)
def test_p5_p12_hostile_fragments_are_not_opened(server, peer, changes):
    before = server.vitals.processor_time(), server.vitals.memory()
    for syntax in ((CT, JPEG), (CT, RLE)):
        image = Image(changes)
        check(peer, image, store(peer, image, syntax=syntax))
    assert server.vitals.processor_time() - before[0] < 2
    assert server.vitals.memory() - before[1] < MEMORY


@pytest.mark.parametrize("changes", PICTURED.values(), ids=PICTURED)
def test_p12_hostile_pictures_are_not_opened(peer, changes):
    image = Image(changes)
    outcome = store(peer, image)
    check(peer, image, outcome)
    geometry = 0x00280008, 0x00280010, 0x00280011, 0x00280100
    assert len(find(peer, image, *geometry, level="IMAGE")) == int(outcome)


# --- P-6, P-7, P-15: what stands around the data set ----------------------------------------------


def meta(syntax=EXPLICIT, uid="1.2.3", *, sop_class=CT, length=None, more=b""):
    """The File Meta Information."""
    body = explicit(0x00020001, "OB", b"\0\1") + explicit(0x00020002, "UI", raw.ui(sop_class))
    body += explicit(0x00020003, "UI", raw.ui(uid)) + explicit(0x00020010, "UI", raw.ui(syntax))
    size = len(body + more) if length is None else length
    return explicit(0x00020000, "UL", struct.pack("<L", size)) + body + more


def part_10(image, preamble=bytes(128), data=None, **arguments):
    written = image.explicit() if data is None else data
    arguments.setdefault("uid", image.uid)
    return preamble.ljust(128, b"\0")[:128] + b"DICM" + meta(**arguments) + written


PREAMBLES = {
    "PE": b"MZ\x90\0", "ELF": b"\x7fELF\2\1\1", "PDF": b"%PDF-1.7\n", "HTML": b"<html><script>",
    "zip": b"PK\3\4", "Mach-O": b"\xcf\xfa\xed\xfe", "JSON": b'{"a": 1}', "TIFF": b"II*\0\x08\0",
    "script": b"#!/bin/sh\nid\n", "noise": bytes(range(128, 256)),
}  # fmt: skip


def imported(server, files):
    """Import the files of a folder; gives the finished command."""
    with reachable_folder() as folder:
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return server.command("import", str(folder))


def test_p6_no_preamble_is_kept(server, peer):
    images = {name: Image() for name in PREAMBLES}
    done = imported(server, {n: part_10(images[n], PREAMBLES[n]) for n in PREAMBLES})
    assert done.returncode == 0, done.stdout + done.stderr
    for image in images.values():
        check(peer, image, STORED)
        assert file_of(server, image.explicit())[:132] == bytes(128) + b"DICM"


UNKNOWN = "1.2.3.4.5"
BAD_FILES = {
    "no prefix": lambda image: image.explicit(),
    "a wrong prefix": lambda image: part_10(image).replace(b"DICM", b"DICN"),
    "a preamble cut off": lambda image: part_10(image)[1:],
    "no meta information": lambda image: bytes(128) + b"DICM" + image.explicit(),
    "nothing after the prefix": lambda image: bytes(128) + b"DICM",
    "half of the meta information": lambda image: part_10(image)[:200],
    "meta information twice": lambda image: bytes(128) + b"DICM" + meta(uid=image.uid) * 2
    + image.explicit(),
    "a group length of 4 GiB": lambda image: part_10(image, length=0xFFFFFFFF),
    "an unknown transfer syntax": lambda image: part_10(image, syntax=UNKNOWN),
    "a private transfer syntax": lambda image: part_10(image, syntax="1.2.840.113619.5.2.99"),
    "no transfer syntax": lambda image: part_10(image, syntax=""),
    "a transfer syntax that is a path": lambda image: part_10(image, syntax="../../x"),
    "deflated": lambda image: part_10(
        image, syntax=DEFLATED, data=zlib.compress(image.explicit(), 9)[2:-4]
    ),
    "another transfer syntax than it says": lambda image: part_10(image, syntax=IMPLICIT),
    "a data set in Big Endian": lambda image: part_10(image, data=image.big_endian()),
    "another instance than it says": lambda image: part_10(image, uid=new_uid()),
    "another class than it says": lambda image: part_10(image, sop_class=PDF),
    "meta information in Implicit VR": lambda image: bytes(128) + b"DICM"
    + implicit(0x00020010, raw.ui(EXPLICIT)) + image.explicit(),
    "a value of 4 GiB in the meta information": lambda image: part_10(
        image, more=explicit(0x00020102, "OB", b"x", 0xFFFFFFFE)
    ),
    "nothing": lambda image: b"",
    "garbage": lambda image: b"\xff" * 5000,
}  # fmt: skip
ODD_FILES = {
    "a short group length": lambda image: part_10(image, length=4),
    "a long group length": lambda image: part_10(image, length=300),
    "private meta information": lambda image: part_10(
        image, more=explicit(0x00020102, "OB", b"MZ" * 50)
    ),
}


def test_p7_a_file_that_contradicts_itself_is_refused_and_the_others_are_taken(server, peer):
    bad = {name: Image() for name in BAD_FILES}
    odd = {name: Image() for name in ODD_FILES}
    good = Image()
    files = {f"{name}.dcm": BAD_FILES[name](image) for name, image in bad.items()}
    files |= {f"{name}.dcm": ODD_FILES[name](image) for name, image in odd.items()}
    done = imported(server, {**files, "good.dcm": part_10(good)})
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    check(peer, good, STORED)
    for name, image in bad.items():
        assert find(peer, image) == [], name
    for name, image in odd.items():
        assert len(find(peer, image)) in (0, 1), name


def test_p15_a_dicomdir_leads_nowhere(server, peer):
    """`santepacs import` takes files where they lie; what a DICOMDIR points to is not looked at."""
    image, outside = Image(), Image()
    with reachable_folder() as elsewhere:
        (elsewhere / "outside.dcm").write_bytes(part_10(outside))
        climbing = f"..\\..\\..\\..\\..{elsewhere}\\outside.dcm".replace("/", "\\").encode()
        records = [
            implicit(ITEM, explicit(0x00041430, "CS", b"IMAGE ") + explicit(0x00041500, "CS", name))
            for name in (climbing + b" " * (len(climbing) % 2), b"..\\..\\etc\\passwd ")
        ]
        directory = (
            bytes(128) + b"DICM" + meta(sop_class="1.2.840.10008.1.3.10")
            + explicit(0x00041220, "SQ", b"".join(records))
        )  # fmt: skip
        done = imported(server, {"DICOMDIR": directory, "IMAGES/1": part_10(image)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passwd" not in done.stdout + done.stderr
    check(peer, image, STORED)
    check(peer, outside, REFUSED)


# --- P-8: order -----------------------------------------------------------------------------------

TWICE = {
    "the patient's name": explicit(NAME, "PN", b"A ") + explicit(NAME, "PN", b"B "),
    "a private element": explicit(0x00091010, "LO", b"A ") + explicit(0x00091010, "LO", b"B "),
    "group 0000": explicit(0x00000002, "UI", b"1.2.3.4 "),
    "group 0002": explicit(0x00020010, "UI", raw.ui(IMPLICIT)),
    "an item": implicit(0xFFFEE000, b""),
    "a sequence end": implicit(0xFFFEE0DD, b""),
}


@pytest.mark.parametrize("element", TWICE.values(), ids=TWICE)
def test_p8_what_is_there_twice_or_does_not_belong_there_is_refused(peer, element):
    image = Image({place(element): element})
    assert store(peer, image) == REFUSED
    check(peer, image, REFUSED)


def test_p8_an_object_of_two_names_is_refused(peer):
    image, other = Image(), new_uid()
    names = [explicit(INSTANCE, "UI", raw.ui(uid)) for uid in (image.uid, other)]
    for both in (names, reversed(names)):
        image.elements[INSTANCE] = b"".join(both)
        assert store(peer, image) == REFUSED
    check(peer, image, REFUSED)


def test_p8_what_comes_twice_in_different_places_is_refused(peer):
    image = Image()
    data = image.explicit() + explicit(NAME, "PN", b"Roe^Richard ")
    assert store(peer, image, data) == REFUSED
    check(peer, image, REFUSED)


def test_p8_out_of_order_every_reader_finds_the_same(peer):
    image = Image()
    data = image.explicit(order=lambda tags: sorted(tags, reverse=True))
    outcome = store(peer, image, data)
    check(peer, image, outcome)
    for answer in find(peer, image, NAME):
        assert answer[NAME].strip() == b"Doe^Jane"


def test_p8_what_comes_after_the_pixels_is_read_too(peer):
    image = Image({NAME: None, 0xFFFCFFFC: ("OB", bytes(100))})
    data = image.explicit() + explicit(NAME, "PN", b"Late^Jane ")
    if store(peer, image, data) == STORED:
        (answer,) = find(peer, image, NAME)
        assert answer[NAME].strip() == b"Late^Jane"


# --- P-9, P-10, P-11: values ----------------------------------------------------------------------

CHARSETS = {
    "backslashes": "\\\\", "1000 values": "\\".join(["ISO 2022 IR 87"] * 1000), "none": "KLINGON",
    "a path": "../../x", "UTF-7": "UTF-7", "a codec of Python": "rot13", "idna": "idna",
    "NUL": b"ISO_IR\x00192", "ISO 2022": "\\ISO 2022 IR 87\\ISO 2022 IR 149", "Greek": "ISO_IR 126",
    "GB18030": "GB18030", "UTF-8 twice": "ISO_IR 192\\ISO_IR 192", "not ASCII": b"\xff\xfe\xfd\xfc",
    "10 kB": "x" * 10_000,
}  # fmt: skip
GARBAGE = b"\x1b$B\xff\xff\x1b(Z\x1b\x1b$)C\x80\xa4\xc0\x27\xed\xa0\x80^\x1b$=A\x1b"


@pytest.mark.parametrize("charset", CHARSETS.values(), ids=CHARSETS)
def test_p9_text_in_any_character_set_is_stored_and_found(peer, charset):
    image = Image({CHARSET: ("CS", charset), NAME: ("PN", GARBAGE), DESCRIPTION: ("LO", GARBAGE)})
    assert store(peer, image) == STORED
    check(peer, image, STORED)
    (answer,) = find(peer, image, NAME, DESCRIPTION)
    shown = answer[NAME] + answer[DESCRIPTION]
    encoding = {b"": "ascii", b"ISO_IR 100": "latin-1"}.get(answer.get(CHARSET, b""), "utf-8")
    text = shown.decode(encoding)
    assert not re.search("[\x00-\x1f\x7f]", text.replace("\0", "", 1))


VALUES = {
    "a number beyond": {0x00200013: ("IS", "1e400"), 0x00200011: ("IS", "9" * 17)},
    "no number": {0x00200013: ("IS", "NaN"), 0x00200011: ("IS", "-0")},
    "an impossible day": {DATE: ("DA", "20261345"), 0x00100030: ("DA", "00000000")},
    "a day that is text": {DATE: ("DA", "tomorrow"), TIME: ("TM", "noon")},
    "an impossible time": {TIME: ("TM", "999999.999999")},
    "many days": {DATE: ("DA", "20260101\\" * 500 + "20260102")},
    "a name of five groups": {NAME: ("PN", "a=b=c=d=e^f^g^h^i^j^k\\second")},
    "a name of separators": {NAME: ("PN", "^" * 60_000)},
    "a name of 60 kB": {NAME: ("PN", "A" * 60_000)},
    "a description of 10 MB": {DESCRIPTION: ("UT", "D" * 10_000_000)},
    "a modality of 60 kB": {0x00080060: ("CS", "C" * 60_000)},
    "a sex of 60 kB": {0x00100040: ("CS", "F" * 60_000)},
    "a padded UID": {0x00200052: ("UI", "1.2.3   ")},
    "NUL at the end": {NAME: ("PN", b"Doe^Jane\0\0"), PATIENT_ID: ("LO", b"P1\0\0")},
    "NUL inside": {NAME: ("PN", b"Doe\0^Jane\0"), DESCRIPTION: ("LO", b"A\0B\0")},
    "overlong UTF-8": {CHARSET: ("CS", "ISO_IR 192"), NAME: ("PN", b"\xc0\x27\xc0\x80")},
    "surrogates": {CHARSET: ("CS", "ISO_IR 192"), NAME: ("PN", b"\xed\xa0\x80\xed\xb0\x80")},
    "line ends": {DESCRIPTION: ("LO", b"A\r\nB\x1b[31m\x0b\x85\xe2\x80\xa8")},
    "no-characters": {CHARSET: ("CS", "ISO_IR 192"), NAME: ("PN", "\uffff\ufdd0\U0010ffff")},
    "SQL": {NAME: ("PN", "x'); DELETE FROM study; --"), DESCRIPTION: ("LO", "%s %(x)s {0} $1")},
    "a date as a number": {DATE: ("UL", b"\1\2\3\4"), NAME: ("OB", bytes(range(256)))},
    "a UID as a sequence": {0x00200052: explicit(0x00200052, "SQ", implicit(ITEM, b""))},
    "a name as a sequence": {NAME: explicit(NAME, "SQ", implicit(ITEM, INSIDE))},
    "nothing optional": dict.fromkeys((DATE, NAME, PATIENT_ID, 0x00080060)),
    "everything empty": dict.fromkeys((DATE, TIME, NAME, PATIENT_ID, 524384), ("LO", b"")),
}


@pytest.mark.parametrize("changes", VALUES.values(), ids=VALUES)
def test_p10_p11_odd_values_are_stored_untouched_and_found(server, peer, changes):
    image = Image(changes)
    assert store(peer, image) == STORED
    assert file_of(server, image.explicit())
    (answer,) = find(peer, image, NAME, PATIENT_ID, DESCRIPTION, DATE, TIME)
    assert re.fullmatch(rb"|[0-9]{8}", answer[DATE].strip())
    assert re.fullmatch(rb"|[0-9]{2,6}(\.[0-9]+)?", answer[TIME].strip())
    assert len(find(peer, image, level="IMAGE")) == 1


# --- P-13, P-14: who and what ---------------------------------------------------------------------


def patients(peer, patient_id):
    """What C-FIND says of the patients with this ID."""
    asked = {LEVEL: "PATIENT", PATIENT_ID: patient_id, NAME: "", ISSUER: ""}
    found, status = peer.find(asked, PATIENT_FIND, NUMBER[PATIENT_FIND])
    assert status == 0x0000
    return found


def test_p13_issuers_tell_patients_apart(peer):
    number = new_uid()
    for issuer in ("ONE", "TWO", "' OR 1=1"):
        image = Image({PATIENT_ID: ("LO", number), ISSUER: ("LO", issuer)})
        assert store(peer, image) == STORED
    issuers = {answer[ISSUER].strip() for answer in patients(peer, number)}
    assert issuers == {b"ONE", b"TWO", b"' OR 1=1"}


def test_p13_studies_without_a_patient_id_are_not_one_patients(server, peer):
    images = [Image({PATIENT_ID: ("LO", value)}) for value in ("", "  ", b"\0\0")]
    images.append(Image({PATIENT_ID: None}))
    names = ["One", "Two", "Three", "Four"]
    for image, name in zip(images, names, strict=True):
        image.elements[NAME] = ("PN", name)
        assert store(peer, image) == STORED
    found = [find(peer, image, NAME)[0][NAME].strip().decode() for image in images]
    assert found == names


def test_p13_long_patient_ids_are_not_cut_into_one(peer):
    start = "L" * 10_000
    images = {name: Image({PATIENT_ID: ("LO", start + name), NAME: ("PN", name)}) for name in "AB"}
    for image in images.values():
        assert store(peer, image) == STORED
    for name, image in images.items():
        assert find(peer, image, NAME)[0][NAME].strip() == name.encode()


def test_p13_two_names_under_one_id_are_both_kept_as_they_came(server, peer):
    number = new_uid()
    images = [
        Image({PATIENT_ID: ("LO", number), NAME: ("PN", name)}) for name in ("Doe^Jane", "Roe^Max")
    ]
    for image in images:
        assert store(peer, image) == STORED
        assert file_of(server, image.explicit())
        check(peer, image, STORED)
    assert len(patients(peer, number)) == 1


DOCUMENTS = {
    "CDA": (
        CDA,
        b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><x/>",
    ),
    "STL": (STL, b"solid x\nendsolid x\n"),
    "PDF": (PDF, b"%PDF-1.7\n1 0 obj<</OpenAction<</S/JavaScript/JS(app.alert(1))>>>>endobj"),
    "no PDF": (PDF, b"MZ\x90\0<html><script>alert(1)</script>"),
    "raw data": (RAW, b"\x7fELF" * 100),
}


@pytest.mark.parametrize(("sop_class", "content"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_p14_a_document_is_stored_as_it_is(server, peer, sop_class, content):
    image = Image({0x00420011: ("OB", content), PIXELS: None}, sop_class=sop_class)
    image.elements |= dict.fromkeys(tag for tag in image.elements if tag >> 16 == 0x0028)
    assert store(peer, image, syntax=(sop_class, EXPLICIT)) == STORED
    check(peer, image, STORED)
    assert file_of(server, image.explicit())


PRIVATE = {
    "no creator": explicit(0x00091010, "LO", b"value "),
    "two creators of one block": explicit(0x00090010, "LO", b"ONE\\TWO ")
    + explicit(0x00091010, "LO", b"value "),
    "one creator of all blocks": b"".join(
        explicit(0x00090010 + n, "LO", b"ONE ") for n in range(0xF0)
    ),
    "a creator that is a sequence": explicit(0x00090010, "SQ", implicit(ITEM, INSIDE)),
    "a private sequence": explicit(0x00090010, "LO", b"ONE ")
    + explicit(0x00091010, "SQ", implicit(ITEM, INSIDE, OPEN) + END_ITEM + END_SEQUENCE, OPEN),
    "an unknown sequence": explicit(
        0x00091010, "UN", implicit(ITEM, implicit(0x00080060, b"CT")), OPEN
    )
    + END_SEQUENCE,
    "a VR that does not exist": explicit(0x00091010, "ZZ", b"value "),
    "the last groups": explicit(0xFFFD0010, "LO", b"ONE "),
}


@pytest.mark.parametrize("element", PRIVATE.values(), ids=PRIVATE)
def test_p14_private_elements_are_stored_as_they_are(server, peer, element):
    image = Image({place(element): element})
    assert store(peer, image) == STORED
    check(peer, image, STORED)
    assert file_of(server, image.explicit())


def test_the_objects_of_a_storm_of_good_and_bad_ones_are_told_apart(server, peer):
    """Bad objects between good ones, all requests sent before the first answer is read."""
    good, bad = [Image() for _ in range(8)], [Image() for _ in range(8)]
    began = time.monotonic()
    for fine, broken in zip(good, bad, strict=True):
        for image, data in ((fine, fine.explicit()), (broken, broken.explicit()[:-9])):
            number = NUMBER[CT, EXPLICIT]
            peer.message(raw.store_command(image.uid), data, number)
    answers = [peer.answer().status for _ in range(16)]
    assert [status == 0x0000 for status in answers] == [True, False] * 8
    assert time.monotonic() - began < PROMPT
    assert all(find(peer, image) for image in good)
    assert not any(find(peer, image) for image in bad)
