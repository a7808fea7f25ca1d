"""Sends a zip: at the client's pace, in flat memory, checked while it is read.

A file that is missing or is not what was stored cuts the connection: the client has been told the
whole length, so a short zip can never pass for a whole one.
"""

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from santepacs.archive import zips
from santepacs.archive.zips import Entry
from santepacs.threads import Threads
from santepacs.web.request import Request

log = Logger()

PIECE = 512 << 10  # bytes read at once
STALL_SECONDS = 60.0


class _Damaged(Exception):
    """A file is not what was stored."""


@implementer(IPushProducer)
class ZipSender:
    """One zip on its way to one client."""

    def __init__(
        self,
        reactor: Any,
        threads: Threads,
        request: Request,
        files: Sequence[Entry],
        path: Callable[[Entry], Path],
    ) -> None:
        self._reactor = reactor
        self._threads = threads
        self._request = request
        self._files = files
        self._path = path
        self._stopped = False
        self._resumed: Deferred[None] | None = None
        self._timer: Any = None

    async def send(self) -> bool:
        """Send all of it; whether the client has been given the whole zip."""
        self._request.notifyFinish().addErrback(self._gone)
        self._request.registerProducer(self, True)
        try:
            for item in zips.items(self._files):
                if isinstance(item, bytes):
                    await self._write(item)
                else:
                    await self._write_file(item)
                if self._stopped:
                    return False
        except (_Damaged, OSError) as error:
            reason = "is damaged" if isinstance(error, _Damaged) else error.strerror
            log.error("zip broken off: a stored file {reason}", reason=reason)
            self._cut()
            return False
        finally:
            self._forget_timer()
            if not self._stopped:
                self._request.unregisterProducer()
        return True

    async def _write_file(self, entry: Entry) -> None:
        path, at, crc = self._path(entry), 0, 0
        while not self._stopped:
            piece, crc = await self._threads.run(_read, path, at, crc)
            at += len(piece)
            if at > entry.bytes:
                raise _Damaged
            if not self._stopped:
                await self._write(piece)
            if len(piece) < PIECE:
                break
        if not self._stopped and (at, crc) != (entry.bytes, entry.crc32):
            raise _Damaged

    async def _write(self, data: bytes) -> None:
        self._request.write(data)
        if self._resumed is not None:
            await self._resumed

    def _cut(self) -> None:
        if not self._stopped:
            self._request.unregisterProducer()
            self._stopped = True
            self._request.channel.transport.abortConnection()

    def _gone(self, reason: Failure) -> None:
        self._stopped = True
        self.resumeProducing()

    def pauseProducing(self) -> None:
        """The client takes no more for now."""
        if self._resumed is None:
            self._resumed = Deferred()
            self._timer = self._reactor.callLater(STALL_SECONDS, self._stalled)

    def resumeProducing(self) -> None:
        """The client takes more, or has left."""
        self._forget_timer()
        resumed, self._resumed = self._resumed, None
        if resumed is not None:
            resumed.callback(None)

    def stopProducing(self) -> None:
        """The connection is gone."""
        self._stopped = True
        self.resumeProducing()

    def _stalled(self) -> None:
        self._timer = None
        log.info("zip broken off: the client stopped reading")
        self._request.channel.transport.abortConnection()

    def _forget_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()


def _read(path: Path, at: int, crc: int) -> tuple[bytes, int]:
    """The piece of `path` that begins at byte `at`, and the CRC-32 up to its end. Blocking.

    Opened anew for each piece, so that nothing is left open when a client leaves.
    """
    with open(path, "rb", buffering=0) as file:
        file.seek(at)
        piece = b""
        while len(piece) < PIECE and (more := file.read(PIECE - len(piece))):
            piece += more
    return piece, zlib.crc32(piece, crc)
