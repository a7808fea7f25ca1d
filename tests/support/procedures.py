"""A site that hears what modalities do (MPPS), and the data sets that they send."""

from contextlib import contextmanager

from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian, generate_uid
from pynetdicom import build_context

from santepacs.db import orders, performed
from santepacs.dicom.contexts import PERFORMED_PROCEDURE_STEP as MPPS
from santepacs.dicom.resources import Resources
from santepacs.host.listening import listening_socket
from santepacs.model.order import WorklistRecord
from santepacs.worklist.progress import Progress
from support.archive import Site
from support.dicom import DicomSite, settings

STUDY = "1.2.826.0.1.3680043.8.498.7"
RECORD = WorklistRecord(
    patient_id="P1",
    patient_name="Doe^Jane",
    accession_number="A1",
    study_instance_uid=STUDY,
    modality="CT",
    start_date="20261121",
    start_time="090000",
    scheduled_procedure_step_id="S1",
    requested_procedure_id="R1",
    scheduled_station_ae_title="CT1",
)


class ProcedureSite(DicomSite):
    """A site that hears what modalities do."""

    announce = announced = None

    def start(self):
        Site.start(self)
        self.progress = Progress(
            self.database, self.settings, lambda n: n // 2, self.announce, self.announced
        )
        self.resources = Resources(
            self.settings,
            self.threads,
            self.archive,
            self.database,
            self.directory.incoming,
            progress=self.progress,
        )
        self.server = self.dicom_server(self.resources)
        listener = listening_socket("", 0, "DICOM")
        self.port = listener.getsockname()[1]
        self.server.start(listener)

    @contextmanager
    def modality(self, syntax=ImplicitVRLittleEndian, **arguments):
        with self.association(build_context(MPPS, syntax), **arguments) as association:
            assert association.is_established and association.accepted_contexts
            yield association

    def create(self, data_set=None, uid=None, **arguments):
        """The status of an N-CREATE; `uid` None: a new one."""
        with self.modality(**arguments) as association:
            return create(association, data_set, uid)

    def set(self, uid, **arguments):
        with self.modality() as association:
            return change(association, uid, **arguments)

    def add(self, record=RECORD):
        return self.ask(orders.add, record)

    def status(self, key):
        return self.ask(orders.record, key).record.step_status

    def events(self, key):
        """What happened to a record, oldest first."""
        found = self.ask(orders.events, key)
        return [(e.action, e.step_status.value, e.actor, e.remark) for e in reversed(found)]

    def steps(self, **arguments):
        return self.ask(performed.page, **arguments)


def create(association, data_set=None, uid=None):
    status, _ = association.send_n_create(
        begun() if data_set is None else data_set, MPPS, uid or generate_uid()
    )
    return status


def change(association, uid, state=None, **values):
    data_set = Dataset()
    if state:
        data_set.PerformedProcedureStepStatus = state
    for keyword, value in values.items():
        setattr(data_set, keyword, value)
    status, _ = association.send_n_set(data_set, MPPS, uid)
    return status


def item(**values):
    """An item of the Scheduled Step Attributes Sequence; what is None is left out."""
    defaults = {
        "StudyInstanceUID": STUDY,
        "AccessionNumber": "A1",
        "RequestedProcedureID": "R1",
        "ScheduledProcedureStepID": "S1",
    }
    return with_values(defaults | values)


def begun(*items, **values):
    """The data set of an N-CREATE; what is None is left out."""
    defaults = {
        "ScheduledStepAttributesSequence": list(items) or [item()],
        "PatientID": "P1",
        "PatientName": "Doe^Jane",
        "PatientBirthDate": "19700131",
        "PatientSex": "F",
        "PerformedProcedureStepID": "PPS1",
        "PerformedStationAETitle": "CT1",
        "PerformedStationName": "CT room 1",
        "PerformedProcedureStepStartDate": "20261121",
        "PerformedProcedureStepStartTime": "091500",
        "PerformedProcedureStepStatus": "IN PROGRESS",
        "PerformedProcedureStepEndDate": "",
        "PerformedProcedureStepEndTime": "",
        "Modality": "CT",
        "PerformedSeriesSequence": [],
    }
    return with_values(defaults | values)


def with_values(values):
    data_set = Dataset()
    for keyword, value in values.items():
        if value is not None:
            setattr(data_set, keyword, value)
    return data_set


def series(*counts):
    """A Performed Series Sequence with so many images in each series."""
    return [
        with_values(
            {
                "SeriesInstanceUID": generate_uid(),
                "ReferencedImageSequence": [
                    with_values(
                        {"ReferencedSOPClassUID": "1.2.3", "ReferencedSOPInstanceUID": "1.2.3.4"}
                    )
                    for _ in range(count)
                ],
            }
        )
        for count in counts
    ]


@contextmanager
def running(reactor_thread, dsn, folder, *, announce=None, announced=None, **dicom):
    """A running site; `announce` and `announced` are those of `Progress`."""
    site = ProcedureSite(reactor_thread, dsn.runtime, folder, settings(**dicom))
    site.announce, site.announced = announce, announced
    site.start()
    try:
        yield site
    finally:
        site.stop()
