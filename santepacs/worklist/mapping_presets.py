"""Field mappings to begin with: the seed product's, and those of IHE Radiology.

"Sante default" has the seed product's seventeen rows, so it reads every ORM message as that
product does; the rows after them speak only where those are empty. They follow IHE RAD-4 (start in
TQ1-7, ORC-7.4, OBR-27.4; procedure in OBR-44, OBR-19, OBR-20) and common HIS habits. An IPC segment
goes before ORC and OBR: it comes in OMI^O23 alone, and tells the steps of an order apart.

"IHE ORM 2.3.1" and "IHE OMI 2.5.1" read what IHE RAD TF-2 appendix B puts into a worklist.
"""

from santepacs.worklist.mapping_rows import START, FieldMapping, Row

_IPC = (
    Row("accession_number", "IPC", 1),
    Row("requested_procedure_id", "IPC", 2),
    Row("study_instance_uid", "IPC", 3),
    Row("scheduled_procedure_step_id", "IPC", 4),
    Row("modality", "IPC", 5),
    Row("scheduled_procedure_step_description", "IPC", 6, 2),
    Row("scheduled_procedure_step_description", "IPC", 6),
    Row("scheduled_station_name", "IPC", 7),
    Row("scheduled_procedure_step_location", "IPC", 8),
    Row("scheduled_station_ae_title", "IPC", 9),
)
_SEED_PATIENT = (
    Row("patient_id", "PID", 3),
    Row("patient_name", "PID", 5, 0),
    Row("patient_birth_date", "PID", 7),
    Row("patient_sex", "PID", 8),
)
_SEED_ORDER = (
    Row("status", "ORC", 5),
    Row("accession_number", "ORC", 2),
    Row("requesting_physician_name", "OBR", 16),
    Row("requested_procedure_description", "OBR", 4, 2),
    Row("modality", "OBR", 18),
    Row(START, "ORC", 15),
    Row("technician_name", "OBR", 34),
    Row("scheduled_procedure_step_id", "OBR", 4),
    Row("scheduled_station_ae_title", "OBR", 21),
    Row("scheduled_station_name", "OBR", 24),
    Row("requested_procedure_id", "OBR", 4),
    Row("requested_procedure_priority", "OBR", 27),
    Row("study_instance_uid", "ZDS", 1, 0),
)
_FALLBACK = (
    Row("patient_id", "PID", 2),
    Row("patient_id", "PID", 4),
    Row("accession_number", "OBR", 2),
    Row("accession_number", "ORC", 3),
    Row("accession_number", "OBR", 3),
    Row("requesting_physician_name", "OBR", 16, 0),
    Row("requesting_physician_name", "ORC", 12, 0),
    Row("requested_procedure_description", "OBR", 44, 2),
    Row("requested_procedure_description", "OBR", 4, 5),
    Row("requested_procedure_description", "OBR", 4, 1),
    Row("modality", "OBR", 24),
    Row("modality", "OBR", 21),
    Row(START, "TQ1", 7),
    Row(START, "ORC", 7, 4),
    Row(START, "OBR", 27, 4),
    Row(START, "OBR", 36),
    Row(START, "OBR", 7),
    Row(START, "AIS", 4),
    Row(START, "SCH", 11, 4),
    Row("scheduled_procedure_step_id", "OBR", 20),
    Row("requested_procedure_id", "OBR", 19),
    Row("requested_procedure_priority", "OBR", 27, 6),
    Row("requested_procedure_priority", "ORC", 7, 6),
    Row("requested_procedure_priority", "TQ1", 9),
    Row("requested_procedure_priority", "OBR", 5),
)
_IHE_REQUEST = (
    Row("medical_alerts", "OBR", 13),
    Row("status", "ORC", 5),
    Row("requesting_physician_name", "OBR", 16, 0),
    Row("requesting_physician_name", "ORC", 12, 0),
    Row("requested_procedure_description", "OBR", 44, 2),
    Row("requested_procedure_description", "OBR", 4, 2),
    Row("requested_procedure_description", "OBR", 4),
    Row("technician_name", "OBR", 34),
    Row(START, "TQ1", 7),
    Row(START, "ORC", 7, 4),
    Row(START, "OBR", 27, 4),
    Row("requested_procedure_priority", "TQ1", 9),
    Row("requested_procedure_priority", "ORC", 7, 6),
    Row("requested_procedure_priority", "OBR", 27, 6),
)
_IHE_ORM = (
    Row("accession_number", "OBR", 18),
    Row("requested_procedure_id", "OBR", 19),
    Row("study_instance_uid", "ZDS", 1),
    Row("scheduled_procedure_step_id", "OBR", 20),
    Row("scheduled_procedure_step_id", "OBR", 19),
    Row("scheduled_procedure_step_description", "OBR", 4, 5),
    Row("modality", "OBR", 24),
)

DEFAULT = FieldMapping(_SEED_PATIENT + _IPC + _SEED_ORDER + _FALLBACK)

PRESETS: dict[str, FieldMapping] = {
    "Sante default": DEFAULT,
    "IHE ORM 2.3.1": FieldMapping(_SEED_PATIENT + _IHE_ORM + _IHE_REQUEST),
    "IHE OMI 2.5.1": FieldMapping(_SEED_PATIENT + _IPC + _IHE_REQUEST),
}
