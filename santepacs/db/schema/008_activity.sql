-- What associations did: one row for each that did something, and totals for each day and peer.

CREATE TABLE association (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ended_at  timestamptz NOT NULL,
    title     text COLLATE "C" NOT NULL DEFAULT '',
    address   text COLLATE "C" NOT NULL DEFAULT '',
    -- Whether we asked for it.
    outgoing  boolean NOT NULL DEFAULT false,
    tls       boolean NOT NULL DEFAULT false,
    seconds   real NOT NULL DEFAULT 0,
    stored    integer NOT NULL DEFAULT 0,
    sent      integer NOT NULL DEFAULT 0,
    queries   integer NOT NULL DEFAULT 0,
    found     integer NOT NULL DEFAULT 0,
    other     integer NOT NULL DEFAULT 0,
    failed    integer NOT NULL DEFAULT 0,
    refused   integer NOT NULL DEFAULT 0,
    bytes     bigint NOT NULL DEFAULT 0,
    ending    text NOT NULL DEFAULT ''
);
CREATE INDEX association_ended ON association (ended_at);
CREATE INDEX association_title ON association (title, id);

CREATE TABLE activity_day (
    day           date NOT NULL,
    -- AE title; '' for all those beyond the number of titles that a day may have.
    title         text COLLATE "C" NOT NULL,
    associations  bigint NOT NULL,
    stored        bigint NOT NULL,
    sent          bigint NOT NULL,
    queries       bigint NOT NULL,
    found         bigint NOT NULL,
    other         bigint NOT NULL,
    failed        bigint NOT NULL,
    refused       bigint NOT NULL,
    bytes         bigint NOT NULL,
    PRIMARY KEY (day, title)
);
