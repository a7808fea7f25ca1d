"""The HL7 port: conversations over TCP and in memory, the receiver, the token responder."""

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.logger import capturedLogs, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from santepacs.errors import Forbidden, Malformed, NotFound, Unavailable
from santepacs.hl7.message import parse
from santepacs.hl7.receiver import Receiver
from santepacs.model.addresses import is_loopback, plain_address
from santepacs.settings import Settings
from santepacs.tokens.dialogue import StudyToken
from santepacs.tokens.responder import RateLimit, TokenResponder
from santepacs.wire.admission import Admission
from santepacs.wire.conversation import ConversationFactory, Limits
from santepacs.wire.framing import Kind, mllp_block
from santepacs.worklist.mapping import DEFAULT, FieldMapping, Mappings, Row
from santepacs.worklist.worklist import Outcome
from support.receiving import NOW, ORDER, FakeWorklist, answer, kept, now, receiver, replaced

TOKEN = "T" * 64
STUDY = StudyToken("1.2.3", "20260102", "THORAX", TOKEN)


def responder(seconds=lambda: 0.0, **settings):
    async def by_uid(uid):
        return [STUDY] if uid == STUDY.study_uid else []

    async def by_patient(patient_id):
        return [STUDY] if patient_id in ("ID7", "1.2.3") else []

    return TokenResponder(
        replaced(Settings(), **settings), by_uid, by_patient, lambda: "utf-8", seconds
    )


# --- the receiver ---------------------------------------------------------------------------------


def test_an_order_is_accepted_after_the_worklist_has_it():
    worklist = FakeWorklist()
    assert answer(worklist, ORDER) == mllp_block(
        b"MSH|^~\\&|PACS|RAD|HIS|WARD|20260102030405||ACK^O01^ACK|A1|P|2.5.1\rMSA|AA|77\r"
    )
    ((arrival, commands),) = worklist.accepted
    assert (arrival.raw, arrival.source, arrival.control_id) == (ORDER, "192.0.2.1", "77")
    assert arrival.message_type == "ORM^O01"
    assert commands[0].record.patient_id == "ID7"


@pytest.mark.parametrize(
    "outcome, code, condition",
    [
        (Unavailable("no database"), "AR", "207"),
        (Malformed("cannot be"), "AE", "102"),
        (Forbidden("no"), "AR", "207"),
        (RuntimeError("password=hunter2"), "AR", "207"),
    ],
)
def test_every_failure_has_its_answer(outcome, code, condition):
    heard = []
    globalLogPublisher.addObserver(heard.append)
    try:
        reply = parse(answer(FakeWorklist(outcome), ORDER)[1:-2])
    finally:
        globalLogPublisher.removeObserver(heard.append)
    assert (reply.value("MSA", 1), reply.value("MSA", 2)) == (code, "77")
    assert reply.value("ERR", 3, 1) == condition
    assert "hunter2" not in reply.charset.text


@pytest.mark.parametrize(
    "payload, code, location",
    [
        (ORDER.replace(b"ORM^O01", b"ORU^R01"), "AR", "MSH^1^9^1^1"),
        (ORDER.replace(b"ORM^O01", b"ADT^A99"), "AR", "MSH^1^9^1^2"),
        (ORDER.replace(b"ID7", b""), "AE", "PID^1^3"),
        (ORDER + b"ZDS|../../x\r", "AE", "ZDS^1^1"),
    ],
)
def test_a_refused_message_is_answered_kept_and_not_processed(payload, code, location):
    worklist = FakeWorklist()
    reply = parse(answer(worklist, payload)[1:-2])
    assert (reply.value("MSA", 1), reply.value("ERR", 2)) == (code, location)
    assert worklist.accepted == []
    ((_, verdict, remark),) = worklist.refused
    assert (verdict, remark.split(" ")[0]) == (code, location)


def test_what_cannot_be_kept_is_still_answered():
    class Broken(FakeWorklist):
        async def keep_refused(self, arrival, verdict, remark):
            raise RuntimeError("no")

    assert b"MSA|AE" in answer(Broken(), b"hello")


@pytest.mark.parametrize("payload", [b"hello", b"PID|1\r", b"MSH", b"\xff\xfe", b"MSH|^^^^|\r"])
def test_what_cannot_be_read_is_answered(payload):
    worklist = FakeWorklist()
    reply = parse(answer(worklist, payload)[1:-2])
    assert (reply.value("MSA", 1), reply.value("MSA", 2)) == ("AE", "")
    assert len(worklist.refused) == 1


