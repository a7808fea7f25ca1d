"""A department around a running server: a HIS, a scanner that asks, and the worklist's rows."""

import uuid

from pydicom import dcmread
from pynetdicom import AE

from santepacs.dicom.contexts import PERFORMED_PROCEDURE_STEP
from support.clients import mllp
from support.faults_database import index_of
from support.programs import run

ROOT = "1.2.826.0.1.3680043.8.498.66"
RETURNED = ("0008,0050", "0010,0010", "0010,0020", "0020,000d", "0032,1060", "0040,1001")
OF_STEP = ("0008,0060", "0040,0001", "0040,0002", "0040,0003", "0040,0009", "0040,0020")


def message(kind, *segments, charset="UNICODE UTF-8", encoding="utf-8", control_id=None):
    """An HL7 message as a HIS sends it, and its control ID, which no other one has."""
    control_id = control_id or uuid.uuid4().hex[:20]
    header = f"MSH|^~\\&|HIS|WARD|SANTEPACS|RAD|20261120||{kind}|{control_id}|P|2.5.1"
    segments = (f"{header}||||||{charset}", *segments)
    return "\r".join((*segments, "")).encode(encoding), control_id


def order(number, name="Doe^Jane", control="NW", start="20261121093000", study="", **more):
    """An ORM^O01 for the patient and the order of that number."""
    segments = [
        f"PID|1||ID{number}||{name}||19700131|F",
        f"ORC|{control}|{number}|||||||||||||{start}",
        f"OBR|1|{number}||CT01^Thorax||||||||||||||CT|||CT_ONE",
    ]
    if study:
        segments.append(f"ZDS|{study}^^Application^DICOM")
    return message("ORM^O01", *segments, **more)


class Department:
    """What is around one server."""

    def __init__(self, server, folder):
        self.server = server
        self._folder = folder
        self._asked = 0

    def send(self, told):
        """Send a message, of which the second part is the control ID; its acknowledgement code."""
        raw, control_id = told
        return acknowledged(mllp(self.server.hl7_port, raw), control_id)

    def scanner(self, *keys, character_set=""):
        """The answers to a worklist query of DCMTK's findscu, by the keys beside the usual ones."""
        self._asked += 1
        out = self._folder / f"answers{self._asked}"
        out.mkdir()
        wanted = [*RETURNED, *(f"(0040,0100)[0].{key}" for key in OF_STEP), *keys]
        if character_set:
            wanted.append(f"0008,0005={character_set}")
        said = run(
            *("findscu", "-v", "-W", "-X", "-od", out, "-aet", "CT_ONE", "-aec", "SANTEPACS"),
            *(part for key in wanted for part in ("-k", key)),
            *("127.0.0.1", self.server.dicom_port),
        )
        assert "Success" in said, said
        return [dcmread(path, force=True) for path in sorted(out.glob("rsp*.dcm"))]

    def sees(self, patient_id, *keys):
        """The accession numbers that a scanner finds for a patient."""
        found = self.scanner(f"0010,0020={patient_id}", *keys)
        return sorted(answer.AccessionNumber for answer in found)

    def modality(self, work):
        """Let `work(association)` say what a modality does."""
        entity = AE("CT_ONE")
        entity.add_requested_context(PERFORMED_PROCEDURE_STEP)
        association = entity.associate("127.0.0.1", self.server.dicom_port, ae_title="SANTEPACS")
        assert association.is_established
        try:
            return work(association)
        finally:
            association.release()

    def status(self, number):
        """Where the steps of an order stand."""
        return [
            row[0]
            for row in self.rows(
                "SELECT step_status FROM worklist_record WHERE accession_number = %s ORDER BY id",
                number,
            )
        ]

    def rows(self, sql, *parameters):
        return index_of(self.server).rows(sql, *parameters)


def acknowledged(answer, control_id):
    """The code of the acknowledgement that answers this message, and no other."""
    (msa,) = [line.split("|") for line in answer.decode().split("\r") if line.startswith("MSA")]
    assert msa[2] == control_id
    return msa[1]
