"""HL7 servers that acknowledge and forget: what the two stacks can do at most.

python -m bench.hl7_servers twisted PORT       a Twisted protocol that looks at MSH alone
python -m bench.hl7_servers python-hl7 PORT    the package hl7 on asyncio, parsing everything
"""

import asyncio
import sys
from typing import Any


def serve_twisted(port: int) -> None:
    """Serve until the process ends."""
    from twisted.internet import protocol, reactor

    class Acknowledge(protocol.Protocol):
        transport: Any
        buffer = b""

        def connectionMade(self) -> None:
            self.transport.setTcpNoDelay(True)

        def dataReceived(self, data: bytes) -> None:
            *frames, self.buffer = (self.buffer + data).split(b"\x1c\r")
            for frame in frames:
                msh = frame.lstrip(b"\x0b").partition(b"\r")[0].split(b"|")
                head = b"|".join((b"MSH", b"^~\\&", *msh[4:6], *msh[2:4], b"20260101", b"", b"ACK"))
                tail = b"|%s|P|2.3.1\rMSA|AA|%s\r" % (msh[9], msh[9])
                self.transport.write(b"\x0b" + head + tail + b"\x1c\r")

    loop: Any = reactor
    factory = protocol.Factory.forProtocol(Acknowledge)
    loop.listenTCP(port, factory, interface="127.0.0.1", backlog=128)
    loop.run()


def serve_python_hl7(port: int) -> None:
    """Serve until the process ends."""
    from hl7.mllp import start_hl7_server  # type: ignore[import-untyped]

    async def acknowledge(reader: Any, writer: Any) -> None:
        try:
            while True:
                message = await reader.readmessage()
                writer.writemessage(message.create_ack())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def serve() -> None:
        listening = start_hl7_server(acknowledge, host="127.0.0.1", port=port)
        async with await listening as server:
            await server.serve_forever()

    asyncio.run(serve())


if __name__ == "__main__":
    serve = {"twisted": serve_twisted, "python-hl7": serve_python_hl7}[sys.argv[1]]
    serve(int(sys.argv[2]))