def test_each_message_of_a_batch_is_answered():
    worklist = FakeWorklist()
    reply = answer(worklist, b"BHS|^~\\&\r" + ORDER + ORDER.replace(b"|77|", b"|78|"))
    assert reply.count(b"\x1c\r") == 2
    assert reply.index(b"MSA|AA|77") < reply.index(b"MSA|AA|78")
    assert len(worklist.accepted) == 2


@pytest.mark.parametrize("header", [b"MSH|^~\\&|||||||ACK|1", b"MSH|^~\\&|||||||ORR^O02|1"])
def test_h10_an_acknowledgement_is_kept_and_neither_processed_nor_answered(header):
    worklist = FakeWorklist()
    assert answer(worklist, header + b"\rMSA|AA|5\r") is None
    assert now(receiver(worklist).refuse_broken(header + b"\rMSA|AA|5", "192.0.2.1")) is None
    assert worklist.accepted == []
    assert [verdict for _, verdict, _ in worklist.refused] == ["", "AR"]


def test_without_acknowledgements_messages_are_still_processed():
    worklist = FakeWorklist()
    assert answer(worklist, ORDER, send_acknowledgement=False) is None
    assert answer(worklist, b"hello", send_acknowledgement=False) is None
    assert len(worklist.accepted) == 1


def test_a_doubtful_text_is_accepted_with_a_warning():
    reply = parse(answer(FakeWorklist(), ORDER.replace(b"Jane", b"J\xf6rg"))[1:-2])
    assert reply.value("MSA", 1) == "AA"
    assert "the text is not UTF-8" in reply.value("MSA", 3)


def test_a_cut_message_is_refused_kept_and_may_be_repeated():
    worklist = FakeWorklist()
    reply = now(receiver(worklist).refuse_broken(ORDER[:-9], "192.0.2.1"))
    message = parse(reply[1:-2])
    assert (message.value("MSA", 1), message.value("MSA", 2)) == ("AR", "77")
    assert worklist.accepted == []
    ((arrival, verdict, remark),) = worklist.refused
    assert (arrival.raw, arrival.control_id, arrival.patient_id) == (ORDER[:-9], "77", "ID7")
    assert (verdict, remark) == ("AR", "the message was cut off before its end")


def test_every_message_of_a_cut_frame_is_refused_and_kept():
    worklist = FakeWorklist()
    payload = ORDER + ORDER.replace(b"|77|", b"|78|")[:-9]
    reply = now(receiver(worklist).refuse_broken(payload, "192.0.2.1"))
    assert reply.index(b"MSA|AR|77") < reply.index(b"MSA|AR|78")
    assert len(worklist.refused) == 2


def test_what_cannot_be_read_is_kept_up_to_a_limit():
    worklist = FakeWorklist()
    one = receiver(worklist)
    for handle in (one.receive, one.refuse_broken):
        assert b"MSA|AE" in now(handle(b"x" * 2_000_000, "192.0.2.1"))
    assert [len(arrival.raw) for arrival, _, _ in worklist.refused] == [1_000_000] * 2


def test_too_many_messages_in_a_frame_are_kept_as_one():
    worklist = FakeWorklist()
    assert b"MSA|AR" in answer(worklist, b"MSH|^~\\&\r" * 1001)
    assert len(worklist.refused) == 1


def test_a_message_is_mapped_as_its_sender_has_it():
    rows = FieldMapping((Row("patient_id", "PID", 2), *DEFAULT.rows))
    mappings = Mappings(DEFAULT, {("HIS", ""): rows})
    worklist = FakeWorklist()
    one = Receiver(worklist, Settings(), lambda: mappings, kept, lambda: NOW, lambda: "A1")
    payload = ORDER.replace(b"PID|1||", b"PID|1|OTHER|")
    now(one.receive(payload, ""))
    now(one.receive(payload.replace(b"|HIS|", b"|RIS|"), ""))
    assert [arrival.patient_id for arrival, _ in worklist.accepted] == ["OTHER", "ID7"]


