"""An MLLP message in, its acknowledgement out: the one place that chooses AA, AE or AR.

AA means that what the message asks is committed. AE: the content must be mended, sending it again
fails again. AR: not ours, or a passing fault of ours; sending it again later may succeed. Whatever
the verdict, the message is kept with it, and can be run again from there.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from twisted.logger import Logger

from santepacs.db.messages import MessageRow
from santepacs.errors import Conflict, Malformed, NotFound, SantepacsError, Unavailable
from santepacs.hl7.acknowledgement import Sender, acknowledge, codes, refuse_unreadable
from santepacs.hl7.commands import commands
from santepacs.hl7.message import Message, parse, split_messages
from santepacs.hl7.records import identity
from santepacs.hl7.refusal import Refusal
from santepacs.logs import fault, one_line
from santepacs.model.order import Arrival
from santepacs.settings import Settings
from santepacs.wire.framing import mllp_block
from santepacs.worklist.mapping import Mappings
from santepacs.worklist.worklist import Worklist

log = Logger()

# Of what cannot be read, or was cut off, so many bytes are kept.
MAXIMUM_UNREADABLE = 1_000_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a message: `code` of table 0008 (empty: it is never answered), and why.

    `location`: of an error, as in ERR-2. `key`: its place in the log; None when it could not be
    kept there. `repeated`: it had been accepted before, and nothing was done.
    """

    code: str
    text: str = ""
    location: str = ""
    key: int | None = None
    refusal: Refusal | None = None
    repeated: bool = False


