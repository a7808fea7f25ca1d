"""What messages do to the steps that are known: decisions in memory."""

from datetime import UTC, datetime

import pytest

from santepacs.errors import Malformed
from santepacs.model.order import (
    Action,
    Arrival,
    OrderCommand,
    PatientAction,
    PatientCommand,
    StepStatus,
    WorklistRecord,
)
from santepacs.model.steps import Repeated, Seen, Step, Written
from santepacs.worklist.batch import Batch, Outcome, Request
from santepacs.worklist.board import Board, Origin
from santepacs.worklist.decide import decide
from santepacs.worklist.order_rules import OrderRules

S = StepStatus
NOW = datetime(2026, 3, 4, 9, 30, tzinfo=UTC)
ORIGIN = Origin(NOW, message=0)


def record(**values):
    known = {
        "patient_id": "ID7",
        "patient_name": "Doe^Jane",
        "requested_procedure_id": "CT01",
        "scheduled_procedure_step_id": "CT01",
        "placer_order_number": "P1",
        "sending_application": "RIS",
        "sending_facility": "WARD",
        "start_date": "20260304",
        "start_time": "093000",
        "study_instance_uid": "1.2.3",
    }
    return WorklistRecord(**known | values)


class Decided(Board):
    """A board with the rules of a site."""

    def __init__(self, *records, orders_start=False, uids=("9.9",) * 9):
        super().__init__(Step(key, "1", one) for key, one in enumerate(records, 1))
        self.rules = OrderRules(
            self,
            makes_uid=lambda _: True,
            new_uid=iter(uids).__next__,
            orders_start=orders_start,
        )

    def take(self, commands, origin):
        return decide(self, self.rules, commands, origin)


board = Decided


def place(action=Action.PLACE, cleared=frozenset(), **values):
    return OrderCommand(action, record(**values), cleared)


def patient(action, cleared=frozenset(), prior="", prior_issuer="", **values):
    told = {"patient_id": "ID7", "sending_application": "ADT", "sending_facility": "WARD"}
    return PatientCommand(action, WorklistRecord(**told | values), cleared, prior, prior_issuer)


def results(one):
    """The records after all decisions, in order: those that were known, then the new ones."""
    return [step.record for step in one.steps]


# --- whose order ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "known, asked, is_same",
    [
        ({}, {}, True),
        ({}, {"patient_id": "ID8"}, False),
        ({}, {"sending_application": "HIS"}, False),
        ({}, {"sending_facility": "OTHER"}, False),
        ({"patient_issuer": "A"}, {"patient_issuer": "A"}, True),
        ({"patient_issuer": "A"}, {"patient_issuer": "B"}, False),
        ({"patient_issuer": "A"}, {}, True),
        ({}, {"patient_issuer": "B"}, True),
        ({"filler_order_number": "F1"}, {"filler_order_number": "F2"}, True),
        ({"placer_order_number": "", "filler_order_number": "F1"},
         {"filler_order_number": "F1"}, True),
        ({"filler_order_number": "F1"},
         {"placer_order_number": "", "filler_order_number": "F2"}, False),
        ({"accession_number": "A1", "placer_order_number": ""}, {"accession_number": "A1"}, True),
        ({"placer_order_number": ""}, {"placer_order_number": ""}, True),
        ({"placer_order_number": "", "study_instance_uid": ""},
         {"placer_order_number": "", "study_instance_uid": ""}, False),
    ],
)  # fmt: skip
def test_an_order_is_matched_within_patient_issuer_and_sender(known, asked, is_same):
    one = board(record(**known))
    one.take([place(**asked)], ORIGIN)
    assert len(results(one)) == (1 if is_same else 2)


# --- order control --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "current, wanted, result",
    [
        (S.SCHEDULED, S.CANCELED, S.CANCELED),
        (S.STARTED, S.CANCELED, S.CANCELED),
        (S.COMPLETED, S.CANCELED, S.COMPLETED),
        (S.CANCELED, S.SCHEDULED, S.CANCELED),
        (S.STARTED, S.HELD, S.STARTED),
    ],
)
def test_a_status_moves_forward_only_and_the_sender_is_told(current, wanted, result):
    one = board(record(step_status=current, status="IP"))
    remarks = one.take([place(Action.MOVE, step_status=wanted, status="CA")], ORIGIN)
    (step,) = results(one)
    assert step.step_status is result
    assert step.status == ("CA" if result is wanted else "IP")
    assert bool(remarks) is (result is not wanted)


def test_the_status_is_kept_as_it_was_sent():
    one = board()
    one.take([place(status="Final!")], ORIGIN)
    assert results(one)[0].status == "Final!"


