CREATE TABLE chromabench_schema (
    version INTEGER
);
INSERT INTO chromabench_schema (version) VALUES (5);

CREATE TABLE installation (
    id VARCHAR NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE probes (
    host VARCHAR NOT NULL,
    work VARCHAR NOT NULL,
    images_per_second FLOAT NOT NULL,
    memory_mb FLOAT NOT NULL,
    measured_at TIMESTAMP WITHOUT TIME ZONE NOT NULL,
    PRIMARY KEY (host, work)
);

CREATE TABLE studies (
    id SERIAL NOT NULL,
    key VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    data VARCHAR NOT NULL,
    budget JSON NOT NULL,
    created_at TIMESTAMP WITHOUT TIME ZONE NOT NULL,
    archived_at TIMESTAMP WITHOUT TIME ZONE,
    note VARCHAR NOT NULL,
    tags JSON NOT NULL,
    announced_at TIMESTAMP WITHOUT TIME ZONE,
    PRIMARY KEY (id),
    UNIQUE (key)
);

CREATE TABLE runs (
    id SERIAL NOT NULL,
    study_id INTEGER NOT NULL,
    configuration VARCHAR NOT NULL,
    seed INTEGER NOT NULL,
    state VARCHAR NOT NULL,
    reason VARCHAR,
    phase VARCHAR,
    config JSON NOT NULL,
    resolved JSON,
    epoch INTEGER NOT NULL,
    epochs INTEGER NOT NULL,
    step INTEGER NOT NULL,
    steps INTEGER NOT NULL,
    best_epoch INTEGER,
    attempt INTEGER NOT NULL,
    environment JSON,
    created_at TIMESTAMP WITHOUT TIME ZONE NOT NULL,
    started_at TIMESTAMP WITHOUT TIME ZONE,
    ended_at TIMESTAMP WITHOUT TIME ZONE,
    progress_at TIMESTAMP WITHOUT TIME ZONE,
    archived_at TIMESTAMP WITHOUT TIME ZONE,
    will_retry BOOLEAN NOT NULL,
    note VARCHAR NOT NULL,
    tags JSON NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (study_id, configuration, seed),
    FOREIGN KEY(study_id) REFERENCES studies (id) ON DELETE CASCADE
);
CREATE INDEX ix_runs_study_id ON runs (study_id);

CREATE TABLE alerts (
    id SERIAL NOT NULL,
    run_id INTEGER NOT NULL,
    step INTEGER NOT NULL,
    kind VARCHAR NOT NULL,
    text VARCHAR NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (run_id, kind, step),
    FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);

CREATE TABLE checkpoints (
    id SERIAL NOT NULL,
    run_id INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    step INTEGER NOT NULL,
    is_whole BOOLEAN NOT NULL,
    path VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL,
    n_bytes INTEGER NOT NULL,
    is_best BOOLEAN NOT NULL,
    is_slim BOOLEAN NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (run_id, step),
    FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);

CREATE TABLE evaluations (
    id SERIAL NOT NULL,
    run_id INTEGER NOT NULL,
    split VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    value FLOAT,
    low FLOAT,
    high FLOAT,
    n_pictures INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    missing VARCHAR,
    note VARCHAR,
    reference FLOAT,
    protocol JSON NOT NULL,
    halves BYTEA,
    PRIMARY KEY (id),
    UNIQUE (run_id, split, epoch, name),
    FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);

CREATE TABLE image_scores (
    id SERIAL NOT NULL,
    run_id INTEGER NOT NULL,
    split VARCHAR NOT NULL,
    epoch INTEGER NOT NULL,
    picture VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    value FLOAT,
    PRIMARY KEY (id),
    UNIQUE (run_id, split, epoch, name, picture),
    FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);

CREATE TABLE jobs (
    id SERIAL NOT NULL,
    kind VARCHAR NOT NULL,
    run_id INTEGER,
    subject VARCHAR,
    state VARCHAR NOT NULL,
    reason VARCHAR,
    progress FLOAT NOT NULL,
    priority INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    token VARCHAR,
    process VARCHAR,
    host VARCHAR,
    slot VARCHAR,
    retries INTEGER NOT NULL,
    created_at TIMESTAMP WITHOUT TIME ZONE NOT NULL,
    heartbeat_at TIMESTAMP WITHOUT TIME ZONE,
    stop_requested_at TIMESTAMP WITHOUT TIME ZONE,
    kill_requested_at TIMESTAMP WITHOUT TIME ZONE,
    PRIMARY KEY (id),
    FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);
CREATE INDEX jobs_queue ON jobs (state, priority, id);
CREATE UNIQUE INDEX jobs_slot_in_use ON jobs (kind, host, slot) WHERE state IN ('running', 'stopping');

CREATE TABLE metric_summaries (
    run_id INTEGER NOT NULL,
    name VARCHAR NOT NULL,
    last FLOAT,
    last_epoch INTEGER NOT NULL,
    lowest FLOAT,
    lowest_epoch INTEGER NOT NULL,
    highest FLOAT,
    highest_epoch INTEGER NOT NULL,
    PRIMARY KEY (run_id, name),
    FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);

CREATE TABLE metrics (
    id SERIAL NOT NULL,
    run_id INTEGER NOT NULL,
    step INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    name VARCHAR NOT NULL,
    value FLOAT,
    at FLOAT,
    PRIMARY KEY (id),
    UNIQUE (run_id, step, name),
    FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);
CREATE INDEX metrics_by_curve ON metrics (run_id, name, id);

CREATE TABLE predictions (
    id SERIAL NOT NULL,
    run_id INTEGER NOT NULL,
    split VARCHAR NOT NULL,
    epoch INTEGER NOT NULL,
    path VARCHAR NOT NULL,
    names JSON NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (run_id, split, epoch),
    FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);

CREATE TABLE samples (
    id SERIAL NOT NULL,
    run_id INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    step INTEGER NOT NULL,
    grid VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    target VARCHAR NOT NULL,
    fake VARCHAR NOT NULL,
    thumbnail VARCHAR NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (run_id, epoch),
    FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);

CREATE TABLE attempts (
    id SERIAL NOT NULL,
    job_id INTEGER NOT NULL,
    run_id INTEGER,
    number INTEGER NOT NULL,
    host VARCHAR,
    from_step INTEGER NOT NULL,
    started_at TIMESTAMP WITHOUT TIME ZONE NOT NULL,
    ended_at TIMESTAMP WITHOUT TIME ZONE,
    state VARCHAR,
    reason VARCHAR,
    note VARCHAR,
    PRIMARY KEY (id),
    UNIQUE (job_id, number),
    FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE,
    FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);
CREATE INDEX ix_attempts_run_id ON attempts (run_id);
