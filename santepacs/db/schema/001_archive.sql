-- The index of the archive: patient, study, series, instance (PS3.3 C.7), and the site's facts.
-- Dates are YYYYMMDD and times HHMMSS[.ffffff] as text, so that they sort and compare as they are;
-- '' is unknown. Folded names are made by santepacs.model.names.

CREATE TABLE patient (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient_id      text COLLATE "C" NOT NULL DEFAULT '',
    issuer          text COLLATE "C" NOT NULL DEFAULT '',
    -- A study without Patient ID is a patient of its own: its Study Instance UID stands here.
    lone_study_uid  text COLLATE "C" NOT NULL DEFAULT '',
    name            text NOT NULL DEFAULT '',
    alphabetic      text COLLATE "C" NOT NULL DEFAULT '',
    ideographic     text COLLATE "C" NOT NULL DEFAULT '',
    phonetic        text COLLATE "C" NOT NULL DEFAULT '',
    birth_date      text COLLATE "C" NOT NULL DEFAULT '',
    sex             text COLLATE "C" NOT NULL DEFAULT '',
    created_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (patient_id, issuer, lone_study_uid)
);
CREATE INDEX patient_alphabetic ON patient (alphabetic);
CREATE INDEX patient_ideographic ON patient (ideographic) WHERE ideographic <> '';
CREATE INDEX patient_phonetic ON patient (phonetic) WHERE phonetic <> '';
CREATE INDEX patient_birth_date ON patient (birth_date);

CREATE TABLE study (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient             bigint NOT NULL REFERENCES patient (id),
    study_instance_uid  text COLLATE "C" NOT NULL UNIQUE,
    -- The patient as this study names him: it may differ from `patient`, then it is flagged.
    patient_name        text NOT NULL DEFAULT '',
    alphabetic          text COLLATE "C" NOT NULL DEFAULT '',
    ideographic         text COLLATE "C" NOT NULL DEFAULT '',
    phonetic            text COLLATE "C" NOT NULL DEFAULT '',
    name_trigrams       text[] NOT NULL DEFAULT '{}',
    patient_birth_date  text COLLATE "C" NOT NULL DEFAULT '',
    patient_sex         text COLLATE "C" NOT NULL DEFAULT '',
    identity_conflict   boolean NOT NULL DEFAULT false,
    study_date          text COLLATE "C" NOT NULL DEFAULT '',
    study_time          text COLLATE "C" NOT NULL DEFAULT '',
    accession_number    text COLLATE "C" NOT NULL DEFAULT '',
    study_id            text COLLATE "C" NOT NULL DEFAULT '',
    study_description   text COLLATE "C" NOT NULL DEFAULT '',
    referring_physician text NOT NULL DEFAULT '',
    referring_folded    text COLLATE "C" NOT NULL DEFAULT '',
    institution_name    text NOT NULL DEFAULT '',
    institution_folded  text COLLATE "C" NOT NULL DEFAULT '',
    modalities          text[] NOT NULL DEFAULT '{}',
    series_count        integer NOT NULL DEFAULT 0,
    instance_count      integer NOT NULL DEFAULT 0,
    bytes               bigint NOT NULL DEFAULT 0,
    received_at         timestamptz NOT NULL DEFAULT now(),
    changed_at          timestamptz NOT NULL DEFAULT now(),
    token_version       integer NOT NULL,
    token_digest        bytea NOT NULL UNIQUE
);
CREATE INDEX study_patient ON study (patient);
CREATE INDEX study_date ON study (study_date DESC, study_time DESC, id DESC);
CREATE INDEX study_accession_number ON study (accession_number);
CREATE INDEX study_alphabetic ON study (alphabetic);
CREATE INDEX study_ideographic ON study (ideographic) WHERE ideographic <> '';
CREATE INDEX study_phonetic ON study (phonetic) WHERE phonetic <> '';
CREATE INDEX study_name_trigrams ON study USING gin (name_trigrams);
CREATE INDEX study_referring ON study (referring_folded);
CREATE INDEX study_institution ON study (institution_folded);
CREATE INDEX study_id_number ON study (study_id);
CREATE INDEX study_description ON study (study_description);
CREATE INDEX study_modalities ON study USING gin (modalities);
CREATE INDEX study_birth_date ON study (patient_birth_date);
CREATE INDEX study_conflict ON study (id) WHERE identity_conflict;

