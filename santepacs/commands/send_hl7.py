"""A small MLLP sender: ``python -m santepacs.commands.send_hl7 HOST PORT FILE``.

For trying an HL7 port by hand. Sends the message in FILE (``-``: standard input; lines may end
as the editor likes) and prints the answer, one segment a line.
"""

import argparse
import socket
import sys
from pathlib import Path

TIMEOUT = 30.0
MAXIMUM_ANSWER = 1 << 20


def framed(text: bytes) -> bytes:
    """One MLLP frame: segments end with CR, the frame with FS CR."""
    segments = [line for line in text.splitlines() if line.strip()]
    return b"\x0b" + b"".join(segment + b"\r" for segment in segments) + b"\x1c\r"


def exchange(host: str, port: int, message: bytes) -> bytes:
    """Send a message and return the answer without its frame.

    Raises OSError when there is no connection or no whole answer in time.
    """
    with socket.create_connection((host, port), TIMEOUT) as connection:
        connection.sendall(framed(message))
        answer = b""
        while not answer.endswith(b"\x1c\r"):
            piece = connection.recv(65536)
            if not piece or len(answer) > MAXIMUM_ANSWER:
                raise ConnectionError("the connection was closed without a whole answer")
            answer += piece
    return answer[1:-2]


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0: accepted (AA or CA); 1: refused, or no answer."""
    parser = argparse.ArgumentParser(prog="send_hl7", description="Send one HL7 message by MLLP.")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("file", help="the message; - for standard input")
    options = parser.parse_args(arguments)
    try:
        message = (
            sys.stdin.buffer.read() if options.file == "-" else Path(options.file).read_bytes()
        )
        answer = exchange(options.host, options.port, message)
    except OSError as error:
        print(f"send_hl7: {error}", file=sys.stderr)
        return 1
    print(answer.decode("utf-8", "replace").replace("\r", "\n"), end="")
    return 0 if b"\rMSA|AA" in answer or b"\rMSA|CA" in answer else 1


if __name__ == "__main__":
    sys.exit(main())
