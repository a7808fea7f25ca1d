"""The index's words: what santepacs remembers of a stored DICOM object.

Dates are ``YYYYMMDD`` and times ``HHMMSS`` or ``HHMMSS.ffffff``, so that they sort and compare as
text; an absent or impossible value is the empty string. Text is Unicode without control
characters, cut to what the index keeps; the stored object itself is never touched.
"""

from dataclasses import dataclass
from enum import Enum


class Outcome(Enum):
    """What became of an object that was offered to the archive."""

    STORED = "stored"
    SAME = "same"
    """It, or the same object in another transfer syntax, was stored before."""
    ASIDE = "aside"
    """Another object is stored under its SOP Instance UID; it is kept durably apart."""
    REFUSED = "refused"
    """Another object is stored under its SOP Instance UID; it was not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRecord:
    """One SOP Instance with its patient, study and series attributes (PS3.3 C.7)."""

    patient_id: str = ""
    issuer_of_patient_id: str = ""
    patient_name: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""

    study_instance_uid: str
    study_date: str = ""
    study_time: str = ""
    accession_number: str = ""
    study_id: str = ""
    study_description: str = ""
    referring_physician_name: str = ""
    institution_name: str = ""

    series_instance_uid: str
    modality: str = ""
    series_number: int | None = None
    series_description: str = ""
    series_date: str = ""
    series_time: str = ""
    body_part_examined: str = ""
    protocol_name: str = ""
    station_name: str = ""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    instance_number: int | None = None
    content_date: str = ""
    content_time: str = ""
    rows: int | None = None
    columns: int | None = None
    number_of_frames: int | None = None
