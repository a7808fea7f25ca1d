"""Sending by MLLP: the answer that names our message, and receivers that give something else."""

import itertools
import socket
import time

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from santepacs.errors import Malformed, Unavailable
from santepacs.hl7.answers import MAXIMUM_ANSWER, Outgoing, UnusableAnswer
from santepacs.hl7.sender import send
from santepacs.wire.framing import mllp_block
from support.hl7 import acknowledgement, hl7_receiver

ORDER = b"MSH|^~\\&|SANTEPACS|RAD|RIS|WARD|20260102||ORM^O01|77|P|2.3.1\rPID|1||ID7\r"
FOREVER = 20.0


@pytest.fixture
def sending(reactor_thread):
    """Send a message to 127.0.0.1 and wait for what comes of it."""

    def run(port, raw=ORDER, timeout=FOREVER, host="127.0.0.1"):
        return reactor_thread.run(send, reactor_thread.reactor, host, port, raw, timeout)

    return run


def test_an_accepted_message(sending):
    with hl7_receiver() as receiver:
        answer = sending(receiver.port)
    assert receiver.came == [ORDER]
    assert (answer.code, answer.text, answer.accepted) == ("AA", "", True)
    assert answer.raw.startswith(b"MSH|") and 0 <= answer.milliseconds < 10_000


def test_a_host_name_is_looked_up(sending):
    with hl7_receiver() as receiver:
        assert sending(receiver.port, host="localhost").accepted


@pytest.mark.parametrize(
    ("code", "error", "passing"),
    [
        ("AE", "", False),
        ("CE", "", False),
        ("AR", "", True),
        ("CR", "207^Application internal error", True),
        ("AR", "206^Application record locked", True),
        ("AR", "200^Unsupported message type", False),
        ("AR", "201^Unsupported event code", False),
    ],
)
def test_a_refusal_is_an_answer_that_tells_whether_to_try_again(sending, code, error, passing):
    def answer(raw):
        return acknowledgement(raw, code, "no such patient", error=error)

    with hl7_receiver(answer) as receiver:
        answer = sending(receiver.port)
    assert (answer.code, answer.accepted, answer.is_passing) == (code, False, passing)
    assert answer.text == "no such patient"
    assert answer.condition == error[:3]


def test_the_condition_of_an_older_version_is_found():
    ack = b"MSH|^~\\&|||||||ACK|R1|P|2.3.1\rMSA|AR|77\rERR|MSH^1^9^200&Unsupported message type\r"
    answer = Outgoing(ORDER).feed(mllp_block(ack))
    assert (answer.condition, answer.is_passing) == ("200", False)


@pytest.mark.parametrize(
    "pieces",
    [
        lambda raw: [b"\x0b\x06\x1c\r", acknowledgement(raw)],
        lambda raw: [b"\x0b\x06\x1c\r" + acknowledgement(raw)],
        lambda raw: [acknowledgement(raw, control_id="76"), acknowledgement(raw)],
        lambda raw: [mllp_block(raw), acknowledgement(raw)],
        lambda raw: [bytes([byte]) for byte in acknowledgement(raw)],
        lambda raw: [b"hello\r\n", acknowledgement(raw)],
        lambda raw: [acknowledgement(raw)[:-1]],
        lambda raw: [acknowledgement(raw)[1:]],
        lambda raw: [acknowledgement(raw).replace(b"\r", b"\n")],
        lambda raw: [acknowledgement(raw), b"more" * 1000],
        lambda raw: [acknowledgement(raw, "CA"), acknowledgement(raw)],
    ],
    ids=range(11),
)
def test_what_else_a_receiver_sends_is_passed_over(sending, pieces):
    with hl7_receiver(pieces) as receiver:
        assert sending(receiver.port).accepted


def test_a_refusal_that_names_no_message_is_meant_for_ours(sending):
    with hl7_receiver(lambda raw: acknowledgement(raw, "AR", control_id="")) as receiver:
        assert sending(receiver.port).code == "AR"


def test_a_message_without_control_id_takes_any_answer(sending):
    with hl7_receiver(lambda raw: acknowledgement(raw, control_id="5")) as receiver:
        assert sending(receiver.port, ORDER.replace(b"|77|", b"||")).accepted


# --- receivers that do not answer -----------------------------------------------------------------


