"""HL7 values made legal for their DICOM value representation (PS3.5 6.2).

Each function gives the legal value, or the empty string for what cannot be one.
"""

import re
from datetime import date

# Defined terms of Modality (0008,0060), PS3.3 C.7.3.1.1.1.
_MODALITIES = (
    "ANN AR ASMT AU BDUS BI BMD CFM CR CT CTPROTOCOL DMS DG DOC DX ECG EEG EMG EOG EPS ES FID GM"
    " HC HD IO IOL IVOCT IVUS KER KO LEN LS M3D MG MR NM OAM OCT OP OPM OPT OPTBSV OPTENF OPV OSS"
    " OT PA PLAN POS PR PT PX REG RESP RF RG RTDOSE RTIMAGE RTINTENT RTPLAN RTRAD RTRECORD"
    " RTSEGANN RTSTRUCT RWV SEG SM SMR SR SRF STAIN TEXTUREMAP TG US VA XA XAPROTOCOL XC"
)
MODALITIES = frozenset(_MODALITIES.split())
_SEXES = {
    **dict.fromkeys(("M", "1", "E", "MALE"), "M"),
    **dict.fromkeys(("F", "2", "W", "K", "FEMALE"), "F"),
    **dict.fromkeys(("O", "A", "N"), "O"),
}
_PRIORITIES = {
    "S": "STAT", "A": "HIGH", "P": "HIGH", "C": "HIGH", "R": "ROUTINE", "T": "MEDIUM",
    **{term: term for term in ("STAT", "HIGH", "ROUTINE", "MEDIUM", "LOW")},
}  # fmt: skip
_LENGTHS = {"LO": 64, "SH": 16, "AE": 16, "CS": 16, "LT": 10240}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]+")
_BREAK = re.compile(r"\r\n?|\n")
_DATE = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})")
_TIME_ALONE = re.compile(r"([0-9]{2}):?([0-9]{2})?:?([0-9]{2})?(?:\.[0-9]*)?(?:[+-][0-9]{4})?")
_TIME = re.compile(r"[0-9]{8}([0-9]{2})([0-9]{2})?([0-9]{2})?")


def text(value: str, vr: str) -> str:
    """A text (LO, SH, AE, CS: one line, no backslash; LT: lines) cut to its length."""
    if vr == "LT":
        lines = (_CONTROL.sub(" ", line) for line in _BREAK.split(value))
        return "\r\n".join(lines).strip()[: _LENGTHS[vr]]
    return " ".join(_CONTROL.sub(" ", value).replace("\\", " ").split())[: _LENGTHS[vr]].rstrip()


def ae_title(value: str) -> str:
    """An AE title: ASCII, at most 16 characters."""
    title = text(value, "AE")
    return title if title.isascii() else ""


def modality(value: str) -> str:
    """A modality code: letters (``M3D`` is the only one with a digit), in capitals."""
    code = value.strip().upper()
    return code if code in MODALITIES or re.fullmatch(r"[A-Z]{2,16}", code) else ""


def sex(value: str) -> str:
    """Patient's Sex: M, F or O, of table 0001 and its usual local forms."""
    return _SEXES.get(value.strip().upper(), "")


def priority(value: str) -> str:
    """Requested Procedure Priority of an HL7 priority code (table 0027) or of its own term."""
    return _PRIORITIES.get(value.strip().upper(), "")


def person_name(value: str) -> str:
    """A PN: at most three groups of 64 characters and five components, no trailing delimiters."""
    line = " ".join(_CONTROL.sub(" ", value).replace("\\", " ").split())
    groups = (
        "^".join(component.strip() for component in group.split("^")[:5])
        for group in line.split("=")[:3]
    )
    return "=".join(group[:64].rstrip("^ ") for group in groups).rstrip("=")


def date_of(timestamp: str) -> str:
    """The date of an HL7 time stamp; what follows its eight digits is not looked at."""
    digits = _DATE.match(timestamp.strip())
    if not digits:
        return ""
    try:
        date(int(digits[1]), int(digits[2]), int(digits[3]))
    except ValueError:
        return ""
    return digits[0]


def time_of(timestamp: str) -> str:
    """The time of an HL7 time stamp as HHMMSS, missing parts as zero; empty without an hour."""
    parts = _TIME.match(timestamp.strip())
    if not parts:
        return ""
    return _time(parts)


def time_alone(value: str) -> str:
    """The time of an HL7 time (``HHMM[SS]``, with colons or without) or time stamp as HHMMSS."""
    parts = _TIME_ALONE.fullmatch(value.strip())
    return _time(parts) if parts else time_of(value)


def _time(parts: re.Match[str]) -> str:
    hour, minute, second = (int(part or 0) for part in parts.groups())
    if hour > 23 or minute > 59 or second > 60:
        return ""
    return f"{hour:02}{minute:02}{min(second, 59):02}"
