"""Finding worklist records: for modalities (PS3.4 K.6.1.2) and for the portal's list.

How they are found is the subject of `santepacs.db.worklist_plan`.
"""

import re
from collections.abc import Sequence

from santepacs.db import worklist_plan
from santepacs.db.database import Transaction
from santepacs.db.orders import StoredRecord
from santepacs.db.worklist_conditions import Conditions, is_rare_name, is_rare_text
from santepacs.db.worklist_plan import Place, Search, Walk
from santepacs.model.names import fold
from santepacs.model.order import ListQuery, StepQuery, StepStatus, WorklistQuery
from santepacs.model.worklist_matching import LAST_TIME, WILDCARD, name_patterns

STATION, MODALITY = "scheduled_station_ae_title", "modality"
PATIENT, TECHNICIAN = "patient_name_folded", "technician_name_folded"
MAXIMUM_WALKED = 32  # stations or modalities of one query that are walked through one by one

_WORDS = 8  # of a line that is searched for
_TEXTS = (
    "patient_id",
    "patient_issuer",
    "patient_sex",
    "accession_number",
    "requested_procedure_id",
    "requested_procedure_description",
    "requested_procedure_priority",
)


async def find(
    tx: Transaction, query: WorklistQuery, limit: int, after: Place | None = None
) -> list[StoredRecord]:
    """At most `limit` matching records by start date, start time and key.

    `after`: the `place` of the last record of the page before. Steps that are held, begun or over
    are found only by a query that asks for their status.
    """
    return await worklist_plan.records(tx, _search(query), limit, after)


async def page(
    tx: Transaction, query: ListQuery, after: Place | None, limit: int
) -> list[StoredRecord]:
    """At most `limit` records of the portal's list, in its order, `after` the last one shown."""
    return await worklist_plan.records(tx, _list_search(query), limit, after)


async def count(tx: Transaction, query: ListQuery, limit: int) -> int:
    """How many records the portal's list has; `limit` stands for that many and more."""
    return await worklist_plan.count(tx, _list_search(query), limit)


# --- what modalities ask ------------------------------------------------------------------------


def _search(query: WorklistQuery) -> Search:
    steps = [step for step in query.steps if step.statuses]
    walks = [_walk(query, step) for step in steps]
    if not _has_rare_key(query):
        return Search(walks)
    gathered = Conditions()
    _add_patient(gathered, query, trigrams=True)
    gathered.any_of(_whole_step(step) for step in steps)
    return Search(walks, gathered)


def _has_rare_key(query: WorklistQuery) -> bool:
    """Whether there is a key that few records have, with an index of it."""
    texts = (query.patient_id, query.accession_number, query.requested_procedure_id)
    return (
        bool(query.study_instance_uids)
        or bool(query.patient_birth_date_from or query.patient_birth_date_to)
        or any(map(is_rare_text, texts))
        or is_rare_name(name_patterns(query.patient_name))
        or all(map(_is_rare_step, query.steps))
    )


def _is_rare_step(step: StepQuery) -> bool:
    if is_rare_text(step.step_id):
        return True
    # A technician has many steps, but few on a day or at a station.
    is_short_walk = step.start_date_from or step.start_date_to or step.station_ae_titles
    return not is_short_walk and is_rare_name(name_patterns(step.technician_name))


def _walk(query: WorklistQuery, step: StepQuery) -> Walk:
    """Along the index of the stations that are named, else of the modalities."""
    conditions = Conditions()
    _add_patient(conditions, query, trigrams=False)
    _add_step(conditions, step, trigrams=False)
    stations, modalities = step.station_ae_titles, step.modalities
    column = ""
    values: tuple[str, ...] = ()
    if _can_be_walked(stations):
        column, values = STATION, stations
        conditions.text_of(MODALITY, modalities)
    elif _can_be_walked(modalities):
        column, values = MODALITY, modalities
        conditions.text_of(STATION, stations)
    else:
        conditions.text_of(STATION, stations)
        conditions.text_of(MODALITY, modalities)
    return Walk(_values(step.statuses), conditions, column, values)


def _values(statuses: Sequence[StepStatus]) -> list[str]:
    return [status.value for status in statuses]


def _can_be_walked(values: Sequence[str]) -> bool:
    return 0 < len(values) <= MAXIMUM_WALKED and not any(map(WILDCARD.search, values))


def _whole_step(step: StepQuery) -> Conditions:
    conditions = Conditions()
    conditions.add("step_status = ANY(%s)", _values(step.statuses))
    conditions.text_of(STATION, step.station_ae_titles)
    conditions.text_of(MODALITY, step.modalities)
    _add_step(conditions, step, trigrams=True)
    return conditions