def test_the_messages_of_a_file_are_judged_one_by_one():
    worklist = FakeWorklist()
    content = ORDER + ORDER.replace(b"ID7", b"") + b"MSH|^^^^|\r"
    verdicts = now(receiver(worklist).take(content, "order.hl7", "folder"))
    assert [verdict.code for verdict in verdicts] == ["AA", "AE", "AE"]
    kept = [arrival for arrival, *_ in (*worklist.accepted, *worklist.refused)]
    assert {(arrival.source, arrival.actor) for arrival in kept} == {("order.hl7", "folder")}


# --- run again ------------------------------------------------------------------------------------


def test_a_kept_message_is_run_again_as_it_was():
    worklist = FakeWorklist(Outcome(("a remark",), message=8))
    verdict = now(receiver(worklist).run_again(7, None, "nurse"))
    assert (verdict.code, verdict.text, verdict.key) == ("AA", "a remark", 8)
    ((arrival, commands),) = worklist.accepted
    assert (arrival.raw, arrival.source) == (ORDER, "192.0.2.9")
    assert (arrival.origin, arrival.actor) == (7, "nurse")
    assert commands[0].record.patient_id == "ID7"


def test_a_kept_message_is_run_again_corrected():
    worklist = FakeWorklist()
    verdict = now(receiver(worklist).run_again(7, ORDER.replace(b"ID7", b"ID8"), "nurse"))
    assert verdict.code == "AA"
    assert worklist.accepted[0][0].patient_id == "ID8"


@pytest.mark.parametrize(
    "raw, code, location",
    [
        (ORDER.replace(b"ID7", b""), "AE", "PID^1^3"),
        (b"hello", "AE", "MSH^1"),
        (ORDER.replace(b"ORM^O01", b"ORU^R01"), "AR", "MSH^1^9^1^1"),
        (b"MSH|^~\\&|||||||ACK|1\rMSA|AA|5\r", "", ""),
    ],
)
def test_what_is_run_again_in_vain_is_kept_too(raw, code, location):
    worklist = FakeWorklist()
    verdict = now(receiver(worklist).run_again(7, raw, "nurse"))
    assert (verdict.code, verdict.location, verdict.key) == (code, location, 101)
    ((arrival, kept_code, _),) = worklist.refused
    assert (arrival.origin, arrival.actor, kept_code) == (7, "nurse", code)


def test_what_is_no_longer_kept_cannot_be_run_again():
    with pytest.raises(NotFound):
        now(receiver(FakeWorklist()).run_again(6, None, "nurse"))


# --- acknowledgement modes ------------------------------------------------------------------------


def answered_codes(payload, outcome=None, **settings):
    """The MSA-1 of each answer."""
    reply = answer(FakeWorklist(outcome), payload, **settings) or b""
    return [parse(block[1:]).value("MSA", 1) for block in reply.split(b"\x1c\r")[:-1]]


@pytest.mark.parametrize(
    "accept, application, good, bad, unknown, away",
    [
        ("", "", ["AA"], ["AE"], ["AR"], ["AR"]),
        ("NE", "NE", [], [], [], []),
        ("AL", "NE", ["CA"], ["CE"], ["CR"], ["CE"]),
        ("AL", "", ["CA"], ["CE"], ["CR"], ["CE"]),
        ("ER", "NE", [], ["CE"], ["CR"], ["CE"]),
        ("SU", "NE", ["CA"], [], [], []),
        ("NE", "AL", ["AA"], ["AE"], ["AR"], ["AR"]),
        ("", "ER", [], ["AE"], ["AR"], ["AR"]),
        ("NE", "SU", ["AA"], [], [], []),
        ("AL", "AL", ["CA", "AA"], ["CA", "AE"], ["CA", "AR"], ["CE"]),
        ("al", "er", ["CA"], ["CA", "AE"], ["CA", "AR"], ["CE"]),
        ("XX", "", ["CA"], ["CE"], ["CR"], ["CE"]),
    ],
)
def test_the_acknowledgement_mode_is_honoured_where_that_is_set(
    accept, application, good, bad, unknown, away
):
    asked = f"2.5.1|||{accept}|{application}".encode()
    payload = ORDER.replace(b"2.5.1", asked)
    enhanced = {"honour_acknowledgement_mode": True}
    assert answered_codes(payload, **enhanced) == good
    assert answered_codes(payload.replace(b"ID7", b""), **enhanced) == bad
    assert answered_codes(payload.replace(b"ORM^O01", b"ORU^R01"), **enhanced) == unknown
    assert answered_codes(payload, Unavailable("no database"), **enhanced) == away
    assert answered_codes(payload) == ["AA"]
    assert answered_codes(payload.replace(b"ID7", b"")) == ["AE"]


