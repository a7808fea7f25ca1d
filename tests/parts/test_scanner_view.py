"""What a scanner sees, and ``santepacs worklist see`` and ``query``."""

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pynetdicom import AE, evt

from santepacs import startup
from santepacs.db import blocking, orders, peers
from santepacs.errors import Malformed, NotFound
from santepacs.model.order import StepQuery, StepStatus, WorklistQuery, WorklistRecord
from santepacs.model.peers import Peer
from santepacs.worklist.scanner_view import ScannerView, typical_query
from support.archive import running_site
from support.dicom import WORKLIST
from support.postgres import reachable_folder

DAY = date(2026, 11, 20)
RECORD = WorklistRecord(
    patient_id="P1",
    patient_name="Doe^Jane",
    scheduled_station_ae_title="CT1",
    modality="CT",
    start_date="20261120",
    start_time="093000",
    requested_procedure_id="R1",
)


@pytest.fixture
def site(reactor_thread, database_dsn, tmp_path):
    with running_site(reactor_thread, database_dsn.runtime, tmp_path) as running:
        running.ask(peers.add, Peer("CT1", "192.0.2.1", 104))
        yield running


@pytest.fixture
def view(site):
    return ScannerView(site.database, site.settings)


def see(site, view, title="CT1", asked=None):
    return site.reactor_thread.run(view.see, title, asked or typical_query(title, DAY))


def why(site, view, key, asked, title="CT1"):
    return site.reactor_thread.run(view.explain, title, asked, key)


def add(site, **values):
    return site.ask(orders.add, replace(RECORD, **values))


def test_a_scanner_sees_its_own_steps_of_the_day(site, view):
    key = add(site)
    add(site, scheduled_station_ae_title="MR1")
    add(site, start_date="20261121")
    add(site, step_status=StepStatus.CANCELED)
    sight = see(site, view)
    assert [stored.id for stored in sight.records] == [key]
    assert (sight.refusal, sight.notes, sight.is_cut) == ("", [], False)


def test_it_is_asked_with_the_scanner_s_own_settings(site, view):
    site.settings.worklist = replace(
        site.settings.worklist, station_from_calling_ae=True, station_or_none=True
    )
    site.ask(peers.change, "CT1", Peer("CT1", "192.0.2.1", 104, append_wildcard=True))
    keys = [add(site), add(site, scheduled_station_ae_title="")]
    add(site, scheduled_station_ae_title="MR1")
    sight = see(site, view, asked=WorklistQuery(patient_name="DOE"))
    assert [stored.id for stored in sight.records] == keys
    assert sight.query.patient_name == "DOE*"
    assert sight.query.steps[0].station_ae_titles == ("CT1", "")
    assert sight.notes == [
        "without a station it is asked for the steps of CT1",
        "the steps of no station are found, too",
        "a name without wildcards is the beginning of one",
    ]


@pytest.mark.parametrize(
    "title, changes, said",
    [
        ("NEW", {}, "NEW is not in the peer list"),
        ("CT1", {"enabled": False}, "the peer CT1 is switched off"),
        ("CT1", {"may_worklist": False}, "the peer CT1 may not ask for the worklist"),
    ],
)
def test_who_gets_nothing_is_told_why(site, view, title, changes, said):
    site.ask(peers.change, "CT1", Peer("CT1", "192.0.2.1", 104, **changes))
    assert see(site, view, title).refusal.startswith(said)


def test_a_long_list_is_cut_as_for_the_scanner(site, view):
    for _ in range(3):
        add(site)
    site.settings.worklist = replace(site.settings.worklist, maximum_results=2)
    sight = see(site, view)
    assert (len(sight.records), sight.is_cut) == (2, True)


def test_keys_that_no_query_can_have_are_refused(site, view):
    with pytest.raises(Malformed):
        see(site, view, asked=WorklistQuery(patient_id="x" * 300))


