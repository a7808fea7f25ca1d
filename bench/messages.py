"""HL7 messages of some kinds, to be read by parsers: short and long ones, several scripts, escapes.

Each has MSH and PID with all that is asked for (`PLACES`).
"""

from collections.abc import Iterator

PLACES = (
    ("MSH", 9, 1), ("MSH", 9, 2), ("MSH", 10, 1), ("PID", 3, 1), ("PID", 3, 5), ("PID", 5, 1),
    ("PID", 5, 2), ("PID", 7, 1), ("PID", 8, 1),
)  # fmt: skip
"""Segment, field and component of what is looked for in each message."""

_NAMES = ("Doe^Jane^Q", "Müller^Jörg", "Παπαδοπούλου^Μαρία", "Петрова^Анна", "山田^太郎")
_ADDRESS = "1 High Street\\T\\Co^^Springfield^^12345^XX"
_ALLERGIES = "AL1|{n}|DA|{n}00^Contrast medium \\F\\ iodine^L|SV|rash~nausea"
_STEP = "IPC|A{n}|RP{n}|1.2.840.{n}|SPS{n}|CT|P{n}^Protocol^L|CT ROOM {n}^L|WARD|CT_{n}"
_RESULT = (
    "OBX|{n}|TX|{n}^Finding^L||No \\H\\acute\\N\\ finding in segment {n}.\\.br\\Compare.||||||F"
)


def messages(count: int) -> Iterator[bytes]:
    """So many messages, in UTF-8; nothing differs from one run to the next."""
    kinds = (_order, _imaging_order, _patient, _appointment, _result)
    for number in range(count):
        kind, *segments = kinds[number % len(kinds)](number)
        header = f"MSH|^~\\&|HIS|WARD|PACS|RAD|20260102030405||{kind}|{number:07d}|P|2.5.1"
        lines = (f"{header}||||||UNICODE UTF-8", *segments, "")
        yield "\r".join(lines).encode("utf-8")


def _pid(number: int, more: str = "") -> str:
    name = _NAMES[number % len(_NAMES)]
    identifiers = f"ID{number:07d}^^^CITY&1.2.3&ISO^MR~9{number}^^^OTHER^PI"
    return f"PID|1||{identifiers}||{name}||19700131|F{more}"


def _order(number: int) -> tuple[str, ...]:
    return (
        "ORM^O01",
        _pid(number),
        "PV1|1|O|WARD^1^2",
        f"ORC|NW|A{number}|||SC||||||||||20260304093000",
        f"OBR|1|A{number}||CT01^CT head^L||||||||||||7^Roe^Rita^^^Dr||CT|||CT_1||||||S",
        f"ZDS|1.2.840.{number}^HIS^Application^DICOM",
    )


def _imaging_order(number: int) -> tuple[str, ...]:
    return (
        "OMI^O23^OMI_O23",
        _pid(number),
        *(_ALLERGIES.format(n=n) for n in (1, 2)),
        f"ORC|NW|A{number}",
        "TQ1|1||||||20260304093000||R",
        f"OBR|1|A{number}||CT01^CT head^L|||||||||||||7^Roe^Rita^^^Dr",
        *(_STEP.format(n=n) for n in (1, 2, 3)),
    )


def _patient(number: int) -> tuple[str, ...]:
    more = f"|||{_ADDRESS}||+1 555 0100~+1 555 0101|||M|||{number}"
    return (
        "ADT^A08^ADT_A01",
        "EVN|A08|20260102030405",
        _pid(number, more),
        *(f"NK1|{n}|Doe^John|SPO|{_ADDRESS}|+1 555 010{n}" for n in (1, 2)),
        "PV1|1|I|WARD^1^2^CITY||||7^Roe^Rita^^^Dr",
        *(_ALLERGIES.format(n=n) for n in range(1, 5)),
    )


def _appointment(number: int) -> tuple[str, ...]:
    return (
        "SIU^S12^SIU_S12",
        f"SCH|AP{number}^HIS|||||||||30|^^30^20260304093000^20260304100000",
        _pid(number),
        *("RGS|1|A", "AIS|1|A|CT01^CT head^L", "AIL|1|A|ROOM 1^^^CITY", "AIP|1|A|7^Roe^Rita|TECH"),
    )


def _result(number: int) -> tuple[str, ...]:
    findings = (_RESULT.format(n=n) for n in range(1, 31))
    return (
        "ORU^R01^ORU_R01",
        _pid(number),
        f"ORC|RE|A{number}",
        f"OBR|1|A{number}||CT01^CT head^L",
        *findings,
    )
