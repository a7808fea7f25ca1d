"""Orders of a hospital: as files of worklist servers, and as the HL7 messages that bring them.

Exactly HITS of them are for STATION on DATE.
"""

from pathlib import Path

from bench.corpus import ROOT, fill_name
from bench.encoding import explicit, item, part10

MODALITY_WORKLIST = "1.2.840.10008.5.1.4.31"
STATION = "CTROOM1"
DATE = "20260115"
HITS = 20

_OTHER_STATIONS = ("CTROOM2", "MRROOM1", "USROOM1", "DXROOM1", STATION)


def step(number: int) -> tuple[str, str, str]:
    """Station AE title, date and time of the order `number`."""
    time = f"{8 + number % 10:02d}{number % 60:02d}00"
    if number < HITS:
        return STATION, DATE, time
    station = _OTHER_STATIONS[number % 5]
    month = "02" if station == STATION else "01"
    return station, f"2026{month}{1 + number % 28:02d}", time


def worklist_file(number: int) -> bytes:
    """The order as a worklist file."""
    station, date, time = step(number)
    scheduled = b"".join(
        explicit(*element)
        for element in (
            (0x00080060, "CS", "CT"),
            (0x00400001, "AE", station),
            (0x00400002, "DA", date),
            (0x00400003, "TM", time),
            (0x00400006, "PN", "PERF^DOC"),
            (0x00400007, "LO", "CT head"),
            (0x00400009, "SH", f"SPS{number:07d}"),
            (0x00400010, "SH", "ROOM1"),
        )
    )
    return part10(
        MODALITY_WORKLIST,
        f"{ROOT}.7.{100000 + number}",
        (
            (0x00080005, "CS", "ISO_IR 100"),
            (0x00080050, "SH", f"W{number:07d}"),
            (0x00080090, "PN", "REF^DOC"),
            (0x00100010, "PN", fill_name(number)),
            (0x00100020, "LO", f"W{number:07d}"),
            (0x00100030, "DA", "19700101"),
            (0x00100040, "CS", "O"),
            (0x0020000D, "UI", f"{ROOT}.8.{100000 + number}"),
            (0x00321060, "LO", "CT head"),
            (0x00400100, "SQ", item(scheduled)),
            (0x00401001, "SH", f"RP{number:07d}"),
            (0x00401003, "SH", "ROUTINE"),
        ),
    )


def write_worklist(count: int, folder: Path) -> None:
    """Make the files of `count` orders in `folder`, which exists."""
    (folder / "lockfile").touch()  # wlmscpfs asks for it
    for number in range(count):
        (folder / f"{number:06d}.wl").write_bytes(worklist_file(number))


def hl7_order(number: int, control_id: str) -> bytes:
    """The order as an HL7 message (ORM^O01), where most senders put things."""
    station, date, time = step(number)
    order = f"W{number:07d}"
    segments = (
        f"MSH|^~\\&|RIS|HOSPITAL|PACS|HOSPITAL|20260110120000||ORM^O01|{control_id}|P|2.3.1",
        f"PID|||{order}||{fill_name(number)}||19700101|O",
        "PV1||O",
        f"ORC|NW|{order}|||SC||||||||||{date}{time}",
        f"OBR|1|{order}||CTHEAD^CT head||||||||||||REF^DOC||CT|||{station}",
        f"ZDS|{ROOT}.8.{100000 + number}^HOSPITAL^Application^DICOM",
        "",
    )
    return "\r".join(segments).encode("ascii")
