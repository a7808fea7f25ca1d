"""What santepacs relies on inside pynetdicom 3.0.4: fails loudly when one of it changes.

`santepacs.dicom.provider`, `messages` and `upper` stand on these names and behaviours. When
pynetdicom is updated, each line here says what has to be looked at.
"""

import inspect
import socket

import pynetdicom
import pytest
from pynetdicom import AE, association, dimse, dimse_messages, dul, evt, fsm, timer
from pynetdicom.dimse_primitives import C_ECHO, C_FIND

from santepacs.dicom.connection import Connection
from santepacs.dicom.upper import UpperAssociation


@pytest.fixture
def made():
    ours, theirs = socket.socketpair()
    yield UpperAssociation(AE(), "acceptor", Connection(ours))
    ours.close()
    theirs.close()


def test_the_version_is_pinned():
    assert pynetdicom.__version__ == "3.0.4"


@pytest.mark.parametrize(
    "name",
    [
        "_accepted_cx", "_handlers", "_kill", "_is_paused", "_sent_abort", "_dul_ready",
        "_reactor_checkpoint", "acse", "requestor", "acceptor", "is_established", "is_aborted",
        "is_released", "is_rejected",
    ],
)  # fmt: skip
def test_attributes_of_an_association(made, name):
    assert hasattr(made, name)


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [
        (association.Association, "_run_reactor", ["self"]),
        (association.Association, "_serve_request", ["self", "msg", "context_id"]),
        (association.Association, "_abort_blocking", ["self", "block"]),
        (association.Association, "run_reactor", ["self"]),
        (association.Association, "request", ["self"]),
        (association.Association, "kill", ["self"]),
        (dul.DULServiceProvider, "_process_recv_primitive", ["self"]),
        (dul.DULServiceProvider, "_decode_pdu", ["self", "bytestream"]),
        (dul.DULServiceProvider, "receive_pdu", ["self", "wait", "timeout"]),
        (dul.DULServiceProvider, "send_pdu", ["self", "primitive"]),
        (dul.DULServiceProvider, "stop_dul", ["self"]),
        (dul.DULServiceProvider, "kill_dul", ["self"]),
        (dul.DULServiceProvider, "peek_next_pdu", ["self"]),
        (dimse.DIMSEServiceProvider, "__init__", ["self", "assoc"]),
        (dimse.DIMSEServiceProvider, "get_msg", ["self", "block"]),
        (dimse.DIMSEServiceProvider, "send_msg", ["self", "primitive", "context_id"]),
        (fsm.StateMachine, "do_action", ["self", "event"]),
        (timer.Timer, "__init__", ["self", "timeout"]),
    ],
)
def test_methods_that_are_replaced_or_called(owner, name, parameters):
    assert list(inspect.signature(getattr(owner, name)).parameters) == parameters


def test_what_pynetdicoms_own_provider_has_ours_has_too(made):
    own = dul.DULServiceProvider(made)
    threads = set(vars(__import__("threading").Thread()))
    # `_run_loop_delay` belongs to the polling that is gone.
    assert set(vars(own)) - threads - {"_run_loop_delay"} <= set(vars(made.dul))


def test_what_pynetdicoms_own_association_has_ours_has_too(made):
    own = association.Association(AE(), "acceptor")
    threads = set(vars(__import__("threading").Thread()))
    assert set(vars(own)) - threads <= set(vars(made))


def test_the_actions_want_no_more_of_the_socket_than_there_is(made):
    source = inspect.getsource(fsm) + inspect.getsource(pynetdicom.acse)
    for name in ("connect", "close", "_shutdown_socket", "_ready", "_is_connected", "send"):
        assert hasattr(made.dul.socket, name)
    assert source.count("sock.") == source.count("sock.close()") + source.count("sock.connect(")


@pytest.mark.parametrize(
    ("event", "state", "action"),
    [
        ("Evt5", "Sta1", "AE-5"),
        ("Evt6", "Sta2", "AE-6"),
        ("Evt19", "Sta2", "AA-1"),
        ("Evt19", "Sta5", "AA-8"),
        ("Evt19", "Sta6", "AA-8"),
        ("Evt17", "Sta6", "AA-4"),
        ("Evt17", "Sta13", "AR-5"),
        ("Evt15", "Sta6", "AA-1"),
        ("Evt12", "Sta6", "AR-2"),
        ("Evt14", "Sta8", "AR-4"),
    ],
)
def test_the_state_machine(event, state, action):
    assert fsm.TRANSITION_TABLE[(event, state)] == action


def test_primitives_become_events():
    source = inspect.getsource(dul.DULServiceProvider._process_recv_primitive)
    for event in ("Evt1", "Evt7", "Evt8", "Evt11", "Evt14", "Evt15", "Evt9"):
        assert f'"{event}"' in source


def test_messages_by_command_field():
    assert dimse_messages._MESSAGE_TYPES[0x0030][1].__name__ == "C_ECHO_RQ"
    assert dimse_messages._MESSAGE_TYPES[0x8001][1].__name__ == "C_STORE_RSP"
    message = dimse_messages.DIMSEMessage()
    assert {"context_id", "encoded_command_set", "data_set", "command_set"} <= set(dir(message))


def test_requests_wait_for_nothing_but_being_paused():
    """pynetdicom's requests may be used from the caller's thread, without a reactor."""
    source = inspect.getsource(association.Association)
    assert source.count("while not self._is_paused:") == source.count("_reactor_checkpoint.clear()")


def test_a_response_is_known_by_what_it_responds_to():
    assert C_ECHO().MessageIDBeingRespondedTo is None
    assert not C_FIND().is_valid_request
    assert evt.EVT_C_ECHO.is_intervention
