-- Finding at full strength (PS3.4 annex C): an index for what is asked in the middle of a text, for
-- every component group of the referring physician, and for the words of a name in any order.

-- A study answers for its SOP classes itself.
ALTER TABLE study ADD COLUMN sop_classes text[] COLLATE "C" NOT NULL DEFAULT '{}';
UPDATE study SET sop_classes = ARRAY(
    SELECT DISTINCT i.sop_class_uid FROM series e JOIN instance i ON i.series = e.id
    WHERE e.study = study.id);
CREATE INDEX study_sop_classes ON study USING gin (sop_classes);

ALTER TABLE study ADD COLUMN referring_ideographic text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE study ADD COLUMN referring_phonetic text COLLATE "C" NOT NULL DEFAULT '';
CREATE INDEX study_referring_ideographic ON study (referring_ideographic)
    WHERE referring_ideographic <> '';
CREATE INDEX study_referring_phonetic ON study (referring_phonetic) WHERE referring_phonetic <> '';

-- santepacs.model.names.words, for fuzzy matching. They cannot be made in SQL: what was stored
-- before is found in the ordinary way alone.
ALTER TABLE patient ADD COLUMN name_words tsvector NOT NULL DEFAULT '';
ALTER TABLE study ADD COLUMN name_words tsvector NOT NULL DEFAULT '';
ALTER TABLE study ADD COLUMN referring_words tsvector NOT NULL DEFAULT '';
CREATE INDEX patient_name_words ON patient USING gin (name_words);
CREATE INDEX study_name_words ON study USING gin (name_words);
CREATE INDEX study_referring_words ON study USING gin (referring_words);

