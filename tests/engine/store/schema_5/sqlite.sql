PRAGMA application_id=1128809042;
PRAGMA user_version=5;

CREATE TABLE installation (
    id VARCHAR NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE probes (
    host VARCHAR NOT NULL,
    work VARCHAR NOT NULL,
    images_per_second FLOAT NOT NULL,
    memory_mb FLOAT NOT NULL,
    measured_at DATETIME NOT NULL,
    PRIMARY KEY (host, work)
);

CREATE TABLE studies (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    "key" VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    data VARCHAR NOT NULL,
    budget JSON NOT NULL,
    created_at DATETIME NOT NULL,
    archived_at DATETIME,
    note VARCHAR NOT NULL,
    tags JSON NOT NULL,
    announced_at DATETIME,
    UNIQUE ("key")
);

CREATE TABLE runs (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
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
    created_at DATETIME NOT NULL,
    started_at DATETIME,
    ended_at DATETIME,
    progress_at DATETIME,
    archived_at DATETIME,
    will_retry BOOLEAN NOT NULL,
    note VARCHAR NOT NULL,
    tags JSON NOT NULL,
    UNIQUE (study_id, configuration, seed),
    FOREIGN KEY(study_id) REFERENCES studies (id) ON DELETE CASCADE
);
CREATE INDEX ix_runs_study_id ON runs (study_id);

CREATE TABLE alerts (
    id INTEGER NOT NULL,
    run_id INTEGER NOT NULL,
    step INTEGER NOT NULL,
    kind VARCHAR NOT NULL,
    text VARCHAR NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (run_id, kind, step),
    FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);

CREATE TABLE checkpoints (
    id INTEGER NOT NULL,
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
    id INTEGER NOT NULL,
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
    halves BLOB,
    PRIMARY KEY (id),
    UNIQUE (run_id, split, epoch, name),
    FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);

CREATE TABLE image_scores (
    id INTEGER NOT NULL,
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
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
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
    created_at DATETIME NOT NULL,
    heartbeat_at DATETIME,
    stop_requested_at DATETIME,
    kill_requested_at DATETIME,
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
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    run_id INTEGER NOT NULL,
    step INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    name VARCHAR NOT NULL,
    value FLOAT,
    at FLOAT,
    UNIQUE (run_id, step, name),
    FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);
CREATE INDEX metrics_by_curve ON metrics (run_id, name, id);

CREATE TABLE predictions (
    id INTEGER NOT NULL,
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
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    run_id INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    step INTEGER NOT NULL,
    grid VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    target VARCHAR NOT NULL,
    fake VARCHAR NOT NULL,
    thumbnail VARCHAR NOT NULL,
    UNIQUE (run_id, epoch),
    FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);

CREATE TABLE attempts (
    id INTEGER NOT NULL,
    job_id INTEGER NOT NULL,
    run_id INTEGER,
    number INTEGER NOT NULL,
    host VARCHAR,
    from_step INTEGER NOT NULL,
    started_at DATETIME NOT NULL,
    ended_at DATETIME,
    state VARCHAR,
    reason VARCHAR,
    note VARCHAR,
    PRIMARY KEY (id),
    UNIQUE (job_id, number),
    FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE,
    FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);
CREATE INDEX ix_attempts_run_id ON attempts (run_id);
