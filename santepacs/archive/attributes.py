"""Decode a scanned header into the words of the index.

What the index keeps is clean, short and comparable; the stored object is never touched. Broken
optional values become empty ones. Without its four UIDs an object has no place in an archive and
is refused.
"""

import re
from datetime import date
from hashlib import sha256

from santepacs.archive import charset
from santepacs.archive.header import Header
from santepacs.errors import Malformed
from santepacs.model.study import ObjectRecord
from santepacs.model.uids import is_valid_uid

TEXT_LIMIT = 256  # characters; LO ends at 64, the field does not
NAME_LIMIT = 324  # three component groups of 64 characters and their repetition in the field
CODE_LIMIT = 16

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_DATE = re.compile(r"([0-9]{4})(\.?)([0-9]{2})\2([0-9]{2})")
_TIME = re.compile(
    r"([01][0-9]|2[0-3])(?:(:?)([0-5][0-9])(?:\2([0-5][0-9]|60)(?:\.([0-9]{1,6}))?)?)?"
)
_INTEGER = re.compile(r"[+-]?[0-9]{1,12}(?:\.0*)?")


def object_record(header: Header) -> ObjectRecord:
    """The index's record of an object; Malformed if one of its UIDs is missing or invalid."""
    read = _Attributes(header)
    return ObjectRecord(
        patient_id=read.identifier("PatientID"),
        issuer_of_patient_id=read.identifier("IssuerOfPatientID"),
        patient_name=read.name("PatientName"),
        patient_birth_date=read.date("PatientBirthDate"),
        patient_sex=_sex(read.text("PatientSex", CODE_LIMIT)),
        study_instance_uid=read.uid("StudyInstanceUID"),
        study_date=read.date("StudyDate"),
        study_time=read.time("StudyTime"),
        accession_number=read.text("AccessionNumber"),
        study_id=read.text("StudyID"),
        study_description=read.text("StudyDescription"),
        referring_physician_name=read.name("ReferringPhysicianName"),
        institution_name=read.text("InstitutionName"),
        series_instance_uid=read.uid("SeriesInstanceUID"),
        modality=read.text("Modality", CODE_LIMIT).upper(),
        series_number=read.integer("SeriesNumber"),
        series_description=read.text("SeriesDescription"),
        series_date=read.date("SeriesDate"),
        series_time=read.time("SeriesTime"),
        body_part_examined=read.text("BodyPartExamined"),
        protocol_name=read.text("ProtocolName"),
        station_name=read.text("StationName"),
        sop_instance_uid=read.uid("SOPInstanceUID"),
        sop_class_uid=read.uid("SOPClassUID"),
        transfer_syntax_uid=header.transfer_syntax.uid,
        instance_number=read.integer("InstanceNumber"),
        content_date=read.date("ContentDate"),
        content_time=read.time("ContentTime"),
        rows=read.unsigned("Rows"),
        columns=read.unsigned("Columns"),
        number_of_frames=read.integer("NumberOfFrames"),
    )


def clean_text(text: str) -> str:
    """Without control characters (each becomes a space) and without space around it."""
    if not text.isprintable():
        text = _CONTROLS.sub(" ", text)
    return text.strip()


def normal_date(text: str) -> str:
    """A DA value, also of the old form YYYY.MM.DD, as YYYYMMDD; empty if there is no such day."""
    found = _DATE.fullmatch(text)
    if found is None:
        return ""
    year, _, month, day = found.groups()
    try:
        date(int(year), int(month), int(day))
    except ValueError:
        return ""
    return year + month + day


def normal_time(text: str) -> str:
    """A TM value, also of the old form HH:MM:SS, as HHMMSS or HHMMSS.ffffff; empty if impossible.

    What a shorter value leaves open counts as zero.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        return ""
    hour, _, minute, second, fraction = found.groups()
    whole = hour + (minute or "00") + (second or "00")
    return f"{whole}.{fraction:0<6}" if fraction else whole


def normal_integer(text: str) -> int | None:
    """An IS value; None if it is not a number or does not fit in 32 bits."""
    if not _INTEGER.fullmatch(text):
        return None
    number = int(text.partition(".")[0])
    return number if -(2**31) <= number < 2**31 else None


def _sex(text: str) -> str:
    return text.upper() if len(text) == 1 else text


class _Attributes:
    """A header's values, decoded on demand; of several values the text readers keep all."""

    def __init__(self, header: Header) -> None:
        self._header = header
        self._encodings = charset.encodings(header.value("SpecificCharacterSet"))

    def text(self, keyword: str, limit: int = TEXT_LIMIT) -> str:
        return clean_text(charset.decode(self._header.value(keyword), self._encodings))[:limit]

    def name(self, keyword: str) -> str:
        raw = self._header.value(keyword)
        text = clean_text(charset.decode(raw, self._encodings, is_name=True))
        return text.rstrip("=")[:NAME_LIMIT]  # empty component groups mean nothing

    def identifier(self, keyword: str) -> str:
        """Text that tells persons apart: where decoding or cutting loses some of it, a digest of
        the raw value keeps different identifiers different."""
        raw = self._header.value(keyword)
        text = clean_text(charset.decode(raw, self._encodings))
        if len(text) <= TEXT_LIMIT and "\ufffd" not in text:
            return text
        mark = "#" + sha256(raw.strip(b"\0 ")).hexdigest()[:16]
        return text[: TEXT_LIMIT - len(mark)] + mark

    def date(self, keyword: str) -> str:
        return normal_date(self._first(keyword))

    def time(self, keyword: str) -> str:
        return normal_time(self._first(keyword))

    def integer(self, keyword: str) -> int | None:
        return normal_integer(self._first(keyword))

    def unsigned(self, keyword: str) -> int | None:
        """A US value, or UL as some devices write it; None if it does not fit in 32 bits."""
        raw = self._header.value(keyword)
        if len(raw) not in (2, 4):
            return None
        number = int.from_bytes(raw, "big" if self._header.transfer_syntax.big_endian else "little")
        return number if number < 2**31 else None

    def uid(self, keyword: str) -> str:
        uid = self._header.value(keyword).rstrip(b"\0 ").decode("latin-1")
        if not uid:
            raise Malformed(f"{keyword} is missing")
        if not is_valid_uid(uid):
            raise Malformed(f"{keyword} is not a valid UID")
        return uid

    def _first(self, keyword: str) -> str:
        raw = self._header.value(keyword).partition(b"\\")[0]
        return raw.strip(b"\0 ").decode("latin-1")
