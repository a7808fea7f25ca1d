-- Peers with several addresses, certificates, and the right to send to others.

-- Place 1 is where we call the peer.
CREATE TABLE peer_address (
    ae_title  text COLLATE "C" NOT NULL REFERENCES peer ON UPDATE CASCADE ON DELETE CASCADE,
    place     integer NOT NULL,
    host      text NOT NULL,
    port      integer NOT NULL CHECK (port BETWEEN 1 AND 65535),
    PRIMARY KEY (ae_title, place)
);
INSERT INTO peer_address (ae_title, place, host, port) SELECT ae_title, 1, host, port FROM peer;

ALTER TABLE peer
    DROP COLUMN host,
    DROP COLUMN port,
    ADD COLUMN may_move_to_others boolean NOT NULL DEFAULT false,
    ADD COLUMN tls boolean NOT NULL DEFAULT false,
    -- SHA-256 in hexadecimal digits; it stands for an address.
    ADD COLUMN certificate text COLLATE "C" NOT NULL DEFAULT '';
