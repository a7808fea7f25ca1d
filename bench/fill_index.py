"""Fill an index with studies that exist as rows alone, to measure finding in a big archive.

    python bench/fill_index.py DSN [--studies N]

DSN belongs to the owner of a migrated schema without studies. Rows go in by COPY with the indexes
put away meanwhile: a million studies take some minutes. Nothing differs from one run to the next.
What a measurement can count on, whatever N is:

- each day has 100 studies, the last day is `LAST_DAY`; study `n` is of day ``n // 100``;
- each surname has 100 studies; names of different scripts take turns (`person`);
- the patients have one or two studies and the IDs ``F0000000``, ``F0000001``, ...
"""

import argparse
import hashlib
import io
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

import psycopg2

from santepacs.model.names import fold, fold_person_name, trigrams, words

LAST_DAY = date(2026, 10, 31)
OF_A_DAY = 100  # studies
OF_A_SURNAME = 100  # studies
ROOT = "1.2.826.0.1.3680043.8.498.77"
CHUNK = 10_000  # studies that are written by one COPY

# Surnames are made of four syllables. Each script has syllables and given names.
LATIN = ("ba ko ri te mu sza la ne vo gi da po ci fe hu ja wo zi re tu ma so li nu be",
         "Jane John Anna Piotr Ewa Adam Olga Karol Hanna Leon")  # fmt: skip
GERMAN = ("mül gö bär tho schä kö wei jör grü len hof mei bau ster feld wal stein",
          "Jörg Käthe Björn Zoë René Grete Uwe Ruth")  # fmt: skip
GREEK = ("πα δο κα μι νι θε γε λο ρα σο τα χρι ζω βα φι ξε",
         "Μαρία Γιώργος Ελένη Νίκος Σοφία Κώστας Άννα")  # fmt: skip
CYRILLIC = ("ма ко ло ви те ра се ни гор зай бе ро кру щу", "Анна Иван Ольга Пётр Юлия Артём")
JAPANESE = (("ya ta mo ka mi no ha shi", "山 田 本 川 三 野 原 島", "や た も か み の は し"),
            ("Tarou Hanako Jirou", "太郎 花子 次郎", "たろう はなこ じろう"))  # fmt: skip
SCRIPTS = (LATIN, LATIN, LATIN, LATIN, LATIN, LATIN, GERMAN, GREEK, CYRILLIC)

MODALITIES = ("CR", "DX", "US", "CT", "MR", "DX", "US", "CT", "MR", "MG", "CR", "DX", "US", "CT",
              "MR", "DX", "US", "CT", "MG", "XA", "CR", "PT")  # fmt: skip
PARTS = ("Thorax", "Schädel", "Abdomen", "Knie", "Hand", "Fuß", "Schulter", "Becken", "Herz",
         "Θώραξ", "Κρανίο", "Wirbelsäule", "Hüfte", "Mamma", "Hals")  # fmt: skip
MANNERS = ("nativ", "mit Kontrastmittel", "2 Ebenen", "Verlaufskontrolle", "präoperativ", "Staging",
           "Routine", "Angiographie", "Screening", "low dose")  # fmt: skip
SERIES = ("axial", "coronal", "sagittal", "Localizer", "T1 TSE", "T2 FLAIR", "DWI b1000", "ap",
          "lateral", "MPR 3 mm")  # fmt: skip
HOSPITALS = ("General Hospital", "Städtisches Klinikum", "Γενικό Νοσοκομείο", "Praxis am Markt")
SOP_CLASS, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"

Row = dict[str, Any]


def day(number: int, studies: int) -> str:
    """The Study Date of study `number` of so many."""
    days = (studies - 1) // OF_A_DAY - number // OF_A_DAY
    return (LAST_DAY - timedelta(days)).strftime("%Y%m%d")


def patient_id(number: int) -> str:
    """The Patient ID of study `number`: of three studies the last two are of one patient."""
    return f"F{(2 * number + 1) // 3:07d}"


def person(number: int) -> str:
    """The PN of study `number`'s patient: every tenth surname is Japanese, in three groups."""
    family = number // OF_A_SURNAME
    script = family % 10
    kind = (2 * number + 1) // 3
    if script == 9:
        groups = zip(*JAPANESE, strict=True)
        return "=".join(_name(syllables, given, family, kind) for syllables, given in groups)
    return _name(*SCRIPTS[script], family, kind)


