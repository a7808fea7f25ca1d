"""Modality worklist queries: by station and date in one of 5,000 orders, and what else scanners ask
in a large one.

Every number of matches is checked.
"""

from collections.abc import Callable
from functools import partial

from bench import loads, orders
from bench.dimse import MODALITY_WORKLIST_FIND
from bench.encoding import Keys, identifier
from bench.targets import HOST, Worklist
from bench.trial import NODELAY, LeftOut, Operation, Result, Trial

PATIENT_NAME, PATIENT_ID, STEP = 0x00100010, 0x00100020, 0x00400100
MODALITY, STATION, DATE = 0x00080060, 0x00400001, 0x00400002
RETURNED: Keys = {
    0x00080050: "",  # Accession Number
    0x00080090: "",  # Referring Physician's Name
    PATIENT_NAME: "",
    PATIENT_ID: "",
    0x00100030: "",  # Patient's Birth Date
    0x00100040: "",  # Patient's Sex
    0x0020000D: "",  # Study Instance UID
    0x00321060: "",  # Requested Procedure Description
    0x00401001: "",  # Requested Procedure ID
}
OF_STEP: Keys = {
    MODALITY: "",
    STATION: "",
    DATE: "",
    0x00400003: "",  # Scheduled Procedure Step Start Time
    0x00400006: "",  # Scheduled Performing Physician's Name
    0x00400007: "",  # Scheduled Procedure Step Description
    0x00400009: "",  # Scheduled Procedure Step ID
}
MOST = 1000  # answers that santepacs gives to one query, by default

Questions = tuple[list[bytes], int]
"""Queries, and how many matches each of them must have."""
Asking = Callable[[Trial, int], Questions]
"""Makes as many queries; raises LeftOut."""


def query(of_order: Keys | None = None, **of_step: str) -> bytes:
    """A query by these keys."""
    named = {"modality": MODALITY, "station": STATION, "date": DATE}
    step = {**OF_STEP, **{named[name]: value for name, value in of_step.items()}}
    return identifier({**RETURNED, **(of_order or {}), STEP: step})


def ask(trial: Trial, questions: Asking, clients: int, count: int) -> Result:
    """Query, each client `count` times."""
    worklist = _worklist(trial)
    queries, matches = questions(trial, trial.amount(count))
    titles = worklist.ae, trial.bench.calling_ae
    peer = loads.Peer((HOST, worklist.port), titles, trial.nodelay)
    client = partial(loads.find, peer, queries, matches, MODALITY_WORKLIST_FIND)
    with trial.watched():
        wall, load = loads.together([client] * clients)
    return Result(len(load.latencies), wall, latencies=load.latencies)


def _worklist(trial: Trial) -> Worklist:
    if not trial.target.worklists:
        raise LeftOut("no worklist")
    worklist = trial.target.worklists[0]
    if trial.target.hl7_port and trial.loaded.orders != int(worklist.name):
        raise LeftOut("not prepared")
    return worklist


def of_few(trial: Trial, count: int) -> Questions:
    """The steps of a station on a day, among orders that came as messages or files."""
    if trial.target.data == "worklist":
        raise LeftOut("its worklist is a large one")
    return [query(station=orders.STATION, date=orders.DATE)] * count, orders.HITS


def of_many(trial: Trial, count: int, by: str) -> Questions:
    """What `bench.fill_worklist` has written: by station, modality, name, id, nobody or day."""
    if trial.target.data != "worklist":
        raise LeftOut("no large worklist")
    # Needs psycopg2, which nothing else here does.
    from bench import fill_worklist as filled

    day = f"{filled.LAST_DAY:%Y%m%d}"
    steps = filled.open_steps(int(trial.target.worklists[0].name))
    chosen = [steps[choice % len(steps)] for choice in trial.choices(count)]
    match by:
        case "station":
            return [query(station="STATION42", date=day)] * count, filled.OF_A_STATION
        case "modality":
            return [query(modality="PT", date=day)] * count, filled.OF_A_STATION
        case "name":
            names = [f"{filled.surname(step)}^*" for step in chosen]
            return [query({PATIENT_NAME: name}) for name in names], filled.OF_A_SURNAME
        case "id":
            ids = [filled.patient_id(step) for step in chosen]
            return [query({PATIENT_ID: one}) for one in ids], filled.OF_A_PATIENT
        case "nobody":
            return [query({PATIENT_NAME: "*NOBODY*"})] * count, 0
    return [query(date=day)] * count, min(MOST, filled.OF_A_DAY)


def _operation(name: str, about: str, questions: Asking, clients: int, count: int) -> Operation:
    run = partial(ask, questions=questions, clients=clients, count=count)
    return Operation(name, about, run, modes=(NODELAY,))


def _large(by: str, about: str, count: int = 50) -> Operation:
    about = f"large worklist: C-FIND by {about}"
    return _operation(f"worklist_{by}", about, partial(of_many, by=by), 1, count)


OPERATIONS = (
    _operation("worklist_1", "worklist C-FIND by station and date, 20 of 5,000", of_few, 1, 20),
    _operation("worklist_8", "the same, 8 clients", of_few, 8, 5),
    _large("station", "station and date, 20 matches"),
    _large("modality", "modality and date, 20 matches"),
    _large("name", "name, 20 matches"),
    _large("id", "Patient ID, 3 matches"),
    _large("nobody", "a part of a name that nobody has"),
    _large("day", "date alone, 1,000 answers", 10),
)
