"""DIMSE messages: command sets read and written (PS3.7 6.3, 9.3, 10.3).

A command set is implicit VR little endian, whatever was negotiated. What a peer sends is hostile:
it is read whole or refused as Malformed.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from io import BytesIO
from typing import Any

from santepacs.dicom.spool import Spool
from santepacs.errors import Malformed

CommandSet = dict[int, bytes]
"""The elements of group 0000 by their second half: ``{0x0100: b"\\1\\0"}``."""

RESPONSE = 0x8000
NO_DATA_SET = 0x0101
_WITH_DATA_SET = 0x0001
_ELEMENT = struct.Struct("<HHL")
_US = struct.Struct("<H")


class Command(IntEnum):
    """Command fields of requests (PS3.7 E.1); the responses' have the highest bit set."""

    C_STORE = 0x0001
    C_GET = 0x0010
    C_FIND = 0x0020
    C_MOVE = 0x0021
    C_ECHO = 0x0030
    N_EVENT_REPORT = 0x0100
    N_GET = 0x0110
    N_SET = 0x0120
    N_ACTION = 0x0130
    N_CREATE = 0x0140
    N_DELETE = 0x0150
    C_CANCEL = 0x0FFF


class Element(IntEnum):
    """Elements of the command group that we read or write."""

    AFFECTED_SOP_CLASS_UID = 0x0002
    REQUESTED_SOP_CLASS_UID = 0x0003
    COMMAND_FIELD = 0x0100
    MESSAGE_ID = 0x0110
    MESSAGE_ID_BEING_RESPONDED_TO = 0x0120
    MOVE_DESTINATION = 0x0600
    PRIORITY = 0x0700
    COMMAND_DATA_SET_TYPE = 0x0800
    STATUS = 0x0900
    ERROR_COMMENT = 0x0902
    ERROR_ID = 0x0903
    AFFECTED_SOP_INSTANCE_UID = 0x1000
    REQUESTED_SOP_INSTANCE_UID = 0x1001
    EVENT_TYPE_ID = 0x1002
    ACTION_TYPE_ID = 0x1008
    REMAINING = 0x1020
    COMPLETED = 0x1021
    FAILED = 0x1022
    WARNING = 0x1023
    MOVE_ORIGINATOR = 0x1030
    MOVE_ORIGINATOR_MESSAGE_ID = 0x1031


# The requests of the N-services that name what they are about as "requested", not "affected".
_REQUESTED = (Command.N_GET, Command.N_SET, Command.N_ACTION, Command.N_DELETE)


@dataclass(slots=True)
class Request:
    """A request of the peer, as far as services want to know."""

    command_field: int
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    priority: int = 0
    move_destination: str = ""
    action_type: int | None = None
    event_type: int | None = None
    data_set: Spool | BytesIO | None = None


def parsed(data: bytes) -> CommandSet:
    """The elements of an encoded command set. Raises Malformed.

    The group length is not looked at: the fragments say where the command set ends.
    """
    elements: CommandSet = {}
    position, end = 0, len(data)
    while position < end:
        if end - position < 8:
            raise Malformed("the command set ends within an element")
        group, element, length = _ELEMENT.unpack_from(data, position)
        position += 8
        if group != 0 or length > end - position:
            raise Malformed("the command set cannot be read")
        elements[element] = data[position : position + length]
        position += length
    return elements


def number(command: CommandSet, element: int) -> int:
    """A US value. Raises Malformed when it is absent or no number."""
    value = command.get(element)
    if value is None or len(value) != 2:
        raise Malformed(f"element (0000,{element:04X}) of the command set is missing or wrong")
    return int.from_bytes(value, "little")


def text(command: CommandSet, element: int) -> str:
    """A text value without its padding; empty when absent. Raises Malformed if it is not ASCII."""
    try:
        return command.get(element, b"").rstrip(b"\0 ").decode("ascii")
    except UnicodeDecodeError:
        raise Malformed(f"element (0000,{element:04X}) of the command set is no text") from None


def has_data_set(command: CommandSet) -> bool:
    """Whether a data set follows. Raises Malformed when that is not said."""
    return number(command, Element.COMMAND_DATA_SET_TYPE) != NO_DATA_SET


