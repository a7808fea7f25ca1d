"""Says in the log which proposed SOP classes an association does without, and why.

The standard has a code for each context, and few modalities show it to anybody. One line for an
association, and none within a minute for what was said of the same caller before.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from pydicom.uid import UID_dictionary
from pynetdicom.presentation import PresentationContext
from twisted.logger import Logger

from santepacs.dicom.admission import Caller
from santepacs.dicom.contexts import (
    MODALITY_WORKLIST_FIND,
    QUERY,
    RETRIEVE,
    STORAGE_COMMITMENT,
    is_storage,
)
from santepacs.dicom.proposal import Proposed
from santepacs.logs import one_line

log = Logger()

QUIET = 60.0  # seconds in which the same is not said again
MAXIMUM_NAMED = 5  # SOP classes in one line
MAXIMUM_REMEMBERED = 1000
_OF_THE_STANDARD = "1.2.840.10008."


class Unaccepted:
    """Used by the threads of all associations."""

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        """`seconds`: a clock that never goes back."""
        self._seconds = seconds
        self._lock = threading.Lock()
        self._said: OrderedDict[tuple[str, str, frozenset[str]], float] = OrderedDict()

    def tell(
        self,
        caller: Caller,
        proposed: Sequence[Proposed],
        supported: Sequence[PresentationContext],
    ) -> None:
        """Log the SOP classes of which no context is accepted; `supported`: what may be."""
        known = {str(each.abstract_syntax): set(each.transfer_syntax) for each in supported}
        classes = dict.fromkeys(context.abstract_syntax for context in proposed)
        for context in proposed:
            if not known.get(context.abstract_syntax, set()).isdisjoint(context.transfer_syntaxes):
                classes.pop(context.abstract_syntax, None)
        if not classes or not self._is_news(caller, frozenset(classes)):
            return
        reasons: dict[str, list[str]] = {}
        for uid in list(classes)[:MAXIMUM_NAMED]:
            reasons.setdefault(_reason(caller, uid, uid in known), []).append(_named(uid))
        log.warn(
            "{title} from {address}: not accepted: {what}{more}",
            title=one_line(caller.ae_title, 16),
            address=caller.address,
            what="; ".join(f"{', '.join(uids)} ({reason})" for reason, uids in reasons.items()),
            more=f"; and {len(classes) - MAXIMUM_NAMED} more"
            if len(classes) > MAXIMUM_NAMED
            else "",
        )

    def _is_news(self, caller: Caller, uids: frozenset[str]) -> bool:
        key, now = (caller.ae_title, caller.address, uids), self._seconds()
        with self._lock:
            last = self._said.get(key)
            if last is not None and now - last < QUIET:
                return False
            self._said.pop(key, None)
            self._said[key] = now
            if len(self._said) > MAXIMUM_REMEMBERED:
                self._said.popitem(last=False)
        return True


def _reason(caller: Caller, uid: str, is_known: bool) -> str:
    if is_known:
        return "none of its transfer syntaxes is known"
    permissions = (
        (QUERY, caller.may_query, "it may not query"),
        (RETRIEVE, caller.may_retrieve, "it may not retrieve"),
        ((MODALITY_WORKLIST_FIND,), caller.may_worklist, "it may not ask for the worklist"),
        ((STORAGE_COMMITMENT,), caller.may_store, "it may not store"),
    )
    for uids, allowed, reason in permissions:
        if uid in uids:
            return "not served" if allowed else reason
    if is_storage(uid, ()):
        return "it may neither store nor retrieve"
    if uid.startswith(_OF_THE_STANDARD):
        return "not served"
    if caller.may_store or caller.may_retrieve:
        return "private; dicom.private_sop_classes would take it"
    return "private, and it may neither store nor retrieve"


def _named(uid: str) -> str:
    """The UID, and its name in the standard."""
    known = UID_dictionary.get(uid)
    return one_line(uid, 64) + (f" {known[0]}" if known else "")
