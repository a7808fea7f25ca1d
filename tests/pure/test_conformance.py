"""The conformance statement says what the code does."""

from pathlib import Path
from string import Template
from types import SimpleNamespace

import pytest
from pydicom.dataset import Dataset
from pynetdicom import build_context

from docs.conformance_source import associations, keys, statement, statuses
from docs.conformance_source.markdown import attribute, tag
from santepacs.db.search_columns import COLUMNS, Level
from santepacs.dicom import charsets, committing, contexts, procedure, query, status, store
from santepacs.dicom.admission import Caller
from santepacs.dicom.commitment import Answer
from santepacs.dicom.message import Command, Request
from santepacs.dicom.status import Status
from santepacs.errors import Conflict, Forbidden, Malformed, Unavailable
from santepacs.model.study import Outcome
from santepacs.model.transfer_syntaxes import STORAGE_TRANSFER_SYNTAXES
from santepacs.settings import DicomSettings, Settings, options
from santepacs.worklist import datasets
from santepacs.worklist.keys import query_from_dataset

STATEMENT = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"


@pytest.fixture(scope="module")
def text():
    return STATEMENT.read_text("utf-8")


def test_the_statement_is_what_the_code_makes_today(text):
    assert text == statement.statement(), "run `make conformance`"


def test_the_template_names_all_there_is_and_nothing_else():
    template = Template(statement.TEMPLATE.read_text("utf-8"))
    assert set(template.get_identifiers()) == {*statement._numbers(), *statement._tables()}


def test_every_sop_class_stands_in_it(text):
    uids = contexts.storage_classes() | contexts.SERVICES
    assert [uid for uid in uids if f"| {uid} |" not in text] == []


def test_every_transfer_syntax_of_storage_stands_in_it_and_deflated_does_not(text):
    assert [uid for uid in STORAGE_TRANSFER_SYNTAXES if f"| {uid} |" not in text] == []
    assert associations.DEFLATED not in text


def test_private_sop_classes_are_stored_as_is_said():
    settings = Settings(dicom=DicomSettings(private_sop_classes=("1.2.3.4",)))
    session = SimpleNamespace(caller=Caller("CT1", "192.0.2.1"))
    context = build_context("1.2.3.4", "1.2.840.10008.1.2")
    asked = Request(Command.C_STORE, 1, "1.2.3.4", "1.2.3.4.5")
    store.open_spool(SimpleNamespace(settings=settings), session, asked, context)


def test_every_status_and_failure_reason_stands_in_it(text):
    reasons = (
        committing.PROCESSING_FAILURE,
        committing.NO_SUCH_OBJECT,
        committing.CLASS_INSTANCE_CONFLICT,
    )
    codes = {*map(int, Status), *map(int, Answer), *map(int, procedure.Answer), *reasons}
    assert [f"0x{code:04X}" for code in codes if f"| 0x{code:04X} |" not in text] == []


def test_storage_has_the_statuses_of_its_outcomes_and_errors():
    errors = (Malformed(""), Conflict(""), Unavailable(""), Forbidden(""), RuntimeError(""))
    sent = {status.STORED[outcome] for outcome in Outcome} | set(map(status.of_store, errors))
    assert set(statuses.STORE) == sent


@pytest.mark.parametrize("service", ["FIND", "WORKLIST", "MOVE", "GET"])
def test_queries_and_retrieval_have_the_statuses_of_their_errors(service):
    errors = (Malformed(""), Unavailable(""), Forbidden(""), RuntimeError(""))
    sent = {Status.SUCCESS, Status.PENDING, Status.CANCELLED, *map(status.of_query, errors)}
    assert sent <= set(getattr(statuses, service))


def test_storage_commitment_has_every_answer():
    assert set(statuses.COMMITMENT) == set(Answer)


def test_performed_steps_have_the_answers_of_their_errors():
    created = {answer for _, answer in procedure.OF_CREATE} - {Answer.NO_SUCH_INSTANCE}
    changed = {answer for _, answer in procedure.OF_SET} - {procedure.Answer.MISSING_ATTRIBUTE}
    assert created <= set(statuses.CREATE) and changed <= set(statuses.SET)
    assert {*statuses.CREATE, *statuses.SET} == set(procedure.Answer)


@pytest.mark.parametrize("level", Level)
def test_every_key_of_a_level_stands_in_it(level, text):
    absent = [one for one in COLUMNS[level] if f"| {attribute(one)} | {tag(one)} |" not in text]
    assert absent == []


@pytest.mark.parametrize("level", Level)
def test_every_key_that_the_standard_requires_is_supported(level):
    assert keys.REQUIRED[level] <= COLUMNS[level].keys()
    assert query.UNIQUE_KEYS[level] in keys.REQUIRED[level]


def asks(keyword, *, of_step):
    """Whether a worklist query with this key asks for something."""
    value = {"DA": "20200101", "TM": "1000"}.get(keys.vr(keyword), "SCHEDULED")
    asked, step = Dataset(), Dataset()
    # As text: a UID or date of pydicom's own is of no interest here.
    setattr(step if of_step else asked, keyword, value)
    asked.ScheduledProcedureStepSequence = [step]
    universal = query_from_dataset(Dataset(), "", Settings())
    return query_from_dataset(asked, "", Settings()) != universal


@pytest.mark.parametrize("keyword", sorted({*datasets._TOP, *keys.WORKLIST}))
def test_matching_keys_of_the_worklist_are_those_that_match(keyword):
    if keys.vr(keyword) != "SQ":
        assert asks(keyword, of_step=False) == (keyword in keys.WORKLIST)


@pytest.mark.parametrize("keyword", sorted({*datasets._STEP, *keys.WORKLIST_STEP}))
def test_matching_keys_of_the_step_are_those_that_match(keyword):
    if keys.vr(keyword) != "SQ":
        assert asks(keyword, of_step=True) == (keyword in keys.WORKLIST_STEP)


def test_every_attribute_of_a_worklist_answer_stands_in_it(text):
    returned = (*datasets._TOP, *datasets._STEP)
    assert [one for one in returned if f"| {attribute(one)} | {tag(one)} |" not in text] == []


def test_every_character_set_of_answers_stands_in_it():
    known = {term for _, *terms in keys.REPERTOIRES for term in terms}
    assert charsets._ALONE.keys() | charsets._EXTENDED.keys() <= known


def test_every_setting_of_dicom_stands_in_it(text):
    names = [option.name for option in options() if option.section in statement.SECTIONS]
    assert [name for name in names if f"| `{name}` |" not in text] == []


def test_every_service_has_its_section(text):
    served = (Command.C_ECHO, Command.C_STORE, Command.C_FIND, Command.C_GET, Command.C_MOVE)
    others = (Command.N_ACTION, Command.N_CREATE, Command.N_SET)
    words = [command.name.replace("_", "-") for command in (*served, *others)]
    assert [word for word in words if word not in text] == []
