"""A DICOM server on a real database and disk, and clients for it."""

import socket
import struct
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import replace

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config, build_context, evt
from pynetdicom.pdu import A_ASSOCIATE_RJ

from santepacs.access.unknown import UnknownCallers
from santepacs.dicom.entity import DicomServer
from santepacs.dicom.resources import Resources
from santepacs.dicom.tls import ServerContext
from santepacs.host.listening import listening_socket
from santepacs.host.names import HostNames
from santepacs.settings import Settings
from support.archive import Site
from support.programs import program

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
PATIENT_FIND, PATIENT_MOVE, PATIENT_GET = (f"1.2.840.10008.5.1.4.1.2.1.{n}" for n in (1, 2, 3))
STUDY_FIND, STUDY_MOVE, STUDY_GET = (f"1.2.840.10008.5.1.4.1.2.2.{n}" for n in (1, 2, 3))
WORKLIST = "1.2.840.10008.5.1.4.31"
NATIVE = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]


def settings(**dicom):
    """Settings of a test's server: short times, and what the test wants."""
    defaults = {
        "service_timeout": 10.0,
        "association_timeout": 5.0,
        "network_timeout": 20.0,
    }
    given = Settings()
    given.dicom = replace(given.dicom, **(defaults | dicom))
    return given


class DicomSite(Site):
    """A site with a DICOM server on a free port of this machine."""

    def start(self):
        super().start()
        self.resources = Resources(
            self.settings,
            self.threads,
            self.archive,
            self.database,
            self.directory.incoming,
        )
        self.server = self.dicom_server(self.resources)
        listener = listening_socket("", 0, "DICOM")
        self.port = listener.getsockname()[1]
        if self.settings.dicom.tls_certificate:
            tls_listener = listening_socket("", 0, "DICOM over TLS")
            self.tls_port = tls_listener.getsockname()[1]
            self.server.start(listener, tls_listener)
        else:
            self.server.start(listener)

    def dicom_server(self, resources):
        """The server, made as the service makes it."""
        reactor = self.reactor_thread.reactor
        names = HostNames(self.threads, reactor.seconds)
        dicom = self.settings.dicom
        context = ServerContext(lambda: self.settings.dicom) if dicom.tls_certificate else None
        return DicomServer(
            resources, reactor, names, UnknownCallers(self.database, reactor), context
        )

    def stop(self):
        self.server.stop(0)
        self.resources.processes.stop()
        super().stop()

    def received(self):
        """The files that lie in the folder for what is being received."""
        return list(self.directory.incoming.iterdir())

    @contextmanager
    def association(
        self, *sop_classes, title="TESTER", called="SANTEPACS", host="127.0.0.1", **arguments
    ):
        """An association of pynetdicom's own SCU."""
        ae = AE(title)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
        contexts = [
            one if not isinstance(one, str) else build_context(one, NATIVE) for one in sop_classes
        ]
        handlers = [*arguments.pop("evt_handlers", ()), (evt.EVT_PDU_RECV, _let_others_look)]
        association = ae.associate(
            host,
            arguments.pop("port", self.port),
            contexts=contexts,
            ae_title=called,
            evt_handlers=handlers,
            **arguments,
        )
        try:
            yield association
        finally:
            if association.is_established:
                association.release()

    def send(self, *datasets, **arguments):
        """Send datasets by C-STORE; returns the statuses."""
        pairs = {(d.SOPClassUID, d.file_meta.TransferSyntaxUID) for d in datasets}
        contexts = [build_context(*pair) for pair in pairs]
        with self.association(*contexts, **arguments) as association:
            assert association.is_established
            return [association.send_c_store(d).Status for d in datasets]

    def find(self, model=STUDY_FIND, *, cancel_after=None, **keys):
        """The pending identifiers and the final status of a C-FIND."""
        arguments = {name: keys.pop(name) for name in ("title", "ext_neg") if name in keys}
        identifier = keys.pop("identifier", None) or identifier_of(**keys)
        with self.association(model, **arguments) as association:
            assert association.is_established
            return answers(association, identifier, model, cancel_after)


def _let_others_look(event):
    """pynetdicom's SCU takes a rejection for a failure to connect when it comes so quickly that
    the connection is closed again before its other thread has seen it open."""
    if isinstance(event.pdu, A_ASSOCIATE_RJ):
        time.sleep(0.1)