@pytest.mark.parametrize("allowed, expected", [(False, S.SCHEDULED), (True, S.STARTED)])
@pytest.mark.parametrize("known", [(), (record(),)])
def test_an_order_s_status_starts_a_step_only_where_the_site_says_so(allowed, expected, known):
    one = board(*known, orders_start=allowed)
    one.take([place(Action.CHANGE, step_status=S.STARTED)], ORIGIN)
    assert [step.step_status for step in results(one)] == [expected]


def test_a_step_that_is_over_takes_the_patient_s_news_alone():
    one = board(record(step_status=S.COMPLETED))
    one.take([place(patient_name="Roe^Jane", modality="MR")], ORIGIN)
    (step,) = results(one)
    assert (step.patient_name, step.modality, step.step_status) == ("Roe^Jane", "", S.COMPLETED)


def test_completion_of_a_named_step_leaves_the_others_of_its_order():
    one = board(record(), record(scheduled_procedure_step_id="B"))
    one.take([place(Action.MOVE, step_status=S.COMPLETED)], ORIGIN)
    assert [step.step_status for step in results(one)] == [S.COMPLETED, S.SCHEDULED]


def test_a_cancel_takes_every_step_of_the_order():
    one = board(record(), record(scheduled_procedure_step_id="B"))
    one.take([place(Action.MOVE, step_status=S.CANCELED)], ORIGIN)
    assert [step.step_status for step in results(one)] == [S.CANCELED] * 2


def test_two_orders_of_one_message_each_keep_their_only_step():
    one = board(record(), record(placer_order_number="P2", study_instance_uid="1.2.4"))
    commands = [
        place(Action.CHANGE, scheduled_procedure_step_id="X", study_instance_uid=""),
        place(Action.CHANGE, scheduled_procedure_step_id="Y", study_instance_uid="",
              placer_order_number="P2"),
    ]  # fmt: skip
    one.take(commands, ORIGIN)
    assert [step.scheduled_procedure_step_id for step in results(one)] == ["X", "Y"]


TWO_PROCEDURES = [
    place(requested_procedure_description="CT HEAD"),
    place(requested_procedure_description="CT CHEST"),
]


@pytest.mark.parametrize("again", [TWO_PROCEDURES, TWO_PROCEDURES[::-1], [TWO_PROCEDURES[1]] * 2])
def test_two_procedures_of_one_order_are_two_steps_even_if_their_step_ids_are_the_same(again):
    """The second took the place of the first, and the sender heard AA for both."""
    one = board()
    one.take(TWO_PROCEDURES, ORIGIN)
    one.take(again, ORIGIN)
    described = [step.requested_procedure_description for step in results(one)]
    assert described == ["CT HEAD", "CT CHEST"]


def test_many_orders_of_one_patient_are_decided_upon_in_linear_time():
    """Each was compared with all: ten thousand orders kept everybody waiting for a minute."""
    one = board(uids=[])
    compared = []
    with_number_of = one.with_number_of
    one.with_number_of = lambda asked: compared.extend(found := with_number_of(asked)) or found
    orders = [place(placer_order_number=f"P{n}", study_instance_uid=f"1.{n}") for n in range(300)]
    one.take(orders, ORIGIN)
    one.take(orders, ORIGIN)
    assert len(results(one)) == len(compared) == 300


# --- superseded -----------------------------------------------------------------------------------


def superseding(*step_ids, uid="1.2.3", action=Action.CHANGE, statuses=(S.SCHEDULED,) * 3):
    one = board(
        *(
            record(scheduled_procedure_step_id=name, step_status=status)
            for name, status in zip("ABC", statuses, strict=True)
        )
    )
    commands = [
        place(action, scheduled_procedure_step_id=name, study_instance_uid=uid) for name in step_ids
    ]
    one.take(commands, ORIGIN)
    return one


def test_a_change_that_names_the_study_ends_the_steps_it_leaves_out():
    one = superseding("A", "D")
    assert [step.step_status for step in results(one)] == [
        S.SCHEDULED, S.CANCELED, S.CANCELED, S.SCHEDULED,
    ]  # fmt: skip
    happened = [(h.step, h.action) for h in one.changes().happenings]
    assert happened == [(-1, "placed"), (2, "superseded"), (3, "superseded")]


@pytest.mark.parametrize(
    "change",
    [{"uid": ""}, {"uid": "1.2.9"}, {"action": Action.PLACE}],
)
def test_nothing_else_supersedes(change):
    one = superseding("A", **change)
    assert [step.step_status for step in results(one)] == [S.SCHEDULED] * 3


def test_what_has_begun_is_not_superseded():
    one = superseding("A", statuses=(S.SCHEDULED, S.STARTED, S.COMPLETED))
    assert [step.step_status for step in results(one)] == [S.SCHEDULED, S.STARTED, S.COMPLETED]


