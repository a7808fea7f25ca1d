"""Fill a worklist with steps that exist as rows alone, to measure finding in a big one.

    python bench/fill_worklist.py DSN [--steps N] [--open-days N]

DSN belongs to the owner of a migrated schema without worklist records. PostgreSQL makes the rows
itself, with the indexes put away meanwhile: a million take about a minute. Nothing differs from one
run to the next. What a measurement can count on, whatever N is:

- each of `STATIONS` stations has `OF_A_STATION` steps a day; the last day is `LAST_DAY`;
- modality ``PT`` is at one station alone, and so are its steps;
- each surname and each Requested Procedure ID has `OF_A_SURNAME` steps, each patient
  `OF_A_PATIENT`;
- the steps of the last days are open; those before are over, all but one of a hundred.
"""

import argparse
import sys
import time
from contextlib import closing
from datetime import date
from typing import Any

import psycopg2

STATIONS = 100
OF_A_STATION = 20  # steps a day
OF_A_DAY = STATIONS * OF_A_STATION
OF_A_SURNAME = 20  # steps
OF_A_PATIENT = 3  # steps
OPEN_DAYS = 30
LAST_DAY = date(2026, 11, 30)

_MODALITIES = ("CT", "MR", "DX", "US", "CR", "MG", "XA", "RF", "NM")
_SYLLABLES = "BA KO RI TE MU SZA LA NE VO GI DA PO CI FE HU JA WO ZI RE TU MA SO LI NU BE"
_GIVEN = "JANE JOHN ANNA PIOTR EWA ADAM OLGA KAROL HANNA LEON"

_ROWS = """
WITH step AS (
    SELECT n, n %% %(stations)s AS station, n / %(a_day)s AS day, n / %(of_a_surname)s AS family
    FROM generate_series(0, %(steps)s - 1) n
), named AS (
    SELECT *, (%(syllables)s::text[])[1 + family %% 25]
        || (%(syllables)s::text[])[1 + family / 25 %% 25]
        || (%(syllables)s::text[])[1 + family / 625 %% 25]
        || (%(syllables)s::text[])[1 + family / 15625 %% 25]
        || '^' || (%(given)s::text[])[1 + n %% 10] AS name,
        'TECH^' || chr(65 + n %% 26) || chr(65 + n / 26 %% 4) AS technician,
        %(last_day)s::date - (%(steps)s - 1) / %(a_day)s + day AS start
    FROM step
)
INSERT INTO worklist_record (
    patient_id, patient_name, patient_name_folded, patient_birth_date, patient_sex,
    accession_number, study_instance_uid, requested_procedure_description, modality,
    scheduled_station_ae_title, start_date, start_time, technician_name, technician_name_folded,
    scheduled_procedure_step_description, scheduled_procedure_step_id, scheduled_station_name,
    requested_procedure_id, status, step_status, sending_application, sending_facility,
    placer_order_number)
SELECT 'W' || lpad((n / %(of_a_patient)s)::text, 7, '0'), name, ARRAY[lower(name)],
    to_char(date '1930-01-01' + n %% 30000, 'YYYYMMDD'), (ARRAY['F', 'M', 'O'])[1 + n %% 3],
    'A' || lpad(n::text, 8, '0'), '1.2.826.0.1.3680043.8.498.78.' || n, 'EXAMINATION ' || n %% 300,
    CASE station WHEN 0 THEN 'PT' ELSE (%(modalities)s::text[])[1 + station %% 9] END,
    'STATION' || station, to_char(start, 'YYYYMMDD'),
    to_char(time '07:00' + n %% 840 * interval '1 minute', 'HH24MISS'),
    technician, ARRAY[lower(technician)], 'EXAMINATION ' || n %% 300, 'S' || n, 'ROOM ' || station,
    'R' || family, 'SC',
    CASE WHEN start > %(last_day)s::date - %(open_days)s OR n %% 100 = 7 THEN 'SCHEDULED'
         WHEN n %% 50 = 9 THEN 'CANCELED' ELSE 'COMPLETED' END,
    'HIS', 'WARD', 'P' || n
FROM named
"""


def open_steps(steps: int) -> range:
    """Numbers of open steps, whose patients and surnames have all of theirs open, too."""
    whole = OF_A_SURNAME * OF_A_PATIENT
    return range(max(0, steps - OPEN_DAYS * OF_A_DAY), steps, whole)[1:-1]


def surname(step: int) -> str:
    """The family name of a step's patient."""
    syllables, family = _SYLLABLES.split(), step // OF_A_SURNAME
    return "".join(syllables[family // 25**place % 25] for place in range(4))


def patient_id(step: int) -> str:
    """The Patient ID of a step."""
    return f"W{step // OF_A_PATIENT:07d}"


def fill(connection: Any, steps: int, open_days: int) -> None:
    """Write so many steps, and make the planner know them."""
    with connection, connection.cursor() as cursor:
        cursor.execute("SET LOCAL maintenance_work_mem = '512MB'")
        cursor.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
            " AND tablename = 'worklist_record'"
            " AND indexname NOT IN (SELECT conname FROM pg_constraint)"
        )
        indexes = cursor.fetchall()
        for name, _ in indexes:
            cursor.execute(f"DROP INDEX {name}")
        values = {
            "steps": steps,
            "stations": STATIONS,
            "a_day": OF_A_DAY,
            "of_a_surname": OF_A_SURNAME,
            "of_a_patient": OF_A_PATIENT,
            "last_day": LAST_DAY,
            "open_days": open_days,
            "modalities": list(_MODALITIES),
            "syllables": _SYLLABLES.split(),
            "given": _GIVEN.split(),
        }
        cursor.execute(_ROWS, values)
        _say(f"{steps:,} steps")
        for name, definition in indexes:
            cursor.execute(definition)
            _say(name)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE) worklist_record")


def _say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dsn")
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--open-days", type=int, default=OPEN_DAYS)
    arguments = parser.parse_args()
    with closing(psycopg2.connect(arguments.dsn)) as connection:
        fill(connection, arguments.steps, arguments.open_days)


if __name__ == "__main__":
    main()
