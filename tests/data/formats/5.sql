BEGIN TRANSACTION;
CREATE TABLE agents (
  pk INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, sweep INTEGER NOT NULL REFERENCES sweeps,
  host TEXT NOT NULL, state TEXT NOT NULL, created REAL NOT NULL, heartbeat REAL NOT NULL,
  is_own INTEGER NOT NULL DEFAULT 1
);
INSERT INTO "agents" VALUES(1,'1sjgd8uh',1,'node-1','RUNNING',1.79569243544927692416e+09,1.79569243552587246891e+09,0);
CREATE TABLE files (
  pk INTEGER PRIMARY KEY, run INTEGER NOT NULL, name TEXT NOT NULL, stored TEXT NOT NULL,
  size_bytes INTEGER NOT NULL, md5 TEXT NOT NULL, updated REAL NOT NULL, UNIQUE (run, name)
);
INSERT INTO "files" VALUES(1,1,'config.yaml','1-bbpylc0j/f065e7234c582087-config.yaml',3,'e0ba91540e7f06adb993d038c527bd4d',1.7956924354721522331e+09);
INSERT INTO "files" VALUES(2,2,'config.yaml','2-8ij19k12/f065e7234c582087-config.yaml',3,'e0ba91540e7f06adb993d038c527bd4d',1.79569243549343276027e+09);
INSERT INTO "files" VALUES(3,3,'config.yaml','3-94gyl5cj/f065e7234c582087-config.yaml',3,'e0ba91540e7f06adb993d038c527bd4d',1.79569243550575351718e+09);
INSERT INTO "files" VALUES(4,4,'config.yaml','4-hmkoq030/f065e7234c582087-config.yaml',3,'e0ba91540e7f06adb993d038c527bd4d',1.79569243554020476338e+09);
CREATE TABLE history (
  run INTEGER NOT NULL, line INTEGER NOT NULL, step INTEGER NOT NULL, text TEXT NOT NULL,
  PRIMARY KEY (run, line)
) WITHOUT ROWID;
INSERT INTO "history" VALUES(1,0,0,'{"_step": 0, "loss": 0.0, "d": {"x": 0}}');
INSERT INTO "history" VALUES(1,1,1,'{"_step": 1, "loss": 0.14285714285714285, "d": {"x": 1}}');
INSERT INTO "history" VALUES(1,2,2,'{"_step": 2, "loss": 0.2857142857142857, "d": {"x": 2}}');
INSERT INTO "history" VALUES(2,0,0,'{"_step": 0, "loss": 0.0, "d": {"x": 0}}');
INSERT INTO "history" VALUES(2,1,1,'{"_step": 1, "loss": 0.14285714285714285, "d": {"x": 1}}');
INSERT INTO "history" VALUES(2,2,2,'{"_step": 2, "loss": 0.2857142857142857, "d": {"x": 2}}');
INSERT INTO "history" VALUES(3,0,0,'{"_step": 0, "loss": 0.0, "d": {"x": 0}}');
INSERT INTO "history" VALUES(3,1,1,'{"_step": 1, "loss": 0.14285714285714285, "d": {"x": 1}}');
INSERT INTO "history" VALUES(3,2,2,'{"_step": 2, "loss": 0.2857142857142857, "d": {"x": 2}}');
INSERT INTO "history" VALUES(4,0,0,'{"_step": 0, "loss": 0.0, "d": {"x": 0}}');
INSERT INTO "history" VALUES(4,1,1,'{"_step": 1, "loss": 0.14285714285714285, "d": {"x": 1}}');
INSERT INTO "history" VALUES(4,2,2,'{"_step": 2, "loss": 0.2857142857142857, "d": {"x": 2}}');
CREATE TABLE lines (
  run INTEGER NOT NULL, stream TEXT NOT NULL, line INTEGER NOT NULL, text TEXT NOT NULL,
  PRIMARY KEY (run, stream, line)
) WITHOUT ROWID;
INSERT INTO "lines" VALUES(1,'output.log',0,'2026-01-01T00:00:00.000000 hello');
INSERT INTO "lines" VALUES(2,'output.log',0,'2026-01-01T00:00:00.000000 hello');
INSERT INTO "lines" VALUES(3,'output.log',0,'2026-01-01T00:00:00.000000 hello');
INSERT INTO "lines" VALUES(4,'output.log',0,'2026-01-01T00:00:00.000000 hello');
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "meta" VALUES('secret','1071f2f5e133a165ecc87472e3bd71adfa718fa033e7a0e267798743d20f390d');
CREATE TABLE prior_runs (sweep INTEGER NOT NULL REFERENCES sweeps, run INTEGER NOT NULL REFERENCES runs, PRIMARY KEY (sweep, run)) WITHOUT ROWID;
CREATE TABLE projects (
  pk INTEGER PRIMARY KEY, entity TEXT NOT NULL, name TEXT NOT NULL, created REAL NOT NULL,
  UNIQUE (entity, name)
);
INSERT INTO "projects" VALUES(1,'local','p',1.7956924354422738552e+09);
CREATE TABLE runs (
  pk INTEGER PRIMARY KEY, project INTEGER NOT NULL REFERENCES projects, id TEXT NOT NULL,
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
INSERT INTO "runs" VALUES(1,1,'bbpylc0j',1,NULL,1,'finished',1,0,NULL,0,1,0,0,0,0,'legs-1',NULL,NULL,NULL,NULL,'node-1',NULL,NULL,'[]',1.79569243545438480373e+09,1.79569243547738957404e+09,1.79569243547446107858e+09,2,2,'{"a": 1}','["_step", "d", "loss"]','{"loss": 0.5, "d": {"x": 2}}','{"a": {"value": 1}, "deep": {"value": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}}');
INSERT INTO "runs" VALUES(2,1,'8ij19k12',1,NULL,1,'finished',1,0,NULL,0,1,0,0,0,0,'legs-2',NULL,NULL,NULL,NULL,'node-1',NULL,NULL,'[]',1.79569243547954940799e+09,1.79569243549651455884e+09,1.79569243549472808835e+09,2,2,'{"a": 2.0}','["_step", "d", "loss"]','{"loss": 0.39999999999999997, "d": {"x": 2}}','{"a": {"value": 2.0}, "deep": {"value": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[2]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}}');
INSERT INTO "runs" VALUES(3,1,'94gyl5cj',1,NULL,1,'failed',1,0,NULL,0,1,0,0,0,1,'legs-3',NULL,NULL,NULL,NULL,'node-1',NULL,NULL,'[]',1.79569243549668312075e+09,1.79569243550914096831e+09,1.79569243550707936286e+09,2,2,'{"a": 3}','["_step", "d", "loss"]','{"loss": 0.3, "d": {"x": 2}}','{"a": {"value": 3}, "deep": {"value": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[3]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}}');
INSERT INTO "runs" VALUES(4,1,'hmkoq030',1,1,1,'running',1,0,NULL,0,1,0,0,0,NULL,'legs-5',NULL,NULL,NULL,NULL,'node-1',NULL,NULL,'[]',1.79569243552599930755e+09,1.79569243553527855879e+09,1.79569243553515195841e+09,2,-1,'{"a": 4}','["_step", "d", "loss"]','{"loss": 0.09999999999999998, "d": {"x": 2}}','{"a": {"value": 5}, "deep": {"value": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[5]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}}');
CREATE TABLE summary_values (
  run INTEGER NOT NULL, key TEXT NOT NULL, value, PRIMARY KEY (run, key)
) WITHOUT ROWID;
INSERT INTO "summary_values" VALUES(1,'d.x',2);
INSERT INTO "summary_values" VALUES(1,'loss',0.5);
INSERT INTO "summary_values" VALUES(2,'d.x',2);
INSERT INTO "summary_values" VALUES(2,'loss',3.99999999999999966693e-01);
INSERT INTO "summary_values" VALUES(3,'d.x',2);
INSERT INTO "summary_values" VALUES(3,'loss',0.3);
INSERT INTO "summary_values" VALUES(4,'d.x',2);
INSERT INTO "summary_values" VALUES(4,'loss',9.99999999999999777955e-02);
CREATE TABLE sweeps (
  pk INTEGER PRIMARY KEY, project INTEGER NOT NULL REFERENCES projects, id TEXT NOT NULL UNIQUE,
  state TEXT NOT NULL, is_exhausted INTEGER NOT NULL DEFAULT 0, method TEXT NOT NULL,
  display_name TEXT, description TEXT,
  metric TEXT, goal TEXT NOT NULL, run_cap INTEGER, run_count_expected INTEGER,
  created REAL NOT NULL, updated REAL NOT NULL,
  config_text TEXT NOT NULL, spec TEXT NOT NULL
);
INSERT INTO "sweeps" VALUES(1,1,'2jzq8gta','RUNNING',0,'grid','legs',NULL,'loss','minimize',NULL,5,1.79569243544237065312e+09,1.79569243545466017721e+09,'{"method": "grid", "name": "legs", "metric": {"name": "loss", "goal": "minimize"}, "parameters": {"a": {"values": [1, 2.0, 3, 4, 5]}}}','{"method": "grid", "name": "legs", "metric": {"name": "loss", "goal": "minimize"}, "parameters": {"a": {"values": [1, 2.0, 3, 4, 5]}}}');
CREATE INDEX sweeps_of_project ON sweeps (project, pk);
CREATE INDEX agents_of_sweep ON agents (sweep, pk);
CREATE INDEX runs_of_project ON runs (project, pk);
CREATE INDEX runs_of_sweep ON runs (sweep, pk) WHERE sweep IS NOT NULL;
CREATE INDEX runs_held ON runs (agent) WHERE agent IS NOT NULL;
CREATE INDEX runs_queued ON runs (sweep, queued) WHERE queued IS NOT NULL;
CREATE INDEX runs_live ON runs (state) WHERE state IN ('pending', 'running', 'preempting');
CREATE INDEX history_steps ON history (run, step);
COMMIT;
PRAGMA user_version = 5;
