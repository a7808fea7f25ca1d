"""What each level of the Query/Retrieve models can answer (PS3.4 C.6), and how it is matched.

One table keyed by level and DICOM keyword; SQL of a search is put together from it alone. A level
answers for the attributes of the levels above it as well.

Tables go by one letter: p patient, c the patient's counts, s study, e series, i instance.
"""

import re
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
    NAME = "person name, folded"
    ANSWER = "only returned, never matched"


class Column(NamedTuple):
    """One attribute: the SQL that gives its value, and how to match it."""

    value: str
    kind: Kind = Kind.TEXT
    groups: tuple[str, ...] = ()
    """Of a person name: its component groups, folded."""
    trigrams: str = ""
    """Every run of three characters of the text, or of the groups of a name; indexed."""
    words: str = ""
    """The words of a name, for fuzzy matching; indexed."""

    @property
    def text(self) -> str:
        """The value as DICOM writes it: empty when unknown, several joined by backslashes."""
        if self.kind is Kind.LIST:
            return rf"array_to_string({self.value}, '\')"
        return f"coalesce({self.value}::text, '')" if self.kind is Kind.NUMBER else self.value


def _name(value: str, table: str, *groups: str, trigrams: str = "", words: str) -> Column:
    columns = tuple(f"{table}.{group}" for group in groups)
    joined = " || '=' || ".join(columns)
    return Column(
        f"{table}.{value}",
        Kind.NAME,
        columns,
        trigrams or f"trigrams({joined})",
        f"{table}.{words}",
    )


_NAME_GROUPS = ("alphabetic", "ideographic", "phonetic")

_PATIENT = {
    "PatientID": Column("p.patient_id"),
    "IssuerOfPatientID": Column("p.issuer"),
    "PatientName": _name("name", "p", *_NAME_GROUPS, words="name_words"),
    "PatientBirthDate": Column("p.birth_date"),
    "PatientSex": Column("p.sex"),
    "NumberOfPatientRelatedStudies": Column("c.studies", Kind.ANSWER),
    "NumberOfPatientRelatedSeries": Column("c.series", Kind.ANSWER),
    "NumberOfPatientRelatedInstances": Column("c.instances", Kind.ANSWER),
}
# Below the patient a study answers with the patient as it names him itself.
_STUDY = {
    **_PATIENT,
    "PatientName": _name(
        "patient_name", "s", *_NAME_GROUPS, trigrams="s.name_trigrams", words="name_words"
    ),
    "PatientBirthDate": Column("s.patient_birth_date"),
    "PatientSex": Column("s.patient_sex"),
    "StudyInstanceUID": Column("s.study_instance_uid"),
    "StudyDate": Column("s.study_date"),
    "StudyTime": Column("s.study_time"),
    "AccessionNumber": Column("s.accession_number"),
    "StudyID": Column("s.study_id"),
    "StudyDescription": Column("s.study_description", trigrams="trigrams(s.study_description)"),
    "ReferringPhysicianName": _name(
        "referring_physician",
        "s",
        *("referring_folded", "referring_ideographic", "referring_phonetic"),
        words="referring_words",
    ),
    "InstitutionName": Column("s.institution_name"),
    "ModalitiesInStudy": Column("s.modalities", Kind.LIST),
    "SOPClassesInStudy": Column("s.sop_classes", Kind.LIST),
    "NumberOfStudyRelatedSeries": Column("s.series_count", Kind.ANSWER),
    "NumberOfStudyRelatedInstances": Column("s.instance_count", Kind.ANSWER),
}
_SERIES = {
    **_STUDY,
    "SeriesInstanceUID": Column("e.series_instance_uid"),
    "Modality": Column("e.modality"),
    "SeriesNumber": Column("e.series_number", Kind.NUMBER),
    "SeriesDescription": Column("e.series_description", trigrams="trigrams(e.series_description)"),
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

_TABLES = {
    Level.PATIENT: "patient p",
    Level.STUDY: "study s",
    Level.SERIES: "series e JOIN study s ON s.id = e.study",
    Level.IMAGE: "instance i JOIN series e ON e.id = i.series JOIN study s ON s.id = e.study",
}
_PATIENT_OF_STUDY = " JOIN patient p ON p.id = s.patient"
_COUNTS_OF_PATIENT = (
    " CROSS JOIN LATERAL (SELECT count(*) AS studies,"
    " coalesce(sum(x.series_count), 0) AS series, coalesce(sum(x.instance_count), 0) AS instances"
    " FROM study x WHERE x.patient = p.id) c"
)
_PATIENT_USED, _COUNTS_USED = re.compile(r"\b[pc]\."), re.compile(r"\bc\.")


def tables(level: Level, sql: str) -> str:
    """The tables that `sql`, which is to be selected at `level`, speaks of."""
    joined = _TABLES[level]
    if level is not Level.PATIENT and _PATIENT_USED.search(sql):
        joined += _PATIENT_OF_STUDY
    return joined + _COUNTS_OF_PATIENT if _COUNTS_USED.search(sql) else joined


class Order(NamedTuple):
    """How matches are sorted: first by these columns downwards, then by those upwards."""

    downwards: tuple[str, ...]
    upwards: tuple[str, ...]


_NEWEST_STUDY = ("s.study_date", "s.study_time", "s.id")
ORDER = {
    Level.PATIENT: Order((), ("p.id",)),
    Level.STUDY: Order(_NEWEST_STUDY, ()),
    Level.SERIES: Order(_NEWEST_STUDY, ("e.id",)),
    Level.IMAGE: Order(_NEWEST_STUDY, ("e.id", "i.id")),
}
