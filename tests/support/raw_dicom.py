"""A DICOM peer made of bytes: what it sends is the test's choice, and every wait has an end.

PDUs by PS3.8 9.3, commands by PS3.7 6.3 and 9.3, elements by PS3.5 7.1. Nothing here stops a test
from sending what no standard allows.
"""

import socket
import ssl
import struct
import time
import uuid
from contextlib import contextmanager, suppress
from typing import NamedTuple

VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
PATIENT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
STUDY_FIND, STUDY_MOVE, STUDY_GET = (f"1.2.840.10008.5.1.4.1.2.2.{n}" for n in (1, 2, 3))
WORKLIST = "1.2.840.10008.5.1.4.31"
COMMITMENT = "1.2.840.10008.1.20.1"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"

REQUEST, ACCEPT, REJECT, DATA, RELEASE, RELEASED, ABORT = range(1, 8)
"""The types of PDU."""
PROVIDER = 2
"""Source of an A-ABORT: not the application, but who found the PDU wrong."""
END = None
"""Instead of a type: the connection has ended."""

C_STORE, C_GET, C_FIND, C_MOVE, C_ECHO = 0x0001, 0x0010, 0x0020, 0x0021, 0x0030
N_ACTION, C_CANCEL, RESPONSE = 0x0130, 0x0FFF, 0x8000
COMMAND, WHOLE_COMMAND, MORE, LAST = 1, 3, 0, 2
"""Message control headers of a fragment (PS3.8 E.2)."""

DEADLINE = 10.0  # seconds; what a live server answers comes much sooner
LARGEST_TEST_PDU = 16 * 1024 * 1024


def new_uid():
    return f"2.25.{uuid.uuid4().int}"


# --- PDUs -----------------------------------------------------------------------------------------


def pdu(kind, body, length=None):
    """A PDU that says it is `length` long."""
    return bytes([kind, 0]) + struct.pack(">L", len(body) if length is None else length) + body


def item(kind, value, length=None):
    """An item of an A-ASSOCIATE PDU that says it is `length` long."""
    return bytes([kind, 0]) + struct.pack(">H", len(value) if length is None else length) + value


def context(number, abstract, *transfers):
    """A proposed presentation context."""
    syntaxes = b"".join(item(0x40, transfer.encode()) for transfer in transfers or (IMPLICIT,))
    return item(0x20, bytes([number, 0, 0, 0]) + item(0x30, abstract.encode()) + syntaxes)


def associate_request(
    *contexts,
    called=b"SANTEPACS",
    calling=b"RAW",
    version=1,
    application=b"1.2.840.10008.3.1.1.1",
    maximum=16_384,
    items=b"",
    user=b"",
):
    """An A-ASSOCIATE-RQ. Contexts are encoded ones, abstract syntaxes, or (abstract, transfer...);
    `items` and `user` stand at the end of the request and of its user information."""
    proposed = b"".join(
        each if isinstance(each, bytes) else context(2 * n + 1, *_as_tuple(each))
        for n, each in enumerate(contexts or (VERIFICATION,))
    )
    information = item(0x51, struct.pack(">L", maximum)) + item(0x52, b"1.2.3") + user
    fixed = struct.pack(">HH", version, 0) + called.ljust(16) + calling.ljust(16) + bytes(32)
    return pdu(
        REQUEST, fixed + item(0x10, application) + proposed + item(0x50, information) + items
    )


def _as_tuple(each):
    return (each,) if isinstance(each, str) else each


def fragment(flags, data, context_id=1, length=None):
    """A presentation data value that says it is `length` long."""
    size = len(data) + 2 if length is None else length
    return struct.pack(">LBB", size, context_id, flags) + data


def p_data(flags, data, context_id=1):
    """A P-DATA-TF of one fragment."""
    return pdu(DATA, fragment(flags, data, context_id))


# --- commands and data sets -----------------------------------------------------------------------


def us(number):
    return struct.pack("<H", number)


def ui(uid):
    """A UID as text or bytes, padded."""
    value = uid if isinstance(uid, bytes) else str(uid).encode()
    return value + bytes(len(value) % 2)


def command(*elements, group_length=None):
    """A command set of (element, value); the group length is right unless it is given."""
    body = b"".join(struct.pack("<HHL", 0, e, len(v)) + v for e, v in sorted(elements))
    length = len(body) if group_length is None else group_length
    return struct.pack("<HHLL", 0, 0, 4, length) + body


def request(field, sop_class, *more, message_id=1, data_set=True):
    """The command set of a request, or of any other message (0x8000 and more: a response)."""
    about = 0x0120 if field & RESPONSE or field == C_CANCEL else 0x0110
    elements = [
        (0x0002, ui(sop_class)),
        (0x0100, us(field)),
        (about, us(message_id)),
        (0x0800, us(0x0001 if data_set else 0x0101)),
    ]
    if field in (C_STORE, C_FIND, C_GET, C_MOVE):
        elements.append((0x0700, us(0)))
    return command(*elements, *more)


def echo_command(message_id=1):
    return request(C_ECHO, VERIFICATION, message_id=message_id, data_set=False)


