"""Measure finding in a worklist that `bench.fill_worklist` has filled.

    python bench/measure_worklist.py DSN [--plans]

Each query of a scanner, and each list of the portal, is asked as the server asks it. Shown are
the median and the longest time of a hundred, in milliseconds, what PostgreSQL says that it needed
for the slowest statement (EXPLAIN ANALYZE), and how many records were found.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any

import psycopg2
from psycopg2.extras import NamedTupleCursor

from bench.fill_worklist import LAST_DAY
from santepacs.db import worklist_search
from santepacs.model.order import ListQuery, StepQuery, StepStatus, WorklistQuery

REPETITIONS = 100
ANSWERS = 200  # records: the first page of a scanner's answer
SHOWN = 50  # records on a page of the portal's list
COUNTED = 1000

_DAY = LAST_DAY.strftime("%Y%m%d")
_WEEK = f"{LAST_DAY.replace(day=24):%Y%m%d}"


class Asking:
    """A transaction of `santepacs.db` over a connection that waits."""

    def __init__(self, cursor: Any, *, plans: bool) -> None:
        self._cursor = cursor
        self._plans = plans
        self.explained = 0.0
        self.explaining = False

    async def fetch_all(self, sql: str, *parameters: Any) -> list[Any]:
        """All rows."""
        if self.explaining:
            self._cursor.execute(f"EXPLAIN (ANALYZE, COSTS OFF) {sql}", parameters)
            lines = [row[0] for row in self._cursor.fetchall()]
            self.explained = max(self.explained, float(lines[-1].split()[2]))
            if self._plans:
                _say("\n".join(lines))
        self._cursor.execute(sql, parameters)
        rows: list[Any] = self._cursor.fetchall()
        return rows

    async def fetch_one(self, sql: str, *parameters: Any) -> Any:
        """The first row."""
        return (await self.fetch_all(sql, *parameters))[0]


def _scanner(**keys: Any) -> WorklistQuery:
    of_step = {name: keys.pop(name) for name in list(keys) if name in StepQuery.__slots__}
    return WorklistQuery(**keys, steps=(StepQuery(**of_step),))


def _of_day(first: str, last: str = _DAY) -> dict[str, str]:
    return {"start_date_from": first, "start_date_to": last}


def scanner_queries() -> dict[str, WorklistQuery]:
    """What scanners ask, by what it is."""
    return {
        "station + date": _scanner(station_ae_titles=("STATION42",), **_of_day(_DAY)),
        "station + date range": _scanner(station_ae_titles=("STATION42",), **_of_day(_WEEK)),
        "station or none + date": _scanner(station_ae_titles=("STATION42", ""), **_of_day(_DAY)),
        "station alone": _scanner(station_ae_titles=("STATION42",)),
        "modality + date": _scanner(modalities=("PT",), **_of_day(_DAY)),
        "two modalities + date": _scanner(modalities=("PT", "CT"), **_of_day(_DAY)),
        "modality + open range": _scanner(modalities=("PT",), start_date_from=_DAY),
        "date": _scanner(**_of_day(_DAY)),
        "name BELIMUTE^J*": _scanner(patient_name="BELIMUTE^J*"),
        "name BELIMUTE*": _scanner(patient_name="BELIMUTE*"),
        "name *LIMUTE*": _scanner(patient_name="*LIMUTE*"),
        "name NOBODY*": _scanner(patient_name="NOBODY*"),
        "name *BA* (very many)": _scanner(patient_name="*BA*"),
        "name K* (very many)": _scanner(patient_name="K*"),
        "Patient ID": _scanner(patient_id="W0332999"),
        "accession number": _scanner(accession_number="A00998999"),
        "Requested Procedure ID": _scanner(requested_procedure_id="R49949"),
        "Procedure Step ID": _scanner(step_id="S998999"),
        "Study Instance UID": _scanner(
            study_instance_uids=("1.2.826.0.1.3680043.8.498.78.998999",)
        ),
        "birth date": _scanner(
            patient_birth_date_from="19700102", patient_birth_date_to="19700102"
        ),
        "technician": _scanner(technician_name="TECH^AB", **_of_day(_DAY)),
        "technician nobody": _scanner(technician_name="NOBODY^AB"),
        "status CANCELED + date": _scanner(statuses=(StepStatus.CANCELED,), **_of_day(_DAY)),
        "no key": _scanner(),
    }


def lists() -> dict[str, ListQuery]:
    """What the portal's list is asked for, by what it is."""
    filters: dict[str, dict[str, Any]] = {
        "everything": {},
        "today": {"date_from": _DAY, "date_to": _DAY},
        "last 7 days": {"date_from": _WEEK, "date_to": _DAY},
        "name": {"patient_name": "belimute"},
        "name of two letters": {"patient_name": "ko"},
        "Patient ID": {"patient_id": "W0332999"},
        "Patient ID begins": {"patient_id": "W03329"},
        "accession number": {"accession_number": "A00998999"},
        "birth date": {"patient_birth_date": "19700102"},
        "modality PT": {"modality": "PT"},
        "modality CT + last 7 days": {"modality": "CT", "date_from": _WEEK, "date_to": _DAY},
        "station": {"station_ae_title": "STATION42"},
        "station + modality of another": {"station_ae_title": "STATION42", "modality": "PT"},
        "canceled": {"statuses": (StepStatus.CANCELED,)},
        "held (none)": {"statuses": (StepStatus.HELD,)},
        "name + modality + 7 days": {"patient_name": "ko", "modality": "PT", "date_from": _WEEK},
        "birth date + status": {
            "patient_birth_date": "19700102",
            "statuses": (StepStatus.COMPLETED,),
        },
        "line: surname given": {"text": "belimute jane"},
        "line: number": {"text": "A00998999"},
        "line: two letters": {"text": "ko"},
        "line: nobody": {"text": "nobody"},
    }
    return {name: ListQuery(**keys) for name, keys in filters.items()} | {
        f"{name}, oldest first": ListQuery(**filters[name], newest_first=False)
        for name in ("everything", "modality PT", "name")
    }


def measure(asking: Asking, name: str, ask: Callable[..., Awaitable[Any]], *arguments: Any) -> None:
    """Ask a hundred times, and say what it took."""

    async def asked() -> Any:
        return await ask(asking, *arguments)

    times = []
    with asyncio.Runner() as runner:
        for _ in range(REPETITIONS):
            before = time.perf_counter()
            found = runner.run(asked())
            times.append((time.perf_counter() - before) * 1000)
        asking.explained, asking.explaining = 0.0, True
        runner.run(asked())
        asking.explaining = False
    number = found if isinstance(found, int) else len(found)
    middle, longest = statistics.median(times), max(times)
    _say(f"{name:38} {middle:8.2f} {longest:8.2f} {asking.explained:8.2f} {number:6}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dsn")
    parser.add_argument("--plans", action="store_true", help="show every plan")
    arguments = parser.parse_args()
    with closing(psycopg2.connect(arguments.dsn, cursor_factory=NamedTupleCursor)) as connection:
        connection.autocommit = True
        asking: Any = Asking(connection.cursor(), plans=arguments.plans)
        _say(f"{'':38} {'median':>8} {'longest':>8} {'EXPLAIN':>8} {'found':>6}")
        for name, query in scanner_queries().items():
            measure(asking, name, worklist_search.find, query, ANSWERS)
        for name, wanted in lists().items():
            measure(asking, f"list: {name}", worklist_search.page, wanted, None, SHOWN)
            measure(asking, "    count", worklist_search.count, wanted, COUNTED)


if __name__ == "__main__":
    main()
