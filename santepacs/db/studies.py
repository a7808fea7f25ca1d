"""The index of the archive: one write (`store`), and the reads that doors and use cases need."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import lru_cache
from typing import Any

from santepacs.db.database import Transaction
from santepacs.db.direct import DirectConnection
from santepacs.model.names import fold, fold_person_name, trigrams, words
from santepacs.model.study import ObjectRecord


@dataclass(frozen=True, slots=True)
class StoredFile:
    """The file that holds an object, and where it came from."""

    digest: str
    """SHA-256 over transfer syntax and dataset, hex."""
    bytes: int
    crc32: int
    source: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One object to be indexed."""

    record: ObjectRecord
    file: StoredFile
    token_version: int
    token_digest: bytes

    def row(self, position: int) -> dict[str, Any]:
        """The entry in the words of the SQL function ``store_objects``."""
        r = self.record
        row = {name: getattr(r, name) for name in _RECORD}
        row |= {name: getattr(self.file, name) for name in _FILE}
        row |= _name_columns(r.patient_name, r.referring_physician_name, r.institution_name)
        row |= {
            "position": position,
            "issuer": r.issuer_of_patient_id if r.patient_id else "",
            "lone_study_uid": "" if r.patient_id else r.study_instance_uid,
            "referring_physician": r.referring_physician_name,
            "token_version": self.token_version,
            "token_digest": self.token_digest.hex(),
        }
        return row


_RECORD = tuple(field.name for field in fields(ObjectRecord))
_FILE = tuple(field.name for field in fields(StoredFile))


# The objects of a study come one after the other and say the same.
@lru_cache(maxsize=512)
def _name_columns(patient: str, referring: str, institution: str) -> dict[str, Any]:
    """The columns in which names are looked for."""
    alphabetic, ideographic, phonetic = fold_person_name(patient)
    referring_folded, referring_ideographic, referring_phonetic = fold_person_name(referring)
    return {
        "alphabetic": alphabetic,
        "ideographic": ideographic,
        "phonetic": phonetic,
        "name_trigrams": trigrams("=".join(filter(None, (alphabetic, ideographic, phonetic)))),
        "name_words": words(patient),
        "referring_folded": referring_folded,
        "referring_ideographic": referring_ideographic,
        "referring_phonetic": referring_phonetic,
        "referring_words": words(referring),
        "institution_folded": fold(institution),
    }


@dataclass(frozen=True, slots=True)
class Verdict:
    """The index's answer for one entry: 'stored', 'same' or 'different'.

    The rest says, for the latter two, which object is kept under the SOP Instance UID.
    """

    outcome: str
    kept_digest: str = ""
    kept_study_instance_uid: str = ""


@dataclass(frozen=True, slots=True)
class ObjectFile:
    """A stored object as retrieving needs it; its file is found by study and digest."""

    id: int
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    digest: str
    bytes: int
    crc32: int
    modality: str
    series_number: int | None
    series_description: str
    instance_number: int | None


@dataclass(frozen=True, slots=True)
class PatientRow:
    """A patient: Patient ID with its issuer, or one study without Patient ID."""

    id: int
    patient_id: str
    issuer: str
    name: str
    birth_date: str
    sex: str


@dataclass(frozen=True, slots=True)
class StudyRow:
    """A study with the patient as it names him."""

    id: int
    patient: int
    patient_id: str
    issuer: str
    patient_name: str
    patient_birth_date: str
    patient_sex: str
    identity_conflict: bool
    study_instance_uid: str
    study_date: str
    study_time: str
    accession_number: str
    study_id: str
    study_description: str
    referring_physician: str
    institution_name: str
    modalities: tuple[str, ...]
    series_count: int
    instance_count: int
    bytes: int
    received_at: datetime
    token_version: int


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """A series of a study."""

    id: int
    series_instance_uid: str
    modality: str
    series_number: int | None
    series_description: str
    series_date: str
    series_time: str
    body_part_examined: str
    protocol_name: str
    station_name: str
    instance_count: int
    bytes: int


def store(connection: DirectConnection, entries: Sequence[Entry]) -> list[Verdict]:
    """Index `entries` in one transaction; one verdict for each, in their order. Blocking."""
    rows = json.dumps([entry.row(position) for position, entry in enumerate(entries)])
    verdicts: dict[int, Verdict] = {}
    sql = "SELECT * FROM store_objects(%s::jsonb)"
    for found in connection.fetch_all("store objects", sql, rows):
        verdicts[found.position] = Verdict(
            found.outcome,
            "" if found.kept_digest is None else bytes(found.kept_digest).hex(),
            found.kept_study or "",
        )
    return [verdicts[position] for position in range(len(entries))]


async def set_aside(tx: Transaction, record: ObjectRecord, file: StoredFile) -> None:
    """Remember an object that is kept apart; repeating it changes nothing."""
    await tx.execute(
        "INSERT INTO aside (sop_instance_uid, study_instance_uid, digest, bytes, source)"
        " VALUES (%s, %s, decode(%s, 'hex'), %s, %s) ON CONFLICT (digest) DO NOTHING",
        record.sop_instance_uid,
        record.study_instance_uid,
        file.digest,
        file.bytes,
        file.source,
    )