class Receiver:
    """Answers MLLP messages; `receive` and `refuse_broken` are handlers of a conversation."""

    def __init__(
        self,
        worklist: Worklist,
        settings: Settings,
        mappings: Callable[[], Mappings],
        kept: Callable[[int], Awaitable[MessageRow | None]],
        clock: Callable[[], datetime],
        control_id: Callable[[], str],
    ) -> None:
        """`mappings`: those in force. `kept`: a message of the log by its key, with its bytes.
        `clock`: local time with its zone. `control_id`: a new MSH-10 at each call, at most 20
        characters.
        """
        self._worklist = worklist
        self._settings = settings
        self._mappings = mappings
        self._kept = kept
        self._clock = clock
        self._control_id = control_id

    async def receive(self, payload: bytes, source: str) -> bytes | None:
        """Process the message (or messages, of a batch) of a frame; returns their framed ACKs."""
        try:
            messages = split_messages(payload)
        except Refusal as refusal:
            return await self._unreadable(payload, source, refusal)
        answers = []
        for raw in messages:
            message, verdict = await self._process(self._arrival(raw, source))
            answers.append(self._answer(message, verdict))
        return b"".join(answers) or None

    async def refuse_broken(self, payload: bytes, source: str) -> bytes | None:
        """Answer a frame whose end was lost: nothing of it is processed, all may be repeated."""
        try:
            messages = [(raw, self.read(raw)) for raw in split_messages(payload)]
        except Refusal as unreadable:
            return await self._unreadable(payload, source, unreadable)
        refusal = Refusal("207", "", "the message was cut off before its end")
        answers = []
        for raw, message in messages:
            arrival = self._described(_bounded(self._arrival(raw, source)), message)
            answers.append(self._answer(message, await self._keep_refused(arrival, refusal)))
        return b"".join(answers) or None

    async def take(self, content: bytes, source: str, actor: str = "") -> list[Verdict]:
        """Process the messages of a file; what became of each, in their order.

        Raises Refusal for what holds too many messages.
        """
        arrivals = [self._arrival(raw, source, actor=actor) for raw in split_messages(content)]
        return [(await self._process(arrival))[1] for arrival in arrivals]

    async def run_again(self, key: int, raw: bytes | None, actor: str) -> Verdict:
        """Let the message of the log with that key arrive anew, as `raw` if it was corrected.

        That it has been processed before does not count. Raises NotFound, Unavailable.
        """
        kept = await self._kept(key)
        if kept is None:
            raise NotFound("the message is no longer kept")
        raw = kept.raw if raw is None else raw
        arrival = self._arrival(raw, kept.source, origin=key, actor=actor)
        _, verdict = await self._process(arrival)
        return verdict

    def read(self, raw: bytes) -> Message:
        """A message as the port would read it. Raises Refusal."""
        return parse(raw, self._settings.hl7.default_charset)

    async def _process(self, arrival: Arrival) -> tuple[Message | None, Verdict]:
        """One message (None: it cannot be read), and what became of it."""
        try:
            message = self.read(arrival.raw)
        except Refusal as unreadable:
            return None, await self._keep_refused(_bounded(arrival), unreadable)
        return message, await self._judge(message, self._described(arrival, message))

    async def _judge(self, message: Message, arrival: Arrival) -> Verdict:
        """Hand the message to the worklist, or keep it with the reason why not."""
        if message.is_acknowledgement:
            return await self._keep(arrival, "", "an acknowledgement; it is never answered")
        try:
            asked = commands(message, self._mappings().of(*message.sender))
            outcome = await self._worklist.accept(arrival, asked)
        except SantepacsError as error:
            return await self._keep_refused(arrival, _refusal(error))
        except Exception as error:  # noqa: BLE001 - a sender without an answer stands still
            log.error(
                "an HL7 message from {source} failed: {fault}",
                source=arrival.source,
                fault=fault(error),
            )
            internal = Refusal("207", "", "internal error; the message was not processed")
            return await self._keep_refused(arrival, internal)
        warnings = list(outcome.warnings)
        if message.continued:
            warnings.append("lines that begin no segment were joined to the one before")
        if message.charset.doubtful:
            warnings.append(f"the text is not {message.charset.declared or 'UTF-8'}")
        self._note(arrival, "accepted", *warnings)
        return Verdict("AA", "; ".join(warnings), key=outcome.message, repeated=outcome.repeated)

    async def _unreadable(self, payload: bytes, source: str, refusal: Refusal) -> bytes | None:
        arrival = _bounded(self._arrival(payload, source))
        return self._answer(None, await self._keep_refused(arrival, refusal)) or None

    async def _keep_refused(self, arrival: Arrival, refusal: Refusal) -> Verdict:
        code = refusal.acknowledgement_code
        self._note(arrival, code, f"{refusal.location} {refusal}".strip())
        verdict = await self._keep(arrival, code, str(refusal), refusal.location)
        return replace(verdict, refusal=refusal)

    async def _keep(self, arrival: Arrival, code: str, text: str, location: str = "") -> Verdict:
        """Keep what changes nothing; that it cannot be kept changes no answer."""
        key = None
        try:
            key = await self._worklist.keep_refused(arrival, code, f"{location} {text}".strip())
        except Unavailable:
            log.warn("an HL7 message from {source} was not kept", source=arrival.source)
        except Exception as error:  # noqa: BLE001 - the sender gets its answer all the same
            log.error(
                "an HL7 message from {source} was not kept: {fault}",
                source=arrival.source,
                fault=fault(error),
            )
        return Verdict(code, text, location, key)

    def _answer(self, message: Message | None, verdict: Verdict) -> bytes:
        """The framed acknowledgements of a message (None: it cannot be read)."""
        settings = self._settings.hl7
        if not settings.send_acknowledgement:
            return b""
        own: dict[str, Any] = {"now": self._clock(), "sender": self._sender()}
        refusal = verdict.refusal
        if message is None:
            assert refusal is not None  # what cannot be read is refused
            return mllp_block(refuse_unreadable(refusal, control_id=self._control_id(), **own))
        answers = (
            acknowledge(
                message,
                code=code,
                refusal=None if code == "CA" else refusal,
                warning="" if refusal else verdict.text,
                control_id=self._control_id(),
                **own,
            )
            for code in codes(message, refusal, enhanced=settings.honour_acknowledgement_mode)
        )
        return b"".join(mllp_block(answer) for answer in answers if answer)

    def _sender(self) -> Sender:
        settings = self._settings.hl7
        return Sender(settings.sending_application, settings.sending_facility)

    def _arrival(self, raw: bytes, source: str, **known: Any) -> Arrival:
        return Arrival(raw=raw, source=source, received=self._clock(), **known)

    def _described(self, arrival: Arrival, message: Message) -> Arrival:
        application, facility = message.sender
        patient_id, _ = identity(message, self._mappings().of(application, facility))
        return replace(
            arrival,
            message_type="^".join(part for part in (message.type, message.event) if part)[:40],
            control_id=message.control_id[:200],
            sending_application=application[:200],
            sending_facility=facility[:200],
            charset=message.charset.verdict[:200],
            patient_id=patient_id,
        )

    def _note(self, arrival: Arrival, *remarks: str) -> None:
        elapsed = self._clock() - arrival.received
        log.info(
            "HL7 {type} {control_id} from {source}: {remarks} ({milliseconds} ms)",
            type=one_line(arrival.message_type),
            control_id=one_line(arrival.control_id, 40),
            source=arrival.source,
            remarks=one_line("; ".join(remarks)),
            milliseconds=round(elapsed.total_seconds() * 1000),
        )


def _bounded(arrival: Arrival) -> Arrival:
    """What is kept of a message of which nothing can be done."""
    return replace(arrival, raw=arrival.raw[:MAXIMUM_UNREADABLE])


def _refusal(error: SantepacsError) -> Refusal:
    """The words of HL7 for an error of another room."""
    match error:
        case Refusal():
            return error
        case Unavailable():
            return Refusal("207", "", "the worklist is not available; send again later")
        case Conflict():
            return Refusal("206", "", str(error))
        case Malformed():
            return Refusal("102", "", str(error))
    return Refusal("207", "", "the message was not processed")
