"""A small MLLP sender: ``python -m santepacs.commands.send_hl7 HOST PORT FILE``.

For trying an HL7 port by hand, without any data directory. Sends the message in FILE (``-``:
standard input; lines may end as the editor likes) and prints the answer, one segment a line.
"""

import argparse
import re
import socket
import sys
import time

from santepacs.commands.output import tell
from santepacs.errors import Malformed, SantepacsError, Unavailable
from santepacs.hl7.answers import Answer, Outgoing
from santepacs.hl7.charset import decode, wide_codec
from santepacs.logs import one_line

TIMEOUT = 30.0
MAXIMUM_FILE = 16_000_000  # bytes
FAILED = 1


def message_in(path: str) -> bytes:
    """The message in a file (``-``: standard input), its segments ended by CR. Raises Malformed."""
    try:
        if path == "-":
            content = sys.stdin.buffer.read(MAXIMUM_FILE + 1)
        else:
            with open(path, "rb") as file:
                content = file.read(MAXIMUM_FILE + 1)
    except OSError as error:
        raise Malformed(f"cannot read {path}: {error.strerror}") from None
    if len(content) > MAXIMUM_FILE:
        raise Malformed(f"{path} is larger than {MAXIMUM_FILE} bytes")
    if wide_codec(content):
        return content
    content = content.removeprefix(b"\xef\xbb\xbf").strip(b"\x0b\x1c\r\n")
    return b"".join(line + b"\r" for line in content.splitlines() if line.strip())


def exchange(host: str, port: int, raw: bytes, timeout: float = TIMEOUT) -> Answer:
    """Send a message and wait for its acknowledgement, `timeout` seconds for all of it.

    Raises Unavailable when there is no connection or no answer in time, Malformed when the message
    cannot be sent or the answer is none.
    """
    outgoing = Outgoing(raw)
    end = time.monotonic() + timeout

    def left() -> float:
        return max(0.001, end - time.monotonic())

    try:
        with socket.create_connection((host, port), left()) as connection:
            connection.settimeout(left())
            connection.sendall(outgoing.block)
            while True:
                connection.settimeout(left())
                received = connection.recv(65536)
                answer = outgoing.feed(received) if received else outgoing.ended()
                if answer:
                    return answer
    except TimeoutError:
        return outgoing.ended()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "there is no such host"
        raise Unavailable(f"cannot send to {host} port {port}: {reason}") from None


def print_message(raw: bytes) -> None:
    """Print a message, one segment a line; what would move the cursor is escaped."""
    for line in re.split("[\r\n]+", decode(raw).text.strip("\r\n")):
        print(one_line(line, 10 * len(line)))


def show(answer: Answer) -> int:
    """Print the answer; the exit status is 0 if the receiver has taken the message."""
    print_message(answer.raw)
    if answer.accepted:
        return 0
    tell(f"the receiver answers {answer.code}: {answer.text or 'it gives no reason'}")
    return FAILED


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0: accepted (AA or CA); 1: refused, or no answer."""
    parser = argparse.ArgumentParser(prog="send_hl7", description="Send one HL7 message by MLLP.")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("file", help="the message; - for standard input")
    options = parser.parse_args(arguments)
    try:
        return show(exchange(options.host, options.port, message_in(options.file)))
    except SantepacsError as problem:
        tell(str(problem))
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
