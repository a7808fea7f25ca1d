"""C-STORE as SCU (PS3.7 9.1.1): an encoded data set goes out as it is, and its answer comes in."""

import os
from pathlib import Path
from typing import Any

from pynetdicom.presentation import PresentationContext

from santepacs.dicom import message
from santepacs.dicom.message import Element
from santepacs.dicom.spool import Spool
from santepacs.dicom.upper import UpperAssociation
from santepacs.errors import Malformed, Unavailable

PIECE = 512 * 1024  # bytes that are sent, or read from a file, at once
FRAGMENTS = 500  # PDUs that are made at once, however short the receiver wants them


def send_object(
    association: UpperAssociation,
    context: PresentationContext,
    sop_class_uid: str,
    sop_instance_uid: str,
    data: Path | bytes | memoryview,
    offset: int = 0,
    *,
    message_id: int,
    priority: int = 2,
    originator: str | None = None,
    originator_id: int | None = None,
) -> int:
    """Send an object and return the receiver's status.

    `data` holds the encoded data set from `offset` to its end. `originator`: the AE title that
    asked for it by C-MOVE, and the message ID of its request. Raises Unavailable when the
    association is of no more use; also when the file cannot be read, for what came next would be
    taken for the rest of the object.
    """
    command = message.store_request(
        sop_class_uid,
        sop_instance_uid,
        message_id=message_id,
        priority=priority,
        originator=originator,
        originator_id=originator_id,
    )
    context_id = context.context_id or 0
    association.flush()
    pdus = association.dimse.pdus(context_id, command)
    try:
        if isinstance(data, Path):
            sent = _send_file(association, context_id, pdus, data, offset)
        else:
            sent = _send_bytes(association, context_id, pdus, memoryview(data)[offset:])
    except OSError as error:
        association.abort()
        raise Unavailable("the object's file could not be read") from error
    if not sent:
        raise _gone(association)
    return _answer(association, message_id)


def _send_bytes(
    association: UpperAssociation, context_id: int, pdus: list[Any], data: memoryview
) -> bool:
    """Send `pdus`, then the data set; whether that was possible."""
    size = _piece(association)
    for start in range(0, len(data), size):
        last = start + size >= len(data)
        pdus += association.dimse.fragments(context_id, data[start : start + size], 0, last=last)
        if not association.write(pdus):
            return False
        pdus = []
    return True


def _piece(association: UpperAssociation) -> int:
    """Bytes of a data set that are sent in one write: whole fragments, and not too many."""
    step = association.dimse.fragment_size
    return max(min(PIECE // step, FRAGMENTS), 1) * step


def _send_file(
    association: UpperAssociation, context_id: int, pdus: list[Any], path: Path, offset: int
) -> bool:
    """Send `pdus`, then the file's data set; whether that was possible."""
    size = _piece(association)
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        end = os.fstat(file).st_size
        if offset >= end:
            raise OSError("the file is too short")
        while offset < end:
            piece = _read(file, min(size, end - offset), offset)
            offset += len(piece)
            pdus += association.dimse.fragments(context_id, piece, 0, last=offset == end)
            if not association.write(pdus):
                return False
            pdus = []
    finally:
        os.close(file)
    return True


def _read(file: int, size: int, offset: int) -> bytes:
    piece = os.pread(file, size, offset)
    while len(piece) < size:
        more = os.pread(file, size - len(piece), offset + len(piece))
        if not more:
            raise OSError("the file is shorter than it was")
        piece += more
    return piece


def _answer(association: UpperAssociation, message_id: int) -> int:
    received = association.dimse.next_message(association.deadline(association.dimse_timeout))
    if received is None:
        raise _gone(association)
    try:
        field = message.number(received.command, Element.COMMAND_FIELD)
        answered = message.number(received.command, Element.MESSAGE_ID_BEING_RESPONDED_TO)
        if field == message.Command.C_STORE | message.RESPONSE and answered == message_id:
            return message.number(received.command, Element.STATUS)
    except Malformed:
        pass
    if isinstance(received.data_set, Spool):
        received.data_set.discard()
    association.abort()
    raise Unavailable("the receiver answers something else")


def _gone(association: UpperAssociation) -> Unavailable:
    silent = association.is_open()
    association.abort()
    return Unavailable(
        "the receiver does not answer" if silent else "the receiver ended the association"
    )
