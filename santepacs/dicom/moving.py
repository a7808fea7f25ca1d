"""The sending side of a C-MOVE, in a thread of its own.

A destination may take its time, be dead, or never have been there; whoever asked must be answered
and heard meanwhile. So one thread sends and another looks after the association that asked.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress

from pynetdicom.presentation import PresentationContext
from twisted.logger import Logger

from santepacs.db.search import Contents
from santepacs.db.studies import ObjectFile
from santepacs.dicom.client import Client, Urgency
from santepacs.dicom.contexts import to_send
from santepacs.dicom.progress import Progress
from santepacs.dicom.resources import Resources
from santepacs.dicom.selection import Selection, objects
from santepacs.dicom.sending import Outcome, Sender
from santepacs.dicom.upper import UpperAssociation
from santepacs.errors import SantepacsError
from santepacs.logs import fault
from santepacs.model.peers import Peer

log = Logger()

LAST_OBJECT = 0.4  # seconds that the object on its way gets when the rest is not wanted any more


class _Stopped(Exception):
    """The rest is not wanted any more."""


class Move:
    """Sends a selection to a peer and counts what becomes of it."""

    def __init__(
        self,
        resources: Resources,
        client: Client,
        peer: Peer,
        selection: Selection,
        progress: Progress,
        *,
        urgency: Urgency,
        priority: int,
        originator: str,
        originator_id: int,
    ) -> None:
        """`originator`: the AE title that asked for it, and the message ID of its request."""
        self._resources = resources
        self._client = client
        self._peer = peer
        self._selection = selection
        self._progress = progress
        self._urgency = urgency
        self._priority = priority
        self._originator = originator
        self._originator_id = originator_id
        self._association: UpperAssociation | None = None
        self._stopped = False
        self._ended = threading.Event()

    def start(self, kinds: Sequence[Contents]) -> None:
        """Begin; `kinds` are those of the selection."""
        # Without objects there is nothing to propose, and nobody to ask.
        pairs = ((kind.sop_class_uid, kind.transfer_syntax_uid) for kind in kinds)
        threading.Thread(
            target=self._run,
            args=(to_send(pairs),),
            name=f"DICOM to {self._peer.ae_title}",
            daemon=True,
        ).start()

    def wait(self, seconds: float) -> bool:
        """Whether it has ended by then."""
        return self._ended.wait(seconds)

    def stop(self) -> None:
        """Send nothing more, and count nothing more once this returns; within a second."""
        self._stopped = True
        if not self._ended.wait(LAST_OBJECT):
            self._progress.close()  # what is cut off now was not sent, and did not fail either
            association = self._association
            if association is not None:
                association.end()
        self._progress.close()

    # --- in the thread ----------------------------------------------------------------------------

    def _run(self, associations: list[dict[str, list[PresentationContext]]]) -> None:
        try:
            with self._client.turn(self._check, self._urgency):
                while associations:
                    objects = self._objects(associations[0])
                    self._send_over(associations.pop(0), objects, is_last=not associations)
        except _Stopped:
            log.debug("a C-MOVE was stopped")
        except SantepacsError as error:
            self._progress.give_up(str(error))
        except Exception as error:  # noqa: BLE001 - whoever asked must hear that it is over
            log.error("a C-MOVE failed: {fault}", fault=fault(error))
            self._progress.give_up("it failed")
        finally:
            self._ended.set()

    def _send_over(
        self,
        contexts: dict[str, list[PresentationContext]],
        objects: Iterator[ObjectFile],
        *,
        is_last: bool,
    ) -> None:
        proposed = [context for of_class in contexts.values() for context in of_class]
        try:
            with self._client.association(self._peer, proposed) as association:
                self._association = association
                # What was begun ends orderly, also when the rest is not wanted any more.
                with suppress(_Stopped):
                    self._send_all(association, objects)
                if is_last:
                    self._ended.set()  # nobody needs to wait for the release
        except SantepacsError as error:
            self._fail(objects, str(error))
        self._check()

    def _send_all(self, association: UpperAssociation, objects: Iterator[ObjectFile]) -> None:
        sender = Sender(
            self._resources,
            association,
            self._check,
            priority=self._priority,
            originator=self._originator,
            originator_id=self._originator_id,
        )
        with closing(sender.send_all(objects)) as outcomes:
            for outcome in outcomes:
                self._progress.count(outcome)
                self._check()

    def _objects(self, contexts: dict[str, list[PresentationContext]]) -> Iterator[ObjectFile]:
        """The objects that go over the association with these contexts."""
        every = objects(self._resources, self._selection)
        return (stored for stored in every if stored.sop_class_uid in contexts)

    def _fail(self, objects: Iterator[ObjectFile], reason: str) -> None:
        for stored in objects:
            self._check()
            self._progress.count(Outcome(stored, None, reason))

    def _check(self) -> None:
        if self._stopped:
            raise _Stopped
