"""C-ECHO, and C-FIND at study level; every query is an association of its own.

Every number of matches is checked.
"""

from collections.abc import Callable
from functools import partial

from bench import loads, population
from bench.encoding import Keys, identifier
from bench.population import Population
from bench.trial import NODELAY, LeftOut, Operation, Result, Trial

PATIENT_NAME, PATIENT_ID, STUDY_DATE = 0x00100010, 0x00100020, 0x00080020

RETURNED: Keys = {
    0x00080052: "STUDY",
    STUDY_DATE: "",
    0x00080030: "",  # Study Time
    0x00080050: "",  # Accession Number
    0x00081030: "",  # Study Description
    PATIENT_NAME: "",
    PATIENT_ID: "",
    0x00100030: "",  # Patient's Birth Date
    0x00100040: "",  # Patient's Sex
    0x0020000D: "",  # Study Instance UID
    0x00200010: "",  # Study ID
}
COMPUTED: Keys = {
    0x00080061: "",  # Modalities in Study
    0x00201206: "",  # Number of Study Related Series
    0x00201208: "",  # Number of Study Related Instances
}

Questions = tuple[list[Keys], int | None]
"""Queries, and how many matches each of them must have (None: any number)."""
Asking = Callable[[Trial, Population, int], Questions]
"""Makes as many queries."""


def echo(trial: Trial, clients: int, count: int) -> Result:
    """Associate, verify, release; each client `count` times."""
    peer = trial.peer
    count = trial.amount(count if trial.nodelay else count // 5)
    with trial.watched():
        wall, load = loads.together([partial(loads.echo, peer, count)] * clients)
    return Result(load.answers, wall, latencies=load.latencies)


def find(trial: Trial, ask: Asking, count: int, clients: int = 1) -> Result:
    """Query, each client `count` times."""
    if not trial.target.find:
        raise LeftOut("no query service")
    if not trial.loaded.studies:
        raise LeftOut("not prepared")
    peer = trial.peer
    queries, matches = ask(trial, population.of(trial.target), trial.amount(count))
    identifiers = [identifier({**RETURNED, **query}) for query in queries]
    with trial.watched():
        wall, load = loads.together([partial(loads.find, peer, identifiers, matches)] * clients)
    extra = {"matches": load.answers / len(load.latencies), "matches_per_s": load.answers / wall}
    return Result(len(load.latencies), wall, latencies=load.latencies, extra=extra)


def by_id(trial: Trial, studies: Population, count: int) -> Questions:
    """One patient's study."""
    return [{PATIENT_ID: studies.patient_id(choice)} for choice in trial.choices(count)], 1


def by_name(trial: Trial, studies: Population, count: int) -> Questions:
    """The studies of all who have a surname."""
    prefixes = [studies.name_prefix(choice) for choice in trial.choices(count)]
    return [{PATIENT_NAME: prefix} for prefix in prefixes], studies.of_name


def by_date(
    trial: Trial, studies: Population, count: int, matches: int, more: Keys | None = None
) -> Questions:
    """The studies of some days."""
    days = studies.days_with(matches)
    if days is None:
        raise LeftOut(f"no days with {matches} studies in what is loaded")
    ranges = [studies.dates(choice, days) for choice in trial.choices(count)]
    return [{STUDY_DATE: dates, **(more or {})} for dates in ranges], matches


OPERATIONS = (
    Operation("echo_1", "association, C-ECHO, release", partial(echo, clients=1, count=400)),
    Operation(
        "echo_16", "the same, 16 clients", partial(echo, clients=16, count=60), modes=(NODELAY,)
    ),
    Operation("find_id", "C-FIND by Patient ID, 1 match", partial(find, ask=by_id, count=60)),
    Operation(
        "find_id_8",
        "the same, 8 clients",
        partial(find, ask=by_id, count=30, clients=8),
        modes=(NODELAY,),
    ),
    Operation(
        "find_name",
        "C-FIND by the beginning of the Patient's Name",
        partial(find, ask=by_name, count=30),
        modes=(NODELAY,),
    ),
    Operation(
        "find_date",
        "C-FIND by a range of Study Dates, 100 matches",
        partial(find, ask=partial(by_date, matches=100), count=30),
        modes=(NODELAY,),
    ),
    Operation(
        "find_date_counts",
        "the same, with modalities and numbers of series and instances",
        partial(find, ask=partial(by_date, matches=100, more=COMPUTED), count=15),
        modes=(NODELAY,),
    ),
    Operation(
        "find_5000",
        "C-FIND by a range of Study Dates, 5,000 matches",
        partial(find, ask=partial(by_date, matches=5000), count=2),
        modes=(NODELAY,),
    ),
)