def request(command: CommandSet) -> Request:
    """The request that a command set makes. Raises Malformed."""
    field = number(command, Element.COMMAND_FIELD)
    requested = field in _REQUESTED
    sop_class = Element.REQUESTED_SOP_CLASS_UID if requested else Element.AFFECTED_SOP_CLASS_UID
    instance = (
        Element.REQUESTED_SOP_INSTANCE_UID if requested else Element.AFFECTED_SOP_INSTANCE_UID
    )
    return Request(
        field,
        number(command, Element.MESSAGE_ID),
        text(command, sop_class),
        text(command, instance),
        _optional(command, Element.PRIORITY) or 0,
        text(command, Element.MOVE_DESTINATION).strip(),
        _optional(command, Element.ACTION_TYPE_ID),
        _optional(command, Element.EVENT_TYPE_ID),
    )


def _optional(command: CommandSet, element: int) -> int | None:
    return number(command, element) if element in command else None


def encoded(elements: dict[int, int | str | None], *, data_set: bool) -> bytes:
    """A command set of numbers (US) and texts; what is None is left out."""
    body = bytearray()
    elements = {**elements, Element.COMMAND_DATA_SET_TYPE: _type(data_set)}
    for element, value in sorted(elements.items()):
        if value is None:
            continue
        if isinstance(value, int):
            body += _ELEMENT.pack(0, element, 2) + _US.pack(value)
            continue
        raw = value.encode("ascii", "replace")
        if len(raw) % 2:
            raw += b"\0" if element in _UIDS else b" "
        body += _ELEMENT.pack(0, element, len(raw)) + raw
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + bytes(body)


_UIDS = frozenset(
    (
        Element.AFFECTED_SOP_CLASS_UID,
        Element.REQUESTED_SOP_CLASS_UID,
        Element.AFFECTED_SOP_INSTANCE_UID,
        Element.REQUESTED_SOP_INSTANCE_UID,
    )
)


def _type(data_set: bool) -> int:
    return _WITH_DATA_SET if data_set else NO_DATA_SET


def response(
    asked: Request,
    status: int,
    *,
    data_set: bool = False,
    comment: str = "",
    error_id: int | None = None,
    remaining: int | None = None,
    completed: int | None = None,
    failed: int | None = None,
    warning: int | None = None,
) -> bytes:
    """The command set of an answer to `asked`.

    `comment` is cut to the 64 characters of an Error Comment; `error_id` tells one failure of a
    service from another; the counts are those of C-GET and C-MOVE (PS3.7 9.1.3, 9.1.4).
    """
    elements: dict[int, Any] = {
        Element.AFFECTED_SOP_CLASS_UID: asked.sop_class_uid or None,
        Element.COMMAND_FIELD: asked.command_field | RESPONSE,
        Element.MESSAGE_ID_BEING_RESPONDED_TO: asked.message_id,
        Element.STATUS: int(status),
        Element.ERROR_COMMENT: comment[:64] or None,
        Element.ERROR_ID: error_id,
        Element.AFFECTED_SOP_INSTANCE_UID: asked.sop_instance_uid or None,
        Element.EVENT_TYPE_ID: asked.event_type,
        Element.ACTION_TYPE_ID: asked.action_type,
        Element.REMAINING: remaining,
        Element.COMPLETED: completed,
        Element.FAILED: failed,
        Element.WARNING: warning,
    }
    return encoded(elements, data_set=data_set)


def store_request(
    sop_class_uid: str,
    sop_instance_uid: str,
    *,
    message_id: int,
    priority: int,
    originator: str | None = None,
    originator_id: int | None = None,
) -> bytes:
    """The command set of a C-STORE-RQ (PS3.7 9.3.1.1); `originator` is who asked by C-MOVE."""
    return encoded(
        {
            Element.AFFECTED_SOP_CLASS_UID: sop_class_uid,
            Element.COMMAND_FIELD: Command.C_STORE,
            Element.MESSAGE_ID: message_id,
            Element.PRIORITY: priority,
            Element.AFFECTED_SOP_INSTANCE_UID: sop_instance_uid,
            Element.MOVE_ORIGINATOR: originator,
            Element.MOVE_ORIGINATOR_MESSAGE_ID: originator_id,
        },
        data_set=True,
    )
