BEGIN TRANSACTION;
CREATE TABLE "agents" (
  pk INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, sweep INTEGER NOT NULL REFERENCES sweeps,
  host TEXT NOT NULL, state TEXT NOT NULL, created REAL NOT NULL, heartbeat REAL NOT NULL,
  is_own INTEGER NOT NULL DEFAULT 1
);
INSERT INTO "agents" VALUES(1,'r9q94anm',1,'node-1','RUNNING',1000.0,1000.0,1);
CREATE TABLE deleted_runs (project INTEGER NOT NULL, id TEXT NOT NULL, PRIMARY KEY (project, id)) WITHOUT ROWID;
CREATE TABLE "files" (
  pk INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL, name TEXT NOT NULL, stored TEXT NOT NULL,
  size_bytes INTEGER NOT NULL, md5 TEXT NOT NULL, updated REAL NOT NULL, UNIQUE (run, name)
);
INSERT INTO "files" VALUES(1,1,'config.yaml','0-x/config.yaml',3,'x',1000.0);
INSERT INTO "files" VALUES(2,2,'config.yaml','1-x/config.yaml',3,'x',1000.0);
CREATE TABLE history (
  run INTEGER NOT NULL, line INTEGER NOT NULL, step INTEGER NOT NULL, text TEXT NOT NULL,
  PRIMARY KEY (run, line)
) WITHOUT ROWID;
INSERT INTO "history" VALUES(1,0,0,'{"_step": 0, "loss": 0.0}');
INSERT INTO "history" VALUES(1,1,1,'{"_step": 1, "loss": 0.14285714285714285}');
INSERT INTO "history" VALUES(1,2,2,'{"_step": 2, "loss": 0.2857142857142857}');
INSERT INTO "history" VALUES(2,0,0,'{"_step": 0, "loss": 0.0}');
INSERT INTO "history" VALUES(2,1,1,'{"_step": 1, "loss": 0.14285714285714285}');
INSERT INTO "history" VALUES(2,2,2,'{"_step": 2, "loss": 0.2857142857142857}');
CREATE TABLE lines (
  run INTEGER NOT NULL, stream TEXT NOT NULL, line INTEGER NOT NULL, text TEXT NOT NULL,
  PRIMARY KEY (run, stream, line)
) WITHOUT ROWID;
INSERT INTO "lines" VALUES(1,'output.log',0,'2026-01-01T00:00:00.000000 hello');
INSERT INTO "lines" VALUES(2,'output.log',0,'2026-01-01T00:00:00.000000 hello');
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "meta" VALUES('secret','388f669723e54ddb11f123117333afe19a4e0d042004c048b2bb2ab3468b2ac9');
CREATE TABLE prior_runs (sweep INTEGER NOT NULL REFERENCES sweeps, run INTEGER NOT NULL REFERENCES runs, PRIMARY KEY (sweep, run)) WITHOUT ROWID;
CREATE TABLE "projects" (
  pk INTEGER PRIMARY KEY AUTOINCREMENT, entity TEXT NOT NULL, name TEXT NOT NULL, created REAL NOT NULL,
  UNIQUE (entity, name)
);
INSERT INTO "projects" VALUES(1,'local','p',1000.0);
CREATE TABLE "runs" (
  pk INTEGER PRIMARY KEY AUTOINCREMENT, project INTEGER NOT NULL REFERENCES projects, id TEXT NOT NULL,
  sweep INTEGER REFERENCES sweeps, agent INTEGER REFERENCES agents, last_agent INTEGER,
  state TEXT NOT NULL, attempt INTEGER NOT NULL DEFAULT 0, losses INTEGER NOT NULL DEFAULT 0,
  queued REAL, is_silent INTEGER NOT NULL DEFAULT 0, is_started INTEGER NOT NULL DEFAULT 0,
  is_preempting INTEGER NOT NULL DEFAULT 0, is_stop_asked INTEGER NOT NULL DEFAULT 0,
  is_restarted INTEGER NOT NULL DEFAULT 0,
  exit_code INTEGER, display_name TEXT, notes TEXT, description TEXT, group_name TEXT,
  job_type TEXT, host TEXT, program TEXT, commit_hash TEXT, tags TEXT NOT NULL DEFAULT '[]',
  created REAL NOT NULL, updated REAL NOT NULL, heartbeat REAL NOT NULL,
  last_step INTEGER NOT NULL DEFAULT -1, lost_step INTEGER NOT NULL DEFAULT -1, params TEXT,
  history_keys TEXT NOT NULL DEFAULT '[]', summary TEXT NOT NULL DEFAULT '{}',
  config TEXT NOT NULL DEFAULT '{}',
  UNIQUE (project, id)
);
INSERT INTO "runs" VALUES(1,1,'ntdj5dwp',1,NULL,1,'finished',1,0,NULL,0,1,0,0,0,0,'legs-1',NULL,NULL,NULL,NULL,'node-1',NULL,NULL,'[]',1000.0,1000.0,1000.0,2,2,'{"a": 1}','["_step", "loss"]','{"loss": 0.5}','{"a": {"value": 1}, "_wandb": {"value": {"t": {}}}}');
INSERT INTO "runs" VALUES(2,1,'pp5re74y',1,NULL,1,'finished',1,0,NULL,0,1,0,0,0,0,'legs-2',NULL,NULL,NULL,NULL,'node-1',NULL,NULL,'[]',1000.0,1000.0,1000.0,2,2,'{"a": 2}','["_step", "loss"]','{"loss": 0.4}','{"a": {"value": 2}, "_wandb": {"value": {"t": {}}}}');
CREATE TABLE summary_values (
  run INTEGER NOT NULL, key TEXT NOT NULL, value, PRIMARY KEY (run, key)
) WITHOUT ROWID;
INSERT INTO "summary_values" VALUES(1,'loss',0.5);
INSERT INTO "summary_values" VALUES(2,'loss',0.4);
CREATE TABLE "sweeps" (
  pk INTEGER PRIMARY KEY AUTOINCREMENT, project INTEGER NOT NULL REFERENCES projects, id TEXT NOT NULL UNIQUE,
  state TEXT NOT NULL, is_exhausted INTEGER NOT NULL DEFAULT 0, method TEXT NOT NULL,
  display_name TEXT, description TEXT,
  metric TEXT, goal TEXT NOT NULL, run_cap INTEGER, run_count_expected INTEGER,
  created REAL NOT NULL, updated REAL NOT NULL,
  config_text TEXT NOT NULL, spec TEXT NOT NULL
);
INSERT INTO "sweeps" VALUES(1,1,'43u5ujgv','RUNNING',0,'grid','legs',NULL,'loss','minimize',NULL,4,1000.0,1000.0,'{"method": "grid", "name": "legs", "metric": {"name": "loss", "goal": "minimize"}, "parameters": {"a": {"values": [1, 2, 3, 4]}}}','{"method": "grid", "name": "legs", "metric": {"name": "loss", "goal": "minimize"}, "parameters": {"a": {"values": [1, 2, 3, 4]}}}');
CREATE INDEX history_steps ON history (run, step);
CREATE INDEX sweeps_of_project ON sweeps (project, pk);
CREATE INDEX agents_of_sweep ON agents (sweep, pk);
CREATE INDEX runs_of_project ON runs (project, pk);
CREATE INDEX runs_of_sweep ON runs (sweep, pk) WHERE sweep IS NOT NULL;
CREATE INDEX runs_held ON runs (agent) WHERE agent IS NOT NULL;
CREATE INDEX runs_queued ON runs (sweep, queued) WHERE queued IS NOT NULL;
CREATE INDEX runs_live ON runs (state) WHERE state IN ('pending', 'running', 'preempting');
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('projects',1000001);
INSERT INTO "sqlite_sequence" VALUES('sweeps',1000001);
INSERT INTO "sqlite_sequence" VALUES('agents',1000001);
INSERT INTO "sqlite_sequence" VALUES('runs',1000002);
INSERT INTO "sqlite_sequence" VALUES('files',1000002);
COMMIT;
