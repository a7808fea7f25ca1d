"""What the log says of contexts that are not accepted."""

import pytest
from twisted.logger import formatEvent

from santepacs.dicom import contexts, unaccepted
from santepacs.dicom.admission import Caller
from santepacs.dicom.proposal import Proposed
from santepacs.dicom.unaccepted import MAXIMUM_NAMED, QUIET, Unaccepted

CT = "1.2.840.10008.5.1.4.1.1.2"
PRINT = "1.2.840.10008.5.1.1.9"
PRIVATE = "1.3.12.2.1107.5.9.1"
IMPLICIT = "1.2.840.10008.1.2"
EVERYTHING = Caller("CT7", "192.0.2.7", True, True, True, True)
NOTHING = Caller("CT7", "192.0.2.7")


class Clock:
    now = 0.0


@pytest.fixture
def say(monkeypatch):
    """Lets a caller propose (SOP class, transfer syntax); gives what is logged of it."""
    events = []
    monkeypatch.setattr(unaccepted.log, "observer", events.append)
    clock = Clock()
    unacceptable = Unaccepted(lambda: clock.now)

    def said(caller, *pairs):
        proposed = [Proposed(1, uid, (syntax,)) for uid, syntax in pairs]
        offered = [contexts.build_context(uid, [syntax]) for uid, syntax in pairs]
        supported = contexts.supported(
            offered,
            store=caller.may_store,
            query=caller.may_query,
            retrieve=caller.may_retrieve,
            worklist=caller.may_worklist,
            commitment=caller.may_store,
        )
        events.clear()
        unacceptable.tell(caller, proposed, supported)
        return [formatEvent(event) for event in events]

    said.clock = clock
    return said


@pytest.mark.parametrize(
    ("caller", "uid", "syntax", "reason"),
    [
        (NOTHING, CT, IMPLICIT, "CT Image Storage (it may neither store nor retrieve)"),
        (NOTHING, contexts.STORAGE_COMMITMENT, IMPLICIT, "(it may not store)"),
        (NOTHING, contexts.STUDY_ROOT_FIND, IMPLICIT, "(it may not query)"),
        (NOTHING, contexts.STUDY_ROOT_MOVE, IMPLICIT, "(it may not retrieve)"),
        (NOTHING, contexts.MODALITY_WORKLIST_FIND, IMPLICIT, "(it may not ask for the worklist)"),
        (NOTHING, PRIVATE, IMPLICIT, "(private, and it may neither store nor retrieve)"),
        (EVERYTHING, PRIVATE, IMPLICIT, "dicom.private_sop_classes would take it"),
        (EVERYTHING, PRINT, IMPLICIT, "(not served)"),
        (EVERYTHING, CT, "1.2.3.4", "(none of its transfer syntaxes is known)"),
    ],
)
def test_each_class_is_named_with_its_reason(say, caller, uid, syntax, reason):
    (line,) = say(caller, (uid, syntax), (contexts.VERIFICATION, IMPLICIT))
    assert line.startswith(f"CT7 from 192.0.2.7: not accepted: {uid}")
    assert reason in line


def test_a_class_that_is_accepted_in_one_context_is_not_missed(say):
    assert say(EVERYTHING, (CT, "1.2.3.4"), (CT, IMPLICIT)) == []


def test_there_is_one_line_and_a_minute_of_silence(say):
    many = [(f"{PRIVATE}.{number}", IMPLICIT) for number in range(MAXIMUM_NAMED + 3)]
    (line,) = say(EVERYTHING, *many)
    assert line.count(PRIVATE) == MAXIMUM_NAMED
    assert line.endswith("; and 3 more")
    assert say(EVERYTHING, *many) == []
    assert len(say(EVERYTHING, *many[1:])) == 1
    say.clock.now = QUIET + 1
    assert len(say(EVERYTHING, *many)) == 1


def test_a_uid_is_no_line_of_the_log(say):
    (line,) = say(EVERYTHING, ("1.2\n3", IMPLICIT))
    assert "\n" not in line