# --- tokens ---------------------------------------------------------------------------------------


def token_answer(payload, **settings):
    return now(responder(**settings).respond(payload, "192.0.2.1"))


def test_a_study_s_token_and_a_patient_s_list():
    full = b"\x101.2.3\r20260102\rTHORAX\r" + TOKEN.encode() + b"\r\r"
    assert token_answer(b"1.2.3") == b"\x10" + TOKEN.encode() + b"\r"
    assert token_answer(b"ID7") == full
    pairs = b"\x101.2.3\r" + TOKEN.encode() + b"\r\r"
    assert token_answer(b"ID7", token_reply="pairs") == pairs


@pytest.mark.parametrize(
    "payload",
    [b"", b"9.9", b"%", b"_", b"*", b"?", b"' OR 1=1--", b"\\", b"7" * 256, b"\x01", b"\xff"],
)
def test_everything_else_has_one_and_the_same_answer(payload):
    assert token_answer(payload) == b"\x10\r"


def test_tokens_can_be_switched_off():
    with pytest.raises(Forbidden):
        token_answer(b"1.2.3", tokens=False)


def test_the_rate_is_a_source_s_and_recovers():
    seconds = [0.0]
    one = responder(lambda: seconds[0], token_rate=3)
    for _ in range(3):
        now(one.respond(b"ID7", "192.0.2.1"))
    with pytest.raises(Forbidden):
        now(one.respond(b"ID7", "192.0.2.1"))
    assert now(one.respond(b"ID7", "192.0.2.2"))
    seconds[0] = 20.0
    assert now(one.respond(b"ID7", "192.0.2.1"))
    with pytest.raises(Forbidden):
        now(one.respond(b"ID7", "192.0.2.1"))


def test_the_rate_limit_remembers_a_bounded_number_of_sources():
    limit = RateLimit(lambda: 1, lambda: 0.0)
    for number in range(10_100):
        assert limit.allows(str(number))
    assert len(limit._left) == 10_000


def test_the_audit_line_tells_no_id_and_no_token():
    heard = []
    globalLogPublisher.addObserver(heard.append)
    try:
        token_answer(b"ID7")
    finally:
        globalLogPublisher.removeObserver(heard.append)
    lines = [formatEvent(event) for event in heard if "tokens given" in event.get("log_format", "")]
    assert lines
    assert not any("ID7" in line or TOKEN[:9] in line for line in lines)


# --- admission ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address, trust, known, admitted",
    [
        ("127.0.0.1", True, [], True),
        ("::1", True, [], True),
        ("::ffff:127.0.0.1", True, [], True),
        ("127.0.0.1", False, [], False),
        ("127.0.0.1", False, ["127.0.0.1"], True),
        ("192.0.2.1", True, [], False),
        ("192.0.2.1", True, ["192.0.2.1"], True),
        ("::ffff:192.0.2.1", True, ["192.0.2.1"], True),
        ("192.0.2.1", True, ["::ffff:192.0.2.1"], True),
        ("2001:db8::1", True, ["2001:0DB8:0:0::1"], True),
        ("192.0.2.10", True, ["192.0.2.1"], False),
        ("192.0.2.1", True, ["his.example", ""], False),
        ("", True, [""], False),
    ],
)
def test_admission_by_address(address, trust, known, admitted):
    async def addresses():
        return known

    assert now(Admission(lambda: trust, addresses).admit(address)) is admitted


def test_addresses_have_one_spelling():
    assert plain_address("fe80::1%eth0") == "fe80::1"
    assert plain_address("HIS.Example ") == "his.example"
    assert is_loopback("127.9.9.9") and not is_loopback("localhost")


# --- conversations in memory ----------------------------------------------------------------------


class Wire(StringTransportWithDisconnection):
    """A TCP transport in memory."""

    aborted = False

    def setTcpNoDelay(self, enabled):
        pass

    def setTcpKeepAlive(self, enabled):
        pass

    def abortConnection(self):
        self.aborted = True
        self.loseConnection()


