"""A request as our pages see it: who asks, the raw query, cookies, and a body read on demand."""

from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.http import datetimeToString

from santepacs.db.accounts import AccountRow
from santepacs.errors import Malformed
from santepacs.web.headers import COMMON, CROSS_ORIGIN_OPENER_POLICY, STRICT_TRANSPORT_SECURITY
from santepacs.web.hosts import Asked
from santepacs.web.refusals import length_required, too_large

MAXIMUM_FIELDS = 100
# What is kept of a body that nobody has asked for yet.
UNASKED = 64 << 10  # bytes


class Request(server.Request):
    """One request. `asked`, `account` and `reference` are filled in as they become known."""

    defaultContentType = b"text/html; charset=utf-8"

    channel: Any
    site: Any
    path: bytes
    asked = Asked("-", "http", "", None)
    account: AccountRow | None = None
    reference: str = ""
    began: float = 0.0
    query: str = ""
    announced: int | None = 0
    """The length of the body; None: unknown until its end."""

    _begun = False
    _complete = False
    _waiting: "Deferred[None] | None" = None
    _asked_for = False

    def gotLength(self, length: int | None) -> None:
        self.site = self.channel.site
        self._body = bytearray()

    def begin(self, command: bytes, path: bytes, version: bytes, length: int | None) -> None:
        """The header is there: handle the request, whether its body has come or not."""
        self._begun = True
        self.announced = length
        self.method, self.uri, self.clientproto = command, path, version
        self.path, _, query = path.partition(b"?")
        self.query = query.decode("latin-1")
        self.args = {}
        self.process()

    def handleContentChunk(self, data: bytes) -> None:
        self._body += data
        if not self._asked_for and len(self._body) > UNASKED:
            # Whoever may not send it is refused before the rest is read.
            self.channel.stop_reading()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        self._complete = True
        if not self._begun:
            self.begin(command, path, version, 0)
        elif self._waiting is not None:
            self._waiting.callback(None)

    async def body(self, limit: int) -> bytes:
        """The whole body. Raises Refused for more than `limit` bytes or an unknown length."""
        if self.announced is None:
            raise length_required()
        if self.announced > limit:
            raise too_large(limit)
        self._asked_for = True
        if not self._complete:
            self.channel.read_on()
            self._waiting = Deferred()
            await self._waiting
        return bytes(self._body)

    def process(self) -> None:
        self.setHeader(b"Date", datetimeToString())
        for name, value in COMMON.items():
            self.setHeader(name, value)
        self.prepath = []
        self.postpath = [unquote_to_bytes(part) for part in self.path[1:].split(b"/")]
        self.site.serve(self)

    def fields(self) -> dict[str, str]:
        """The fields of the query. Raises Malformed for what is no query of a form."""
        return parse_fields(self.query.encode("latin-1"))

    @property
    def secure(self) -> bool:
        """Whether the browser came by https."""
        return self.asked.scheme == "https"

    @property
    def who(self) -> str:
        """The name of the user who is logged in; for routes that let nobody else in."""
        assert self.account is not None
        return self.account.name

    def getRequestHostname(self) -> bytes:
        """What Klein routes by; whose name was asked for is `asked`'s business."""
        return b"localhost"

    def see_other(self, path: str) -> bytes:
        """Send the browser to a path of this site."""
        self.setResponseCode(303)
        self.setHeader(b"Location", path.encode("ascii"))
        return b""

    def write(self, data: bytes) -> None:
        if not self.startedWriting:
            if not self._complete:
                self.channel.persistent = False
                self.setHeader(b"Connection", b"close")
            if self.secure:
                self.setHeader(b"Strict-Transport-Security", STRICT_TRANSPORT_SECURITY)
                self.setHeader(b"Cross-Origin-Opener-Policy", CROSS_ORIGIN_OPENER_POLICY)
        super().write(data)

    def connectionLost(self, reason: Failure) -> None:
        if self.startedWriting and not self.finished:
            self.site.log(self, "broken off, ")
        super().connectionLost(reason)


def parse_fields(data: bytes) -> dict[str, str]:
    """The fields of ``application/x-www-form-urlencoded`` data, each at most once.

    Raises Malformed for other data, too many fields, a field given twice, text that is not UTF-8
    or holds NUL.
    """
    try:
        pairs = parse_qsl(
            data.decode("ascii"),
            keep_blank_values=True,
            encoding="utf-8",
            errors="strict",
            max_num_fields=MAXIMUM_FIELDS,
        )
    except ValueError:
        raise Malformed("the form could not be read") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Malformed("a field of the form was given twice")
    if any("\0" in text for pair in pairs for text in pair):
        raise Malformed("the form holds a character that no text has")
    return fields