-- The runs of three characters of a text, as santepacs.model.names.trigrams makes them. Costly on
-- purpose: a plan looks them up in an index, and computes them for few rows at most.
CREATE FUNCTION trigrams(value text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 10000 AS $$
BEGIN
    IF length(value) < 3 THEN
        RETURN CASE value WHEN '' THEN '{}' ELSE ARRAY[value] END;
    END IF;
    RETURN ARRAY(SELECT substr(value, n, 3) FROM generate_series(1, length(value) - 2) n);
END
$$;

CREATE INDEX patient_name_trigrams ON patient
    USING gin (trigrams(alphabetic || '=' || ideographic || '=' || phonetic));
CREATE INDEX study_description_trigrams ON study USING gin (trigrams(study_description));
CREATE INDEX study_referring_trigrams ON study USING gin
    (trigrams(referring_folded || '=' || referring_ideographic || '=' || referring_phonetic));
CREATE INDEX study_institution_name ON study (institution_name text_pattern_ops);
CREATE INDEX series_modality ON series (modality);
CREATE INDEX series_date ON series (series_date);
CREATE INDEX series_description ON series (series_description);
CREATE INDEX series_description_trigrams ON series USING gin (trigrams(series_description));

-- What was stored last waits in a list that every search reads through: keep it short.
ALTER INDEX study_name_trigrams SET (gin_pending_list_limit = 512);
ALTER INDEX study_modalities SET (gin_pending_list_limit = 512);
ALTER INDEX study_sop_classes SET (gin_pending_list_limit = 512);
ALTER INDEX study_name_words SET (gin_pending_list_limit = 512);
ALTER INDEX study_referring_words SET (gin_pending_list_limit = 512);
ALTER INDEX study_description_trigrams SET (gin_pending_list_limit = 512);
ALTER INDEX study_referring_trigrams SET (gin_pending_list_limit = 512);
ALTER INDEX series_description_trigrams SET (gin_pending_list_limit = 512);
ALTER INDEX patient_name_words SET (gin_pending_list_limit = 512);
ALTER INDEX patient_name_trigrams SET (gin_pending_list_limit = 512);

-- Room for the counts to change in place: a new version of a row on another page must be written
-- into each of these indexes.
ALTER TABLE study SET (fillfactor = 85);
ALTER TABLE series SET (fillfactor = 85);

-- Each object changes the counts of its study, which are no news to the planner; and computing
-- trigrams for its sample would cost more than all else in a statistics run.
ALTER TABLE patient SET (autovacuum_analyze_threshold = 5000);
ALTER TABLE study SET (autovacuum_analyze_threshold = 20000);
ALTER TABLE series SET (autovacuum_analyze_threshold = 20000);
ALTER INDEX patient_name_trigrams ALTER COLUMN 1 SET STATISTICS 0;
ALTER INDEX study_description_trigrams ALTER COLUMN 1 SET STATISTICS 0;
ALTER INDEX study_referring_trigrams ALTER COLUMN 1 SET STATISTICS 0;
ALTER INDEX series_description_trigrams ALTER COLUMN 1 SET STATISTICS 0;

-- As before, with the columns above.
CREATE OR REPLACE FUNCTION store_objects(objects jsonb)
RETURNS TABLE ("position" integer, outcome text, kept_digest bytea, kept_study text)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    o record;
    kept record;
    p record;
    t record;
    in_series bigint;
    in_study bigint;
    new_series boolean;
BEGIN
    FOR o IN
        SELECT x.* FROM jsonb_to_recordset(objects) AS x (
            "position" integer, patient_id text, issuer text, lone_study_uid text,
            patient_name text, alphabetic text, ideographic text, phonetic text,
            name_trigrams text[], name_words text[], patient_birth_date text, patient_sex text,
            study_instance_uid text, study_date text, study_time text, accession_number text,
            study_id text, study_description text, referring_physician text,
            referring_folded text, referring_ideographic text, referring_phonetic text,
            referring_words text[], institution_name text, institution_folded text,
            token_version integer, token_digest text,
            series_instance_uid text, modality text, series_number integer,
            series_description text, series_date text, series_time text,
            body_part_examined text, protocol_name text, station_name text,
            sop_instance_uid text, sop_class_uid text, transfer_syntax_uid text,
            instance_number integer, content_date text, content_time text,
            rows integer, columns integer, number_of_frames integer,
            digest text, bytes bigint, crc32 bigint, source text)
        ORDER BY x.study_instance_uid, x.series_instance_uid, x.sop_instance_uid, x."position"
    LOOP
        position := o."position";
        SELECT i.digest, s.study_instance_uid INTO kept
            FROM instance i JOIN series e ON e.id = i.series JOIN study s ON s.id = e.study
            WHERE i.sop_instance_uid = o.sop_instance_uid;
        IF FOUND THEN
            outcome := CASE WHEN kept.digest = decode(o.digest, 'hex')
                                 AND kept.study_instance_uid = o.study_instance_uid
                            THEN 'same' ELSE 'different' END;
            kept_digest := kept.digest;
            kept_study := kept.study_instance_uid;
            RETURN NEXT;
            CONTINUE;
        END IF;

        INSERT INTO patient (patient_id, issuer, lone_study_uid, name, alphabetic, ideographic,
                             phonetic, name_words, birth_date, sex)
            VALUES (o.patient_id, o.issuer, o.lone_study_uid, o.patient_name, o.alphabetic,
                    o.ideographic, o.phonetic, array_to_tsvector(o.name_words),
                    o.patient_birth_date, o.patient_sex)
            ON CONFLICT DO NOTHING;
        SELECT x.* INTO p FROM patient x
            WHERE x.patient_id = o.patient_id AND x.issuer = o.issuer
                  AND x.lone_study_uid = o.lone_study_uid;

        SELECT x.id, x.patient, x.alphabetic, x.ideographic, x.phonetic INTO t FROM study x
            WHERE x.study_instance_uid = o.study_instance_uid FOR UPDATE;
        IF FOUND THEN
            in_study := t.id;
            IF t.patient <> p.id
                    OR (o.patient_name <> ''
                        AND (o.alphabetic, o.ideographic, o.phonetic)
                            <> (t.alphabetic, t.ideographic, t.phonetic)) THEN
                UPDATE study SET identity_conflict = true
                    WHERE id = in_study AND NOT identity_conflict;
            END IF;
            IF t.patient <> p.id THEN
                -- The study stays with its first patient; do not leave an empty second one.
                DELETE FROM patient x WHERE x.id = p.id
                    AND NOT EXISTS (SELECT 1 FROM study s WHERE s.patient = x.id);
            END IF;
        ELSE
            INSERT INTO study (patient, study_instance_uid, patient_name, alphabetic, ideographic,
                               phonetic, name_trigrams, name_words, patient_birth_date,
                               patient_sex, identity_conflict, study_date, study_time,
                               accession_number, study_id, study_description,
                               referring_physician, referring_folded, referring_ideographic,
                               referring_phonetic, referring_words, institution_name,
                               institution_folded, token_version, token_digest)
                VALUES (p.id, o.study_instance_uid, o.patient_name, o.alphabetic, o.ideographic,
                        o.phonetic, o.name_trigrams, array_to_tsvector(o.name_words),
                        o.patient_birth_date, o.patient_sex,
                        (o.alphabetic, o.ideographic, o.phonetic)
                            <> (p.alphabetic, p.ideographic, p.phonetic)
                        OR (o.patient_birth_date <> p.birth_date
                            AND o.patient_birth_date <> '' AND p.birth_date <> ''),
                        o.study_date, o.study_time, o.accession_number, o.study_id,
                        o.study_description, o.referring_physician, o.referring_folded,
                        o.referring_ideographic, o.referring_phonetic,
                        array_to_tsvector(o.referring_words), o.institution_name,
                        o.institution_folded, o.token_version,
                        decode(o.token_digest, 'hex'))
                RETURNING id INTO in_study;
        END IF;

        SELECT x.id INTO in_series FROM series x
            WHERE x.study = in_study AND x.series_instance_uid = o.series_instance_uid;
        new_series := NOT FOUND;
        IF new_series THEN
            INSERT INTO series (study, series_instance_uid, modality, series_number,
                                series_description, series_date, series_time,
                                body_part_examined, protocol_name, station_name)
                VALUES (in_study, o.series_instance_uid, o.modality, o.series_number,
                        o.series_description, o.series_date, o.series_time,
                        o.body_part_examined, o.protocol_name, o.station_name)
                RETURNING id INTO in_series;
        END IF;

        INSERT INTO instance (series, sop_instance_uid, sop_class_uid, transfer_syntax_uid,
                              instance_number, content_date, content_time, rows, columns,
                              number_of_frames, digest, bytes, crc32, source)
            VALUES (in_series, o.sop_instance_uid, o.sop_class_uid, o.transfer_syntax_uid,
                    o.instance_number, o.content_date, o.content_time, o.rows, o.columns,
                    o.number_of_frames, decode(o.digest, 'hex'), o.bytes, o.crc32, o.source);
        UPDATE series SET instance_count = instance_count + 1, bytes = bytes + o.bytes
            WHERE id = in_series;
        UPDATE study SET instance_count = instance_count + 1, bytes = bytes + o.bytes,
                         series_count = series_count + new_series::integer, changed_at = now(),
                         modalities = CASE WHEN o.modality = '' OR o.modality = ANY (modalities)
                                           THEN modalities ELSE modalities || o.modality END,
                         sop_classes = CASE WHEN o.sop_class_uid = ANY (sop_classes)
                                            THEN sop_classes ELSE sop_classes || o.sop_class_uid END
            WHERE id = in_study;
        outcome := 'stored';
        kept_digest := NULL;
        kept_study := NULL;
        RETURN NEXT;
    END LOOP;
END
$$;
