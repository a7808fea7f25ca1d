"""HL7 receivers for tests: one that answers as it should, and others that do not."""

import socket
import threading
from contextlib import contextmanager

from santepacs.hl7.message import parse
from santepacs.wire.framing import FrameSplitter, mllp_block


def acknowledgement(raw, code="AA", text="", control_id=None, error=""):
    """An ACK of the message `raw`, framed."""
    named = parse(raw).control_id if control_id is None else control_id
    error = error and f"ERR|||{error}|E\r"
    header = "MSH|^~\\&|RIS|WARD|SANTEPACS|RAD|20260102||ACK^O01|R1|P|2.3.1\r"
    return mllp_block(f"{header}MSA|{code}|{named}|{text}\r{error}".encode())


class Hl7Receiver:
    """Takes messages on a loopback port and answers each with what `answer(raw)` gives.

    That is bytes, or an iterable of bytes to be sent one after the other; None: no answer.
    `came` holds the messages in their order.
    """

    def __init__(self, answer=acknowledgement, hang_up=False, port=0):
        self.answer = answer
        self.hang_up = hang_up
        self.came = []
        self.sent = 0
        self._socket = socket.create_server(("127.0.0.1", port))
        self.port = self._socket.getsockname()[1]
        self._connections = []
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in self._connections:
            connection.close()

    def _serve(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection):
        frames = FrameSplitter(1 << 24)
        try:
            while received := connection.recv(65536):
                frames.feed(received)
                while frame := frames.next_frame():
                    self.came.append(frame.payload)
                    self._reply(connection, self.answer(frame.payload))
                    if self.hang_up:
                        connection.close()
                        return
        except OSError:
            return

    def _reply(self, connection, answer):
        for piece in [answer] if isinstance(answer, bytes) else answer or ():
            connection.sendall(piece)
            self.sent += len(piece)


@contextmanager
def hl7_receiver(answer=acknowledgement, **options):
    receiver = Hl7Receiver(answer, **options)
    try:
        yield receiver
    finally:
        receiver.close()