@pytest.mark.parametrize(
    "changes, query, step, sentences",
    [
        ({}, {}, {}, {"status SCHEDULED is shown"}),
        (
            {"step_status": StepStatus.CANCELED},
            {},
            {},
            {"status CANCELED is hidden unless a query asks for it"},
        ),
        (
            {},
            {},
            {"start_date_from": "20261121", "start_date_to": "20261122"},
            {"start date 2026-11-20 is before the asked range 2026-11-21 to 2026-11-22"},
        ),
        (
            {},
            {},
            {"start_date_to": "20261119"},
            {"start date 2026-11-20 is after the asked range until 2026-11-19"},
        ),
        (
            {},
            {},
            {
                "start_date_from": "20261120", "start_date_to": "20261121",
                "start_time_from": "100000", "start_time_to": "110000", "combined": True,
            },
            {
                "start 2026-11-20 09:30:00 is before the asked range"
                " 2026-11-20 10:00:00 to 2026-11-21 11:00:00"
            },
        ),
        (
            {"scheduled_station_ae_title": ""},
            {},
            {"station_ae_titles": ("CT1",)},
            {"a step of no station is not found (CT1 is asked for)"},
        ),
        ({}, {}, {"modalities": ("MR",)}, {"modality CT is not what is asked for (MR)"}),
        (
            {},
            {"patient_name": "ROE*", "accession_number": "A1"},
            {},
            {
                "patient name Doe^Jane is not what is asked for (ROE*)",
                "accession number is not known, and A1 is asked for",
            },
        ),
    ],
)  # fmt: skip
def test_the_reasons_are_said_in_sentences(site, view, changes, query, step, sentences):
    key = add(site, **changes)
    explained = why(site, view, key, WorklistQuery(**query, steps=(StepQuery(**step),)))
    decisive = {reason.text for reason in explained.reasons if not reason.matches}
    assert sentences <= (decisive or {reason.text for reason in explained.reasons})
    assert explained.is_found is (not decisive)


def test_of_several_items_one_is_enough(site, view):
    steps = (StepQuery(modalities=("MR",)), StepQuery(modalities=("CT",)))
    explained = why(site, view, add(site), WorklistQuery(steps=steps))
    assert explained.is_found
    assert [reason.item for reason in explained.reasons] == [1, 1, 2, 2]


def test_a_record_that_there_is_not_is_not_found(site, view):
    with pytest.raises(NotFound):
        why(site, view, 77, WorklistQuery())


# --- commands -------------------------------------------------------------------------------------

PROGRAM = (sys.executable, "-m", "santepacs.commands.admin")
SOURCES = os.pathsep.join(filter(None, map(os.path.abspath, sys.path)))


class Commands:
    """A data directory that a server uses: we play the server."""

    def __init__(self, folder, foundation):
        self.data = folder / "data"
        self.foundation = foundation

    def run(self, *arguments):
        """Exit status, lines of stdout, stderr."""
        done = subprocess.run(
            [*PROGRAM, "--data", str(self.data), *map(str, arguments)],
            capture_output=True,
            env={**os.environ, "PYTHONPATH": SOURCES},
            cwd="/",
            timeout=60,
            check=False,
        )
        errors = done.stderr.decode()
        assert "Traceback" not in errors
        return done.returncode, done.stdout.decode().splitlines(), errors

    def ask(self, function, *args):
        async def work(tx):
            return await function(tx, *args)

        return blocking.transaction(self.foundation.dsn, work)


@pytest.fixture(scope="module")
def running():
    with reachable_folder() as folder:
        foundation = startup.for_server(None, str(folder / "data"), [])
        try:
            yield Commands(folder, foundation)
        finally:
            foundation.release()


@pytest.fixture
def commands(running):
    yield running

    async def clear(tx):
        await tx.execute("DELETE FROM worklist_record")

    running.ask(clear)


