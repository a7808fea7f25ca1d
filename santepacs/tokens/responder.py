"""Answers token requests from the archive, so many a minute for each source."""

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

from twisted.logger import Logger

from santepacs.errors import Forbidden
from santepacs.settings import Settings
from santepacs.tokens.dialogue import (
    NOTHING,
    StudyToken,
    identifier,
    patient_reply,
    study_reply,
)

log = Logger()

MAXIMUM_SOURCES = 10_000

Studies = Callable[[str], Awaitable[Sequence[StudyToken]]]


class RateLimit:
    """So many events a minute for each source; a source that was silent may have them at once."""

    def __init__(self, rate: Callable[[], int], seconds: Callable[[], float]) -> None:
        """`rate`: events a minute. `seconds`: a clock that never goes back."""
        self._rate = rate
        self._seconds = seconds
        # What each source may still have, and when that was reckoned; the longest silent first.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, source: str) -> bool:
        """Count an event of `source`; False when it is one too many."""
        rate, now = self._rate(), self._seconds()
        left, since = self._left.pop(source, (float(rate), now))
        left = min(float(rate), left + (now - since) * rate / 60)
        allowed = left >= 1
        self._left[source] = (left - 1 if allowed else left, now)
        if len(self._left) > MAXIMUM_SOURCES:
            self._left.popitem(last=False)
        return allowed


class TokenResponder:
    """`respond` is the conversation's handler of token requests."""

    def __init__(
        self,
        settings: Settings,
        studies_by_uid: Studies,
        studies_by_patient_id: Studies,
        codec: Callable[[], str],
        seconds: Callable[[], float],
    ) -> None:
        """The look-ups match the whole id exactly. `codec`: Python's name of the default charset.
        `seconds`: a monotonic clock.
        """
        self._codec = codec
        self._settings = settings
        self._studies_by_uid = studies_by_uid
        self._studies_by_patient_id = studies_by_patient_id
        self._limit = RateLimit(lambda: settings.hl7.token_rate, seconds)

    async def respond(self, payload: bytes, source: str) -> bytes:
        """The answer to one request. Raises Forbidden when the connection is to be closed."""
        if not self._settings.hl7.tokens:
            raise Forbidden("token requests are switched off")
        if not self._limit.allows(source):
            log.warn("alert: {source} asks for more tokens than allowed", source=source)
            raise Forbidden("more token requests than allowed")
        codec = self._codec()
        asked = identifier(payload, codec)
        by_uid = await self._studies_by_uid(asked) if asked else ()
        if by_uid:
            self._audit(source, asked, "study", 1)
            return study_reply(by_uid[0].token)
        studies = await self._studies_by_patient_id(asked) if asked else ()
        self._audit(source, asked, "patient" if studies else "nothing", len(studies))
        if not studies:
            return NOTHING
        return patient_reply(studies, self._settings.hl7.token_reply, codec)

    def _audit(self, source: str, asked: str, found: str, count: int) -> None:
        """Who asked what, without telling it: the id stands there as a hash's beginning."""
        log.info(
            "token request from {source}: id {hash}, {found}, tokens given: {count}",
            source=source,
            hash=hashlib.sha256(asked.encode("utf-8", "replace")).hexdigest()[:8],
            found=found,
            count=count,
        )