def _add_patient(conditions: Conditions, query: WorklistQuery, *, trigrams: bool) -> None:
    """The keys of patient and order."""
    _add_name(conditions, PATIENT, name_patterns(query.patient_name), trigrams=trigrams)
    for column in _TEXTS:
        conditions.text(column, getattr(query, column))
    conditions.between(
        "patient_birth_date", query.patient_birth_date_from, query.patient_birth_date_to
    )
    if query.study_instance_uids:
        conditions.add(
            "study_instance_uid <> '' AND study_instance_uid = ANY(%s)",
            list(query.study_instance_uids),
        )


def _add_step(conditions: Conditions, step: StepQuery, *, trigrams: bool) -> None:
    """The keys of the step, but for status, station and modality."""
    conditions.text("scheduled_procedure_step_id", step.step_id)
    conditions.text("scheduled_station_name", step.station_name)
    conditions.text("scheduled_procedure_step_description", step.description)
    conditions.text("scheduled_procedure_step_location", step.location)
    _add_name(conditions, TECHNICIAN, name_patterns(step.technician_name), trigrams=trigrams)
    if not step.combined:
        conditions.between("start_date", step.start_date_from, step.start_date_to)
        conditions.between("start_time", step.start_time_from, step.start_time_to)
        return
    if step.start_date_from:
        low = (step.start_date_from, step.start_time_from)
        conditions.add("(start_date, start_time) >= (%s, %s)", *low)
    if step.start_date_to:
        high = (step.start_date_to, step.start_time_to or LAST_TIME)
        conditions.add("start_date <> '' AND (start_date, start_time) <= (%s, %s)", *high)


def _add_name(
    conditions: Conditions, column: str, patterns: Sequence[str], *, trigrams: bool
) -> None:
    if trigrams:
        conditions.trigrams(column, patterns)
    conditions.name(column, patterns)


# --- what the portal asks -----------------------------------------------------------------------


def _list_search(query: ListQuery) -> Search:
    statuses = _values(query.statuses or tuple(StepStatus))
    conditions = _list_conditions(query, trigrams=False)
    column, value = "", ""
    for name, wanted in ((STATION, query.station_ae_title), (MODALITY, query.modality)):
        if wanted and not column and not WILDCARD.search(wanted):
            column, value = name, wanted
        else:
            conditions.text(name, wanted)
    walk = Walk(statuses, conditions, column, (value,))
    gathered = None
    if _list_has_rare_key(query):
        gathered = _list_conditions(query, trigrams=True)
        if query.statuses:
            gathered.add("step_status = ANY(%s)", statuses)
        gathered.text(STATION, query.station_ae_title)
        gathered.text(MODALITY, query.modality)
    return Search((walk,), gathered, newest_first=query.newest_first)


def _list_has_rare_key(query: ListQuery) -> bool:
    words = _words(f"{query.patient_name} {query.text}")
    return (
        bool(query.patient_birth_date)
        or any(map(is_rare_text, (query.patient_id, query.accession_number)))
        or any(is_rare_name(_within_name(word)) for word in words)
    )


def _list_conditions(query: ListQuery, *, trigrams: bool) -> Conditions:
    """Everything but status, station and modality."""
    conditions = Conditions()
    for word in _words(query.patient_name):
        _add_name(conditions, PATIENT, _within_name(word), trigrams=trigrams)
    for word in query.text.split()[:_WORDS]:
        _add_word(conditions, word, trigrams=trigrams)
    for column in ("patient_id", "accession_number"):
        conditions.text(column, _beginning(getattr(query, column)))
    conditions.text("patient_birth_date", query.patient_birth_date)
    conditions.between("start_date", query.date_from, query.date_to)
    return conditions


def _add_word(conditions: Conditions, word: str, *, trigrams: bool) -> None:
    """A word of the line: part of a name, or the beginning of a number."""
    numbers = []
    for column in ("patient_id", "accession_number"):
        for spelling in dict.fromkeys((word, word.upper())):
            number = Conditions()
            number.text(column, _beginning(spelling))
            numbers.append(number)
    parts = [_within_name(part) for part in _words(word)]
    if trigrams and any(map(is_rare_name, parts)):
        # Apart from what is compared: then nothing of it is computed for each row.
        index = Conditions()
        for patterns in parts:
            index.trigrams(PATIENT, patterns)
        conditions.any_of((index, *numbers))
    name = Conditions()
    for patterns in parts:
        name.name(PATIENT, patterns)
    conditions.any_of((name, *numbers) if parts else numbers)


def _words(text: str) -> list[str]:
    return fold(re.sub(r"[\^=,]+", " ", text)).split()[:_WORDS]


def _within_name(word: str) -> list[str]:
    """Where a folded word may stand in a name: one or two letters only where a part begins."""
    if len(word) >= 3:
        return [f"*{word}*"]
    return [f"{word}*", f"*^{word}*", f"* {word}*"]


def _beginning(text: str) -> str:
    return f"{text}*" if text and not WILDCARD.search(text) else text
