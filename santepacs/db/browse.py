"""The portal's search: patients with the studies that match, newest study or name first.

One statement a page, at most `PAGE` patients, continued after the last one shown (keyset), so a
far page costs what the first does. Conditions are written here; what is asked for only ever
arrives as parameters.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from santepacs.db.database import Transaction
from santepacs.model.names import fold, trigrams

PAGE = 50
_RARE = 2000  # studies


@dataclass(frozen=True, slots=True)
class Word:
    """One word of the search line: a name, an ID, an accession number, perhaps a date."""

    text: str
    date_from: str = ""
    date_to: str = ""


@dataclass(frozen=True, slots=True)
class Criteria:
    """What is looked for; an empty value asks for nothing. Dates are YYYYMMDD, inclusive."""

    words: tuple[Word, ...] = ()
    name: str = ""
    patient_id: str = ""
    sex: str = ""
    birth_date: str = ""
    date_from: str = ""
    date_to: str = ""
    accession_number: str = ""
    institution: str = ""
    referring_physician: str = ""
    modality: str = ""

    def is_empty(self) -> bool:
        """Whether everybody is asked for."""
        return not any(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True, slots=True)
class PatientHit:
    """A patient with what matched."""

    id: int
    patient_id: str
    issuer: str
    name: str
    birth_date: str
    sex: str
    studies: int
    images: int
    modalities: tuple[str, ...]
    first_date: str
    last_date: str
    last_description: str
    identity_conflict: bool
    cursor: str
    """Where the next page continues after this one."""


# --- conditions on a study `s` --------------------------------------------------------------------

Condition = tuple[str, list[Any]]

_STUDIES = "SELECT s.* FROM study s WHERE"
_STUDY_IDS = "SELECT s.id FROM study s WHERE"
_PATIENT_IDS = "SELECT id FROM patient WHERE"


def _literal(text: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", text)


def _pattern(text: str) -> str:
    """A LIKE pattern in which only ``*`` and ``?`` are wildcards."""
    return _literal(text).replace("*", "%").replace("?", "_")


def _begins(column: str, text: str) -> Condition:
    return f"{column} LIKE %s", [_pattern(text) + "%"]


def _named(word: str) -> Condition:
    """`word` anywhere in a person's name; one or two letters only where a part begins."""
    pattern = _pattern(word)
    pieces = [piece for piece in re.split(r"[*?]+", word) if len(piece) >= 3]
    if pieces:
        anywhere = f"%{pattern}%"
        return (
            "(s.name_trigrams @> %s::text[] AND (s.alphabetic LIKE %s OR s.ideographic LIKE %s"
            " OR s.phonetic LIKE %s))",
            [sorted({t for piece in pieces for t in trigrams(piece)}), *[anywhere] * 3],
        )
    return (
        "(s.alphabetic LIKE %s OR s.alphabetic LIKE %s OR s.alphabetic LIKE %s"
        " OR s.ideographic LIKE %s OR s.phonetic LIKE %s)",
        [f"{pattern}%", f"%^{pattern}%", f"% {pattern}%", f"%{pattern}%", f"%{pattern}%"],
    )


def _words(text: str) -> list[str]:
    return fold(re.sub(r"[\^=,]+", " ", text)).split()[:8]


def _line_word(word: Word) -> Iterable[Condition]:
    """The readings of one word of the search line; each has its index."""
    for part in _words(word.text):
        yield _named(part)
    for spelling in {word.text, word.text.upper()}:
        begins = _pattern(spelling) + "%"
        yield "s.accession_number LIKE %s", [begins]
        yield f"s.patient IN ({_PATIENT_IDS} patient_id LIKE %s)", [begins]
    if word.date_from:
        yield "s.study_date BETWEEN %s AND %s", [word.date_from, word.date_to]


async def _word(tx: Transaction, word: Word) -> Condition:
    """The condition of one word. A rare one is looked up first, each reading by its own index;
    a common one is tested study by study, because then a page is soon full."""
    readings = list(_line_word(word))
    values = [value for _, part in readings for value in part]
    branches = " UNION ALL ".join(f"{_STUDY_IDS} {sql}" for sql, _ in readings)
    rows = await tx.fetch_all(f"{branches} LIMIT %s", *values, _RARE + 1)
    if len(rows) <= _RARE:
        return "s.id = ANY (%s::bigint[])", [[row.id for row in rows]]
    return f"({' OR '.join(sql for sql, _ in readings)})", values


def _folded_begins(column: str, text: str) -> Condition:
    """A folded text that begins with `text`, or one of whose words does."""
    pattern = _pattern(text)
    return (
        f"({column} LIKE %s OR {column} LIKE %s OR {column} LIKE %s)",
        [f"{pattern}%", f"% {pattern}%", f"%^{pattern}%"],
    )


def _conditions(criteria: Criteria) -> Iterable[Condition]:
    for part in _words(criteria.name):
        yield _named(part)
    if criteria.patient_id:
        sql, values = _begins("patient_id", criteria.patient_id)
        yield f"s.patient IN ({_PATIENT_IDS} {sql})", values
    if criteria.accession_number:
        yield _begins("s.accession_number", criteria.accession_number)
    if criteria.sex:
        yield "s.patient_sex = %s", [criteria.sex]
    if criteria.birth_date:
        yield "s.patient_birth_date = %s", [criteria.birth_date]
    if criteria.date_from:
        yield "s.study_date >= %s", [criteria.date_from]
    if criteria.date_to:
        yield "s.study_date <= %s AND s.study_date <> ''", [criteria.date_to]
    for part in _words(criteria.institution):
        yield _folded_begins("s.institution_folded", part)
    for part in _words(criteria.referring_physician):
        yield _folded_begins("s.referring_folded", part)
    if criteria.modality:
        yield "s.modalities @> %s::text[]", [[criteria.modality.upper()]]


