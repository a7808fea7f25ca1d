"""DIMSE messages over an association: fragments put together, answers sent (PS3.8 annex E).

A data set of C-STORE goes to a spool as it arrives; all other messages are bounded. Messages that
our services do not know are handed to pynetdicom, in its own form.

Private names of pynetdicom 3.0.4 relied on: ``_MESSAGE_TYPES``, the fields of ``DIMSEMessage`` and
that its class is that of its command, ``DIMSEServiceProvider.cancel_req``.
"""

import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pynetdicom import evt
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import _MESSAGE_TYPES, DIMSEMessage
from pynetdicom.dsutils import decode
from pynetdicom.pdu import P_DATA_TF

from santepacs.dicom import message
from santepacs.dicom.message import Command, CommandSet, Element
from santepacs.dicom.provider import MAXIMUM_PDU
from santepacs.dicom.spool import Spool
from santepacs.errors import Malformed

LARGEST_COMMAND = 64 * 1024
LARGEST_IDENTIFIER = 4 * 1024 * 1024
LARGEST_ACTION = 16 * 1024 * 1024  # 100,000 references to be committed
MAXIMUM_PIPELINED = 16  # requests that came before the first was answered

_PDU = struct.Struct(">BxLLBB")
_PDV = struct.Struct(">LBB")
_COMMAND, _LAST = 1, 2  # bits of a message control header


@dataclass(slots=True)
class Message:
    """A message that has come completely."""

    context_id: int
    command: CommandSet
    encoded_command: bytes
    data_set: Spool | BytesIO | None = None