def store_command(sop_instance, sop_class=CT, message_id=1):
    return request(C_STORE, sop_class, (0x1000, ui(sop_instance)), message_id=message_id)


_LONG_VRS = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT")


def explicit(tag, vr, value, length=None):
    """An element in Explicit VR Little Endian that says it is `length` long."""
    vr = vr.encode() if isinstance(vr, str) else vr
    size = len(value) if length is None else length
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    return head + (struct.pack("<HL", 0, size) if vr in _LONG_VRS else us(size)) + value


def implicit(tag, value, length=None):
    """An element in Implicit VR Little Endian that says it is `length` long."""
    size = len(value) if length is None else length
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, size) + value


def padded(value, vr="LO"):
    """A value as bytes of even length; text is UTF-8, numbers are US."""
    if isinstance(value, int):
        return us(value)
    data = value if isinstance(value, bytes) else str(value).encode()
    return data + (b"\0" if vr in ("UI", "OB", "OW", "UN") else b" ") * (len(data) % 2)


_IMAGE = {
    0x00080060: ("CS", "CT"), 0x00080020: ("DA", "20260102"), 0x00100010: ("PN", "Doe^Jane"),
    0x00100020: ("LO", "P1"), 0x00280002: ("US", 1), 0x00280004: ("CS", "MONOCHROME2"),
    0x00280010: ("US", 8), 0x00280011: ("US", 8), 0x00280100: ("US", 16), 0x00280101: ("US", 12),
    0x00280102: ("US", 11), 0x00280103: ("US", 0), 0x7FE00010: ("OW", bytes(range(128))),
}  # fmt: skip


class Image:
    """A small complete CT image in pieces, for a test to change.

    `changes` maps tags to (VR, value), to bytes that stand there as they are, or to None.
    """

    def __init__(self, changes=None, *, study=None, series=None, sop_class=CT):
        self.uid, self.sop_class = new_uid(), sop_class
        self.study = study or new_uid()
        self.series = series or self.study + "1"
        self.elements = {
            **_IMAGE,
            0x00080016: ("UI", sop_class),
            0x00080018: ("UI", self.uid),
            0x0020000D: ("UI", self.study),
            0x0020000E: ("UI", self.series),
            **(changes or {}),
        }

    def explicit(self, *, order=sorted):
        """The data set in Explicit VR Little Endian; `order` arranges its tags."""
        return self._encoded(lambda tag, vr, value: explicit(tag, vr, value), order)

    def implicit(self):
        """The data set in Implicit VR Little Endian."""
        return self._encoded(lambda tag, _vr, value: implicit(tag, value), sorted)

    def big_endian(self):
        """The data set in Explicit VR Big Endian, as far as its values are text or US."""

        def element(tag, vr, value):
            if vr == "US":
                value = value[::-1]
            long = vr.encode() in _LONG_VRS
            size = struct.pack(">HL" if long else ">H", *([0] if long else []), len(value))
            return struct.pack(">HH", tag >> 16, tag & 0xFFFF) + vr.encode() + size + value

        return self._encoded(element, sorted)

    def _encoded(self, element, order):
        pieces = []
        for tag in order(self.elements):
            content = self.elements[tag]
            if isinstance(content, bytes):
                pieces.append(content)
            elif content is not None:
                vr, value = content
                pieces.append(element(tag, vr, padded(value, vr)))
        return b"".join(pieces)


def identifier(keys):
    """The identifier of a query in Implicit VR: tags and their values as bytes or text."""
    return b"".join(implicit(tag, padded(value)) for tag, value in sorted(keys.items()))


def elements_of(data):
    """The top level of a data set in Implicit VR: tag -> value."""
    found, position = {}, 0
    while position < len(data):
        group, element, length = struct.unpack_from("<HHL", data, position)
        found[group << 16 | element] = data[position + 8 : position + 8 + length]
        position += 8 + length
    return found


# --- the peer -------------------------------------------------------------------------------------


class Answer(NamedTuple):
    """A DIMSE message that was received."""

    command: dict
    data: bytes

    @property
    def status(self):
        return int.from_bytes(self.command[0x0900], "little")

    @property
    def field(self):
        return int.from_bytes(self.command[0x0100], "little")


