"""The PDUs that begin or refuse an association, read and written (PS3.8 9.3, PS3.7 D.3).

What comes in is hostile: every item is bounded by the one around it, the number of items by this
module, and the time is linear. Whoever the caller says its user is, is not even read.
"""

import struct
from collections.abc import Iterator

from santepacs.dicom.proposal import (
    AssociationRequest,
    CommonExtended,
    Proposed,
    Role,
)
from santepacs.errors import Malformed

LARGEST_REQUEST = 256 * 1024
"""Bytes of an A-ASSOCIATE-RQ after its header."""
MAXIMUM_CONTEXTS = 128
MAXIMUM_TRANSFER_SYNTAXES = 128
"""Of one presentation context."""
MAXIMUM_NEGOTIATIONS = 3 * MAXIMUM_CONTEXTS
"""Role selections, extended and common extended negotiations in one request."""

_LONGEST_NAME = 64  # bytes of a UID or of an implementation's version
_HEADER = struct.Struct(">BxL")
_ITEM = struct.Struct(">BxH")
_FIXED = struct.Struct(">H2x16s16s32x")
_SHORT = struct.Struct(">H")
_PAIR = struct.Struct(">HH")
_LONG = struct.Struct(">L")
_ITEMS = 74

# Items and sub-items (PS3.8 9.3.2, 9.3.3; PS3.7 D.3.3).
_APPLICATION_CONTEXT, _PROPOSED, _ANSWERED, _USER_INFORMATION = 0x10, 0x20, 0x21, 0x50
_ABSTRACT_SYNTAX, _TRANSFER_SYNTAX = 0x30, 0x40
_MAXIMUM_LENGTH, _CLASS_UID, _ASYNCHRONOUS, _ROLE, _VERSION_NAME = 0x51, 0x52, 0x53, 0x54, 0x55
_EXTENDED, _COMMON_EXTENDED, _USER_IDENTITY = 0x56, 0x57, 0x58


def expected_length(beginning: bytes) -> int:
    """How many bytes must be there before more can be told: the header, then the whole PDU.

    Raises Malformed when this is not the beginning of an A-ASSOCIATE-RQ, or of too long a one.
    """
    if beginning[0] != 0x01:
        raise Malformed("what it sends does not begin like DICOM")
    if len(beginning) < _HEADER.size:
        return _HEADER.size
    _, length = _HEADER.unpack_from(beginning)
    if length > LARGEST_REQUEST:
        raise Malformed("its association request is too long")
    return int(_HEADER.size + length)


# --- reading ------------------------------------------------------------------------------------


def parse(pdu: bytes) -> AssociationRequest:
    """The record of a whole A-ASSOCIATE-RQ, header included. Raises Malformed.

    A request of another protocol version or application context is a record too; see `refusal`.
    """
    if len(pdu) < _ITEMS or len(pdu) != expected_length(pdu):
        raise Malformed("the association request is cut off")
    version, called, calling = _FIXED.unpack_from(pdu, _HEADER.size)
    application_contexts: list[str] = []
    contexts: list[Proposed] = []
    users: list[_UserInformation] = []
    for kind, start, end in _items(pdu, _ITEMS, len(pdu)):
        if kind == _PROPOSED:
            contexts.append(_proposed(pdu, start, end))
        elif kind == _APPLICATION_CONTEXT:
            application_contexts.append(_name(pdu, start, end))
        elif kind == _USER_INFORMATION:
            users.append(_user_information(pdu, start, end))
        if len(contexts) > MAXIMUM_CONTEXTS:
            raise Malformed("the association request has too many presentation contexts")
    if len(application_contexts) != 1 or len(users) != 1:
        raise Malformed("the association request wants one application context and one user")
    if not contexts or len({context.context_id for context in contexts}) < len(contexts):
        raise Malformed("the association request wants presentation contexts with unique ids")
    user = users[0]
    return AssociationRequest(
        version,
        _title(called),
        _title(calling),
        application_contexts[0],
        tuple(contexts),
        user.maximum_length,
        user.class_uid,
        user.version_name,
        user.asynchronous,
        user.roles,
        user.extended,
        tuple(user.common_extended),
        user.identity_type,
    )


