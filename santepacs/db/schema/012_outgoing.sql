-- HL7 messages to be sent, and what became of them.

CREATE TABLE hl7_outgoing (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The name of an HL7 node, which may be gone by now.
    node          text COLLATE "C" NOT NULL,
    raw           bytea NOT NULL,
    message_type  text COLLATE "C" NOT NULL DEFAULT '',
    control_id    text COLLATE "C" NOT NULL DEFAULT '',
    -- Who or what wanted it sent.
    origin        text NOT NULL DEFAULT '',
    state         text COLLATE "C" NOT NULL DEFAULT 'waiting'
                  CHECK (state IN ('waiting', 'sent', 'failed', 'cancelled')),
    attempts      integer NOT NULL DEFAULT 0,
    -- The last answer as it came, its acknowledgement code, and what it or we say is wrong.
    answer        bytea NOT NULL DEFAULT '',
    answer_code   text COLLATE "C" NOT NULL DEFAULT '',
    remark        text NOT NULL DEFAULT '',
    milliseconds  integer NOT NULL DEFAULT 0,
    created_at    timestamptz NOT NULL DEFAULT now(),
    attempted_at  timestamptz,
    ended_at      timestamptz
);
-- What a node gets next.
CREATE INDEX hl7_outgoing_waiting ON hl7_outgoing (node, id) WHERE state = 'waiting';
CREATE INDEX hl7_outgoing_of_node ON hl7_outgoing (node, id);
CREATE INDEX hl7_outgoing_by_state ON hl7_outgoing (state, id);
CREATE INDEX hl7_outgoing_ended ON hl7_outgoing (ended_at) WHERE ended_at IS NOT NULL;
