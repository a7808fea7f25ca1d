-- Whose Patient ID it is, what happened to each record, and messages that can be looked at,
-- corrected and run again.

ALTER TABLE worklist_record ADD COLUMN patient_issuer text COLLATE "C" NOT NULL DEFAULT '';

-- The order that a message speaks of, by any of its numbers.
CREATE INDEX worklist_record_by_placer ON worklist_record (placer_order_number, patient_id)
    WHERE placer_order_number <> '';
CREATE INDEX worklist_record_by_filler ON worklist_record (filler_order_number, patient_id)
    WHERE filler_order_number <> '';
-- A patient's records, newest first.
DROP INDEX worklist_record_by_patient;
CREATE INDEX worklist_record_by_patient ON worklist_record (patient_id, id);

CREATE TABLE worklist_event (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    record       bigint NOT NULL REFERENCES worklist_record (id) ON DELETE CASCADE,
    happened_at  timestamptz NOT NULL DEFAULT now(),
    -- placed, changed, status, superseded, merged, created, edited, imported, images, procedure
    -- step
    action       text COLLATE "C" NOT NULL,
    -- Where the step stood afterwards.
    step_status  text COLLATE "C" NOT NULL,
    -- The HL7 message that did it; it may be gone by now.
    message      bigint,
    -- The account, AE title or folder that did it; empty where the message tells.
    actor        text NOT NULL DEFAULT '',
    -- Such as the fields that were changed.
    remark       text NOT NULL DEFAULT ''
);
CREATE INDEX worklist_event_of_record ON worklist_event (record, id);
CREATE INDEX worklist_event_of_message ON worklist_event (message) WHERE message IS NOT NULL;

ALTER TABLE hl7_message
    ADD COLUMN patient_id text COLLATE "C" NOT NULL DEFAULT '',
    -- From the message's arrival to its verdict.
    ADD COLUMN milliseconds integer NOT NULL DEFAULT 0,
    -- The message that this one was corrected from, or is run again from.
    ADD COLUMN origin bigint,
    -- Who did that.
    ADD COLUMN actor text NOT NULL DEFAULT '',
    -- How often the very same message came again and changed nothing, and when it last did.
    ADD COLUMN repeats integer NOT NULL DEFAULT 0,
    ADD COLUMN repeated_at timestamptz,
    -- The folded words and numbers by which people look for it.
    ADD COLUMN found_by text[] COLLATE "C" NOT NULL DEFAULT '{}';
CREATE INDEX hl7_message_by_patient ON hl7_message (patient_id, id) WHERE patient_id <> '';
CREATE INDEX hl7_message_by_verdict ON hl7_message (verdict, id) WHERE verdict <> 'AA';
CREATE INDEX hl7_message_by_application ON hl7_message (sending_application, id);
CREATE INDEX hl7_message_by_facility ON hl7_message (sending_facility, id);
CREATE INDEX hl7_message_by_type ON hl7_message (message_type, id);
CREATE INDEX hl7_message_by_origin ON hl7_message (origin) WHERE origin IS NOT NULL;
CREATE INDEX hl7_message_by_word ON hl7_message USING gin (found_by)
    WITH (gin_pending_list_limit = 512);

-- What a batch of messages must know before anything is decided; in the words of
-- santepacs.db.worklist_changes. `orders` are arrays of equal length.
--
-- The plans must not depend on how many rows there were when they were made: a worklist that was
-- empty this morning is not read from end to end in the afternoon.
CREATE FUNCTION look_at_worklist(
    digests bytea[], since timestamptz[],
    patient_ids text[], placers text[], fillers text[], accessions text[], studies text[],
    patients text[], merged text[], maximum integer,
    OUT repeated json, OUT steps json, OUT last_record bigint)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    keys bigint[];