class Peer:
    """A connection to the DICOM port. `wrap` makes another one of its socket, say TLS; `narrow`
    has the kernels of both sides keep little of what is not read."""

    def __init__(self, port, source="127.0.0.1", *, wrap=None, narrow=False):
        self.socket = socket.socket()
        if narrow:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1000)
        self.socket.settimeout(DEADLINE)
        self.socket.bind((source, 0))
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if wrap is not None:
            self.socket = wrap(self.socket)
        self.maximum = 0  # length of a PDU that the server takes; 0: any
        self.results = {}  # of the proposed contexts: ID -> result, 0 is acceptance

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.settimeout(DEADLINE)
        self.socket.sendall(data)

    def push(self, data):
        """Send what the server takes; it may have hung up."""
        with suppress(ConnectionError, TimeoutError, OSError):
            self.send(data)

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self):
        """End the connection as a machine does that loses power: RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def receive(self, seconds=DEADLINE):
        """One PDU: type and body, or (END, b""). Raises TimeoutError."""
        end = time.monotonic() + seconds
        try:
            head = self._exactly(6, end)
            if len(head) < 6:
                return END, b""
            length = struct.unpack(">L", head[2:])[0]
            assert length <= LARGEST_TEST_PDU, f"a PDU of {length} bytes"
            return head[0], self._exactly(length, end)
        except (ConnectionError, ssl.SSLError):
            return END, b""

    def _exactly(self, size, end):
        data = bytearray()
        while len(data) < size:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError("the server says nothing")
            self.socket.settimeout(left)
            piece = self.socket.recv(size - len(data))
            if not piece:
                break
            data += piece
        return bytes(data)

    def farewell(self, seconds=DEADLINE):
        """The PDUs that come until the server ends the connection. Raises TimeoutError."""
        end = time.monotonic() + seconds
        received = []
        while True:
            kind, body = self.receive(max(end - time.monotonic(), 0.001))
            if kind is END:
                return received
            received.append((kind, body))

    def associate(self, *contexts, **named):
        """Ask for an association that must be granted; returns itself."""
        self.send(associate_request(*contexts, **named))
        kind, body = self.receive()
        assert kind == ACCEPT, (kind, body)
        self.read_acceptance(body)
        return self

    def read_acceptance(self, body):
        """Take from an A-ASSOCIATE-AC what was agreed."""
        for kind, value in items_of(body[68:]):
            if kind == 0x21:
                self.results[value[0]] = value[2]
            elif kind == 0x50:
                self.maximum = int.from_bytes(dict(items_of(value)).get(0x51, b""), "big")

    def message(self, command, data=None, context_id=1, size=16_000):
        """Send a message in fragments of `size`."""
        sent = p_data(WHOLE_COMMAND, command, context_id)
        if data is not None:
            pieces = [data[at : at + size] for at in range(0, len(data), size)] or [b""]
            sent += b"".join(p_data(MORE, piece, context_id) for piece in pieces[:-1])
            sent += p_data(LAST, pieces[-1], context_id)
        self.send(sent)

    def ask(self, command, data=None, context_id=1, seconds=DEADLINE):
        """Send a message; the answer to it."""
        self.message(command, data, context_id)
        return self.answer(seconds)

    def answer(self, seconds=DEADLINE):
        """The next DIMSE message. Raises AssertionError when something else comes."""
        end = time.monotonic() + seconds
        parts = {COMMAND: b"", MORE: b""}
        command = None
        while True:
            kind, body = self.receive(max(end - time.monotonic(), 0.001))
            assert kind == DATA, (kind, body)
            while body:
                length, _, flags = struct.unpack_from(">LBB", body)
                parts[flags & 1] += body[6 : length + 4]
                body = body[length + 4 :]
                if flags == WHOLE_COMMAND:
                    command = elements_of(parts[COMMAND])
                if command and (flags == LAST or command[0x0800] == us(0x0101)):
                    return Answer(command, parts[MORE])

    def find(self, keys, sop_class=STUDY_FIND, context_id=1, message_id=1):
        """The answers to a C-FIND in Implicit VR, each tag -> value, and its final status."""
        self.message(
            request(C_FIND, sop_class, message_id=message_id), identifier(keys), context_id
        )
        found = []
        while True:
            answer = self.answer()
            if answer.status not in (0xFF00, 0xFF01):
                return found, answer.status
            found.append(elements_of(answer.data))

    def store(self, image, data=None, context_id=1, message_id=1, sop_instance=None):
        """The status of a C-STORE."""
        name = image.uid if sop_instance is None else sop_instance
        told = store_command(name, image.sop_class, message_id)
        return self.ask(told, image.explicit() if data is None else data, context_id).status

    def release(self):
        """End the association in order, and the connection."""
        self.send(pdu(RELEASE, bytes(4)))
        assert self.receive()[0] == RELEASED
        self.socket.close()


def items_of(data):
    """The items of an A-ASSOCIATE PDU: type and value."""
    while data:
        length = int.from_bytes(data[2:4], "big")
        yield data[0], data[4 : 4 + length]
        data = data[4 + length :]


@contextmanager
def associated(port, *contexts, source="127.0.0.1", wrap=None, **named):
    """A peer with an association for one block, released at its end."""
    with Peer(port, source, wrap=wrap) as peer:
        yield peer.associate(*contexts, **named)
        peer.release()


def all_end(peers, seconds):
    """What each peer got before its end, which comes to all of them within so many seconds."""
    end = time.monotonic() + seconds
    farewells = []
    for peer in peers:
        farewells.append(peer.farewell(max(end - time.monotonic(), 0.001)))
        peer.socket.close()
    return farewells


def is_abort(received, source=None):
    """Whether these are A-ABORTs and nothing else, the first of this `source` (PS3.8 9.3.8)."""
    said = bool(received) and all(kind == ABORT for kind, _ in received)
    return said and source in (None, received[0][1][2])
