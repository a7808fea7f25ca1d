"""The objects that are sent: CT images of two sizes, and one small object for each of many studies.

Every identifier contains a tag of 8 digits. The same tag gives the same objects again, another
one gives objects that no server has seen.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.encoding import part10, us

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
BASIC_TEXT_SR_STORAGE = "1.2.840.10008.5.1.4.1.1.88.11"
ROOT = "1.3.6.1.4.1.99999.77"

RETRIEVED = "10000000"
"""Tag of the CT studies that are loaded once, to be retrieved."""
FILL = "11111111"
"""Tag of the many studies that are loaded once, to be found."""

DAYS = 800  # over which the fill is spread, evenly
FREE_DAYS = 672  # of these; afterwards other studies have their dates too
SURNAMES = 500
EVEN = 4000  # a fill of a multiple of this has as many studies on every day and of every surname

_SYLLABLES = ("BA", "KO", "RI", "TE", "MU", "SZ", "LA", "NE", "VO", "GI", "DA", "PO", "CI",
              "FE", "HU", "JA", "WO", "ZI", "RE", "TU", "MA", "SO", "LI", "NU", "BE")  # fmt: skip
_GIVEN_NAMES = ("ANNA", "JAN", "MARIA", "PIOTR", "EWA", "ADAM", "OLGA", "KAROL", "HANNA", "LEON")


@dataclass(frozen=True, slots=True)
class Images:
    """A kind of images: how they are spread over series and studies, and how large they are."""

    name: str
    series: int  # of a study
    instances: int  # of a series
    rows: int

    @property
    def of_study(self) -> int:
        """Images of a study."""
        return self.series * self.instances

    def write(self, count: int, tag: str, folder: Path) -> list[Path]:
        """Make `count` images in `folder`; their paths in sending order."""
        pixels = with_noise(phantom(self.rows))
        paths = []
        for number in range(count):
            study, image = divmod(number, self.of_study)
            series, instance = divmod(image, self.instances)
            path = folder / f"{number:06d}.dcm"
            path.write_bytes(ct_image(tag, study, series, instance, self.rows, pixels))
            paths.append(path)
        return paths


CT = Images("ct", series=2, instances=125, rows=512)  # 526 kB each
SMALL = Images("small", series=4, instances=50, rows=88)  # 16 kB each


def fresh_tag() -> str:
    """A tag that no earlier run had (for the next 80 days)."""
    return str(20_000_000 + time.time_ns() // 100_000_000 % 70_000_000)


# --- identifiers ----------------------------------------------------------------------------------


def study_uid(tag: str, study: int) -> str:
    """Study Instance UID."""
    return f"{ROOT}.{tag}.{100000 + study}"


def series_uid(tag: str, study: int, series: int) -> str:
    """Series Instance UID."""
    return f"{study_uid(tag, study)}.{101 + series}"


def sop_uid(tag: str, study: int, series: int, instance: int) -> str:
    """SOP Instance UID."""
    return f"{series_uid(tag, study, series)}.{10001 + instance}"


def patient_id(tag: str, study: int) -> str:
    """Patient ID: each study is another patient's."""
    return f"P{tag}{study:05d}"


def fill_id(number: int) -> str:
    """Patient ID and Accession Number of the fill's study `number`."""
    return f"F{number:07d}"