# --- patients -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "known, told, is_same",
    [
        ({}, {}, True),
        ({"sending_facility": "NORTH"}, {}, False),
        ({"patient_issuer": "A"}, {"patient_issuer": "A", "sending_facility": "X"}, True),
        ({"patient_issuer": "A"}, {"patient_issuer": "B"}, False),
        ({"sending_facility": "", "patient_birth_date": "19700102"},
         {"patient_birth_date": "19700102"}, True),
        ({"sending_facility": "", "patient_birth_date": "19700102"},
         {"patient_birth_date": "19700103"}, False),
        ({"sending_facility": "", "patient_birth_date": ""}, {"patient_birth_date": ""}, False),
        ({"sending_facility": ""}, {"sending_facility": "", "sending_application": "RIS"}, True),
        ({"sending_facility": ""}, {"sending_facility": ""}, False),
        ({"patient_id": "ID8"}, {}, False),
    ],
)  # fmt: skip
def test_a_patient_s_records_are_found_without_joining_two_patients(known, told, is_same):
    one = board(record(**known))
    remarks = one.take([patient(PatientAction.UPDATE, patient_name="Roe^Jane", **told)], ORIGIN)
    assert (results(one)[0].patient_name == "Roe^Jane") is is_same
    assert bool(remarks) is not is_same


def test_an_update_touches_open_records_and_the_patient_alone():
    one = board(
        record(patient_sex="F", modality="CT"),
        record(step_status=S.COMPLETED),
        record(step_status=S.STARTED),
    )
    one.take(
        [patient(PatientAction.UPDATE, frozenset(("patient_sex", "modality")),
                 patient_name="Roe^Jane", allergies="latex")],
        ORIGIN,
    )  # fmt: skip
    first, over, begun = results(one)
    assert (first.patient_name, first.patient_sex, first.modality) == ("Roe^Jane", "", "CT")
    assert (first.allergies, first.sending_application) == ("latex", "RIS")
    assert (over.patient_name, begun.patient_name) == ("Doe^Jane", "Roe^Jane")
    assert [h.remark for h in one.changes().happenings] == [
        "PATIENT NAME, PATIENT SEX, ALLERGIES", "PATIENT NAME, ALLERGIES",
    ]  # fmt: skip


@pytest.mark.parametrize("action", [PatientAction.MERGE, PatientAction.RENUMBER])
def test_a_merge_moves_the_prior_patient_s_records_and_keeps_where_they_came_from(action):
    one = board(
        record(patient_id="OLD", patient_issuer="A"),
        record(patient_id="OLD", step_status=S.COMPLETED),
        record(patient_id="OLD", patient_issuer="B"),
        record(patient_id="OLD", sending_facility="NORTH"),
    )
    merge = patient(action, prior="OLD", prior_issuer="A", patient_issuer="A",
                    patient_name="Roe^Jane")  # fmt: skip
    assert one.take([merge], ORIGIN) == []
    moved, over, other_issuer, other_facility = results(one)
    assert (moved.patient_id, moved.patient_issuer, moved.patient_name) == ("ID7", "A", "Roe^Jane")
    assert (over.patient_id, over.patient_name) == ("ID7", "Doe^Jane")
    assert other_issuer.patient_id == other_facility.patient_id == "OLD"
    assert {(h.action, h.remark) for h in one.changes().happenings} == {
        ("merged", "the Patient ID was OLD")
    }


def test_orders_after_a_merge_find_what_was_moved():
    one = board(record(patient_id="OLD"))
    one.take([patient(PatientAction.MERGE, prior="OLD")], ORIGIN)
    one.take([place(Action.MOVE, step_status=S.CANCELED)], ORIGIN)
    (step,) = results(one)
    assert (step.patient_id, step.step_status) == ("ID7", S.CANCELED)


@pytest.mark.parametrize(
    "prior, prior_issuer, issuer",
    [("", "", ""), ("ID7", "", ""), ("ID7", "A", ""), ("ID7", "", "A"), ("ID7", "A", "A")],
)
def test_a_merge_with_nobody_or_oneself_is_refused_and_changes_nothing(prior, prior_issuer, issuer):
    one = board(record(patient_id=prior or "ID7"))
    update = patient(PatientAction.UPDATE, patient_name="Roe^Jane")
    merge = patient(PatientAction.MERGE, prior=prior, prior_issuer=prior_issuer,
                    patient_issuer=issuer)  # fmt: skip
    with pytest.raises(Malformed):
        one.take([update, merge], ORIGIN)
    assert one.changes().happenings == []


def test_the_same_number_of_another_issuer_is_another_patient_to_merge():
    one = board(record(patient_issuer="A"))
    one.take(
        [patient(PatientAction.MERGE, prior="ID7", prior_issuer="A", patient_issuer="B")], ORIGIN
    )
    assert results(one)[0].patient_issuer == "B"


