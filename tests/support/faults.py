"""The oracle: after a fault, what a server said must be true, and nothing may be half.

    ledger = Ledger()
    ledger.store(sender, image)     # and whatever goes wrong meanwhile
    check(server, ledger, index)    # the oracle
    alive(server)

A `Ledger` remembers what was sent and what was answered; `check` compares it with everything that
the server tells and holds: C-GET, C-FIND, zip, index, files. At the end everything is sent again.
"""

import hashlib
import io
import re
import zipfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from santepacs.archive.header import read_file_meta
from support import raw_dicom as raw
from support import vitals
from support.archive import dataset_bytes
from support.clients import Browser, mllp, order
from support.dicom import eventually
from support.faults_sender import Sender
from support.postgres import reachable_folder
from support.server import ADMIN_PASSWORD, Server, end_leftover_postgres

SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700
KEPT_ASIDE, CONFLICT_REFUSED = 0xB000, 0xC001
PENDING = 0xFF00
LEVEL, STUDY, SERIES, OBJECT, COUNT = 0x00080052, 0x0020000D, 0x0020000E, 0x00080018, 0x00201208
MORE_MEMORY = 64 * 1024  # KiB
SETTLING = 30  # seconds


class Ledger:
    """What was sent, and how each sending was answered (None: not at all)."""

    def __init__(self):
        self.sent = {}
        self.answers = defaultdict(list)

    def store(self, sender, image):
        """Send an image and write down its answer."""
        self.sent[image.uid] = image
        status = None
        with suppress(ConnectionError):
            status = sender.store(image)
        self.answers[image.uid].append(status)
        return status

    def store_all(self, port, images):
        """Send images over an association of their own, until it ends; the statuses."""
        with suppress(ConnectionError):
            sender = Sender(port)
            statuses = []
            for image in images:
                statuses.append(self.store(sender, image))
                if statuses[-1] is None:
                    return statuses
            sender.release()
            return statuses
        return []

    @property
    def studies(self):
        return {image.study for image in self.sent.values()}

    def data(self, uids=None):
        """SOP Instance UID -> data set as it was sent."""
        return {uid: self.sent[uid].data for uid in (self.sent if uids is None else uids)}

    def answered(self):
        """The UIDs that were answered with success."""
        return {uid for uid, statuses in self.answers.items() if SUCCESS in statuses}


def check(server, ledger, index, *, again=True):
    """The oracle. Afterwards everything in the ledger is stored (unless not `again`)."""
    kept = _check_state(server, ledger, index)
    assert ledger.data(ledger.answered()).items() <= kept.items(), "answered 0x0000 and lost"
    if again:
        statuses = ledger.store_all(server.dicom_port, list(ledger.sent.values()))
        assert statuses == [SUCCESS] * len(ledger.sent)
        assert _check_state(server, ledger, index) == ledger.data()


def _check_state(server, ledger, index):
    """All ways out give the same whole objects; index, files and counts agree. What is there."""
    eventually(lambda: not any((server.data / "incoming").iterdir()), SETTLING)
    kept = {}
    for study in sorted(ledger.studies):
        by_get = fetched(server, study)
        assert by_get == downloaded(server, study)
        assert by_get.keys() == found(server, study)
        kept |= by_get
    assert kept.items() <= ledger.data().items(), "something half or foreign is served"
    indexed = index.objects()
    assert kept.keys() == {uid for uid in indexed if uid in ledger.sent}
    assert index.miscounted() == []
    files = stored_files(server)
    assert set(indexed.values()) <= files, "a row without its file"
    return kept


def stored_files(server):
    """The digests of the stored files; each is proven to hold what its name says."""
    digests = set()
    for path in (Path(server.data) / "objects").rglob("*.dcm"):
        data = path.read_bytes()
        syntax = read_file_meta(data).transfer_syntax_uid
        proof = hashlib.sha256(syntax.encode("ascii") + b"\0" + dataset_bytes(data))
        assert proof.hexdigest() == path.stem, f"{path} is not what its name says"
        digests.add(path.stem)
    return digests


def orphans(server, index):
    """Digests of files without a row."""
    return stored_files(server) - set(index.objects().values())


