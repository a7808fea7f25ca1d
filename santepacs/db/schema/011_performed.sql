-- What modalities said of their work (Modality Performed Procedure Step, PS3.4 annex F), and which
-- studies are arriving. Dates are YYYYMMDD, times HHMMSS[.ffffff]; '' is unknown.

CREATE TABLE performed_step (
    id                      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sop_instance_uid        text COLLATE "C" NOT NULL UNIQUE,
    state                   text COLLATE "C" NOT NULL
                            CHECK (state IN ('IN PROGRESS', 'COMPLETED', 'DISCONTINUED')),
    -- Who told us; the station may be another application of the same modality.
    ae_title                text COLLATE "C" NOT NULL DEFAULT '',
    -- Specific Character Set of its data set, which holds for those of later N-SETs.
    character_set           text COLLATE "C" NOT NULL DEFAULT '',
    station_ae_title        text COLLATE "C" NOT NULL DEFAULT '',
    station_name            text NOT NULL DEFAULT '',
    location                text NOT NULL DEFAULT '',
    modality                text COLLATE "C" NOT NULL DEFAULT '',
    step_id                 text COLLATE "C" NOT NULL DEFAULT '',
    description             text NOT NULL DEFAULT '',
    start_date              text COLLATE "C" NOT NULL DEFAULT '',
    start_time              text COLLATE "C" NOT NULL DEFAULT '',
    end_date                text COLLATE "C" NOT NULL DEFAULT '',
    end_time                text COLLATE "C" NOT NULL DEFAULT '',
    discontinuation_reason  text NOT NULL DEFAULT '',
    series_count            integer NOT NULL DEFAULT 0,
    instance_count          integer NOT NULL DEFAULT 0,
    patient_id              text COLLATE "C" NOT NULL DEFAULT '',
    patient_issuer          text COLLATE "C" NOT NULL DEFAULT '',
    patient_name            text NOT NULL DEFAULT '',
    patient_birth_date      text COLLATE "C" NOT NULL DEFAULT '',
    patient_sex             text COLLATE "C" NOT NULL DEFAULT '',
    -- Whether something that it names as scheduled is not in the worklist.
    unmatched               boolean NOT NULL DEFAULT false,
    created_at              timestamptz NOT NULL DEFAULT now(),
    updated_at              timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX performed_step_unmatched ON performed_step (id) WHERE unmatched;
CREATE INDEX performed_step_updated ON performed_step (updated_at);

-- The items of its Scheduled Step Attributes Sequence.
CREATE TABLE performed_item (
    performed_step               bigint NOT NULL REFERENCES performed_step (id) ON DELETE CASCADE,
    position                     integer NOT NULL,
    study_instance_uid           text COLLATE "C" NOT NULL DEFAULT '',
    accession_number             text COLLATE "C" NOT NULL DEFAULT '',
    requested_procedure_id       text COLLATE "C" NOT NULL DEFAULT '',
    scheduled_procedure_step_id  text COLLATE "C" NOT NULL DEFAULT '',
    PRIMARY KEY (performed_step, position)
);

-- The worklist records that an item stands for.
CREATE TABLE performed_record (
    performed_step  bigint NOT NULL,
    position        integer NOT NULL,
    record          bigint NOT NULL REFERENCES worklist_record (id) ON DELETE CASCADE,
    PRIMARY KEY (performed_step, position, record),
    FOREIGN KEY (performed_step, position) REFERENCES performed_item ON DELETE CASCADE
);
CREATE INDEX performed_record_of_record ON performed_record (record);

-- Every data set as it came: that of the N-CREATE, then those of the N-SETs.
CREATE TABLE performed_data_set (
    performed_step       bigint NOT NULL REFERENCES performed_step (id) ON DELETE CASCADE,
    position             integer NOT NULL,
    received_at          timestamptz NOT NULL DEFAULT now(),
    transfer_syntax_uid  text COLLATE "C" NOT NULL,
    content              bytea NOT NULL,
    PRIMARY KEY (performed_step, position)
);

-- Records whose study is arriving: when no more of it has come for a while, they are completed.
CREATE TABLE worklist_arriving (
    record              bigint PRIMARY KEY REFERENCES worklist_record (id) ON DELETE CASCADE,
    study_instance_uid  text COLLATE "C" NOT NULL
);
CREATE INDEX worklist_arriving_study ON worklist_arriving (study_instance_uid);
