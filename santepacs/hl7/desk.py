"""What people do with HL7 messages: look, ask why, try another text or mapping, compare, send.

The portal gets this as an object, so that it need not know HL7. What may take long is worked out
in the pool of threads, because a message may have 16 MB. Nothing here changes the worklist but
`run_again`, which is an arrival like any other.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.protocol import Protocol

from santepacs.destinations import for_hl7
from santepacs.errors import Malformed, SantepacsError, Unavailable
from santepacs.hl7 import names, reading, sender
from santepacs.hl7.acknowledgement import escape
from santepacs.hl7.charset import codec_of, decode
from santepacs.hl7.commands import commands
from santepacs.hl7.compare import SegmentComparison, compare
from santepacs.hl7.delimiters import Delimiters
from santepacs.hl7.message import parse
from santepacs.hl7.orders import orders_of
from santepacs.hl7.receiver import Receiver
from santepacs.hl7.refusal import Refusal
from santepacs.hl7.samples import SAMPLES
from santepacs.hl7.sender import Answer
from santepacs.model.order import Command, OrderCommand, WorklistRecord
from santepacs.model.reading import Judgement, Preview, Reading
from santepacs.settings import Settings
from santepacs.threads import Threads
from santepacs.worklist.mapping import Mappings, Trace, explain
from santepacs.worklist.preview import differences

TRACED_ORDERS = 20
KNOCK_TIMEOUT = 5.0  # seconds
_FIELDS = tuple(field.name for field in fields(WorklistRecord))
_END_OF_LINE = re.compile(r"\r\n|\r|\n")


class Desk:
    """The HL7 tools."""

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        threads: Threads,
        receiver: Receiver,
        mappings: Callable[[], Mappings],
        clock: Callable[[], datetime],
        control_id: Callable[[], str],
    ) -> None:
        """`mappings`: those in force. `clock`: local time. `control_id`: a new MSH-10."""
        self._reactor = reactor
        self._settings = settings
        self._threads = threads
        self._receiver = receiver
        self._mappings = mappings
        self._clock = clock
        self._control_id = control_id

    @property
    def mappings(self) -> Mappings:
        """The field mappings in force."""
        return self._mappings()

    @property
    def _charset(self) -> str:
        return self._settings.hl7.default_charset

    # --- looking

    def field_name(self, segment: str, number: int) -> str:
        """What a field is called; empty: it is not known."""
        return names.field_name(segment, number)

    async def read(self, raw: bytes, first: int = 1) -> Reading:
        """The message for people, from its `first` segment on."""
        return await self._threads.run(reading.read, raw, self._charset, first)

    async def whole_field(self, raw: bytes, index: int, number: int) -> str | None:
        """All of field `number` of the `index`-th segment (both from 1); None: there is none."""
        return await self._threads.run(reading.whole_field, raw, self._charset, index, number)

    async def text(self, raw: bytes) -> tuple[str, str]:
        """The whole message as text, and Python's name of the codec that its MSH-18 asks for."""

        def work() -> tuple[str, str]:
            decoded = decode(raw.removeprefix(b"\x0b"), self._charset)  # files may be framed
            return decoded.text, codec_of(decoded.declared)

        return await self._threads.run(work)

    async def trace(self, raw: bytes, mappings: Mappings | None = None) -> list[list[Trace]]:
        """Where each value of each order comes from, under `mappings` (None: those in force)."""
        return await self._threads.run(_trace, raw, self._charset, mappings or self.mappings)

    async def judge(self, raw: bytes, mappings: Mappings | None = None) -> Judgement:
        """What the message would be answered, and do, if it came now."""
        return await self._threads.run(_judge, raw, self._charset, mappings or self.mappings)

    async def preview(
        self, messages: Sequence[tuple[int, bytes]], candidate: Mappings
    ) -> list[Preview]:
        """Which of these messages (key, raw) `candidate` would read otherwise than today."""

        def work() -> list[Preview]:
            seen = (_preview(key, raw, self._charset, now, candidate) for key, raw in messages)
            return [preview for preview in seen if preview is not None]

        now = self.mappings
        return await self._threads.run(work)

    async def compare(
        self, first: bytes, second: bytes, ignore: tuple[str, ...]
    ) -> list[SegmentComparison]:
        """Two messages side by side. Raises Malformed for what is no message."""

        def work() -> list[SegmentComparison]:
            a, b = (parse(raw, self._charset) for raw in (first, second))
            return compare(a, b, ignore=ignore)

        return await self._threads.run(work)

    # --- writing

    def wire(self, text: str) -> bytes:
        """A message that was typed, as bytes: segments end with CR, in the character set that its
        MSH-18 names (UTF-8 where it names none). Raises Malformed for text that does not fit it.
        """
        lines = [line for line in _END_OF_LINE.split(text.lstrip("\ufeff")) if line.strip()]
        joined = "".join(f"{line}\r" for line in lines)
        declared = decode(joined.encode()).declared
        try:
            return joined.encode(codec_of(declared))
        except UnicodeEncodeError as problem:
            raise Malformed(
                f"the character set of MSH-18, {declared or 'none'}, has no "
                f"{joined[problem.start]!r}"
            ) from None

    @property
    def sample_names(self) -> tuple[str, ...]:
        """The templates that there are."""
        return tuple(SAMPLES)

    def sample(self, name: str) -> str:
        """A message to begin with, its lines ending with LF. Raises Malformed: there is none."""
        if name not in SAMPLES:
            raise Malformed("there is no such template")
        own = self._settings.hl7
        return SAMPLES[name].format(
            application=escape(own.sending_application, Delimiters()),
            facility=escape(own.sending_facility, Delimiters()),
            now=f"{self._clock():%Y%m%d%H%M%S}",
            control_id=self._control_id(),
        )

    # --- doing

    async def run_again(self, raw: bytes, origin: int, actor: str) -> int:
        """Let the kept message `origin` arrive anew, with these bytes; returns the key of its own
        place in the log. Raises NotFound, Unavailable.
        """
        verdict = await self._receiver.run_again(origin, raw, actor)
        if verdict.key is None:
            raise Unavailable("the message could not be kept")
        return verdict.key

    async def send(self, host: str, port: int, raw: bytes) -> Answer:
        """Send by MLLP. Raises Unavailable, or Malformed for an answer that is none and a place
        where nothing may be sent to.
        """
        timeout, permit = self._settings.hl7.send_timeout, for_hl7(self._settings)
        return await sender.send(self._reactor, host, port, raw, timeout, permit)

    async def knock(self, host: str, port: int) -> int:
        """Connect and hang up; gives milliseconds. Raises Unavailable, or Malformed for a place
        where nothing may be sent to.
        """
        began = self._reactor.seconds()
        endpoint = HostnameEndpoint(self._reactor, host, port, KNOCK_TIMEOUT)
        connecting = sender.connect(endpoint, Protocol())
        connecting.addTimeout(KNOCK_TIMEOUT, self._reactor)
        try:
            connection = await connecting
        except DNSLookupError:
            raise Unavailable("the host name has no address") from None
        except (ConnectError, CancelledError, OSError) as problem:
            refused = getattr(problem, "osError", None) == 111
            said = "refuses connections" if refused else "does not answer"
            raise Unavailable(f"port {port} {said}") from None
        try:
            sender.check(connection.transport, for_hl7(self._settings))
        finally:
            connection.transport.abortConnection()
        return round(1000 * (self._reactor.seconds() - began))