def fetched(server, study):
    """Every object of a study by C-GET: SOP Instance UID -> data set as it came."""
    ct, got = raw.CT.encode(), {}
    role = raw.item(0x54, len(ct).to_bytes(2, "big") + ct + b"\0\1")  # we are SCP of storage
    contexts = (raw.STUDY_GET, (raw.CT, raw.EXPLICIT))
    with raw.associated(server.dicom_port, *contexts, user=role, maximum=0) as peer:
        query = raw.identifier({LEVEL: "STUDY ", STUDY: raw.ui(study)})
        peer.message(raw.request(raw.C_GET, raw.STUDY_GET, message_id=7), query)
        while True:
            answer = peer.answer(SETTLING)
            if answer.field != raw.C_STORE:
                if answer.status != PENDING:
                    break
                continue
            uid = answer.command[0x1000]
            got[uid.rstrip(b"\0").decode()] = answer.data
            number = int.from_bytes(answer.command[0x0110], "little")
            more = ((0x0900, raw.us(SUCCESS)), (0x1000, uid))
            reply = raw.request(
                raw.C_STORE | raw.RESPONSE, raw.CT, *more, message_id=number, data_set=False
            )
            peer.message(reply, context_id=3)
    assert answer.status == SUCCESS, hex(answer.status)
    return got


def found(server, study):
    """The SOP Instance UIDs of a study by C-FIND at all levels, which must agree in numbers."""
    with raw.associated(server.dicom_port, raw.STUDY_FIND) as peer:

        def ask(level, keys):
            answers, status = peer.find({LEVEL: level, STUDY: raw.ui(study), **keys})
            assert status == SUCCESS, hex(status)
            return answers

        counts = [int(answer[COUNT]) for answer in ask("STUDY", {COUNT: b""})]
        series = [answer[SERIES] for answer in ask("SERIES", {SERIES: b""})]
        images = [answer for uid in series for answer in ask("IMAGE", {SERIES: uid, OBJECT: b""})]
    uids = {answer[OBJECT].rstrip(b"\0").decode() for answer in images}
    assert len(uids) == len(images) and sum(counts) == len(uids)
    return uids


def downloaded(server, study):
    """Every object of a study by the portal's zip: SOP Instance UID -> data set."""
    browser = Browser(server.web_port)
    assert browser.log_in("admin", ADMIN_PASSWORD).status == 303
    answer = browser.get(f"/download/study/{study}.zip")
    if answer.status == 404:
        return {}
    assert answer.status == 200
    got = {}
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.testzip() is None
        for name in archive.namelist():
            data = archive.read(name)
            got[read_file_meta(data).sop_instance_uid] = dataset_bytes(data)
    return got


def together(*works):
    """Run functions in threads at once; their results, in order."""
    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result() for future in [pool.submit(work) for work in works]]


class Site:
    """A data directory whose server is killed and started again. Use `site_of_faults`."""

    def __init__(self, folder):
        self.folder = folder
        self.data = folder / "data"
        self._servers = []

    def launch(self, settings=(), **options):
        """A server that has only just been started."""
        server = Server(self.data, settings, **options)
        self._servers.append(server)
        server.launch()
        return server

    def start(self, settings=(), **options):
        """A server that serves."""
        server = Server(self.data, settings, **options)
        self._servers.append(server)
        return server.start()

    def end(self):
        for server in self._servers:
            if server.process.poll() is None:
                server.kill()
        end_leftover_postgres(self.data)

    def check_logs(self):
        for server in self._servers:
            assert "Traceback" not in server.output, server.output


@contextmanager
def site_of_faults():
    """An empty folder for a server's data; nothing is left running in it afterwards."""
    with reachable_folder() as folder:
        site = Site(folder)
        try:
            yield site
            site.check_logs()
        finally:
            site.end()


# --- alive ----------------------------------------------------------------------------------------


def alive(server):
    """C-ECHO, landing page, a valid order: all are answered, by the process that was started."""
    sender = Sender(server.dicom_port)
    assert sender.echo() == SUCCESS
    sender.release()
    assert Browser(server.web_port).get("/").status == 200
    assert b"\rMSA|AA|1" in mllp(server.hl7_port, order())
    assert server.process.poll() is None


class Vitals(vitals.Vitals):
    """What a server's process uses; `settled` waits until it uses no more than before."""

    def __init__(self, server):
        super().__init__(server)
        self._memory = self.memory()

    def memory(self):
        """KiB of its own; files in the page cache are not counted."""
        return self._kilobytes("RssAnon")

    def data(self):
        """KiB of memory that RLIMIT_DATA counts."""
        return self._kilobytes("VmData")

    def settled(self):
        self.calm()
        assert self.memory() <= self._memory + MORE_MEMORY

    def _kilobytes(self, name):
        return int(re.search(rf"{name}:\s+(\d+) kB", self._status())[1])
