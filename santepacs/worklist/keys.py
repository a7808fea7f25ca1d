"""What a Modality Worklist identifier asks (PS3.4 K.6.1.2).

Modalities write their queries in many forms: without the Scheduled Procedure Step Sequence, with an
empty one or several items, with dates of ACR-NEMA, with lists where one value belongs. Whatever has
a meaning is understood.
"""

import re
from datetime import date
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from santepacs.errors import Malformed
from santepacs.model.order import VISIBLE, StepQuery, StepStatus, WorklistQuery
from santepacs.model.patterns import glob
from santepacs.model.worklist_matching import WILDCARD
from santepacs.settings import Settings

STEPS = "ScheduledProcedureStepSequence"
MAXIMUM_STEPS = 10
MAXIMUM_KEY = 256  # characters of a value, and values of a key

_DATE_RANGE = re.compile(r"(?P<low>[0-9]{8})?(?P<dash>-)?(?P<high>[0-9]{8})?")
_TIME_RANGE = re.compile(
    r"(?P<low>[0-9]{2}(?:[0-9]{2}){0,2})?(?:\.[0-9]*)?(?P<dash>-)?(?P<high>[0-9]{2}(?:[0-9]{2}){0,2})?(?:\.[0-9]*)?"
)


def query_from_dataset(
    ds: Dataset, calling_ae: str, settings: Settings, *, append_wildcard: bool = False
) -> WorklistQuery:
    """The query that a C-FIND identifier asks. Keys that are not supported are not matched.

    The sequence may be absent, empty, or hold several items: records match any one of them. With
    `append_wildcard` a name without wildcards is a beginning. Raises Malformed (0xA900) naming the
    key that cannot be matched.
    """
    items = _items(ds)
    born_from, born_to, _ = _date_range(ds, "PatientBirthDate")
    return WorklistQuery(
        patient_name=_name(ds, "PatientName", append_wildcard),
        patient_id=_text(ds, "PatientID"),
        patient_issuer=_text(ds, "IssuerOfPatientID"),
        patient_birth_date_from=born_from,
        patient_birth_date_to=born_to,
        patient_sex=_text(ds, "PatientSex").upper(),
        accession_number=_text(ds, "AccessionNumber"),
        requested_procedure_id=_text(ds, "RequestedProcedureID"),
        requested_procedure_description=_text(ds, "RequestedProcedureDescription"),
        requested_procedure_priority=_text(ds, "RequestedProcedurePriority").upper(),
        study_instance_uids=_texts(ds, "StudyInstanceUID"),
        steps=tuple(_step(item, calling_ae.strip(), settings, append_wildcard) for item in items),
    )


def _items(ds: Dataset) -> list[Dataset]:
    try:
        items = list(ds.get(STEPS) or [Dataset()])
    except Exception as error:
        raise Malformed(f"{STEPS} cannot be read") from error
    if len(items) > MAXIMUM_STEPS:
        raise Malformed(f"more than {MAXIMUM_STEPS} items in {STEPS}")
    if not all(isinstance(item, Dataset) for item in items):
        raise Malformed(f"{STEPS} holds no items")
    return items


def _step(item: Dataset, calling_ae: str, settings: Settings, append_wildcard: bool) -> StepQuery:
    date_from, date_to, dates = _date_range(item, "ScheduledProcedureStepStartDate")
    time_from, time_to, times = _time_range(item, "ScheduledProcedureStepStartTime")
    return StepQuery(
        station_ae_titles=_stations(item, calling_ae, settings),
        modalities=tuple(text.upper() for text in _texts(item, "Modality")),
        start_date_from=date_from,
        start_date_to=date_to,
        start_time_from=time_from,
        start_time_to=time_to,
        combined=dates and times,
        technician_name=_name(item, "ScheduledPerformingPhysicianName", append_wildcard),
        step_id=_text(item, "ScheduledProcedureStepID"),
        station_name=_text(item, "ScheduledStationName"),
        description=_text(item, "ScheduledProcedureStepDescription"),
        location=_text(item, "ScheduledProcedureStepLocation"),
        statuses=_statuses(item),
    )


def _stations(item: Dataset, calling_ae: str, settings: Settings) -> tuple[str, ...]:
    worklist = settings.worklist
    asked = _texts(item, "ScheduledStationAETitle")
    if not asked and worklist.station_from_calling_ae:
        asked = (calling_ae,)
    return (*asked, "") if asked and worklist.station_or_none else asked


def _statuses(item: Dataset) -> tuple[StepStatus, ...]:
    """The statuses that are asked for; a term that none of ours is finds nothing."""
    asked = [text.upper() for text in _texts(item, "ScheduledProcedureStepStatus")]
    if not asked:
        return VISIBLE
    asked += ["CANCELED"] * ("CANCELLED" in asked)
    return tuple(status for status in StepStatus if any(glob(one, status) for one in asked))


def _texts(ds: Dataset, keyword: str) -> tuple[str, ...]:
    """The values of a key; none where it matches everything (empty, ``*``)."""
    try:
        value: Any = ds.get(keyword)
        parts = value if isinstance(value, MultiValue | list) else [value]
        texts = [str(part).replace("\0", "").strip() for part in parts if part is not None]
    except Exception as error:
        raise Malformed(f"{keyword} cannot be read") from error
    if any(len(text) > MAXIMUM_KEY for text in texts) or len(texts) > MAXIMUM_KEY:
        raise Malformed(f"{keyword} is too long")
    return () if any(text and not text.strip("*") for text in texts) else tuple(filter(None, texts))


def _text(ds: Dataset, keyword: str) -> str:
    """The value of a key that has one."""
    return "\\".join(_texts(ds, keyword))


def _name(ds: Dataset, keyword: str, append_wildcard: bool) -> str:
    name = _text(ds, keyword)
    if not append_wildcard or not name.strip("^= ") or WILDCARD.search(name):
        return name
    return "=".join(f"{group}*" if group else "" for group in name.split("="))


def _range(
    ds: Dataset, keyword: str, form: re.Pattern[str], ornament: str
) -> tuple[str, str, bool]:
    """Lower and upper bound as sent, and whether it was a range."""
    text = re.sub(ornament, "", _text(ds, keyword))
    parts = form.fullmatch(text)
    if parts is None or (parts["high"] and not parts["dash"]):
        raise Malformed(f"{keyword} is not a value or range of its kind")
    low, high = parts["low"] or "", parts["high"] or ""
    return (low, high, bool(low or high)) if parts["dash"] else (low, low, False)


def _date_range(ds: Dataset, keyword: str) -> tuple[str, str, bool]:
    low, high, is_range = _range(ds, keyword, _DATE_RANGE, r"[.\s]")
    try:
        for bound in filter(None, (low, high)):
            date(int(bound[:4]), int(bound[4:6]), int(bound[6:]))
    except ValueError:
        raise Malformed(f"{keyword} is not a date") from None
    return low, high, is_range


def _time_range(ds: Dataset, keyword: str) -> tuple[str, str, bool]:
    """Bounds as HHMMSS: what is left out of the upper one is its highest value."""
    low, high, is_range = _range(ds, keyword, _TIME_RANGE, r"[:\s]")
    low = low and low.ljust(6, "0")
    high = high and high + "235959"[len(high) :]
    return low, high, is_range
