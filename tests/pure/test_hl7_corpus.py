"""Messages of many senders, where they are at hand: each is judged, and read as others do."""

import re

import hl7

from santepacs.hl7.commands import commands
from santepacs.hl7.message import MAXIMUM_VALUE, parse, split_messages
from santepacs.hl7.refusal import Refusal
from santepacs.worklist.mapping import DEFAULT
from support.hl7_corpus import files, frames, needs_corpus

OURS = ("ORM", "OMG", "OMI", "ADT", "SIU")
# What a department would not want accepted either: no patient, no number, nothing ordered.
INCOMPLETE = {
    *("no PID segment", "no patient identifier", "no patient name", "no order number"),
    *("no OBR segment", "no SCH segment"),
}

pytestmark = needs_corpus


def messages():
    """Every message, with the name of its file."""
    for path in files():
        for frame in frames(path):
            yield from ((path.name, raw) for raw in split_messages(frame))


def test_every_message_is_accepted_or_refused_for_a_good_reason():
    accepted = refused = 0
    for name, raw in messages():
        try:
            message = parse(raw)
            found = [] if message.is_acknowledgement else commands(message, DEFAULT)
            accepted += bool(found)
            continue
        except Refusal as refusal:
            reason = refusal
            refused += 1
        if reason.code in ("100", "101", "102") and reason.location.startswith("MSH"):
            assert "malformed" in name or "invalid" in name or "non_canonical" in name, name
        elif message.type in OURS:
            assert str(reason) in INCOMPLETE or message.event == "A24", (name, str(reason))
        else:
            assert reason.acknowledgement_code == "AR"
    assert accepted > 150
    assert refused < 150


def plain_text(message):
    """The message for another parser; empty where rules of ours are needed: for escapes, other
    delimiters and wrapped lines.
    """
    text = message.charset.text
    lines = [line for line in re.split("[\r\n]+", text) if line[:3] not in ("", "BTS", "FTS")]
    usual = text.startswith("MSH|^~\\&|") and "\\" not in text[8:]
    whole = all(re.match(r"[A-Z][A-Z0-9]{2}\|", line) for line in lines)
    return "\r".join(lines) if usual and whole else ""


def test_well_formed_messages_are_read_as_another_parser_reads_them():
    compared = 0
    for name, raw in messages():
        try:
            ours = parse(raw)
        except Refusal:
            continue
        text = plain_text(ours)
        if not text:
            continue
        compared += 1
        for segment, other in zip(ours, hl7.parse(text), strict=True):
            for number, field in enumerate(other[1:], 1):
                assert segment.field(number) == str(field), (name, segment.name, number)
                if segment.name == "MSH" and number < 3:
                    continue
                for repetition, parts in enumerate(field, 1):
                    components = parts if isinstance(parts, hl7.Repetition) else [parts]
                    for component, value in enumerate(components, 1):
                        read = ours.value_in(segment, number, component, repetition)
                        assert read == str(value)[:MAXIMUM_VALUE], (name, segment.name, number)
    assert compared > 100
