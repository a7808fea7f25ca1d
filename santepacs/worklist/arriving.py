"""Studies that are arriving: noticed at their first object, and when no more comes.

The archive tells of every object that it has stored, hundreds a second and in the thread that did
it, so `ImagesArriving.note` only puts it into a box that is emptied every second. The worklist is
looked at once for each new study (once more for each modality that appears in it later), and once
when it has been quiet for `worklist.complete_after` seconds. What is remembered is bounded: where
more than `MAXIMUM` studies arrive at once, the one that has been quiet for longest counts as quiet.
"""

from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from santepacs.errors import Unavailable
from santepacs.logs import fault
from santepacs.model.performed import ArrivingStudy
from santepacs.settings import Settings
from santepacs.worklist.progress import Progress

log = Logger()

MAXIMUM = 10_000  # studies that are remembered,
MODALITIES = 20  # and modalities of each
MAXIMUM_UNSEEN = 100_000  # objects between two looks; more of them only while the reactor stands
BATCH = 200  # studies that are looked for in one transaction
INTERVAL = 1.0  # seconds between looks for studies that are quiet
# No images of the work: documents of an order may come before it begins.
_DOCUMENTS = frozenset(("DOC", "KO", "PR", "SR"))

Tell = Callable[[Sequence[ArrivingStudy]], Awaitable[None]]


class _Study:
    """A study that is arriving; `last`: when its last object came."""

    __slots__ = ("accession_number", "last", "modalities", "patient_id", "uid")

    def __init__(self, uid: str, accession_number: str, patient_id: str, last: float) -> None:
        self.uid = uid
        self.accession_number = accession_number
        self.patient_id = patient_id
        self.last = last
        self.modalities: set[str] = set()

    def words(self) -> ArrivingStudy:
        return ArrivingStudy(
            self.uid, self.accession_number, self.patient_id, frozenset(self.modalities)
        )


class ImagesArriving:
    """Tells `Progress` of studies. All but `note` on the reactor; `start` and `stop` once each."""

    def __init__(
        self, reactor: Any, settings: Settings, progress: Progress, *, interval: float = INTERVAL
    ) -> None:
        self._seconds: Callable[[], float] = reactor.seconds
        self._settings = settings
        self._progress = progress
        self._interval = interval
        self._unseen: deque[tuple[str, str, str, str]] = deque(maxlen=MAXIMUM_UNSEEN)
        self._studies: OrderedDict[str, _Study] = OrderedDict()  # the quietest first
        # What is still to be told.
        self._new: dict[str, _Study] = {}
        self._quiet: dict[str, _Study] = {}
        self._telling = DeferredLock()
        self._loop = LoopingCall(self._look)
        self._loop.clock = reactor

    async def start(self) -> None:
        """Take up the studies that were arriving when the server ended."""
        self._loop.start(self._interval, now=False)
        try:
            left = await self._progress.still_arriving(MAXIMUM)
        except Unavailable:
            return  # the next start will do
        now = self._seconds()
        for study in left:
            uid = study.study_instance_uid
            self._studies.setdefault(uid, _Study(uid, "", "", now))

    async def stop(self) -> None:
        """Tell of the studies that have just begun; those that go on are the next start's."""
        if self._loop.running:
            self._loop.stop()
        self._open_box()
        await self._tell_soon()

    def note(
        self, study_instance_uid: str, accession_number: str, patient_id: str, modality: str = ""
    ) -> None:
        """An object of this study was stored. From any thread."""
        self._unseen.append((study_instance_uid, accession_number, patient_id, modality))

    def _open_box(self) -> None:
        while self._unseen:
            self._see(*self._unseen.popleft())

    def _see(
        self, study_instance_uid: str, accession_number: str, patient_id: str, modality: str
    ) -> None:
        if not self._settings.worklist.complete_after or modality in _DOCUMENTS:
            return
        study = self._studies.get(study_instance_uid)
        if study is not None:
            study.last = self._seconds()
            self._studies.move_to_end(study_instance_uid)
            if modality in study.modalities or len(study.modalities) >= MODALITIES:
                return
        else:
            study = _Study(study_instance_uid, accession_number, patient_id, self._seconds())
            self._studies[study_instance_uid] = study
            if len(self._studies) > MAXIMUM:
                self._leave(self._studies.popitem(last=False)[1])
        study.modalities.add(modality)
        self._new[study_instance_uid] = study

    def _leave(self, study: _Study) -> None:
        """A study counts as quiet."""
        self._new.pop(study.uid, None)
        # More of them wait only when the database has been away for long; then some stay begun.
        if len(self._quiet) < MAXIMUM:
            self._quiet[study.uid] = study

    def _look(self) -> "Deferred[None]":
        self._open_box()
        after = self._settings.worklist.complete_after
        if not after:
            self._studies.clear()
        until = self._seconds() - after
        while self._studies and next(iter(self._studies.values())).last <= until:
            self._leave(self._studies.popitem(last=False)[1])
        return self._tell_soon()

    def _tell_soon(self) -> "Deferred[None]":
        return self._telling.run(lambda: Deferred.fromCoroutine(self._tell_all()))

    async def _tell_all(self) -> None:
        try:
            await self._tell(self._new, self._progress.images_arrived)
            await self._tell(self._quiet, self._progress.images_are_quiet)
        except Unavailable:
            return  # they wait for the next look

    async def _tell(self, waiting: dict[str, _Study], tell: Tell) -> None:
        while waiting:
            batch = {uid: waiting.pop(uid) for uid in list(islice(waiting, BATCH))}
            try:
                await tell([study.words() for study in batch.values()])
            except Unavailable:
                waiting.update(batch)
                raise
            except Exception as error:  # noqa: BLE001 - what is wrong with one batch ends with it
                log.error("arriving studies are not told of: {fault}", fault=fault(error))