class Messages(DIMSEServiceProvider):
    """The messages of one association."""

    assoc: Any
    dul: Any

    def __init__(self, assoc: Any) -> None:
        super().__init__(assoc)
        self.serving: int | None = None
        """The message ID of the request that is being served."""
        self._complete: deque[Message] = deque()
        self._coming: Message | None = None
        self._command = bytearray()
        self._context_id = 0

    # --- receiving --------------------------------------------------------------------------------

    def take(self, data: memoryview) -> None:
        """Take the presentation data values of one P-DATA-TF PDU. Raises Malformed."""
        position, end = 0, len(data)
        if not end:
            raise Malformed("data without a presentation data value")
        while position < end:
            if end - position < 6:
                raise Malformed("a presentation data value is cut off")
            length, context_id, control = _PDV.unpack_from(data, position)
            if not 2 <= length <= end - position - 4:
                raise Malformed("the length of a presentation data value is wrong")
            fragment = data[position + 6 : position + 4 + length]
            position += 4 + length
            if control & _COMMAND:
                self._take_command(context_id, fragment, bool(control & _LAST))
            else:
                self._take_data(context_id, fragment, bool(control & _LAST))

    def _take_command(self, context_id: int, fragment: memoryview, last: bool) -> None:
        if self._coming is not None:
            raise Malformed("a command within a data set")
        if self._command and context_id != self._context_id:
            raise Malformed("a command in two contexts")
        self._context_id = context_id
        self._command += fragment
        if len(self._command) > LARGEST_COMMAND:
            raise Malformed("the command set is too large")
        if not last:
            return
        encoded, self._command = bytes(self._command), bytearray()
        if context_id not in self.assoc.accepted:
            raise Malformed("the presentation context was not accepted")
        self._coming = Message(context_id, message.parsed(encoded), encoded)
        field = message.number(self._coming.command, Element.COMMAND_FIELD)
        if field not in _MESSAGE_TYPES:
            raise Malformed("unknown command field")
        if not message.has_data_set(self._coming.command):
            self._completed()
        elif field == Command.C_STORE:
            self._coming.data_set = self.assoc.spool(self._coming)
        else:
            self._coming.data_set = BytesIO()

    def _take_data(self, context_id: int, fragment: memoryview, last: bool) -> None:
        coming = self._coming
        if coming is None or coming.data_set is None:
            raise Malformed("a data set without a command")
        if context_id != coming.context_id:
            raise Malformed("a data set in another context than its command")
        coming.data_set.write(fragment)
        if isinstance(coming.data_set, BytesIO) and coming.data_set.tell() > _largest(coming):
            raise Malformed("the data set is too large")
        if last:
            self._completed()

    def _completed(self) -> None:
        complete, self._coming = self._coming, None
        if complete is None:
            return
        if self.assoc.is_watched(evt.EVT_DIMSE_RECV):
            evt.trigger(self.assoc, evt.EVT_DIMSE_RECV, {"message": _pynetdicoms(complete)})
        command = complete.command
        if message.number(command, Element.COMMAND_FIELD) == Command.C_CANCEL:
            self._cancel(message.number(command, Element.MESSAGE_ID_BEING_RESPONDED_TO))
            return
        self._complete.append(complete)
        if len(self._complete) > MAXIMUM_PIPELINED:
            raise Malformed("too many requests at once")

    def _cancel(self, message_id: int) -> None:
        """Note that a request is not wanted any more, if it is one that is not answered yet.

        One that comes too late must not cancel a later request of the same number.
        """
        waiting = (each.command.get(Element.MESSAGE_ID) for each in self._complete)
        if message_id == self.serving or message_id.to_bytes(2, "little") in waiting:
            self.cancel_req[message_id] = None  # type: ignore[assignment]

    def served(self) -> None:
        """The request that was being served has been answered."""
        if self.serving is not None:
            self.cancel_req.pop(self.serving, None)
        self.serving = None

    @property
    def may_receive(self) -> bool:
        """Whether there is room for what comes while a request is being served."""
        return len(self._complete) < MAXIMUM_PIPELINED

    @property
    def is_receiving(self) -> bool:
        """Whether there is a message that is not served yet."""
        return bool(self._complete or self._coming or self._command)

    def next_message(self, until: float) -> Message | None:
        """The next message; None when none has come until that time, or the association ends."""
        while not self._complete:
            ended = not self.dul.is_alive() or self.dul.peek_next_pdu() is not None
            if ended or not self.dul.advance(until):
                return None
        return self._complete.popleft()

    def get_msg(self, block: bool = False) -> Any:
        """The next message in pynetdicom's form, for its own services and requests."""
        received = self.next_message(self.assoc.deadline(self.dimse_timeout) if block else 0.0)
        if received is None:
            return None, None
        return received.context_id, self.primitive(received)

    @staticmethod
    def primitive(received: Message) -> Any:
        """`received` as the primitive that pynetdicom's services take. Raises Malformed."""
        try:
            return _pynetdicoms(received).message_to_primitive()
        except Exception:  # noqa: BLE001 - pynetdicom raises all sorts for impossible values
            raise Malformed("the command set has impossible values") from None

    def discard(self) -> None:
        """Remove the files of what was received and will not be served."""
        left = [*self._complete, *([self._coming] if self._coming else [])]
        self._complete.clear()
        self._coming = None
        for received in left:
            if isinstance(received.data_set, Spool):
                received.data_set.discard()

    # --- sending ----------------------------------------------------------------------------------

    @property
    def maximum_pdu_size(self) -> int:
        """What the peer takes, and never more than we would; 0 stands for any length."""
        return min(super().maximum_pdu_size or MAXIMUM_PDU, MAXIMUM_PDU)

    def pdus(self, context_id: int, command: bytes, data_set: bytes = b"") -> list[Any]:
        """The P-DATA-TF PDUs of a message, as buffers to be sent one after the other."""
        buffers = list(self.fragments(context_id, command, _COMMAND))
        if data_set:
            buffers += self.fragments(context_id, data_set, 0)
        if self.assoc.is_watched(evt.EVT_DIMSE_SENT):
            sent = Message(context_id, message.parsed(command), command, BytesIO(data_set))
            evt.trigger(self.assoc, evt.EVT_DIMSE_SENT, {"message": _pynetdicoms(sent)})
        return buffers

    def fragments(
        self, context_id: int, data: bytes | memoryview, kind: int, *, last: bool = True
    ) -> Iterator[bytes | memoryview]:
        """The P-DATA-TF PDUs of a command set (`kind` 1) or of a data set or a part of it (0)."""
        step, end = self.fragment_size, len(data)
        if end <= step:
            control = kind | (_LAST if last else 0)
            yield _PDU.pack(4, end + 6, end + 2, context_id, control)
            yield data
            return
        view = memoryview(data)
        for position in range(0, end, step):
            fragment = view[position : position + step]
            size = len(fragment)
            control = kind | (_LAST if last and position + size == end else 0)
            yield _PDU.pack(4, size + 6, size + 2, context_id, control)
            yield fragment

    @property
    def fragment_size(self) -> int:
        """Bytes of a message that fit into one PDU for the peer; even (PS3.8 annex E)."""
        return (self.maximum_pdu_size - 6) & ~1


def _largest(coming: Message) -> int:
    field = message.number(coming.command, Element.COMMAND_FIELD)
    return LARGEST_ACTION if field == Command.N_ACTION else LARGEST_IDENTIFIER


def tell_of_pdus(association: Any, buffers: list[Any]) -> None:
    """Trigger pynetdicom's event for PDUs that were sent without its help."""
    for head, data in zip(buffers[::2], buffers[1::2], strict=True):
        pdu = P_DATA_TF()
        pdu.decode(bytes(head) + bytes(data))
        evt.trigger(association, evt.EVT_PDU_SENT, {"pdu": pdu})


def _pynetdicoms(received: Message) -> Any:
    """`received` as pynetdicom has its messages. Raises Malformed if it cannot read them."""
    converted: Any = DIMSEMessage()
    try:
        converted.context_id = received.context_id
        converted.encoded_command_set = BytesIO(received.encoded_command)
        converted.command_set = decode(converted.encoded_command_set, True, True)
        field = message.number(received.command, Element.COMMAND_FIELD)
        converted.__class__ = _MESSAGE_TYPES[field][1]
        data_set = received.data_set
        converted.data_set = data_set if isinstance(data_set, BytesIO) else BytesIO()
    except Exception:  # noqa: BLE001 - pydicom raises all sorts for what it cannot read
        raise Malformed("the command set cannot be read") from None
    return converted
