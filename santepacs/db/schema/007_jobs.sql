-- Work that is done later, and the storage commitments that wait for it.

CREATE TABLE job (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text COLLATE "C" NOT NULL,
    -- What it is about: of one kind there is at most one unfinished job for a key; '' is no key.
    key         text COLLATE "C" NOT NULL DEFAULT '',
    payload     jsonb NOT NULL DEFAULT '{}',
    priority    integer NOT NULL DEFAULT 0,
    state       text COLLATE "C" NOT NULL DEFAULT 'waiting'
                CHECK (state IN ('waiting', 'running', 'done', 'failed', 'cancelled')),
    attempts    integer NOT NULL DEFAULT 0,
    -- The run of the server that has it in hand.
    run         text COLLATE "C" NOT NULL DEFAULT '',
    -- Asked for again while it was running: it may have seen too little, so it runs once more.
    again       boolean NOT NULL DEFAULT false,
    -- Somebody wants it to end while it was running.
    cancel      boolean NOT NULL DEFAULT false,
    done        bigint NOT NULL DEFAULT 0,
    total       bigint NOT NULL DEFAULT 0,
    error       text NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL DEFAULT now(),
    due_at      timestamptz NOT NULL DEFAULT now(),
    started_at  timestamptz,
    ended_at    timestamptz
);
CREATE UNIQUE INDEX job_unfinished ON job (kind, key)
    WHERE key <> '' AND state IN ('waiting', 'running');
CREATE INDEX job_due ON job (kind, priority DESC, due_at, id) WHERE state = 'waiting';
CREATE INDEX job_next ON job (kind, due_at) WHERE state = 'waiting';
CREATE INDEX job_running ON job (id) WHERE state = 'running';
CREATE INDEX job_ended ON job (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX job_by_state ON job (state, id);

-- What a peer asked to be committed (PS3.4 annex J), until its report was accepted. The peer is a
-- part of the name, so that no peer can take another's Transaction UID.
CREATE TABLE commitment (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ae_title         text COLLATE "C" NOT NULL,
    transaction_uid  text COLLATE "C" NOT NULL,
    -- SHA-256 over the references: tells the same request again from another under its UID.
    digest           bytea NOT NULL,
    size             integer NOT NULL,
    -- How often it was asked for; a report answers what was asked up to then.
    asked            integer NOT NULL DEFAULT 1,
    -- How often the peer ended the association over its report, or did not answer.
    lost             integer NOT NULL DEFAULT 0,
    received_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (ae_title, transaction_uid)
);
CREATE INDEX commitment_of_peer ON commitment (ae_title, lost, id);
CREATE INDEX commitment_received ON commitment (received_at);

CREATE TABLE commitment_reference (
    commitment        bigint NOT NULL REFERENCES commitment (id) ON DELETE CASCADE,
    position          integer NOT NULL,
    sop_class_uid     text COLLATE "C" NOT NULL,
    sop_instance_uid  text COLLATE "C" NOT NULL,
    -- The content whose file was read and found right: it is not read again for the next attempt.
    proven            bytea,
    PRIMARY KEY (commitment, position)
);
