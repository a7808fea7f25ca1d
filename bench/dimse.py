"""A minimal DICOM client for C-ECHO and C-FIND over a raw socket (PS3.7, PS3.8).

It proposes Implicit VR Little Endian alone and counts answers without decoding them, so that it
costs next to nothing. How a message is written decides the latency:

nodelay   TCP_NODELAY set, each message in one write.
nagle     As DCMTK's clients write by default: Nagle's algorithm on, head and body of each PDU in
          two writes. With a peer that delays its acknowledgements each message takes some 40 ms.
"""

import socket
import struct
from collections.abc import Iterator

from bench.encoding import IMPLEMENTATION_CLASS_UID, IMPLICIT_VR_LITTLE_ENDIAN, implicit

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MODALITY_WORKLIST_FIND = "1.2.840.10008.5.1.4.31"

TIMEOUT = 120  # seconds without a byte from the server
MAXIMUM_LENGTH = 131072  # of PDUs that we receive

_ASSOCIATE_AC, _P_DATA, _RELEASE_RP = 2, 4, 6
_RELEASE_RQ = struct.pack(">BBII", 5, 0, 4, 0)
_C_FIND_RQ, _C_ECHO_RQ = 0x0020, 0x0030
_NO_DATA_SET = 0x0101
_PENDING = (0xFF00, 0xFF01)


class Association:
    """An association with one presentation context; raises ConnectionError when all is not well."""

    def __init__(
        self, address: tuple[str, int], titles: tuple[str, str], abstract: str, nodelay: bool = True
    ) -> None:
        """`titles`: called and calling AE title; `abstract`: the SOP class that is asked for."""
        self._abstract = abstract
        self._nodelay = nodelay
        self._message_id = 0
        self._received, self._at = b"", 0  # what came, and how far it is read
        self._socket = socket.create_connection(address, TIMEOUT)
        if nodelay:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(_associate_rq(titles, abstract))
        kind, body = self._read_pdu()
        if kind != _ASSOCIATE_AC:
            raise ConnectionError(f"not associated: PDU {kind} {body[:4].hex()}")
        context = body.find(b"\x21\0", 68)
        if context < 0 or body[context + 6] != 0:
            raise ConnectionError("the presentation context was not accepted")

    def echo(self) -> int:
        """C-ECHO; returns the status."""
        self._send(self._command(_C_ECHO_RQ))
        values, _ = next(self._messages())
        return values[0x0900]

    def find(self, identifier: bytes) -> tuple[int, int]:
        """C-FIND; returns the status and the number of matches."""
        self._send(self._command(_C_FIND_RQ), identifier)
        answers = enumerate(self._messages())
        return next(
            (values[0x0900], before)
            for before, (values, _) in answers
            if values[0x0900] not in _PENDING
        )

    def release(self) -> None:
        """Release the association."""
        self._socket.sendall(_RELEASE_RQ)
        kind, _ = self._read_pdu()
        self._socket.close()
        if kind != _RELEASE_RP:
            raise ConnectionError(f"not released: PDU {kind}")

    def _command(self, field: int) -> bytes:
        self._message_id += 1
        content = implicit(0x00000002, self._abstract + "\0" * (len(self._abstract) % 2))
        content += implicit(0x00000100, struct.pack("<H", field))
        content += implicit(0x00000110, struct.pack("<H", self._message_id))
        if field == _C_ECHO_RQ:
            content += implicit(0x00000800, struct.pack("<H", _NO_DATA_SET))
        else:
            content += implicit(0x00000700, struct.pack("<H", 0))
            content += implicit(0x00000800, struct.pack("<H", 0))
        return implicit(0x00000000, struct.pack("<I", len(content))) + content

    def _send(self, command: bytes, data: bytes | None = None) -> None:
        pieces = _p_data(command, 3)
        if data is not None:
            pieces += _p_data(data, 2)
        for piece in [b"".join(pieces)] if self._nodelay else pieces:
            self._socket.sendall(piece)

    def _messages(self) -> Iterator[tuple[dict[int, int], bytes]]:
        """Each message: the numbers of its command set by element, and its data set."""
        command, data = b"", b""
        values: dict[int, int] = {}
        while True:
            kind, body = self._read_pdu()
            if kind != _P_DATA:
                raise ConnectionError(f"PDU {kind} instead of P-DATA")
            at = 0
            while at < len(body):
                length, _, control = struct.unpack_from(">IBB", body, at)
                fragment = body[at + 6 : at + 4 + length]
                at += 4 + length
                if control & 1:
                    command += fragment
                else:
                    data += fragment
                if control == 3:
                    values, command = _numbers(command), b""
                if control == 2 or (control == 3 and values.get(0x0800) == _NO_DATA_SET):
                    yield values, data
                    data = b""

    def _read_pdu(self) -> tuple[int, bytes]:
        kind, _, length = struct.unpack(">BBI", self._read(6))
        return kind, self._read(length)

    def _read(self, count: int) -> bytes:
        while len(self._received) - self._at < count:
            more = self._socket.recv(262144)
            if not more:
                raise ConnectionError("closed by the server")
            self._received, self._at = self._received[self._at :] + more, 0
        start, self._at = self._at, self._at + count
        return self._received[start : self._at]


def _associate_rq(titles: tuple[str, str], abstract: str) -> bytes:
    called, calling = titles
    context = b"\x01\0\0\0" + _sub_item(0x30, abstract) + _sub_item(0x40, IMPLICIT_VR_LITTLE_ENDIAN)
    user = _sub_item(0x51, struct.pack(">I", MAXIMUM_LENGTH))
    user += _sub_item(0x52, IMPLEMENTATION_CLASS_UID)
    body = struct.pack(">HH16s16s32x", 1, 0, called.ljust(16).encode(), calling.ljust(16).encode())
    body += _sub_item(0x10, APPLICATION_CONTEXT) + _sub_item(0x20, context) + _sub_item(0x50, user)
    return struct.pack(">BBI", 1, 0, len(body)) + body


def _sub_item(kind: int, content: bytes | str) -> bytes:
    data = content.encode() if isinstance(content, str) else content
    return struct.pack(">BBH", kind, 0, len(data)) + data


def _p_data(content: bytes, control: int) -> list[bytes]:
    """Head and body of a P-DATA-TF with one fragment of context 1."""
    return [
        struct.pack(">BBIIBB", _P_DATA, 0, len(content) + 6, len(content) + 2, 1, control),
        content,
    ]


def _numbers(command: bytes) -> dict[int, int]:
    """The US values of a command set by element number."""
    found, at = {}, 0
    while at + 8 <= len(command):
        _, element, length = struct.unpack_from("<HHI", command, at)
        if length == 2:
            (found[element],) = struct.unpack_from("<H", command, at + 8)
        at += 8 + length
    return found
