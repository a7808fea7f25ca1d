-- The modality worklist, the HL7 messages it was made from, and who may send them.

CREATE TABLE worklist_record (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient_id text COLLATE "C" NOT NULL DEFAULT '',
    patient_name text NOT NULL DEFAULT '',
    -- Folded component groups (alphabetic, ideographic, phonetic), for matching.
    patient_name_folded text[] COLLATE "C" NOT NULL DEFAULT '{}',
    patient_birth_date text COLLATE "C" NOT NULL DEFAULT '',
    patient_sex text COLLATE "C" NOT NULL DEFAULT '',
    accession_number text COLLATE "C" NOT NULL DEFAULT '',
    medical_alerts text NOT NULL DEFAULT '',
    allergies text NOT NULL DEFAULT '',
    study_instance_uid text COLLATE "C" NOT NULL DEFAULT '',
    requesting_physician_name text NOT NULL DEFAULT '',
    requested_procedure_description text NOT NULL DEFAULT '',
    modality text COLLATE "C" NOT NULL DEFAULT '',
    requested_contrast_agent text NOT NULL DEFAULT '',
    scheduled_station_ae_title text COLLATE "C" NOT NULL DEFAULT '',
    start_date text COLLATE "C" NOT NULL DEFAULT '',
    start_time text COLLATE "C" NOT NULL DEFAULT '',
    technician_name text NOT NULL DEFAULT '',
    technician_name_folded text[] COLLATE "C" NOT NULL DEFAULT '{}',
    scheduled_procedure_step_description text NOT NULL DEFAULT '',
    scheduled_procedure_step_id text COLLATE "C" NOT NULL DEFAULT '',
    scheduled_station_name text COLLATE "C" NOT NULL DEFAULT '',
    scheduled_procedure_step_location text NOT NULL DEFAULT '',
    pre_medication text NOT NULL DEFAULT '',
    scheduled_procedure_step_comments text NOT NULL DEFAULT '',
    status text NOT NULL DEFAULT '',
    requested_procedure_id text COLLATE "C" NOT NULL DEFAULT '',
    requested_timing text NOT NULL DEFAULT '',
    requested_procedure_priority text NOT NULL DEFAULT '',
    step_status text COLLATE "C" NOT NULL DEFAULT 'SCHEDULED',
    sending_application text COLLATE "C" NOT NULL DEFAULT '',
    sending_facility text COLLATE "C" NOT NULL DEFAULT '',
    placer_order_number text COLLATE "C" NOT NULL DEFAULT '',
    filler_order_number text COLLATE "C" NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- A modality's query: what is open, for this station, in this time.
CREATE INDEX worklist_record_by_station
    ON worklist_record (scheduled_station_ae_title, start_date, start_time, id)
    WHERE step_status IN ('SCHEDULED', 'ARRIVED', 'READY');
CREATE INDEX worklist_record_by_start
    ON worklist_record (start_date, start_time, id)
    WHERE step_status IN ('SCHEDULED', 'ARRIVED', 'READY');
-- A query that asks for a status, and the portal's list.
CREATE INDEX worklist_record_by_status
    ON worklist_record (step_status, start_date, start_time, id);
-- The order that a message speaks of.
CREATE INDEX worklist_record_by_patient ON worklist_record (patient_id);
CREATE INDEX worklist_record_by_accession ON worklist_record (accession_number)
    WHERE accession_number <> '';
CREATE INDEX worklist_record_by_study ON worklist_record (study_instance_uid)
    WHERE study_instance_uid <> '';

CREATE TABLE hl7_message (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at timestamptz NOT NULL,
    source text COLLATE "C" NOT NULL DEFAULT '',
    sending_application text COLLATE "C" NOT NULL DEFAULT '',
    sending_facility text COLLATE "C" NOT NULL DEFAULT '',
    message_type text COLLATE "C" NOT NULL DEFAULT '',
    control_id text COLLATE "C" NOT NULL DEFAULT '',
    charset text NOT NULL DEFAULT '',
    -- SHA-256 of the message as it came; an accepted one is not processed a second time.
    digest bytea NOT NULL,
    raw bytea NOT NULL,
    verdict text COLLATE "C" NOT NULL,
    remark text NOT NULL DEFAULT ''
);

CREATE INDEX hl7_message_by_digest ON hl7_message (digest) WHERE verdict = 'AA';
CREATE INDEX hl7_message_by_time ON hl7_message (received_at);

CREATE TABLE hl7_node (
    name text COLLATE "C" PRIMARY KEY,
    host text COLLATE "C" NOT NULL,
    -- Where messages are sent to; 0: this node only sends.
    port integer NOT NULL DEFAULT 0 CHECK (port BETWEEN 0 AND 65535),
    enabled boolean NOT NULL DEFAULT true
);
