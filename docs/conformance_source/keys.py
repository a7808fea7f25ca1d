"""Keys of queries, with how they are matched; and the character sets of their text."""

from docs.conformance_source.associations import agreed
from docs.conformance_source.markdown import attribute, listed, table, tag, vr
from santepacs.archive import charset
from santepacs.db.search_columns import COLUMNS, Column, Kind, Level
from santepacs.dicom import charsets, contexts, query
from santepacs.errors import Malformed
from santepacs.model import matching
from santepacs.model.matching import Between, Fuzzy, Key, Like, OneOf

REQUIRED = {
    Level.PATIENT: {"PatientName", "PatientID"},
    Level.STUDY: {"StudyDate", "StudyTime", "AccessionNumber", "StudyID", "StudyInstanceUID"},
    Level.SERIES: {"Modality", "SeriesNumber", "SeriesInstanceUID"},
    Level.IMAGE: {"InstanceNumber", "SOPInstanceUID"},
}
"""Unique and required keys of PS3.4 tables C.6-1 to C.6-5."""

WORKLIST = {
    "PatientName": "single value, wildcard",
    "PatientID": "single value, wildcard",
    "IssuerOfPatientID": "single value, wildcard",
    "PatientBirthDate": "single value, range",
    "PatientSex": "single value, wildcard",
    "AccessionNumber": "single value, wildcard",
    "StudyInstanceUID": "single value, list of UIDs",
    "RequestedProcedureID": "single value, wildcard",
    "RequestedProcedureDescription": "single value, wildcard",
    "RequestedProcedurePriority": "single value, wildcard",
}
WORKLIST_STEP = {
    "ScheduledStationAETitle": "single value, wildcard, list",
    "ScheduledProcedureStepStartDate": "single value, range",
    "ScheduledProcedureStepStartTime": "single value, range",
    "Modality": "single value, wildcard, list",
    "ScheduledPerformingPhysicianName": "single value, wildcard",
    "ScheduledProcedureStepID": "single value, wildcard",
    "ScheduledStationName": "single value, wildcard",
    "ScheduledProcedureStepDescription": "single value, wildcard",
    "ScheduledProcedureStepLocation": "single value, wildcard",
    "ScheduledProcedureStepStatus": "single value, wildcard, list",
}
"""Matching keys of `santepacs.worklist.keys`; how they are matched is said by SQL."""

REPERTOIRES = (
    ("Latin alphabet No. 1", "ISO_IR 100", "ISO 2022 IR 100"),
    ("Latin alphabet No. 2", "ISO_IR 101", "ISO 2022 IR 101"),
    ("Latin alphabet No. 3", "ISO_IR 109", "ISO 2022 IR 109"),
    ("Latin alphabet No. 4", "ISO_IR 110", "ISO 2022 IR 110"),
    ("Latin alphabet No. 5", "ISO_IR 148", "ISO 2022 IR 148"),
    ("Latin alphabet No. 9", "ISO_IR 203", "ISO 2022 IR 203"),
    ("Cyrillic", "ISO_IR 144", "ISO 2022 IR 144"),
    ("Arabic", "ISO_IR 127", "ISO 2022 IR 127"),
    ("Greek", "ISO_IR 126", "ISO 2022 IR 126"),
    ("Hebrew", "ISO_IR 138", "ISO 2022 IR 138"),
    ("Thai", "ISO_IR 166", "ISO 2022 IR 166"),
    ("Japanese, JIS X 0201", "ISO_IR 13", "ISO 2022 IR 13"),
    ("Japanese, JIS X 0208", "", "ISO 2022 IR 87"),
    ("Japanese, JIS X 0212", "", "ISO 2022 IR 159"),
    ("Korean, KS X 1001", "", "ISO 2022 IR 149"),
    ("Simplified Chinese, GB 2312", "", "ISO 2022 IR 58"),
    ("Chinese, GB 18030", "GB18030", ""),
    ("Chinese, GBK", "GBK", ""),
    ("Unicode in UTF-8", "ISO_IR 192", ""),
)
"""Specific Character Set, without and with code extensions (PS3.3 tables C.12-2 to C.12-5)."""


def query_keys() -> str:
    """A table for each level, of what the level above does not have."""
    tables = []
    above: set[str] = set()
    for level in Level:
        columns = COLUMNS[level]
        own = sorted(columns.keys() - above, key=tag)
        rows = [
            (attribute(one), tag(one), vr(one), _type(one, level), kinds(one, columns[one]))
            for one in own
        ]
        tables.append(table((f"{level} level", "Tag", "VR", "Type", "Matching"), rows))
        above.update(own)
    return "\n\n".join(tables)


def _type(keyword: str, level: Level) -> str:
    if keyword == query.UNIQUE_KEYS[level]:
        return "U"
    return "R" if keyword in REQUIRED[level] else "O"


def kinds(keyword: str, column: Column) -> str:
    """How a key is matched, found out by asking."""
    if column.kind is Kind.ANSWER:
        return "none, only returned"
    its_vr = vr(keyword)
    period = {"DA": "20200101-20200131", "TM": "1000-1100"}.get(its_vr, "A-B")
    found = ["single value"]
    for name, value, meaning in (
        ("wildcard", "A*", Like),
        ("range", period, Between),
        ("list of UIDs" if its_vr == "UI" else "list", "1\\2", OneOf),
    ):
        if isinstance(_criterion(Key(keyword, its_vr, value)), meaning):
            found.append(name)
    is_fuzzy = isinstance(_criterion(Key(keyword, its_vr, "A"), fuzzy=True), Fuzzy)
    if is_fuzzy and agreed(contexts.STUDY_ROOT_FIND)[query.FUZZY : query.FUZZY + 1] == b"\1":
        found.append("fuzzy if negotiated")
    return listed(found)


def _criterion(key: Key, *, fuzzy: bool = False) -> object:
    try:
        return next(iter(matching.criteria([key], fuzzy=fuzzy)), None)
    except Malformed:
        return None


def intervals() -> str:
    """Dates and times that may be matched as one."""
    pairs = matching.DATE_AND_TIME.items()
    return listed(f"{attribute(date)} with {attribute(time)}" for date, time in pairs)


def worklist_keys() -> str:
    """The matching keys of the worklist; those of the step's sequence are marked."""
    rows = [
        (f"{mark}{attribute(one)}", tag(one), vr(one), keys[one])
        for mark, keys in (("", WORKLIST), ("> ", WORKLIST_STEP))
        for one in sorted(keys, key=tag)
    ]
    return table(("Key", "Tag", "VR", "Matching"), rows)


def character_sets() -> str:
    """Every character set that is read, and written in answers to queries."""
    rows = [(name, _known(alone), _known(extended)) for name, alone, extended in REPERTOIRES]
    return table(("Repertoire", "Without code extensions", "With code extensions"), rows)


def _known(term: str) -> str:
    unknown = charset.encodings(b"no such term")
    is_read = charset.encodings(term.encode()) != unknown or term.endswith("IR 100")
    if not term or not is_read:
        return "-"
    return term if charsets.asked(term.encode()) is not None else f"{term} (only read)"
