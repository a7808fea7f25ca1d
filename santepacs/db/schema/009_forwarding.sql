-- What a forwarding job has sent already: tried again, or after a restart, it sends the rest.
-- `instance` refers to an object that may be deleted meanwhile; the row goes with its job.

CREATE TABLE forwarded (
    job       bigint NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    instance  bigint NOT NULL,
    PRIMARY KEY (job, instance)
);
