-- Who may use the portal: accounts, their sessions, and the one-time link of the first set-up.
-- Names are unique without regard to case and accents: `folded` is made by santepacs.access.

CREATE TABLE account (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name                text NOT NULL,
    folded              text COLLATE "C" NOT NULL UNIQUE,
    -- argon2id in PHC form, with its own salt and parameters.
    password            text NOT NULL,
    real_name           text NOT NULL DEFAULT '',
    contact             text NOT NULL DEFAULT '',
    administrator       boolean NOT NULL DEFAULT false,
    may_upload          boolean NOT NULL DEFAULT false,
    may_share           boolean NOT NULL DEFAULT true,
    active              boolean NOT NULL DEFAULT true,
    created_at          timestamptz NOT NULL DEFAULT now(),
    password_changed_at timestamptz NOT NULL DEFAULT now(),
    last_login_at       timestamptz
);

-- The cookie's value is not kept, only its SHA-256: who reads the database cannot log in with it.
CREATE TABLE session (
    digest      bytea PRIMARY KEY,
    account     bigint NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    address     text NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL,
    used_at     timestamptz NOT NULL
);
CREATE INDEX session_account ON session (account);
CREATE INDEX session_used ON session (used_at);

-- At most one row: a new link replaces the old one.
CREATE TABLE setup_link (
    singleton   boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    digest      bytea NOT NULL,
    expires_at  timestamptz NOT NULL
);