BEGIN
    last_record := coalesce((SELECT max(id) FROM worklist_record), 0);
    repeated := (
        SELECT json_agg(json_build_object('position', d.position, 'id', m.id, 'remark', m.remark))
        FROM unnest(digests, since) WITH ORDINALITY AS d (digest, since, position)
        CROSS JOIN LATERAL (
            SELECT h.id, h.remark FROM hl7_message h
            WHERE h.digest = d.digest AND h.verdict = 'AA' AND h.received_at >= d.since
            ORDER BY h.id LIMIT 1
        ) AS m);
    keys := ARRAY(
        SELECT r.id FROM unnest(patient_ids, placers) AS k (patient, number)
            CROSS JOIN LATERAL (
                SELECT w.id FROM worklist_record w
                WHERE w.placer_order_number = k.number AND w.placer_order_number <> ''
                    AND w.patient_id = k.patient
                LIMIT maximum) r
        UNION
        SELECT r.id FROM unnest(patient_ids, fillers) AS k (patient, number)
            CROSS JOIN LATERAL (
                SELECT w.id FROM worklist_record w
                WHERE w.filler_order_number = k.number AND w.filler_order_number <> ''
                    AND w.patient_id = k.patient
                LIMIT maximum) r
        UNION
        SELECT r.id FROM unnest(patient_ids, accessions) AS k (patient, number)
            CROSS JOIN LATERAL (
                SELECT w.id FROM worklist_record w
                WHERE w.accession_number = k.number AND w.accession_number <> ''
                    AND w.patient_id = k.patient
                LIMIT maximum) r
        UNION
        SELECT r.id FROM unnest(patient_ids, studies) AS k (patient, number)
            CROSS JOIN LATERAL (
                SELECT w.id FROM worklist_record w
                WHERE w.study_instance_uid = k.number AND w.study_instance_uid <> ''
                    AND w.patient_id = k.patient
                LIMIT maximum) r
        UNION
        SELECT r.id FROM unnest(patients) AS k (patient)
            CROSS JOIN LATERAL (
                SELECT w.id FROM worklist_record w
                WHERE w.patient_id = k.patient
                    AND w.step_status NOT IN
                        ('COMPLETED', 'DISCONTINUED', 'CANCELED', 'DEPARTED')
                LIMIT maximum) r
        UNION
        SELECT r.id FROM unnest(merged) AS k (patient)
            CROSS JOIN LATERAL (
                SELECT w.id FROM worklist_record w WHERE w.patient_id = k.patient
                LIMIT maximum) r
        LIMIT maximum);
    IF cardinality(keys) > 0 THEN
        steps := (
            SELECT json_agg(json_build_object('version', r.xmin::text, 'record', r) ORDER BY r.id)
            FROM worklist_record r WHERE r.id = ANY (keys));
    END IF;
END $$;