def _name(syllables: str, given_names: str, family: int, kind: int) -> str:
    table, given = syllables.split(), given_names.split()
    surname = "".join(table[family // len(table) ** n % len(table)] for n in range(3, -1, -1))
    return f"{surname.capitalize()}^{given[kind % len(given)]}"


@lru_cache(maxsize=2)
def _patient(name: str) -> Row:
    alphabetic, ideographic, phonetic = fold_person_name(name)
    return {
        "name": name,
        "alphabetic": alphabetic,
        "ideographic": ideographic,
        "phonetic": phonetic,
        "name_words": words(name),
        "name_trigrams": trigrams("=".join(filter(None, (alphabetic, ideographic, phonetic)))),
    }


@lru_cache(maxsize=5000)
def _physician(number: int) -> Row:
    name = person(number * OF_A_SURNAME * 7)
    folded, ideographic, phonetic = fold_person_name(name)
    return {
        "referring_physician": name,
        "referring_folded": folded,
        "referring_ideographic": ideographic,
        "referring_phonetic": phonetic,
        "referring_words": words(name),
    }


def rows_of(number: int, studies: int) -> Iterator[tuple[str, Row]]:
    """Table and columns of everything that study `number` of so many consists of."""
    uid = f"{ROOT}.{number}"
    patient = (2 * number + 1) // 3 + 1
    born = {"birth_date": f"{1930 + patient % 90}{1 + patient % 12:02d}{1 + patient % 28:02d}",
            "sex": "FMFMFMFMO"[patient % 9]}  # fmt: skip
    names = _patient(person(number))
    if number % 3 != 2:
        of_patient = {key: value for key, value in names.items() if key != "name_trigrams"}
        yield "patient", {"id": patient, "patient_id": patient_id(number), **of_patient, **born}
    modality = MODALITIES[number * 7 % len(MODALITIES)]
    several = 1 + number % 3 * (modality in ("CT", "MR", "PT"))
    part = PARTS[number * 11 % len(PARTS)]
    hour = 7 + number % OF_A_DAY * 14 // OF_A_DAY
    when = {"date": day(number, studies), "time": f"{hour:02d}{number * 13 % 60:02d}00"}
    hospital = HOSPITALS[number * number % len(HOSPITALS)]
    images = 1 + number % 2
    yield "study", {
        "id": number + 1, "patient": patient, "study_instance_uid": uid,
        "patient_name": names["name"], **{k: v for k, v in names.items() if k != "name"},
        "patient_birth_date": born["birth_date"], "patient_sex": born["sex"],
        "study_date": when["date"], "study_time": when["time"],
        "accession_number": f"A{number:08d}", "study_id": f"S{number % 100_000:05d}",
        "study_description": f"{modality} {part} {MANNERS[number * 3 % len(MANNERS)]}"
        + (f" Studie {number // 1000}" if number % 10 == 0 else ""),
        **_physician(number * 31 % 5000),
        "institution_name": hospital, "institution_folded": fold(hospital),
        "modalities": ["PT", "CT"] if modality == "PT" else [modality],
        "sop_classes": [SOP_CLASS], "series_count": several, "instance_count": several * images,
        "bytes": several * images * 526_000, "token_version": 1,
        "token_digest": _hex(f"token {uid}"),
    }  # fmt: skip
    for n in range(several):
        series = 4 * number + n + 1
        yield "series", {
            "id": series, "study": number + 1, "series_instance_uid": f"{uid}.{n}",
            "modality": "CT" if modality == "PT" and n else modality, "series_number": n + 1,
            "series_description": f"{SERIES[(number + n) % len(SERIES)]} {part}",
            "series_date": when["date"], "series_time": when["time"],
            "body_part_examined": part.upper(), "protocol_name": f"{part} {number % 40}",
            "station_name": f"{modality}{number % 6}", "instance_count": images,
            "bytes": images * 526_000,
        }  # fmt: skip
        for i in range(images):
            sop_instance_uid = f"{uid}.{n}.{i}"
            yield "instance", {
                "id": 8 * number + 2 * n + i + 1, "series": series,
                "sop_instance_uid": sop_instance_uid, "sop_class_uid": SOP_CLASS,
                "transfer_syntax_uid": EXPLICIT, "instance_number": i + 1,
                "content_date": when["date"], "content_time": when["time"],
                "rows": 512, "columns": 512, "digest": _hex(sop_instance_uid),
                "bytes": 526_000, "crc32": number, "source": "FILL",
            }  # fmt: skip


def _hex(text: str) -> str:
    return "\\\\x" + hashlib.sha256(text.encode()).hexdigest()


def _field(column: str, value: Any) -> str:
    """A value as COPY reads it; nothing here has a character that COPY or an array would escape."""
    if not isinstance(value, list):
        return str(value)
    if column.endswith("_words"):
        return " ".join(f"'{word}'" for word in value)
    return "{" + ",".join(f'"{one}"' for one in value) + "}"


class _Copy:
    """Rows on their way into one table."""

    def __init__(self, table: str) -> None:
        self.table = table
        self._columns: list[str] = []
        self._lines = io.StringIO()

    def add(self, row: Row) -> None:
        self._columns = self._columns or list(row)
        self._lines.write("\t".join(_field(c, row[c]) for c in self._columns) + "\n")

    def flush(self, cursor: Any) -> None:
        self._lines.seek(0)
        sql = f"COPY {self.table} ({', '.join(self._columns)}) FROM STDIN"
        cursor.copy_expert(sql, self._lines)
        self._lines = io.StringIO()


def fill(connection: Any, studies: int) -> None:
    """Write so many studies, and make the planner know them."""
    with connection, connection.cursor() as cursor:
        cursor.execute("SET LOCAL maintenance_work_mem = '512MB'")
        cursor.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
            " AND tablename IN ('patient', 'study', 'series', 'instance')"
            " AND indexname NOT IN (SELECT conname FROM pg_constraint)"
        )
        indexes = cursor.fetchall()
        for name, _ in indexes:
            cursor.execute(f"DROP INDEX {name}")
        for start in range(0, studies, CHUNK):
            _copy(cursor, range(start, min(start + CHUNK, studies)), studies)
            _say(f"{min(start + CHUNK, studies):,} of {studies:,} studies")
        for name, definition in indexes:
            cursor.execute(definition)
            _say(name)
        for table in ("patient", "study", "series", "instance"):
            cursor.execute(
                f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}"  # noqa: S608
            )
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE) patient, study, series, instance")


def _copy(cursor: Any, numbers: range, studies: int) -> None:
    tables = {name: _Copy(name) for name in ("patient", "study", "series", "instance")}
    for number in numbers:
        for table, row in rows_of(number, studies):
            tables[table].add(row)
    for copy in tables.values():
        copy.flush(cursor)


def _say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dsn")
    parser.add_argument("--studies", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with closing(psycopg2.connect(arguments.dsn)) as connection:
        fill(connection, arguments.studies)


if __name__ == "__main__":
    main()