@pytest.mark.parametrize("hang_up", [False, True])
@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (lambda raw: None, Unavailable, "did not answer"),
        (lambda raw: b"\x0b", Unavailable, "did not finish its answer"),
        (lambda raw: b"\x0bMSH|^~\\&|RIS", Unavailable, "did not finish its answer"),
        (lambda raw: b"\x0b\x06\x1c\r", Unavailable, "did not answer"),
        (lambda raw: acknowledgement(raw, control_id="78"), UnusableAnswer, "no acknowledgement"),
        (lambda raw: acknowledgement(raw, control_id=""), UnusableAnswer, "no acknowledgement"),
        (lambda raw: acknowledgement(raw, "ZZ"), UnusableAnswer, "no acknowledgement"),
        (lambda raw: mllp_block(b"no message"), UnusableAnswer, "no acknowledgement"),
        (lambda raw: mllp_block(raw), UnusableAnswer, "no acknowledgement"),
    ],
    ids=["nothing", "begin", "cut", "commit", "other", "unnamed", "code", "junk", "echo"],
)
def test_no_usable_answer_is_named(sending, answer, error, text, hang_up):
    with hl7_receiver(answer, hang_up=hang_up) as receiver, pytest.raises(error, match=text):
        sending(receiver.port, timeout=FOREVER if hang_up else 0.2)


def test_an_unusable_answer_is_kept(sending):
    answer = acknowledgement(ORDER, control_id="78")
    with (
        hl7_receiver(lambda raw: answer, hang_up=True) as receiver,
        pytest.raises(Malformed) as raised,
    ):
        sending(receiver.port)
    assert mllp_block(raised.value.raw) == answer


def test_a_receiver_that_could_not_keep_it_is_tried_later(sending):
    nak = b"\x0b\x15\x1c\r"
    with hl7_receiver(lambda raw: nak) as receiver, pytest.raises(Unavailable, match="NAK"):
        sending(receiver.port)


def endless(piece):
    return lambda raw: itertools.repeat(piece)


@pytest.mark.parametrize(
    "answer",
    [
        lambda raw: itertools.chain([b"\x0b"], itertools.repeat(b"A" * 65536, 16_000)),
        endless(acknowledgement(ORDER, control_id="78")),
        endless(b"\x0b\x06\x1c\r" * 100),
        endless(b"junk" * 1000),
        endless(b"\x10token\r" * 100),
    ],
    ids=["1 GB", "other", "commit", "junk", "tokens"],
)
def test_an_endless_answer_is_cut_off(sending, answer):
    with hl7_receiver(answer) as receiver, pytest.raises(UnusableAnswer):
        sending(receiver.port)
    assert receiver.sent < 16 * MAXIMUM_ANSWER


def test_a_slow_answer_does_not_hold_us_longer_than_the_time_out(sending):
    def dripping(raw):
        for byte in itertools.chain(b"\x0bMSH|", itertools.repeat(65)):
            yield bytes([byte])
            time.sleep(0.02)

    began = time.monotonic()
    with hl7_receiver(dripping) as receiver, pytest.raises(Unavailable):
        sending(receiver.port, timeout=0.2)
    assert time.monotonic() - began < 5


def test_a_receiver_that_reads_nothing_is_given_up(sending):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(Unavailable, match="did not answer"):
            sending(port, ORDER + b"OBX|1||" + b"A" * 16_000_000 + b"\r", timeout=0.3)


def test_nobody_there(sending):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(Unavailable, match="refuses connections"):
        sending(port)


@pytest.mark.parametrize("host", ["a" * 300, "x..y", ".", "", "\n"])
def test_a_host_that_is_none(sending, host):
    with pytest.raises(Unavailable):
        sending(1, host=host, timeout=5.0)


def test_a_connection_that_is_never_made_is_given_up():
    reactor, ends = MemoryReactorClock(), []
    sent = Deferred.fromCoroutine(send(reactor, "127.0.0.1", 787, ORDER, 5.0))
    sent.addBoth(ends.append)
    reactor.advance(0.1)
    assert not ends and reactor.tcpClients[0][:2] == ("127.0.0.1", 787)
    reactor.advance(6)
    assert isinstance(ends[0], Failure) and ends[0].check(Unavailable)


@pytest.mark.parametrize(
    "raw", [b"", b"hello", b"PID|1\r", b"MSH\r", ORDER + b"\x1c\r", ORDER + b"\x0bMSH|\r"]
)
def test_what_is_no_message_is_not_sent(sending, raw):
    with pytest.raises(Malformed):
        sending(1, raw)
