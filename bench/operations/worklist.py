"""Modality worklist queries by station and date, 20 of 5,000 orders."""

from functools import partial

from bench import loads, orders
from bench.dimse import MODALITY_WORKLIST_FIND
from bench.encoding import Keys, identifier
from bench.targets import HOST
from bench.trial import NODELAY, LeftOut, Operation, Result, Trial

QUERY: Keys = {
    0x00080050: "",  # Accession Number
    0x00080090: "",  # Referring Physician's Name
    0x00100010: "",  # Patient's Name
    0x00100020: "",  # Patient ID
    0x00100030: "",  # Patient's Birth Date
    0x00100040: "",  # Patient's Sex
    0x0020000D: "",  # Study Instance UID
    0x00321060: "",  # Requested Procedure Description
    0x00401001: "",  # Requested Procedure ID
    0x00400100: {
        0x00080060: "",  # Modality
        0x00400001: orders.STATION,
        0x00400002: orders.DATE,
        0x00400003: "",  # Scheduled Procedure Step Start Time
        0x00400006: "",  # Scheduled Performing Physician's Name
        0x00400007: "",  # Scheduled Procedure Step Description
        0x00400009: "",  # Scheduled Procedure Step ID
    },
}


def ask(trial: Trial, name: str, clients: int, count: int) -> Result:
    """Query, each client `count` times."""
    worklist = next((found for found in trial.target.worklists if found.name == name), None)
    if worklist is None:
        raise LeftOut(f"no worklist of {name} orders")
    if trial.target.hl7_port and trial.loaded.orders != int(name):
        raise LeftOut("not prepared")
    titles = worklist.ae, trial.bench.calling_ae
    peer = loads.Peer((HOST, worklist.port), titles, trial.nodelay)
    queries = [identifier(QUERY)] * trial.amount(count)
    client = partial(loads.find, peer, queries, orders.HITS, MODALITY_WORKLIST_FIND)
    with trial.watched():
        wall, load = loads.together([client] * clients)
    return Result(len(load.latencies), wall, latencies=load.latencies)


OPERATIONS = (
    Operation(
        "worklist_1",
        "worklist C-FIND by station and date, 20 of 5,000",
        partial(ask, name="5000", clients=1, count=20),
        modes=(NODELAY,),
    ),
    Operation(
        "worklist_8",
        "the same, 8 clients",
        partial(ask, name="5000", clients=8, count=5),
        modes=(NODELAY,),
    ),
)