@pytest.mark.parametrize(
    "dates, expected",
    [
        (("20260303", "20260304", "20260401"), (S.ARRIVED, S.ARRIVED, S.SCHEDULED)),
        (("20260305", "20260305", "20260401"), (S.ARRIVED, S.ARRIVED, S.SCHEDULED)),
    ],
)
def test_what_is_due_has_arrived_with_its_patient(dates, expected):
    one = board(*(record(start_date=date, placer_order_number=date) for date in dates))
    one.take([patient(PatientAction.ARRIVE)], ORIGIN)
    assert tuple(step.step_status for step in results(one)) == expected


@pytest.mark.parametrize("status", [S.STARTED, S.HELD, S.COMPLETED, S.READY])
def test_an_arrival_changes_no_step_that_is_not_scheduled(status):
    one = board(record(step_status=status))
    one.take([patient(PatientAction.ARRIVE)], ORIGIN)
    assert results(one)[0].step_status is status


@pytest.mark.parametrize("action", [a for a in PatientAction if a is not PatientAction.NOTHING])
def test_an_unknown_patient_is_a_warning(action):
    one = board(record(patient_id="OTHER"))
    assert len(one.take([patient(action, prior="ID5")], ORIGIN)) == 1
    assert one.changes().happenings == []


def test_what_changes_nothing_leaves_no_trace():
    one = board(record())
    one.take([place(), patient(PatientAction.NOTHING), place(Action.NOTHING)], ORIGIN)
    assert one.changes().happenings == []


# --- completion -----------------------------------------------------------------------------------


def test_steps_placed_together_share_the_study_of_their_procedure():
    one = board(uids=["9.1", "9.2"])
    one.take(
        [
            place(study_instance_uid=""),
            place(study_instance_uid="", scheduled_procedure_step_id="B"),
            place(study_instance_uid="", requested_procedure_id="R", placer_order_number="P2"),
        ],
        ORIGIN,
    )
    assert [step.study_instance_uid for step in results(one)] == ["9.1", "9.1", "9.2"]


# --- batches --------------------------------------------------------------------------------------


def message(raw, *commands, control_id="1", origin=None, verdict="AA"):
    arrival = Arrival(raw=raw, source="", received=NOW, control_id=control_id, origin=origin)
    return Request(commands, Origin(NOW), arrival, verdict)


def batch(*known, repeated=()):
    seen = Seen([], {message(raw).digest: Repeated(7, "before") for raw in repeated}, 0)
    one = board(*known)
    return Batch(seen, one, one.rules)


def test_messages_of_a_batch_see_what_those_before_them_did():
    one = batch()
    one.take(message(b"1", place()))
    one.take(message(b"2", place(Action.MOVE, step_status=S.CANCELED)))
    assert one.changes.added[0].record.step_status is S.CANCELED
    placed, cancelled = one.outcomes(Written([71, 72], [5]))
    assert (placed.message, placed.added, placed.changed) == (71, (5,), ())
    assert (cancelled.message, cancelled.warnings) == (72, ())
    assert [h.message for h in one.changes.happenings] == [0, 1]


def test_a_repetition_changes_nothing_wherever_the_first_one_is():
    one = batch(repeated=[b"old"])
    for raw in (b"old", b"new", b"new", b"old"):
        one.take(message(raw, place()))
    old, new, again, old_again = one.outcomes(Written([71], [5]))
    assert (old.repeated, old.message, old.warnings) == (True, 7, ("before",))
    assert (new.repeated, again.repeated, old_again.repeated) == (False, True, True)
    assert new.message == again.message == 71 and again.added == ()
    assert [(r.id, r.times) for r in one.log.repetitions] == [(7, 2)]
    assert [(entry.repeats, entry.repeated_at) for entry in one.log.entries] == [(1, NOW)]


@pytest.mark.parametrize("how", [{"control_id": ""}, {"origin": 7}, {"verdict": "AE"}])
def test_what_is_done_again_on_purpose_is_no_repetition(how):
    one = batch(repeated=[b"raw"])
    one.take(message(b"raw", place(), **how))
    one.take(message(b"raw", place(), **how))
    assert not any(outcome.repeated for outcome in one.outcomes(Written([1, 2], [5])))


def test_what_cannot_be_done_leaves_its_neighbours_and_the_log_alone():
    one = batch()
    one.take(message(b"1", place()))
    one.take(message(b"2", patient(PatientAction.MERGE, prior="ID7")))
    one.take(message(b"3", place(placer_order_number="P2", study_instance_uid="1.2.4")))
    first, bad, last = one.outcomes(Written([71, 72], [5, 6]))
    assert isinstance(bad, Malformed)
    assert (first.message, last.message, last.added) == (71, 72, (6,))


def test_an_empty_batch_writes_nothing():
    one = batch()
    one.take(Request([place(Action.NOTHING)], Origin(NOW)))
    assert one.is_empty
    assert one.outcomes(Written([], [])) == [Outcome()]