_OBJECT = """
SELECT i.id, t.study_instance_uid, s.series_instance_uid, i.sop_instance_uid, i.sop_class_uid,
       i.transfer_syntax_uid, encode(i.digest, 'hex') AS digest, i.bytes, i.crc32,
       s.modality, s.series_number, s.series_description, i.instance_number
FROM instance i JOIN series s ON s.id = i.series JOIN study t ON t.id = s.study
"""


async def objects(
    tx: Transaction,
    *,
    patient: int | None = None,
    patient_ids: Sequence[str] = (),
    study_instance_uids: Sequence[str] = (),
    series_instance_uids: Sequence[str] = (),
    sop_instance_uids: Sequence[str] = (),
    after: int = 0,
    limit: int = 1000,
) -> list[ObjectFile]:
    """The objects that lie under all the keys given, by `id`, at most `limit` beyond `after`.

    Without any key there are none: nobody retrieves a whole archive by leaving keys empty.
    """
    conditions = ["i.id > %s"]
    parameters: list[Any] = [after]
    if patient is not None:
        conditions.append("t.patient = %s")
        parameters.append(patient)
    for column, values in (
        ("t.study_instance_uid", study_instance_uids),
        ("s.series_instance_uid", series_instance_uids),
        ("i.sop_instance_uid", sop_instance_uids),
    ):
        if values:
            conditions.append(f"{column} = ANY (%s)")
            parameters.append(list(values))
    if patient_ids:
        conditions.append("t.patient IN (SELECT id FROM patient WHERE patient_id = ANY (%s))")
        parameters.append(list(patient_ids))
    if len(conditions) == 1:
        return []
    sql = f"{_OBJECT} WHERE {' AND '.join(conditions)} ORDER BY i.id LIMIT %s"
    rows = await tx.fetch_all(sql, *parameters, limit)
    return [ObjectFile(*row) for row in rows]


_STUDY = """
SELECT t.id, t.patient, p.patient_id, p.issuer, t.patient_name, t.patient_birth_date,
       t.patient_sex, t.identity_conflict, t.study_instance_uid, t.study_date, t.study_time,
       t.accession_number, t.study_id, t.study_description, t.referring_physician,
       t.institution_name, t.modalities, t.series_count, t.instance_count, t.bytes,
       t.received_at, t.token_version
FROM study t JOIN patient p ON p.id = t.patient
"""


def _study(row: Any) -> StudyRow:
    return StudyRow(**row._replace(modalities=tuple(sorted(row.modalities)))._asdict())


async def study(tx: Transaction, study_instance_uid: str) -> StudyRow | None:
    """The study of this Study Instance UID."""
    row = await tx.fetch_one(_STUDY + "WHERE t.study_instance_uid = %s", study_instance_uid)
    return row and _study(row)


async def study_by_token(tx: Transaction, digest: bytes) -> StudyRow | None:
    """The study whose present token has this digest (`santepacs.model.tokens.digest`)."""
    row = await tx.fetch_one(_STUDY + "WHERE t.token_digest = %s", digest)
    return row and _study(row)


async def studies_of_patient(
    tx: Transaction, patient_key: int, *, limit: int = 500
) -> list[StudyRow]:
    """The studies of one patient, newest first."""
    rows = await tx.fetch_all(
        _STUDY + "WHERE t.patient = %s ORDER BY t.study_date DESC, t.study_time DESC, t.id DESC"
        " LIMIT %s",
        patient_key,
        limit,
    )
    return [_study(row) for row in rows]


async def studies_of_patient_id(
    tx: Transaction, patient_id: str, *, limit: int = 1000
) -> list[StudyRow]:
    """The studies of everybody with this Patient ID, by date, then UID; none for an empty one."""
    if not patient_id:
        return []
    rows = await tx.fetch_all(
        _STUDY + "WHERE p.patient_id = %s ORDER BY t.study_date, t.study_instance_uid LIMIT %s",
        patient_id,
        limit,
    )
    return [_study(row) for row in rows]


async def series_of_study(tx: Transaction, study_key: int, *, limit: int = 5000) -> list[SeriesRow]:
    """The series of one study, by number."""
    rows = await tx.fetch_all(
        "SELECT id, series_instance_uid, modality, series_number, series_description,"
        " series_date, series_time, body_part_examined, protocol_name, station_name,"
        " instance_count, bytes FROM series WHERE study = %s"
        " ORDER BY series_number NULLS LAST, id LIMIT %s",
        study_key,
        limit,
    )
    return [SeriesRow(*row) for row in rows]


async def patient(tx: Transaction, key: int) -> PatientRow | None:
    """The patient of this row."""
    row = await tx.fetch_one(
        "SELECT id, patient_id, issuer, name, birth_date, sex FROM patient WHERE id = %s", key
    )
    return row and PatientRow(*row)