def fill_name(number: int) -> str:
    """Patient's Name: four letters are the prefix of one of 500 surnames."""
    first, second = divmod(number % SURNAMES, len(_SYLLABLES))
    given = _GIVEN_NAMES[number // SURNAMES % len(_GIVEN_NAMES)]
    return f"{_SYLLABLES[first]}{_SYLLABLES[second]}SKI^{given}"


def fill_date(number: int) -> str:
    """Study Date: 800 days from 2024-01-01 on, in months of 28 days."""
    year, day = divmod(number % DAYS, 12 * 28)
    return f"{2024 + year}{day // 28 + 1:02d}{day % 28 + 1:02d}"


# --- objects --------------------------------------------------------------------------------------


def phantom(rows: int) -> bytes:
    """A square image of two discs in air, 16 bits a pixel: something that a viewer can show."""
    values = {level: us(level) for level in (64, 980, 1100, 1400)}
    centre = rows / 2
    image = bytearray()
    for y in range(rows):
        for x in range(rows):
            d = ((x - centre) ** 2 + (y - centre) ** 2) / centre**2
            image += values[64 if d > 0.8 else 1100 if d > 0.7 else 980 if d > 0.1 else 1400]
    return bytes(image)


def with_noise(pixels: bytes, bits: int = 6) -> bytes:
    """The pixels with `bits` bits of noise each; they compress about as a CT does."""
    mask = int.from_bytes(us((1 << bits) - 1) * (len(pixels) // 2), "little")
    noise = int.from_bytes(os.urandom(len(pixels)), "little") & mask
    return (int.from_bytes(pixels, "little") + noise).to_bytes(len(pixels), "little")


def ct_image(tag: str, study: int, series: int, instance: int, rows: int, pixels: bytes) -> bytes:
    """A CT image as a file."""
    sop_instance = sop_uid(tag, study, series, instance)
    return part10(
        CT_IMAGE_STORAGE,
        sop_instance,
        (
            (0x00080005, "CS", "ISO_IR 100"),
            (0x00080008, "CS", "ORIGINAL\\PRIMARY\\AXIAL"),
            (0x00080016, "UI", CT_IMAGE_STORAGE),
            (0x00080018, "UI", sop_instance),
            *((0x00080020 + which, "DA", "20260101") for which in range(4)),
            *((0x00080030 + which, "TM", "101500") for which in range(2)),
            (0x00080050, "SH", f"A{tag}{study:05d}"),
            (0x00080060, "CS", "CT"),
            (0x00080070, "LO", "BENCH"),
            (0x00080090, "PN", "REF^DOC"),
            (0x00081030, "LO", "CT bench"),
            (0x0008103E, "LO", f"Series {series + 1}"),
            (0x00100010, "PN", f"BENCH^T{tag}S{study:05d}"),
            (0x00100020, "LO", patient_id(tag, study)),
            (0x00100030, "DA", "19700101"),
            (0x00100040, "CS", "O"),
            (0x00180050, "DS", "1.25"),
            (0x00180060, "DS", "120"),
            (0x00181151, "IS", "200"),
            (0x0020000D, "UI", study_uid(tag, study)),
            (0x0020000E, "UI", series_uid(tag, study, series)),
            (0x00200010, "SH", f"S{study:05d}"),
            (0x00200011, "IS", str(series + 1)),
            (0x00200013, "IS", str(instance + 1)),
            (0x00200032, "DS", f"-120\\-120\\{instance * 1.25:.2f}"),
            (0x00200037, "DS", "1\\0\\0\\0\\1\\0"),
            (0x00200052, "UI", f"{study_uid(tag, study)}.9"),
            (0x00280002, "US", us(1)),
            (0x00280004, "CS", "MONOCHROME2"),
            (0x00280010, "US", us(rows)),
            (0x00280011, "US", us(rows)),
            (0x00280030, "DS", "0.47\\0.47"),
            (0x00280100, "US", us(16)),
            (0x00280101, "US", us(12)),
            (0x00280102, "US", us(11)),
            (0x00280103, "US", us(0)),
            (0x00281050, "DS", "40"),
            (0x00281051, "DS", "400"),
            (0x00281052, "DS", "-1024"),
            (0x00281053, "DS", "1"),
            (0x7FE00010, "OW", pixels),
        ),
    )


def fill_object(number: int) -> bytes:
    """The only object of the fill's study `number`: a report without content, as a file."""
    sop_instance = sop_uid(FILL, number, 0, 0)
    return part10(
        BASIC_TEXT_SR_STORAGE,
        sop_instance,
        (
            (0x00080005, "CS", "ISO_IR 100"),
            (0x00080016, "UI", BASIC_TEXT_SR_STORAGE),
            (0x00080018, "UI", sop_instance),
            (0x00080020, "DA", fill_date(number)),
            (0x00080023, "DA", fill_date(number)),
            (0x00080030, "TM", "101500"),
            (0x00080033, "TM", "101500"),
            (0x00080050, "SH", fill_id(number)),
            (0x00080060, "CS", "SR"),
            (0x00080070, "LO", "BENCH"),
            (0x00080090, "PN", "REF^DOC"),
            (0x00081030, "LO", "Report bench"),
            (0x00100010, "PN", fill_name(number)),
            (0x00100020, "LO", fill_id(number)),
            (0x00100030, "DA", "19700101"),
            (0x00100040, "CS", "O"),
            (0x0020000D, "UI", study_uid(FILL, number)),
            (0x0020000E, "UI", series_uid(FILL, number, 0)),
            (0x00200010, "SH", f"S{number:05d}"),
            (0x00200011, "IS", "1"),
            (0x00200013, "IS", "1"),
            (0x0040A491, "CS", "COMPLETE"),
            (0x0040A493, "CS", "UNVERIFIED"),
        ),
    )


def write_fill(numbers: range, folder: Path) -> Iterator[Path]:
    """Make the fill's objects `numbers` in `folder`."""
    for number in numbers:
        path = folder / f"{number:06d}.dcm"
        path.write_bytes(fill_object(number))
        yield path