def _trace(raw: bytes, charset: str, mappings: Mappings) -> list[list[Trace]]:
    try:
        message = parse(raw, charset)
    except Refusal:
        return []
    mapping = mappings.of(*message.sender)
    orders = [order for order, _ in zip(orders_of(message), range(TRACED_ORDERS), strict=False)]
    return [explain(mapping, source) for source in orders or [message]]


def _judge(raw: bytes, charset: str, mappings: Mappings) -> Judgement:
    try:
        message = parse(raw, charset)
        if message.is_acknowledgement:
            return Judgement("", text="an acknowledgement: it is never answered")
        found = commands(message, mappings.of(*message.sender))
    except Refusal as refusal:
        return Judgement(refusal.acknowledgement_code, refusal.location, str(refusal))
    except SantepacsError as problem:
        return Judgement("AE", text=str(problem))
    return Judgement("AA", effects=tuple(map(_effect, found)))


def _effect(command: Command) -> tuple[str, dict[str, str]]:
    values = {name: str(getattr(command.record, name)) for name in _FIELDS}
    if not isinstance(command, OrderCommand):
        values["prior_patient_id"] = command.prior_patient_id
    values = {name: value for name, value in values.items() if value}
    values.update(dict.fromkeys(command.cleared, "(deleted)"))
    return command.action.value, values


def _preview(
    key: int, raw: bytes, charset: str, now: Mappings, candidate: Mappings
) -> Preview | None:
    """What changes for one message; None: nothing."""
    try:
        message = parse(raw, charset)
    except Refusal:
        return None
    before, after = (_judge(raw, charset, mappings) for mappings in (now, candidate))
    changed = differences(
        orders_of(message), now.of(*message.sender), candidate.of(*message.sender)
    )
    if not changed and (before.verdict, before.text) == (after.verdict, after.text):
        return None
    fields = tuple((one.order, one.field, one.before, one.after) for one in changed)
    return Preview(key, before, after, fields)
