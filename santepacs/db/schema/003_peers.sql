-- DICOM peers, and the callers that are nobody we know.

CREATE TABLE peer (
    ae_title      text COLLATE "C" PRIMARY KEY,
    host          text NOT NULL,
    port          integer NOT NULL CHECK (port BETWEEN 1 AND 65535),
    may_store     boolean NOT NULL DEFAULT true,
    may_query     boolean NOT NULL DEFAULT true,
    may_retrieve  boolean NOT NULL DEFAULT true,
    may_worklist  boolean NOT NULL DEFAULT true,
    enabled       boolean NOT NULL DEFAULT true
);

-- One row for each protocol, title (DICOM: calling AE title) and address; the newest are kept.
CREATE TABLE caller (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    protocol    text COLLATE "C" NOT NULL,
    title       text COLLATE "C" NOT NULL DEFAULT '',
    address     text COLLATE "C" NOT NULL,
    reason      text NOT NULL DEFAULT '',
    count       bigint NOT NULL DEFAULT 1,
    first_seen  timestamptz NOT NULL DEFAULT now(),
    last_seen   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (protocol, title, address)
);
CREATE INDEX caller_last_seen ON caller (last_seen DESC, id DESC);