CREATE TABLE series (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    study               bigint NOT NULL REFERENCES study (id),
    series_instance_uid text COLLATE "C" NOT NULL,
    modality            text COLLATE "C" NOT NULL DEFAULT '',
    series_number       integer,
    series_description  text COLLATE "C" NOT NULL DEFAULT '',
    series_date         text COLLATE "C" NOT NULL DEFAULT '',
    series_time         text COLLATE "C" NOT NULL DEFAULT '',
    body_part_examined  text COLLATE "C" NOT NULL DEFAULT '',
    protocol_name       text COLLATE "C" NOT NULL DEFAULT '',
    station_name        text COLLATE "C" NOT NULL DEFAULT '',
    instance_count      integer NOT NULL DEFAULT 0,
    bytes               bigint NOT NULL DEFAULT 0,
    received_at         timestamptz NOT NULL DEFAULT now(),
    UNIQUE (series_instance_uid, study)
);
CREATE INDEX series_study ON series (study);

CREATE TABLE instance (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    series              bigint NOT NULL REFERENCES series (id),
    sop_instance_uid    text COLLATE "C" NOT NULL UNIQUE,
    sop_class_uid       text COLLATE "C" NOT NULL,
    transfer_syntax_uid text COLLATE "C" NOT NULL,
    instance_number     integer,
    content_date        text COLLATE "C" NOT NULL DEFAULT '',
    content_time        text COLLATE "C" NOT NULL DEFAULT '',
    rows                integer,
    columns             integer,
    number_of_frames    integer,
    -- SHA-256 over transfer syntax and dataset: the file's name, and its proof.
    digest              bytea NOT NULL,
    bytes               bigint NOT NULL,
    crc32               bigint NOT NULL,
    source              text NOT NULL DEFAULT '',
    received_at         timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX instance_series ON instance (series);

-- Another object under a SOP Instance UID that is already stored.
CREATE TABLE aside (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sop_instance_uid    text COLLATE "C" NOT NULL,
    study_instance_uid  text COLLATE "C" NOT NULL,
    digest              bytea NOT NULL UNIQUE,
    bytes               bigint NOT NULL,
    source              text NOT NULL DEFAULT '',
    received_at         timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE setting (
    name        text PRIMARY KEY,
    value       text NOT NULL,
    changed_at  timestamptz NOT NULL DEFAULT now()
);

-- Facts about this installation, such as the fingerprint of its secret key.
CREATE TABLE fact (
    name   text PRIMARY KEY,
    value  text NOT NULL
);

-- Index many objects in one go. `objects` is an array of records in the words of
-- santepacs.db.studies.StoredObject; the answer says for each, by its position, whether it is
-- 'stored', the 'same' as before, or 'different' from what is stored under its SOP Instance UID.
CREATE FUNCTION store_objects(objects jsonb)
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
            name_trigrams text[], patient_birth_date text, patient_sex text,
            study_instance_uid text, study_date text, study_time text, accession_number text,
            study_id text, study_description text, referring_physician text,
            referring_folded text, institution_name text, institution_folded text,
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
                             phonetic, birth_date, sex)
            VALUES (o.patient_id, o.issuer, o.lone_study_uid, o.patient_name, o.alphabetic,
                    o.ideographic, o.phonetic, o.patient_birth_date, o.patient_sex)
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
                               phonetic, name_trigrams, patient_birth_date, patient_sex,
                               identity_conflict, study_date, study_time, accession_number,
                               study_id, study_description, referring_physician,
                               referring_folded, institution_name, institution_folded,
                               token_version, token_digest)
                VALUES (p.id, o.study_instance_uid, o.patient_name, o.alphabetic, o.ideographic,
                        o.phonetic, o.name_trigrams, o.patient_birth_date, o.patient_sex,
                        (o.alphabetic, o.ideographic, o.phonetic)
                            <> (p.alphabetic, p.ideographic, p.phonetic)
                        OR (o.patient_birth_date <> p.birth_date
                            AND o.patient_birth_date <> '' AND p.birth_date <> ''),
                        o.study_date, o.study_time, o.accession_number, o.study_id,
                        o.study_description, o.referring_physician, o.referring_folded,
                        o.institution_name, o.institution_folded, o.token_version,
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
                                           THEN modalities ELSE modalities || o.modality END
            WHERE id = in_study;
        outcome := 'stored';
        kept_digest := NULL;
        kept_study := NULL;
        RETURN NEXT;
    END LOOP;
END
$$;
