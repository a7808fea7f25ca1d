"""What each level of the Query/Retrieve models can answer (PS3.4 C.6), and how it is matched.

One table keyed by level and DICOM keyword; SQL of a search is put together from it alone. A level
answers for the attributes of the levels above it as well.
"""

from enum import StrEnum
from typing import NamedTuple


class Level(StrEnum):
    """Query/Retrieve Level (0008,0052)."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"


class Kind(StrEnum):
    """How a column is compared."""

    TEXT = "exact text"
    NUMBER = "integer"
    LIST = "any text of an array"
    NAME = "person name in three folded columns"
    FOLDED_NAME = "alphabetic group of a person name, folded"
    ANSWER = "only returned, never matched"


class Column(NamedTuple):
    """One attribute: the SQL that gives its value, and how to match it.

    `compared` is what is compared where that is not the value itself: the table that holds a
    name's folded columns, or the folded column.
    """

    value: str
    kind: Kind = Kind.TEXT
    compared: str = ""


_PATIENT_COUNTS = {
    "NumberOfPatientRelatedStudies": Column(
        "(SELECT count(*) FROM study x WHERE x.patient = p.id)", Kind.ANSWER
    ),
    "NumberOfPatientRelatedSeries": Column(
        "(SELECT coalesce(sum(x.series_count), 0) FROM study x WHERE x.patient = p.id)::bigint",
        Kind.ANSWER,
    ),
    "NumberOfPatientRelatedInstances": Column(
        "(SELECT coalesce(sum(x.instance_count), 0) FROM study x WHERE x.patient = p.id)::bigint",
        Kind.ANSWER,
    ),
}
_PATIENT = {
    "PatientID": Column("p.patient_id"),
    "IssuerOfPatientID": Column("p.issuer"),
    "PatientName": Column("p.name", Kind.NAME, "p"),
    "PatientBirthDate": Column("p.birth_date"),
    "PatientSex": Column("p.sex"),
    **_PATIENT_COUNTS,
}
# Below the patient a study answers with the patient as it names him itself.
_STUDY = {
    **_PATIENT,
    "PatientName": Column("s.patient_name", Kind.NAME, "s"),
    "PatientBirthDate": Column("s.patient_birth_date"),
    "PatientSex": Column("s.patient_sex"),
    "StudyInstanceUID": Column("s.study_instance_uid"),
    "StudyDate": Column("s.study_date"),
    "StudyTime": Column("s.study_time"),
    "AccessionNumber": Column("s.accession_number"),
    "StudyID": Column("s.study_id"),
    "StudyDescription": Column("s.study_description"),
    "ReferringPhysicianName": Column(
        "s.referring_physician", Kind.FOLDED_NAME, "s.referring_folded"
    ),
    "InstitutionName": Column("s.institution_name"),
    "ModalitiesInStudy": Column("s.modalities", Kind.LIST),
    "NumberOfStudyRelatedSeries": Column("s.series_count", Kind.ANSWER),
    "NumberOfStudyRelatedInstances": Column("s.instance_count", Kind.ANSWER),
    "SOPClassesInStudy": Column(
        "ARRAY(SELECT DISTINCT y.sop_class_uid FROM series x JOIN instance y ON y.series = x.id"
        " WHERE x.study = s.id ORDER BY 1)",
        Kind.ANSWER,
    ),
}
_SERIES = {
    **_STUDY,
    "SeriesInstanceUID": Column("e.series_instance_uid"),
    "Modality": Column("e.modality"),
    "SeriesNumber": Column("e.series_number", Kind.NUMBER),
    "SeriesDescription": Column("e.series_description"),
    "SeriesDate": Column("e.series_date"),
    "SeriesTime": Column("e.series_time"),
    "BodyPartExamined": Column("e.body_part_examined"),
    "ProtocolName": Column("e.protocol_name"),
    "StationName": Column("e.station_name"),
    "NumberOfSeriesRelatedInstances": Column("e.instance_count", Kind.ANSWER),
}
_IMAGE = {
    **_SERIES,
    "SOPInstanceUID": Column("i.sop_instance_uid"),
    "SOPClassUID": Column("i.sop_class_uid"),
    "InstanceNumber": Column("i.instance_number", Kind.NUMBER),
    "ContentDate": Column("i.content_date"),
    "ContentTime": Column("i.content_time"),
    "Rows": Column("i.rows", Kind.NUMBER),
    "Columns": Column("i.columns", Kind.NUMBER),
    "NumberOfFrames": Column("i.number_of_frames", Kind.NUMBER),
    "AvailableTransferSyntaxUID": Column("i.transfer_syntax_uid", Kind.ANSWER),
}
COLUMNS = {
    Level.PATIENT: _PATIENT,
    Level.STUDY: _STUDY,
    Level.SERIES: _SERIES,
    Level.IMAGE: _IMAGE,
}
FROM = {
    Level.PATIENT: "patient p",
    Level.STUDY: "study s JOIN patient p ON p.id = s.patient",
    Level.SERIES: "series e JOIN study s ON s.id = e.study JOIN patient p ON p.id = s.patient",
    Level.IMAGE: "instance i JOIN series e ON e.id = i.series JOIN study s ON s.id = e.study"
    " JOIN patient p ON p.id = s.patient",
}
ORDER = {
    Level.PATIENT: ("p.id",),
    Level.STUDY: ("s.study_date", "s.study_time", "s.id"),
    Level.SERIES: ("e.id",),
    Level.IMAGE: ("i.id",),
}