class ConversationTests(SynchronousTestCase):
    """What a conversation does with time, slow handlers and peers that do not read."""

    def setUp(self):
        self.clock = Clock()
        self.limits = Limits()
        self.refusals = []
        self.handled = []
        self.results = []

    def connect(self, admit=None, host="192.0.2.1"):
        async def admitted(address):
            return True

        self.factory = getattr(self, "factory", None) or ConversationFactory(
            self.clock,
            lambda: self.limits,
            admit or admitted,
            lambda address, reason: self.refusals.append((address, reason)),
            {kind: self.handler(kind) for kind in Kind},
        )
        wire = Wire()
        wire.protocol = self.factory.buildProtocol(type("Address", (), {"host": host}))
        if wire.protocol is None:
            return None
        wire.protocol.makeConnection(wire)
        return wire

    def handler(self, kind):
        async def handle(payload, source):
            self.handled.append((kind, payload))
            if self.results:
                return await self.results.pop(0)
            return b"<" + payload + b">"

        return handle

    def test_frames_are_answered_in_order_one_at_a_time(self):
        self.results = [Deferred(), Deferred()]
        first, second = self.results
        wire = self.connect()
        wire.protocol.dataReceived(mllp_block(b"MSH|1") + b"\x10ID7\r")
        self.assertEqual(self.handled, [(Kind.MLLP, b"MSH|1")])
        self.assertEqual(self.factory.busy, 1)
        first.callback(b"one")
        self.assertEqual(self.handled[1:], [(Kind.TOKEN, b"ID7")])
        second.callback(b"two")
        self.assertEqual(wire.value(), b"onetwo")
        self.assertEqual(self.factory.busy, 0)

    def test_reading_pauses_while_a_message_is_handled(self):
        self.results = [result := Deferred()]
        wire = self.connect()
        wire.protocol.dataReceived(mllp_block(b"MSH|1"))
        wire.protocol.dataReceived(b"\x0bMSH|2")
        self.assertEqual(wire.producerState, "paused")
        result.callback(None)
        self.assertEqual(wire.producerState, "producing")

    def test_nothing_is_read_before_admission(self):
        answer = Deferred()

        async def admit(address):
            return await answer

        wire = self.connect(admit)
        self.assertEqual(wire.producerState, "paused")
        answer.callback(True)
        self.assertEqual(wire.producerState, "producing")

    def test_a_stranger_is_closed_with_zero_bytes(self):
        async def admit(address):
            return False

        wire = self.connect(admit)
        self.assertFalse(wire.connected)
        self.assertEqual(wire.value(), b"")
        self.assertEqual(self.refusals, [("192.0.2.1", "not an HL7 node's address")])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_who_cannot_be_checked_is_not_admitted(self):
        async def admit(address):
            raise Unavailable("no database")

        self.assertFalse(self.connect(admit).connected)
        self.assertEqual(self.refusals, [("192.0.2.1", "no database")])

    def test_foreign_protocols_are_closed_with_zero_bytes(self):
        wire = self.connect()
        wire.protocol.dataReceived(b"POST / HTTP/1.1\r\n\r\n" + mllp_block(b"MSH|1"))
        self.assertFalse(wire.connected)
        self.assertEqual((wire.value(), self.handled), (b"", []))

    def test_an_unfinished_message_is_closed(self):
        wire = self.connect()
        self.clock.advance(1000)
        for _ in range(31):
            wire.protocol.dataReceived(b"\x0b")
            self.clock.advance(1)
            if not wire.connected:
                return
        self.fail("still open after 31 seconds of one byte a second")

    def test_a_large_message_on_a_slow_line_may_take_longer(self):
        wire = self.connect()
        wire.protocol.dataReceived(b"\x0bMSH|")
        for _ in range(60):
            wire.protocol.dataReceived(b"x" * 32 * 1024)
            self.clock.advance(1)
        self.assertTrue(wire.connected)

    def test_an_unfinished_token_request_is_closed_after_ten_seconds(self):
        wire = self.connect()
        wire.protocol.dataReceived(b"\x10I")
        self.clock.advance(9)
        wire.protocol.dataReceived(b"D")
        self.assertTrue(wire.connected)
        self.clock.advance(1.1)
        self.assertFalse(wire.connected)

    def test_a_message_without_end_mark_ends_with_silence(self):
        wire = self.connect()
        wire.protocol.dataReceived(b"MSH|^~\\&|1\r")
        self.clock.advance(2.9)
        self.assertEqual(self.handled, [])
        self.clock.advance(0.2)
        self.assertEqual(self.handled, [(Kind.MLLP, b"MSH|^~\\&|1\r")])
        self.assertTrue(wire.connected)

    def test_silence_between_messages_is_long_but_not_endless(self):
        wire = self.connect()
        self.clock.advance(3000)
        wire.protocol.dataReceived(mllp_block(b"MSH|1"))
        self.clock.advance(3599)
        self.assertTrue(wire.connected)
        self.clock.advance(2)
        self.assertFalse(wire.connected)

    def test_a_peer_that_does_not_read_is_given_up(self):
        wire = self.connect()
        self.results = [result := Deferred()]
        wire.protocol.dataReceived(mllp_block(b"MSH|1") + mllp_block(b"MSH|2"))
        wire.producer.pauseProducing()
        result.callback(b"x")
        self.assertEqual(len(self.handled), 1)
        self.clock.advance(29)
        self.assertTrue(wire.connected)
        self.clock.advance(2)
        self.assertTrue(wire.aborted)
        self.assertEqual(len(self.handled), 1)

    def test_a_peer_that_only_sends_fills_no_memory_and_is_given_up(self):
        wire = self.connect()
        self.results = [result := Deferred()]
        wire.protocol.dataReceived(mllp_block(b"MSH|1"))
        wire.producer.pauseProducing()
        result.callback(b"x")
        self.assertEqual(wire.producerState, "producing")
        for _ in range(31):
            wire.protocol.dataReceived(b"x")
            self.assertEqual(wire.producerState, "paused")
            self.clock.advance(1)
        self.assertTrue(wire.aborted)

    def test_a_peer_that_reads_again_is_served_on(self):
        wire = self.connect()
        self.results = [result := Deferred()]
        wire.protocol.dataReceived(mllp_block(b"MSH|1") + mllp_block(b"MSH|2"))
        wire.producer.pauseProducing()
        result.callback(b"x")
        wire.producer.resumeProducing()
        self.assertEqual(len(self.handled), 2)

    def test_a_failing_handler_is_logged_and_closes(self):
        self.results = [failed := Deferred()]
        wire = self.connect()
        wire.protocol.dataReceived(mllp_block(b"MSH|1"))
        with capturedLogs() as events:
            failed.errback(ZeroDivisionError("Doe^Jane"))
        self.assertFalse(wire.connected)
        (line,) = [formatEvent(event) for event in events if "log_namespace" in event]
        self.assertIn("ZeroDivisionError", line)
        self.assertNotIn("Doe", line)

    def test_a_handler_may_close(self):
        self.results = [refused := Deferred()]
        wire = self.connect()
        wire.protocol.dataReceived(b"\x10ID7\r\x10ID8\r")
        refused.errback(Forbidden("over the rate"))
        self.assertFalse(wire.connected)
        self.assertEqual((wire.value(), len(self.handled)), (b"", 1))

    def test_a_connection_lost_while_handling_ends_quietly(self):
        self.results = [late := Deferred()]
        wire = self.connect()
        wire.protocol.dataReceived(mllp_block(b"MSH|1") + mllp_block(b"MSH|2"))
        wire.protocol.connectionLost(Failure(ConnectionDone()))
        late.callback(b"late")
        self.assertEqual(wire.value(), b"")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_connections_are_limited_by_address_and_in_all(self):
        self.limits = Limits(connections=3, connections_per_address=2)
        first = self.connect()
        self.assertIsNotNone(self.connect())
        self.assertIsNone(self.connect())
        self.assertIsNotNone(self.connect(host="192.0.2.2"))
        self.assertIsNone(self.connect(host="192.0.2.3"))
        self.assertEqual(
            [reason for _, reason in self.refusals],
            ["too many connections from this address", "too many connections"],
        )
        first.loseConnection()
        self.assertIsNotNone(self.connect(host="::ffff:192.0.2.1"))

    def test_all_are_closed_when_the_server_stops(self):
        wires = [self.connect(), self.connect()]
        self.factory.close_all()
        self.assertEqual([wire.connected for wire in wires], [False, False])
        self.assertEqual(self.clock.getDelayedCalls(), [])


