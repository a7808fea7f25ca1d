"""An MLLP message in, its acknowledgement out: the one place that chooses AA, AE or AR.

AA means that what the message asks is committed. AE: the content must be mended, sending it again
fails again. AR: not ours, or a passing fault of ours; sending it again later may succeed.
"""

from collections.abc import Callable
from datetime import datetime

from twisted.logger import Logger

from santepacs.errors import Conflict, Malformed, SantepacsError, Unavailable
from santepacs.hl7 import orders
from santepacs.hl7.acknowledgement import Sender, acknowledge, refuse_unreadable
from santepacs.hl7.message import Message, parse, split_messages
from santepacs.hl7.refusal import Refusal
from santepacs.logs import fault, one_line
from santepacs.model.order import Arrival
from santepacs.settings import Settings
from santepacs.wire.framing import mllp_block
from santepacs.worklist.mapping import FieldMapping
from santepacs.worklist.worklist import Worklist

log = Logger()


class Receiver:
    """Answers MLLP messages; `receive` and `refuse_broken` are handlers of a conversation."""

    def __init__(
        self,
        worklist: Worklist,
        settings: Settings,
        mapping: Callable[[], FieldMapping],
        clock: Callable[[], datetime],
        control_id: Callable[[], str],
    ) -> None:
        """`mapping`: the one in force. `clock`: local time with its zone. `control_id`: a new
        MSH-10 at each call, at most 20 characters.
        """
        self._worklist = worklist
        self._settings = settings
        self._mapping = mapping
        self._clock = clock
        self._control_id = control_id

    async def receive(self, payload: bytes, source: str) -> bytes | None:
        """Process the message (or messages, of a batch) of a frame; returns their framed ACKs."""
        try:
            messages = split_messages(payload)
        except Refusal as refusal:
            return self._unreadable(refusal)
        answers = [await self._one(raw, source) for raw in messages]
        return b"".join(answer for answer in answers if answer) or None

    async def refuse_broken(self, payload: bytes, source: str) -> bytes | None:
        """Answer a message whose end was lost: it is not processed, its sender may repeat it."""
        refusal = Refusal("207", "", "the message was cut off before its end")
        try:
            message = parse(split_messages(payload)[-1], self._settings.hl7.default_charset)
        except Refusal:
            return self._unreadable(refusal)
        return self._answer(message, refusal)

    async def _one(self, raw: bytes, source: str) -> bytes | None:
        settings = self._settings.hl7
        arrival = Arrival(raw=raw, source=source, received=self._clock())
        try:
            message = parse(raw, settings.default_charset)
        except Refusal as unreadable:
            await self._keep_refused(arrival, unreadable)
            return self._unreadable(unreadable)
        arrival = _described(arrival, message)
        if message.is_acknowledgement:
            return None
        refusal, warning = await self._process(message, arrival)
        if refusal:
            await self._keep_refused(arrival, refusal)
        return self._answer(message, refusal, warning)

    async def _process(self, message: Message, arrival: Arrival) -> tuple[Refusal | None, str]:
        """Hand the message to the worklist; says why it was not taken, or a warning."""
        try:
            commands = orders.commands(message, self._mapping())
            outcome = await self._worklist.accept(arrival, commands)
        except SantepacsError as error:
            return _refusal(error), ""
        except Exception as error:  # noqa: BLE001 - a sender without an answer stands still
            log.error(
                "an HL7 message from {source} failed: {fault}",
                source=arrival.source,
                fault=fault(error),
            )
            return Refusal("207", "", "internal error; the message was not processed"), ""
        warnings = list(outcome.warnings)
        if message.continued:
            warnings.append("lines that begin no segment were joined to the one before")
        if message.charset.doubtful:
            warnings.append(f"the text is not {message.charset.declared or 'UTF-8'}")
        log.info(
            "HL7 {type} {control_id} from {source}: accepted{warnings}",
            type=one_line(arrival.message_type),
            control_id=one_line(arrival.control_id, 40),
            source=arrival.source,
            warnings="".join(f"; {warning}" for warning in warnings),
        )
        return None, "; ".join(warnings)

    async def _keep_refused(self, arrival: Arrival, refusal: Refusal) -> None:
        """Keep a refused message for the log; that it cannot be kept changes no answer."""
        log.info(
            "HL7 {type} {control_id} from {source}: {code} {location} {reason}",
            type=one_line(arrival.message_type),
            control_id=one_line(arrival.control_id, 40),
            source=arrival.source,
            code=refusal.acknowledgement_code,
            location=refusal.location,
            reason=refusal,
        )
        try:
            await self._worklist.keep_refused(
                arrival, refusal.acknowledgement_code, f"{refusal.location} {refusal}".strip()
            )
        except Unavailable:
            log.warn("a refused HL7 message from {source} was not kept", source=arrival.source)
        except Exception as error:  # noqa: BLE001 - the sender gets its answer all the same
            log.error(
                "a refused HL7 message from {source} was not kept: {fault}",
                source=arrival.source,
                fault=fault(error),
            )

    def _answer(self, message: Message, refusal: Refusal | None, warning: str = "") -> bytes | None:
        if not self._settings.hl7.send_acknowledgement:
            return None
        acknowledgement = acknowledge(
            message,
            now=self._clock(),
            control_id=self._control_id(),
            sender=self._sender(),
            refusal=refusal,
            warning=warning,
        )
        return mllp_block(acknowledgement) if acknowledgement else None

    def _unreadable(self, refusal: Refusal) -> bytes | None:
        if not self._settings.hl7.send_acknowledgement:
            return None
        return mllp_block(
            refuse_unreadable(
                refusal,
                now=self._clock(),
                control_id=self._control_id(),
                sender=self._sender(),
            )
        )

    def _sender(self) -> Sender:
        settings = self._settings.hl7
        return Sender(settings.sending_application, settings.sending_facility)


def _described(arrival: Arrival, message: Message) -> Arrival:
    return Arrival(
        raw=arrival.raw,
        source=arrival.source,
        received=arrival.received,
        message_type="^".join(part for part in (message.type, message.event) if part)[:40],
        control_id=message.control_id[:200],
        sending_application=message.value("MSH", 3, 1)[:200],
        sending_facility=message.value("MSH", 4, 1)[:200],
        charset=f"{message.charset.declared} as {message.charset.codec}"[:200],
    )


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
