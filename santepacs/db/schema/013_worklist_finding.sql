-- Finding in a worklist of any size, and how each scanner wants its answers.

-- Queries walk through the steps of a status in the order of their start (worklist_record_by_status
-- is there already); those of a station or of a modality through these alone.
DROP INDEX worklist_record_by_station;
DROP INDEX worklist_record_by_start;
CREATE INDEX worklist_record_by_station ON worklist_record
    (step_status, scheduled_station_ae_title, start_date, start_time, id);
CREATE INDEX worklist_record_by_modality ON worklist_record
    (step_status, modality, start_date, start_time, id);
-- The same procedure code may stand for most steps that were ever done, few of them open.
CREATE INDEX worklist_record_by_procedure ON worklist_record (requested_procedure_id, step_status)
    WHERE requested_procedure_id <> '';
CREATE INDEX worklist_record_by_step ON worklist_record (scheduled_procedure_step_id, step_status)
    WHERE scheduled_procedure_step_id <> '';
CREATE INDEX worklist_record_by_birth_date ON worklist_record (patient_birth_date)
    WHERE patient_birth_date <> '';

-- The runs of three characters of each component group of a name. Two spaces before it and a = behind
-- it are part of them, so that one or two letters at the beginning, and a short whole name, have
-- theirs as well. Costly on purpose: to be looked up in an index, not computed for each row.
CREATE FUNCTION name_trigrams(groups text[]) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 10000 AS $$
DECLARE
    padded text := '  ' || array_to_string(groups, '=  ') || '=';
BEGIN
    RETURN ARRAY(SELECT substr(padded, n, 3) FROM generate_series(1, length(padded) - 2) n);
END
$$;

CREATE INDEX worklist_record_patient_name ON worklist_record
    USING gin (name_trigrams(patient_name_folded));
CREATE INDEX worklist_record_technician_name ON worklist_record
    USING gin (name_trigrams(technician_name_folded)) WHERE technician_name_folded <> '{}';
-- What was added last waits in a list that every search reads through: keep it short. The planner
-- needs no statistics of trigrams, and to compute them costs more than all else in its sample.
ALTER INDEX worklist_record_patient_name SET (gin_pending_list_limit = 256);
ALTER INDEX worklist_record_technician_name SET (gin_pending_list_limit = 256);
ALTER INDEX worklist_record_patient_name ALTER COLUMN 1 SET STATISTICS 0;
ALTER INDEX worklist_record_technician_name ALTER COLUMN 1 SET STATISTICS 0;

ALTER TABLE peer
    -- Specific Character Set of worklist answers; empty: the smallest that suffices;
    -- transliterated: Latin letters without accents, whatever the script.
    ADD COLUMN worklist_charset text COLLATE "C" NOT NULL DEFAULT '',
    -- Its worklist queries for DOE mean DOE*.
    ADD COLUMN append_wildcard boolean NOT NULL DEFAULT false;