def answers(association, identifier, model, cancel_after=None):
    """All answers to a C-FIND: the identifiers, then the final status."""
    found = []
    for status, answer in association.send_c_find(identifier, model, msg_id=7):
        if not status:
            return found, None
        if status.Status not in (0xFF00, 0xFF01):
            return found, status.Status
        found.append(answer)
        if len(found) == cancel_after:
            association.send_c_cancel(7, None, model)
    return found, None


def identifier_of(**keys):
    """A query: DICOM keywords and their values, `level` for the level."""
    identifier = Dataset()
    if "level" in keys:
        identifier.QueryRetrieveLevel = keys.pop("level")
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    return identifier


@contextmanager
def running_dicom(reactor_thread, dsn, folder, **dicom):
    """A running DicomSite."""
    site = DicomSite(reactor_thread, dsn.runtime, folder, settings(**dicom))
    site.start()
    try:
        yield site
    finally:
        site.stop()


@contextmanager
def storage_scp(handler, contexts, title="DEST", strict=False):
    """pynetdicom's own storage SCP; gives its port. `handler(event)` answers each C-STORE.

    A `strict` one refuses who calls it by another title.
    """
    ae = AE(title)
    ae.require_called_aet = strict
    ae.supported_contexts = contexts
    # What it receives is looked at as it came.
    _config.LOG_HANDLER_LEVEL = "none"
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, handler)]
    )
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


@contextmanager
def dcmtk_storescp(folder, *options):
    """dcmtk's storescp, which writes what it receives to `folder`; gives its port."""
    with closing_port() as port:
        pass
    command = [program("storescp"), "-od", str(folder), "-pm", *options, str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        yield port
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def closing_port():
    """A port that nothing listens on once this ends."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        yield free.getsockname()[1]


def wait_for_port(port, timeout=10):
    """Until somebody listens there."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise AssertionError(f"nobody listens on port {port}")


def eventually(condition, timeout=10):
    """Wait until `condition()` is true."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


# --- bytes ----------------------------------------------------------------------------------------


def item(kind, data):
    return bytes([kind, 0]) + struct.pack(">H", len(data)) + data


def associate_request(
    called=b"SANTEPACS", calling=b"RAW", contexts=((VERIFICATION, ImplicitVRLittleEndian),)
):
    """An A-ASSOCIATE-RQ PDU (PS3.8 9.3.2)."""
    proposed = b"".join(
        item(
            0x20,
            bytes([2 * n + 1, 0, 0, 0])
            + item(0x30, str(abstract).encode())
            + item(0x40, str(transfer).encode()),
        )
        for n, (abstract, transfer) in enumerate(contexts)
    )
    user = item(0x50, item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3"))
    body = (
        struct.pack(">HH", 1, 0)
        + called.ljust(16)
        + calling.ljust(16)
        + bytes(32)
        + item(0x10, b"1.2.840.10008.3.1.1.1")
        + proposed
        + user
    )
    return pdu(1, body)


def pdu(kind, body):
    return bytes([kind, 0]) + struct.pack(">L", len(body)) + body


def p_data(flags, data, context_id=1):
    """A P-DATA-TF with one fragment; flags: 3 whole command, 0 data, 2 last data."""
    return pdu(4, struct.pack(">LBB", len(data) + 2, context_id, flags) + data)


def command(*elements):
    """A command set of (element, bytes)."""
    body = b"".join(struct.pack("<HHL", 0, e, len(v)) + v for e, v in elements)
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def store_command(sop_class=CT, sop_instance=b"1.2.3.4"):
    padded = sop_class.encode() + b"\0" * (len(sop_class) % 2)
    uid = sop_instance + b"\0" * (len(sop_instance) % 2)
    return command(
        (0x0002, padded),
        (0x0100, b"\1\0"),
        (0x0110, b"\1\0"),
        (0x0700, b"\0\0"),
        (0x0800, b"\1\0"),
        (0x1000, uid),
    )


class Raw:
    """A peer that speaks bytes."""

    def __init__(self, port, timeout=10):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)

    def send(self, data):
        self.socket.sendall(data)

    def receive(self):
        """One PDU: its type and body; (None, b"") at the end of the connection."""
        try:
            header = self._exactly(6)
            if len(header) < 6:
                return None, b""
            return header[0], self._exactly(struct.unpack(">L", header[2:])[0])
        except ConnectionError:
            return None, b""

    def associate(self, **arguments):
        self.send(associate_request(**arguments))
        kind, body = self.receive()
        assert kind == 2, (kind, body)

    def close(self):
        self.socket.close()

    def _exactly(self, size):
        data = b""
        while len(data) < size:
            piece = self.socket.recv(size - len(data))
            if not piece:
                break
            data += piece
        return data