# --- the statement --------------------------------------------------------------------------------

_BY_DATE = """
SELECT h.patient, h.study_date, h.study_time, h.id AS newest FROM hit h
WHERE {after} AND NOT EXISTS (
    SELECT 1 FROM hit n WHERE n.patient = h.patient
    AND (n.study_date, n.study_time, n.id) > (h.study_date, h.study_time, h.id))
ORDER BY h.study_date DESC, h.study_time DESC, h.id DESC LIMIT %s
"""

_BY_NAME = """
SELECT q.id AS patient, '' AS study_date, '' AS study_time, 0::bigint AS newest
FROM patient q
WHERE {after} AND EXISTS (SELECT 1 FROM hit h WHERE h.patient = q.id)
ORDER BY q.alphabetic, q.id LIMIT %s
"""

_ROWS = """
SELECT p.id, p.patient_id, p.issuer, p.name, p.birth_date, p.sex, a.studies, a.images,
       a.modalities, a.first_date, a.last_date, a.conflict, l.study_description,
       page.study_date, page.study_time, page.newest
FROM page JOIN patient p ON p.id = page.patient
JOIN LATERAL (
    SELECT count(*) AS studies, sum(m.instance_count)::bigint AS images,
           max(m.study_date) AS last_date, bool_or(m.identity_conflict) AS conflict,
           coalesce(min(m.study_date) FILTER (WHERE m.study_date <> ''), '') AS first_date,
           (SELECT coalesce(array_agg(DISTINCT code), '{}') FROM hit u, unnest(u.modalities) code
            WHERE u.patient = page.patient) AS modalities
    FROM hit m WHERE m.patient = page.patient) a ON true
JOIN LATERAL (
    SELECT f.study_description FROM hit f WHERE f.patient = page.patient
    ORDER BY f.study_date DESC, f.study_time DESC, f.id DESC LIMIT 1) l ON true
"""

_ORDER = {
    "date": " ORDER BY page.study_date DESC, page.study_time DESC, page.newest DESC",
    "name": " ORDER BY p.alphabetic, p.id",
}
_DATE_CURSOR = re.compile(r"([0-9]{0,8})-([0-9.]{0,13})-([0-9]{1,18})")
_NAME_CURSOR = re.compile(r"[0-9]{1,18}")


def _after(cursor: str, sort: str) -> Condition:
    """The condition that continues after `cursor`; a broken cursor begins at the beginning."""
    if sort == "name":
        if _NAME_CURSOR.fullmatch(cursor):
            return (
                "(q.alphabetic, q.id) > (SELECT c.alphabetic, c.id FROM patient c WHERE c.id = %s)",
                [int(cursor)],
            )
        return "true", []
    match = _DATE_CURSOR.fullmatch(cursor)
    if match is None:
        return "true", []
    return (
        "(h.study_date, h.study_time, h.id) < (%s, %s, %s)",
        [match[1], match[2], int(match[3])],
    )


async def patients(
    tx: Transaction,
    criteria: Criteria,
    *,
    sort: str = "date",
    cursor: str = "",
    limit: int = PAGE,
) -> list[PatientHit]:
    """The patients with a study that matches, at most `limit`, after `cursor`.

    `sort` is ``date`` (newest matching study first) or ``name``.
    """
    conditions = [("true", []), *_conditions(criteria)]
    conditions += [await _word(tx, word) for word in criteria.words]
    after, after_values = _after(cursor, sort)
    hit = f"{_STUDIES} {' AND '.join(sql for sql, _ in conditions)}"
    page = (_BY_NAME if sort == "name" else _BY_DATE).replace("{after}", after)
    sql = "".join(
        ("WITH hit AS NOT MATERIALIZED (", hit, "), page AS (", page, ")", _ROWS, _ORDER[sort])
    )
    values = [value for _, part in conditions for value in part]
    rows = await tx.fetch_all(sql, *values, *after_values, limit)
    return [_hit(row, sort) for row in rows]


def _hit(row: Any, sort: str) -> PatientHit:
    cursor = str(row.id) if sort == "name" else f"{row.study_date}-{row.study_time}-{row.newest}"
    return PatientHit(
        id=row.id,
        patient_id=row.patient_id,
        issuer=row.issuer,
        name=row.name,
        birth_date=row.birth_date,
        sex=row.sex,
        studies=row.studies,
        images=row.images,
        modalities=tuple(sorted(row.modalities)),
        first_date=row.first_date,
        last_date=row.last_date,
        last_description=row.study_description,
        identity_conflict=row.conflict,
        cursor=cursor,
    )


async def is_empty(tx: Transaction) -> bool:
    """Whether no study was ever stored."""
    return await tx.fetch_one("SELECT 1 FROM study LIMIT 1") is None


async def study_of_series(tx: Transaction, series_instance_uid: str) -> str | None:
    """The Study Instance UID of a series."""
    row = await tx.fetch_one(
        "SELECT t.study_instance_uid FROM series s JOIN study t ON t.id = s.study"
        " WHERE s.series_instance_uid = %s ORDER BY s.id LIMIT 1",
        series_instance_uid,
    )
    return row and row.study_instance_uid