@contextmanager
def worklist_scp(*answers):
    def serve(event):
        for one in answers:
            yield 0xFF00, one

    ae = AE("OTHER")
    ae.add_supported_context(WORKLIST)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, serve)])
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def test_see_lists_and_explains(commands):
    today = f"{datetime.now().astimezone():%Y%m%d}"
    key = commands.ask(orders.add, replace(RECORD, start_date=today))
    status, lines, errors = commands.run("worklist", "see", "CT1")
    assert status == 0 and "not in the peer list" in errors
    (line,) = lines
    assert line.split()[:5] == [str(key), today, "093000", "CT1", "CT"]
    assert commands.run("worklist", "see", "MR1")[1] == []
    assert (
        commands.run("worklist", "see", "MR1", "--patient", "doe*", "--from", "today")[1] == lines
    )
    status, lines, _ = commands.run("worklist", "see", "MR1", "--record", key)
    assert status == 0 and lines[-1] == f"record {key} is not sent to MR1"
    assert "station AE title CT1 is not what is asked for (MR1)" in "\n".join(lines)
    status, _, errors = commands.run("worklist", "see", "MR1", "--record", key + 1)
    assert status == 1 and "there is no worklist record" in errors


def test_a_peer_has_a_character_set_of_its_own(commands):
    add = ("peer", "add", "OLD", "192.0.2.7", "104")
    status, _, errors = commands.run(*add, "--worklist-charset", "ISO_IR 999")
    assert status == 2 and "Specific Character Set" in errors
    charset = r"\ISO 2022 IR 87"
    status, lines, _ = commands.run(*add, "--worklist-charset", charset, "--append-wildcard")
    assert status == 0 and lines[0].endswith(f"worklist-charset={charset},append-wildcard")
    assert commands.run("peer", "list")[1][0].endswith(
        f"worklist-charset={charset},append-wildcard"
    )
    edit = ("peer", "edit", "OLD", "--worklist-charset")
    assert commands.run(*edit, "transliterated")[1][0].endswith("transliterated,append-wildcard")
    status, lines, _ = commands.run(*edit, "", "--no-append-wildcard")
    assert status == 0 and "charset" not in lines[0] and "wildcard" not in lines[0]
    peer = commands.ask(peers.find, "OLD")
    assert (peer.worklist_charset, peer.append_wildcard) == ("", False)


def test_query_asks_and_imports(commands):
    item = Dataset()
    item.Modality = "MR"
    item.ScheduledProcedureStepStartDate = "20261120"
    answer = Dataset()
    answer.PatientID, answer.PatientName, answer.RequestedProcedureID = "P7", "Roe^Jane", "R7"
    answer.AccessionNumber = "A7"
    answer.ScheduledProcedureStepSequence = Sequence([item])
    with worklist_scp(answer) as port:
        address = ("OTHER", "--host", "127.0.0.1", "--port", port)
        status, lines, errors = commands.run("worklist", "query", *address)
        assert (status, errors) == (0, "") and "P7" in lines[0] and "MR" in lines[0]
        status, _, errors = commands.run("worklist", "query", *address, "--import")
        assert status == 0 and "records added: 1, changed: 0" in errors
        status, _, errors = commands.run("worklist", "query", *address, "--import")
        assert status == 0 and "records added: 0" in errors
    status, lines, _ = commands.run("worklist", "see", "X", "--patient-id", "P7")
    assert status == 0 and len(lines) == 1
    status, _, errors = commands.run("worklist", "query", "NOBODY")
    assert status == 1 and "there is no peer NOBODY" in errors


@pytest.mark.parametrize(
    "arguments",
    [("--from", "soon"), ("--status", "ODD"), ("--limit", "0"), ("--port", "70000")],
)
def test_bad_usage_is_one_line(commands, arguments):
    status, lines, errors = commands.run("worklist", "query", "CT1", *arguments)
    assert (status, lines) == (2, []) and errors.count("\n") == 1