def _items(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Type, start and end of the contents of each item that lies between `start` and `end`."""
    while start < end:
        if end - start < _ITEM.size:
            raise Malformed("an item of the association request is cut off")
        kind, length = _ITEM.unpack_from(data, start)
        contents = start + _ITEM.size
        start = contents + length
        if start > end:
            raise Malformed("an item of the association request is longer than what holds it")
        yield kind, contents, start


def _name(data: bytes, start: int, end: int) -> str:
    """A UID or a name: ASCII, padded by some with a NUL or space."""
    if end - start > _LONGEST_NAME:
        raise Malformed("a UID or name in the association request is too long")
    return data[start:end].decode("ascii", "replace").rstrip("\0 ")


def _title(data: bytes) -> str:
    return data.decode("ascii", "replace").rstrip("\0 ").lstrip(" ")


def _proposed(data: bytes, start: int, end: int) -> Proposed:
    if end - start < 4:
        raise Malformed("a presentation context is cut off")
    context_id = data[start]
    if not context_id & 1:
        raise Malformed("the id of a presentation context is not odd")
    abstract: list[str] = []
    transfer: list[str] = []
    for kind, begin, stop in _items(data, start + 4, end):
        if kind == _TRANSFER_SYNTAX:
            transfer.append(_name(data, begin, stop))
        elif kind == _ABSTRACT_SYNTAX:
            abstract.append(_name(data, begin, stop))
    if len(abstract) != 1 or not 1 <= len(transfer) <= MAXIMUM_TRANSFER_SYNTAXES:
        raise Malformed("a presentation context wants one abstract syntax and transfer syntaxes")
    return Proposed(context_id, abstract[0], tuple(transfer))


class _UserInformation:
    """What the sub-items of one User Information item say."""

    __slots__ = ("asynchronous", "class_uid", "common_extended", "extended", "identity_type",
                 "maximum_length", "roles", "version_name")  # fmt: skip

    def __init__(self) -> None:
        self.maximum_length = 0
        self.class_uid = self.version_name = ""
        self.asynchronous: tuple[int, int] | None = None
        self.roles: dict[str, Role] = {}
        self.extended: dict[str, bytes] = {}
        self.common_extended: list[CommonExtended] = []
        self.identity_type: int | None = None


def _user_information(data: bytes, start: int, end: int) -> _UserInformation:
    user = _UserInformation()
    negotiations = 0
    for kind, begin, stop in _items(data, start, end):
        if kind == _MAXIMUM_LENGTH:
            _exactly(4, begin, stop)
            (user.maximum_length,) = _LONG.unpack_from(data, begin)
        elif kind == _CLASS_UID:
            user.class_uid = _name(data, begin, stop)
        elif kind == _VERSION_NAME:
            user.version_name = _name(data, begin, stop)
        elif kind == _ASYNCHRONOUS:
            _exactly(4, begin, stop)
            user.asynchronous = _PAIR.unpack_from(data, begin)
        elif kind == _USER_IDENTITY:
            if stop == begin:
                raise Malformed("an item of the association request is cut off")
            user.identity_type = data[begin]
        elif kind in (_ROLE, _EXTENDED, _COMMON_EXTENDED):
            negotiations += 1
            if negotiations > MAXIMUM_NEGOTIATIONS:
                raise Malformed("the association request negotiates too much")
            _negotiation(user, kind, data, begin, stop)
    return user


def _negotiation(user: _UserInformation, kind: int, data: bytes, start: int, end: int) -> None:
    uid, start = _counted_name(data, start, end)
    if kind == _ROLE:
        _exactly(2, start, end)
        user.roles[uid] = Role(data[start] == 1, data[start + 1] == 1)
    elif kind == _EXTENDED:
        user.extended[uid] = data[start:end]
    else:
        service_class, start = _counted_name(data, start, end)
        start, stop = _counted(data, start, end)
        related = []
        while start < stop:
            general, start = _counted_name(data, start, stop)
            related.append(general)
        user.common_extended.append(CommonExtended(uid, service_class, tuple(related)))


def _counted(data: bytes, start: int, end: int) -> tuple[int, int]:
    """Start and end of what follows its own length of two bytes."""
    if end - start < 2:
        raise Malformed("an item of the association request is cut off")
    (length,) = _SHORT.unpack_from(data, start)
    if start + 2 + length > end:
        raise Malformed("an item of the association request is longer than what holds it")
    return start + 2, start + 2 + length


def _counted_name(data: bytes, start: int, end: int) -> tuple[str, int]:
    """A UID that follows its length, and where it ends."""
    start, stop = _counted(data, start, end)
    return _name(data, start, stop), stop


def _exactly(length: int, start: int, end: int) -> None:
    if end - start != length:
        raise Malformed("an item of the association request has the wrong length")


# --- writing ------------------------------------------------------------------------------------


def reject_pdu(result: int, source: int, reason: int) -> bytes:
    """The A-ASSOCIATE-RJ with these words of PS3.8 table 9-21."""
    return _pdu(0x03, bytes((0, result, source, reason)))


def abort_pdu(source: int = 2, reason: int = 0) -> bytes:
    """An A-ABORT (PS3.8 table 9-26); by default the service provider's, without a reason."""
    return _pdu(0x07, bytes((0, 0, source, reason)))


def _pdu(kind: int, *contents: bytes) -> bytes:
    body = b"".join(contents)
    return _HEADER.pack(kind, len(body)) + body