# --- over TCP -------------------------------------------------------------------------------------


class Client(Protocol):
    """Collects what comes; `until(text)` and `closed` can be waited for."""

    def __init__(self):
        self.received = b""
        self.closed = Deferred()
        self._wanted = None

    def dataReceived(self, data):
        self.received += data
        if self._wanted and self.received.endswith(self._wanted[0]):
            (_, found), self._wanted = self._wanted, None
            found.callback(self.received)

    def until(self, ending):
        found = Deferred()
        self._wanted = (ending, found)
        self.dataReceived(b"")
        return found.addTimeout(10, reactor)

    def connectionLost(self, reason):
        self.closed.callback(self.received)


class PortTests(TestCase):
    """Real connections on the loopback interface, with the real receiver and responder."""

    async def start(self, trust_loopback=True, **limits):
        async def nobody():
            return []

        self.worklist = FakeWorklist()
        self.refusals = []
        messages = receiver(self.worklist)
        factory = ConversationFactory(
            reactor,
            lambda: Limits(**limits),
            Admission(lambda: trust_loopback, nobody).admit,
            lambda address, reason: self.refusals.append(address),
            {
                Kind.MLLP: messages.receive,
                Kind.BROKEN: messages.refuse_broken,
                Kind.TOKEN: responder().respond,
            },
        )
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        self.addCleanup(factory.close_all)
        self.port = port.getHost().port

    async def connect(self):
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port)
        client = await endpoint.connect(Factory.forProtocol(Client))
        self.addCleanup(client.transport.abortConnection)
        return client

    async def test_orders_and_tokens_alternate_on_one_connection(self):
        await self.start()
        client = await self.connect()
        client.transport.write(mllp_block(ORDER))
        self.assertIn(b"MSA|AA|77\r", await client.until(b"\x1c\r"))
        client.received = b""
        client.transport.write(b"\x101.2.3\r")
        self.assertEqual(await client.until(b"\r"), b"\x10" + TOKEN.encode() + b"\r")
        client.received = b""
        client.transport.write(mllp_block(ORDER) + b"\x10ID7\r" + b"\x10unknown\r")
        received = await client.until(b"\r\r\x10\r")
        self.assertLess(received.index(b"MSA|AA|77"), received.index(b"\x101.2.3\r20260102"))
        self.assertEqual(len(self.worklist.accepted), 2)

    async def test_a_message_in_single_bytes(self):
        await self.start()
        client = await self.connect()
        client.transport.setTcpNoDelay(True)
        for byte in mllp_block(ORDER):
            client.transport.write(bytes([byte]))
        self.assertIn(b"MSA|AA|77\r", await client.until(b"\x1c\r"))

    async def test_a_sender_that_closes_its_side_is_answered(self):
        await self.start()
        client = await self.connect()
        client.transport.write(ORDER)
        client.transport.loseWriteConnection()
        self.assertIn(b"MSA|AA|77\r", await client.closed)

    async def test_a_stranger_gets_zero_bytes(self):
        await self.start(trust_loopback=False)
        client = await self.connect()
        client.transport.write(b"\x101.2.3\r" + mllp_block(ORDER))
        self.assertEqual(await client.closed, b"")
        self.assertEqual((self.refusals, self.worklist.accepted), (["127.0.0.1"], []))

    async def test_http_gets_zero_bytes(self):
        await self.start()
        client = await self.connect()
        client.transport.write(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n" + mllp_block(ORDER))
        self.assertEqual(await client.closed, b"")
        self.assertEqual(self.worklist.accepted, [])

    async def test_too_long_a_message_closes(self):
        await self.start(message_size=1000)
        client = await self.connect()
        client.transport.write(b"\x0b" + b"x" * 5000)
        self.assertEqual(await client.closed, b"")
        other = await self.connect()
        other.transport.write(mllp_block(ORDER))
        self.assertIn(b"MSA|AA|77\r", await other.until(b"\x1c\r"))

    async def test_a_silent_connection_is_closed(self):
        await self.start(idle_timeout=0.05)
        client = await self.connect()
        self.assertEqual(await client.closed, b"")

    async def test_answers_that_are_not_read_do_not_pile_up(self):
        handled, gone = [], Deferred()

        async def everybody(address):
            return True

        async def large(payload, source):
            handled.append(payload)
            return b"x" * 16 * 1024 * 1024

        class Watched(ConversationFactory):
            def closed(self, conversation, source):
                super().closed(conversation, source)
                gone.callback(None)

        factory = Watched(
            reactor,
            lambda: Limits(write_timeout=0.2),
            everybody,
            lambda address, reason: None,
            dict.fromkeys(Kind, large),
        )
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        self.port = port.getHost().port
        client = await self.connect()
        client.transport.pauseProducing()
        client.transport.write(b"\x10ID7\r" * 5)
        await gone.addTimeout(10, reactor)
        self.assertEqual(len(handled), 1)
