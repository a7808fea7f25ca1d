"""How values of the archive read on a page. Pure; the pages escape them."""

import re
import unicodedata
from collections.abc import Iterable
from datetime import date, datetime

# Characters that turn or hide the text after them (UAX 9), and separators of lines.
_TURNING = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029\ufeff]")

MODALITIES = {
    "CR": "computed radiography", "CT": "computed tomography", "DX": "digital radiography",
    "ECG": "electrocardiogram", "ES": "endoscopy", "IO": "intra-oral radiography",
    "MG": "mammography", "MR": "magnetic resonance", "NM": "nuclear medicine",
    "OP": "ophthalmic photography", "OT": "other", "PT": "positron emission tomography",
    "PX": "panoramic X-ray", "RF": "fluoroscopy", "RTSTRUCT": "radiotherapy structures",
    "SC": "secondary capture", "SR": "structured report", "US": "ultrasound",
    "XA": "X-ray angiography",
}  # fmt: skip
# Of HL7's ERR-2: segment, its number, field, repetition, component, as far as they are known.
_LOCATION = re.compile(r"^([A-Z][A-Z0-9]{2})\^(\d+)(?:\^(\d+))?(?:\^(\d+))?(?:\^(\d+))?(?!\S)")
SEXES = {"F": "female", "M": "male", "O": "other"}


def clean(value: object) -> object:
    """Text without characters that control anything; all else as it is."""
    if type(value) is not str:
        return value
    text = _TURNING.sub("", value)
    if text.isprintable():
        return text
    return "".join(" " if unicodedata.category(c) == "Cc" else c for c in text)


def person_name(name: str) -> str:
    """A PN value for reading: ``Doe, Jane M. (Dr)``, with ideographic or phonetic names behind."""
    groups = [group for group in map(_one_name, name.split("=")[:3]) if group]
    return groups[0] + "".join(f" · {group}" for group in groups[1:]) if groups else ""


def _one_name(group: str) -> str:
    parts = [" ".join(part.split()) for part in group.split("^")] + [""] * 4
    family, given, middle, prefix, suffix = parts[:5]
    forenames = " ".join(part for part in (given, middle) if part)
    name = ", ".join(part for part in (family, forenames) if part)
    titles = " ".join(part for part in (prefix, suffix) if part)
    return f"{name} ({titles})" if name and titles else name or titles


def dicom_date(text: str) -> date | None:
    """The day of ``YYYYMMDD``; None when it is none."""
    if not re.fullmatch("[0-9]{8}", text):
        return None
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None


def day(value: str | date) -> str:
    """A date (or ``YYYYMMDD``) as ``2026-11-20``; what is no date as it is."""
    found = dicom_date(value) if isinstance(value, str) else value
    return str(value) if found is None else found.isoformat()


def weekday(value: str | date) -> str:
    """The day of the week; empty for what is no date."""
    found = dicom_date(value) if isinstance(value, str) else value
    return "" if found is None else f"{found:%A}"


def clock_time(text: str) -> str:
    """``HHMMSS.ffffff`` as ``14:30``; empty for what is no time."""
    match = re.match("([0-2][0-9])([0-5][0-9])?", text)
    return f"{match[1]}:{match[2] or '00'}" if match else ""


def size(count: int) -> str:
    """A number of bytes with a unit: ``12.3 MB``."""
    value, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    if unit == "bytes":
        return plural(count, "byte")
    return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"


def plural(count: int, one: str, many: str = "") -> str:
    """``1 study``, ``1 204 images``."""
    number = f"{count:,}".replace(",", "\u202f")
    return f"{number} {one if count == 1 else many or one + 's'}"


def hl7_place(text: str) -> str:
    """`text` with the ERR-2 location at its beginning (``PID^1^3``) as people write it: PID-3."""
    return _LOCATION.sub(_place, text, count=1)


def _place(found: re.Match[str]) -> str:
    segment, number, field, _, component = found.groups()
    which = f"{segment}[{number}]" if number != "1" else segment
    return which + (f"-{field}" if field else "") + (f".{component}" if component else "")


def shortened(text: str, keep: int = 14) -> str:
    """A long UID or token with its middle left out."""
    return text if len(text) <= 2 * keep + 1 else f"{text[:keep]}…{text[-keep:]}"


def modality_names(codes: Iterable[str]) -> str:
    """What modality codes mean, for a tooltip."""
    return ", ".join(MODALITIES.get(code, code) for code in codes)


def age(birth_date: str, at: str) -> str:
    """The age on the day `at`: ``65 y``, below two ``7 mo``; empty when it is not known."""
    born, then = dicom_date(birth_date), dicom_date(at)
    if born is None or then is None or born > then:
        return ""
    months = (then.year - born.year) * 12 + then.month - born.month - (then.day < born.day)
    return f"{months}\u00a0mo" if months < 24 else f"{months // 12}\u00a0y"


def long_day(value: str | date) -> str:
    """A date in words: ``Friday, 20 November 2026``; what is no date as it is."""
    found = dicom_date(value) if isinstance(value, str) else value
    return str(value) if found is None else f"{found:%A}, {found.day} {found:%B} {found.year}"


def moment(value: datetime) -> str:
    """A point in time by this server's clock: ``2026-11-20 14:30 CET``."""
    return f"{value.astimezone():%Y-%m-%d %H:%M %Z}"