-- Write what was decided, unless anything that it was decided upon has changed meanwhile: then
-- nothing is written and NULL returned. New records are numbered -1, -2 ... in `events`, and
-- messages by their position from 0; the answer gives the keys that they got.
CREATE FUNCTION change_worklist(
    seen bigint[], versions text[], seen_last bigint,
    messages jsonb, raws bytea[], repeated jsonb, added jsonb, changed jsonb, events jsonb,
    OUT message_keys bigint[], OUT record_keys bigint[])
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    same bigint;
BEGIN
    -- Whoever places orders does so one after the other.
    PERFORM pg_advisory_xact_lock(2001, 1);
    IF jsonb_array_length(added) > 0
        AND EXISTS (SELECT FROM worklist_record r WHERE r.id > seen_last) THEN
        RETURN;
    END IF;
    IF cardinality(seen) > 0 THEN
        PERFORM FROM unnest(seen, versions) AS s (id, version)
            JOIN worklist_record r ON r.id = s.id AND r.xmin = s.version::xid
            ORDER BY r.id FOR UPDATE OF r;
        GET DIAGNOSTICS same = ROW_COUNT;
        IF same <> cardinality(seen) THEN
            RETURN;
        END IF;
    END IF;

    message_keys := '{}';
    record_keys := '{}';
    IF jsonb_array_length(repeated) > 0 THEN
        UPDATE hl7_message m SET repeats = m.repeats + r.times, repeated_at = r.at
        FROM jsonb_to_recordset(repeated) AS r (id bigint, times integer, at timestamptz)
        WHERE m.id = r.id;
    END IF;
    IF jsonb_array_length(messages) > 0 THEN
        WITH kept AS (
            INSERT INTO hl7_message (
                received_at, source, sending_application, sending_facility, message_type,
                control_id, charset, patient_id, digest, raw, verdict, remark, origin, actor,
                repeats, repeated_at, found_by, milliseconds)
            SELECT
                m.received_at, m.source, m.sending_application, m.sending_facility, m.message_type,
                m.control_id, m.charset, m.patient_id, decode(m.digest, 'hex'), raws[m.position],
                m.verdict, m.remark, m.origin, m.actor, m.repeats, m.repeated_at, m.found_by,
                greatest(0, least(86400000, 1000 * extract(epoch FROM
                    clock_timestamp() - m.received_at)))
            FROM jsonb_to_recordset(messages) AS m (
                position integer, received_at timestamptz, source text, sending_application text,
                sending_facility text, message_type text, control_id text, charset text,
                patient_id text, digest text, verdict text, remark text, origin bigint,
                actor text, repeats integer, repeated_at timestamptz, found_by text[])
            ORDER BY m.position
            RETURNING id
        ) SELECT array_agg(id ORDER BY id) INTO message_keys FROM kept;
    END IF;
    IF jsonb_array_length(added) > 0 THEN
        WITH kept AS (
            INSERT INTO worklist_record (
                patient_id, patient_name, patient_name_folded, patient_birth_date, patient_sex,
                accession_number, medical_alerts, allergies, study_instance_uid,
                requesting_physician_name, requested_procedure_description, modality,
                requested_contrast_agent, scheduled_station_ae_title, start_date, start_time,
                technician_name, technician_name_folded, scheduled_procedure_step_description,
                scheduled_procedure_step_id, scheduled_station_name,
                scheduled_procedure_step_location, pre_medication,
                scheduled_procedure_step_comments, status, requested_procedure_id,
                requested_timing, requested_procedure_priority, step_status, sending_application,
                sending_facility, placer_order_number, filler_order_number, patient_issuer)
            SELECT
                patient_id, patient_name, patient_name_folded, patient_birth_date, patient_sex,
                accession_number, medical_alerts, allergies, study_instance_uid,
                requesting_physician_name, requested_procedure_description, modality,
                requested_contrast_agent, scheduled_station_ae_title, start_date, start_time,
                technician_name, technician_name_folded, scheduled_procedure_step_description,
                scheduled_procedure_step_id, scheduled_station_name,
                scheduled_procedure_step_location, pre_medication,
                scheduled_procedure_step_comments, status, requested_procedure_id,
                requested_timing, requested_procedure_priority, step_status, sending_application,
                sending_facility, placer_order_number, filler_order_number, patient_issuer
            FROM jsonb_populate_recordset(NULL::worklist_record, added)
            ORDER BY id DESC
            RETURNING id
        ) SELECT array_agg(id ORDER BY id) INTO record_keys FROM kept;
    END IF;
    IF jsonb_array_length(changed) > 0 THEN
        UPDATE worklist_record r SET (
                patient_id, patient_name, patient_name_folded, patient_birth_date, patient_sex,
                accession_number, medical_alerts, allergies, study_instance_uid,
                requesting_physician_name, requested_procedure_description, modality,
                requested_contrast_agent, scheduled_station_ae_title, start_date, start_time,
                technician_name, technician_name_folded, scheduled_procedure_step_description,
                scheduled_procedure_step_id, scheduled_station_name,
                scheduled_procedure_step_location, pre_medication,
                scheduled_procedure_step_comments, status, requested_procedure_id,
                requested_timing, requested_procedure_priority, step_status, sending_application,
                sending_facility, placer_order_number, filler_order_number, patient_issuer,
                updated_at)
            = (
                c.patient_id, c.patient_name, c.patient_name_folded, c.patient_birth_date,
                c.patient_sex, c.accession_number, c.medical_alerts, c.allergies,
                c.study_instance_uid, c.requesting_physician_name,
                c.requested_procedure_description, c.modality, c.requested_contrast_agent,
                c.scheduled_station_ae_title, c.start_date, c.start_time, c.technician_name,
                c.technician_name_folded, c.scheduled_procedure_step_description,
                c.scheduled_procedure_step_id, c.scheduled_station_name,
                c.scheduled_procedure_step_location, c.pre_medication,
                c.scheduled_procedure_step_comments, c.status, c.requested_procedure_id,
                c.requested_timing, c.requested_procedure_priority, c.step_status,
                c.sending_application, c.sending_facility, c.placer_order_number,
                c.filler_order_number, c.patient_issuer, now())
        FROM jsonb_populate_recordset(NULL::worklist_record, changed) c
        WHERE r.id = c.id;
    END IF;
    INSERT INTO worklist_event (record, action, step_status, message, actor, remark)
    SELECT
        CASE WHEN e.record < 0 THEN record_keys[-e.record] ELSE e.record END,
        e.action, e.step_status, message_keys[e.message + 1], e.actor, e.remark
    FROM jsonb_to_recordset(events) AS e (
        position integer, record bigint, action text, step_status text, message integer,
        actor text, remark text)
    ORDER BY e.position;
END $$;
