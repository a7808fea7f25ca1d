"""General acknowledgements (ACK, ch. 2.9): AA, AE and AR; CA, CE and CR where asked for.

What is repeated from the received message is repeated as wire text, without control characters,
so that nothing in it can begin a segment of the answer.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from santepacs.hl7.delimiters import Delimiters
from santepacs.hl7.message import Message
from santepacs.hl7.refusal import CONDITIONS, Refusal

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TEXT_LIMIT = 80
_ECHO_LIMIT = 1_000
# What makes an accept acknowledgement CR: type, event, processing and version of the message.
_HEADER_CONDITIONS = ("200", "201", "202", "203")


@dataclass(frozen=True, slots=True)
class Sender:
    """Our own MSH-3 and MSH-4, where the received message names no receiver."""

    application: str
    facility: str


def codes(message: Message, refusal: Refusal | None, *, enhanced: bool) -> list[str]:
    """The acknowledgements (table 0008) that a message gets, in their order.

    `enhanced`: honour MSH-15 and MSH-16; where both are empty, and in original mode, there is
    one, always. An accept acknowledgement that comes alone tells the whole verdict, because
    nothing else will; before an application acknowledgement it tells that the message is kept.
    """
    verdict = refusal.acknowledgement_code if refusal else "AA"
    accept, application = message.value("MSH", 15), message.value("MSH", 16)
    if not enhanced or not (accept or application):
        return [verdict]
    answered = _is_asked(application, refusal)
    found = [verdict] if answered else []
    if _is_asked(accept, refusal):
        if refusal is None or (answered and refusal.code != "207"):
            return ["CA", *found]
        return ["CR" if refusal.code in _HEADER_CONDITIONS else "CE"]
    return found


def _is_asked(condition: str, refusal: Refusal | None) -> bool:
    """Table 0155: always, never, on error, on success. What it does not know means always."""
    unwanted = ("", "NE", "ER" if refusal is None else "SU")
    return condition.strip().upper() not in unwanted


def acknowledge(
    message: Message,
    *,
    now: datetime,
    control_id: str,
    sender: Sender,
    refusal: Refusal | None = None,
    warning: str = "",
    code: str = "",
) -> bytes | None:
    """The ACK of `message`, without MLLP delimiters: `code`, by default AA or what `refusal` says.

    `control_id`: our MSH-10. `warning`: a remark for MSA-3 of an AA. None for a message that is
    itself an acknowledgement: those are never acknowledged.
    """
    if message.is_acknowledgement:
        return None
    delimiters = message.delimiters
    version = _echo(message, 12) or "2.3.1"
    header = [
        "MSH",
        delimiters.encoding_characters,
        _echo(message, 5) or escape(sender.application, delimiters),
        _echo(message, 6) or escape(sender.facility, delimiters),
        _echo(message, 3),
        _echo(message, 4),
        now.strftime("%Y%m%d%H%M%S"),
        "",
        _message_type(message, version),
        control_id,
        _echo(message, 11) or "P",
        version,
        *([""] * 5),
        _echo(message, 18),
    ]
    code = code or (refusal.acknowledgement_code if refusal else "AA")
    text = str(refusal) if refusal else warning
    segments = [header, ["MSA", code, _echo(message, 10), escape(text[:_TEXT_LIMIT], delimiters)]]
    if refusal:
        segments.append(_error(refusal, delimiters, version))
    return message.charset.encode(_joined(segments, delimiters))


def refuse_unreadable(refusal: Refusal, *, now: datetime, control_id: str, sender: Sender) -> bytes:
    """The answer to a frame in which no message could be read."""
    usual = Delimiters()
    header = [
        "MSH",
        usual.encoding_characters,
        escape(sender.application, usual),
        escape(sender.facility, usual),
        *("", ""),
        now.strftime("%Y%m%d%H%M%S"),
        *("", "ACK", control_id, "P", "2.3.1"),
    ]
    acknowledgement = ["MSA", refusal.acknowledgement_code, "", escape(str(refusal), usual)]
    segments = [header, acknowledgement, _error(refusal, usual, "2.3.1")]
    return _joined(segments, usual).encode("ascii", "replace")


def escape(text: str, delimiters: Delimiters) -> str:
    """`text` as data of a field: delimiters escaped, control characters replaced by a space."""
    sequences = {
        delimiters.escape: "E",
        delimiters.field: "F",
        delimiters.component: "S",
        delimiters.repetition: "R",
        delimiters.subcomponent: "T",
    }
    table = {
        ord(c): f"{delimiters.escape}{name}{delimiters.escape}" for c, name in sequences.items()
    }
    return _CONTROL.sub(" ", text).translate(table)


def _echo(message: Message, field: int) -> str:
    return _CONTROL.sub("", message.segments[0].field(field))[:_ECHO_LIMIT]


def _message_type(message: Message, version: str) -> str:
    component = message.delimiters.component
    event = re.sub(r"[^A-Za-z0-9]", "", message.event)[:10]
    if not event or version.startswith(("2.1", "2.2")):
        return "ACK"
    return component.join(("ACK", event, "ACK"))


def _error(refusal: Refusal, delimiters: Delimiters, version: str) -> list[str]:
    """ERR: its form changed with version 2.5."""
    location = refusal.location.replace("^", delimiters.component)
    condition = (refusal.code, CONDITIONS[refusal.code], "HL70357")
    if _is_at_least_2_5(version):
        text = escape(str(refusal), delimiters)
        return ["ERR", "", location, delimiters.component.join(condition), "E", "", "", "", text]
    # ERR-1 is segment, sequence, field, and the condition as subcomponents of the fourth.
    place = [*refusal.location.split("^"), "", "", ""][:3]
    return ["ERR", delimiters.component.join([*place, delimiters.subcomponent.join(condition)])]


def _is_at_least_2_5(version: str) -> bool:
    numbers = re.match(r"2\.(\d{1,2})", version)
    return numbers is not None and int(numbers[1]) >= 5


def _joined(segments: Sequence[Sequence[str]], delimiters: Delimiters) -> str:
    """Every segment ends with CR, the last too."""
    lines = (delimiters.field.join(segment).rstrip(delimiters.field) for segment in segments)
    return "".join(f"{line}\r" for line in lines)
