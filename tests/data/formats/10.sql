BEGIN TRANSACTION;
CREATE TABLE agents (
  pk INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
  sweep INTEGER NOT NULL REFERENCES sweeps,
  host TEXT NOT NULL, state TEXT NOT NULL, created REAL NOT NULL, heartbeat REAL NOT NULL,
  is_own INTEGER NOT NULL DEFAULT 1
);
INSERT INTO "agents" VALUES(1,'1fpctijw',1,'node-1','RUNNING',1.7957498129492018222e+09,1.7957498131013684273e+09,0);
CREATE TABLE aliases (
      pk INTEGER PRIMARY KEY AUTOINCREMENT, collection INTEGER NOT NULL REFERENCES collections,
      membership INTEGER NOT NULL REFERENCES memberships, alias TEXT NOT NULL,
      UNIQUE (collection, alias)
    );
CREATE TABLE artifact_clients (
      client_id TEXT PRIMARY KEY, artifact INTEGER NOT NULL REFERENCES artifacts
    ) WITHOUT ROWID;
CREATE TABLE artifact_entries (
      artifact INTEGER NOT NULL REFERENCES artifacts, name TEXT NOT NULL, digest TEXT NOT NULL,
      blob TEXT, ref TEXT, size_bytes INTEGER NOT NULL, PRIMARY KEY (artifact, name)
    ) WITHOUT ROWID;
CREATE TABLE artifact_manifests (
      pk INTEGER PRIMARY KEY AUTOINCREMENT, artifact INTEGER NOT NULL REFERENCES artifacts,
      kind TEXT NOT NULL, base INTEGER, blob TEXT
    );
CREATE TABLE artifact_runs (
      run INTEGER NOT NULL, role TEXT NOT NULL, artifact INTEGER NOT NULL REFERENCES artifacts,
      PRIMARY KEY (run, role, artifact)
    ) WITHOUT ROWID;
CREATE TABLE artifacts (
      pk INTEGER PRIMARY KEY AUTOINCREMENT, collection INTEGER NOT NULL REFERENCES collections,
      state TEXT NOT NULL, digest TEXT NOT NULL, description TEXT, metadata TEXT, run INTEGER,
      history_step INTEGER, ttl_s INTEGER, distributed_id TEXT, manifest TEXT,
      size_bytes INTEGER NOT NULL DEFAULT 0, file_count INTEGER NOT NULL DEFAULT 0,
      aliases_asked TEXT NOT NULL DEFAULT '[]', created REAL NOT NULL, updated REAL NOT NULL
    );
CREATE TABLE blobs (
      blob TEXT PRIMARY KEY, size_bytes INTEGER NOT NULL, created REAL NOT NULL
    ) WITHOUT ROWID;
CREATE TABLE collections (
      pk INTEGER PRIMARY KEY AUTOINCREMENT, project INTEGER NOT NULL REFERENCES projects,
      name TEXT NOT NULL, is_portfolio INTEGER NOT NULL DEFAULT 0, type TEXT NOT NULL,
      description TEXT, next_version INTEGER NOT NULL DEFAULT 0,
      created REAL NOT NULL, updated REAL NOT NULL, UNIQUE (project, name)
    );
CREATE TABLE deleted_runs (project INTEGER NOT NULL, id TEXT NOT NULL, PRIMARY KEY (project, id)) WITHOUT ROWID;
INSERT INTO "deleted_runs" VALUES(1,'wyx8nio4');
CREATE TABLE files (
  pk INTEGER PRIMARY KEY AUTOINCREMENT,
  run INTEGER NOT NULL, name TEXT NOT NULL, stored TEXT NOT NULL,
  size_bytes INTEGER NOT NULL, md5 TEXT NOT NULL, updated REAL NOT NULL, UNIQUE (run, name)
);
INSERT INTO "files" VALUES(1,1,'config.yaml','1-zgruvnvd/30f0c5396e90308f-config.yaml',3,'e0ba91540e7f06adb993d038c527bd4d',1.79574981298984527591e+09);
INSERT INTO "files" VALUES(2,2,'config.yaml','2-05eijh9i/f18c480bd1985fd0-config.yaml',3,'e0ba91540e7f06adb993d038c527bd4d',1.79574981302731275555e+09);
INSERT INTO "files" VALUES(3,3,'config.yaml','3-4m5441k0/3a700ce5dfd1a6c7-config.yaml',3,'e0ba91540e7f06adb993d038c527bd4d',1.79574981305465579037e+09);
INSERT INTO "files" VALUES(5,5,'config.yaml','5-blh24uod/eb9b7173a38e893b-config.yaml',3,'e0ba91540e7f06adb993d038c527bd4d',1.79574981312377548224e+09);
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
INSERT INTO "history" VALUES(5,0,0,'{"_step": 0, "loss": 0.0, "d": {"x": 0}}');
INSERT INTO "history" VALUES(5,1,1,'{"_step": 1, "loss": 0.14285714285714285, "d": {"x": 1}}');
INSERT INTO "history" VALUES(5,2,2,'{"_step": 2, "loss": 0.2857142857142857, "d": {"x": 2}}');
CREATE TABLE lines (
  run INTEGER NOT NULL, stream TEXT NOT NULL, line INTEGER NOT NULL, text TEXT NOT NULL,
  PRIMARY KEY (run, stream, line)
) WITHOUT ROWID;
INSERT INTO "lines" VALUES(1,'output.log',0,'2026-01-01T00:00:00.000000 hello');
INSERT INTO "lines" VALUES(2,'output.log',0,'2026-01-01T00:00:00.000000 hello');
INSERT INTO "lines" VALUES(3,'output.log',0,'2026-01-01T00:00:00.000000 hello');
INSERT INTO "lines" VALUES(5,'output.log',0,'2026-01-01T00:00:00.000000 hello');
CREATE TABLE memberships (
      pk INTEGER PRIMARY KEY AUTOINCREMENT, collection INTEGER NOT NULL REFERENCES collections,
      artifact INTEGER NOT NULL REFERENCES artifacts, version INTEGER NOT NULL,
      created REAL NOT NULL,
      UNIQUE (collection, version), UNIQUE (artifact, collection)
    );
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "meta" VALUES('secret','e3cb267ada7a52a430baf2909383a3b45f22317549cf911c7eabf3a71db5e8b6');
CREATE TABLE prior_runs (sweep INTEGER NOT NULL REFERENCES sweeps, run INTEGER NOT NULL REFERENCES runs, PRIMARY KEY (sweep, run)) WITHOUT ROWID;
CREATE TABLE projects (
  pk INTEGER PRIMARY KEY AUTOINCREMENT, entity TEXT NOT NULL, name TEXT NOT NULL,
  created REAL NOT NULL,
  UNIQUE (entity, name)
);
INSERT INTO "projects" VALUES(1,'local','p',1.79574981294121170044e+09);
CREATE TABLE runs (
  pk INTEGER PRIMARY KEY AUTOINCREMENT,
  project INTEGER NOT NULL REFERENCES projects, id TEXT NOT NULL,
  sweep INTEGER REFERENCES sweeps, agent INTEGER REFERENCES agents, last_agent INTEGER,
  state TEXT NOT NULL, attempt INTEGER NOT NULL DEFAULT 0, losses INTEGER NOT NULL DEFAULT 0,
  false_starts INTEGER NOT NULL DEFAULT 0,
  queued REAL, is_silent INTEGER NOT NULL DEFAULT 0, is_started INTEGER NOT NULL DEFAULT 0,
  is_preempting INTEGER NOT NULL DEFAULT 0, is_stop_asked INTEGER NOT NULL DEFAULT 0,
  is_restarted INTEGER NOT NULL DEFAULT 0,
  exit_code INTEGER, display_name TEXT, notes TEXT, description TEXT, group_name TEXT,
  job_type TEXT, host TEXT, program TEXT, commit_hash TEXT,
  user_name TEXT NOT NULL DEFAULT 'local', tags TEXT NOT NULL DEFAULT '[]',
  created REAL NOT NULL, updated REAL NOT NULL, heartbeat REAL NOT NULL,
  last_step INTEGER NOT NULL DEFAULT -1, lost_step INTEGER NOT NULL DEFAULT -1, params TEXT,
  history_keys TEXT NOT NULL DEFAULT '[]', summary TEXT NOT NULL DEFAULT '{}',
  config TEXT NOT NULL DEFAULT '{}',
  UNIQUE (project, id)
);
INSERT INTO "runs" VALUES(1,1,'zgruvnvd',1,NULL,1,'finished',1,0,0,NULL,0,1,0,0,0,0,'legs-1',NULL,NULL,NULL,NULL,'node-1',NULL,NULL,'local','[]',1.79574981295871829991e+09,1.79574981299972486498e+09,1.7957498129942519665e+09,2,2,'{"a": 1}','{"_step": ["number"], "d.x": ["number"], "loss": ["number"]}','{"loss": 0.5, "d": {"x": 2}}','{"a": {"value": 1}}');
INSERT INTO "runs" VALUES(2,1,'05eijh9i',1,NULL,1,'finished',1,0,0,NULL,0,1,0,0,0,0,'legs-2',NULL,NULL,NULL,NULL,'node-1',NULL,NULL,'local','[]',1.79574981300056099892e+09,1.7957498130359494686e+09,1.7957498130312170982e+09,2,2,'{"a": 2.0}','{"_step": ["number"], "d.x": ["number"], "loss": ["number"]}','{"loss": 0.39999999999999997, "d": {"x": 2}}','{"a": {"value": 2.0}}');
INSERT INTO "runs" VALUES(3,1,'4m5441k0',1,NULL,1,'failed',1,0,0,NULL,0,1,0,0,0,1,'legs-3',NULL,NULL,NULL,NULL,'node-1',NULL,NULL,'local','[]',1.79574981303644728653e+09,1.79574981306128716464e+09,1.79574981305742120739e+09,2,2,'{"a": 3}','{"_step": ["number"], "d.x": ["number"], "loss": ["number"]}','{"loss": 0.3, "d": {"x": 2}}','{"a": {"value": 3}}');
INSERT INTO "runs" VALUES(5,1,'blh24uod',1,1,1,'running',1,0,0,NULL,0,1,0,0,0,NULL,'legs-5',NULL,NULL,NULL,NULL,'node-1',NULL,NULL,'local','[]',1.79574981310168933865e+09,1.79574981311487865453e+09,1.79574981311448073385e+09,2,-1,'{"a": 4}','{"_step": ["number"], "d.x": ["number"], "loss": ["number"]}','{"loss": 0.09999999999999998, "d": {"x": 2}}','{"a": {"value": 5}}');
CREATE TABLE summary_values (
  run INTEGER NOT NULL, key TEXT NOT NULL, value, PRIMARY KEY (run, key)
) WITHOUT ROWID;
INSERT INTO "summary_values" VALUES(1,'d.x',2);
INSERT INTO "summary_values" VALUES(1,'loss',0.5);
INSERT INTO "summary_values" VALUES(2,'d.x',2);
INSERT INTO "summary_values" VALUES(2,'loss',3.99999999999999966693e-01);
INSERT INTO "summary_values" VALUES(3,'d.x',2);
INSERT INTO "summary_values" VALUES(3,'loss',0.3);
INSERT INTO "summary_values" VALUES(5,'d.x',2);
INSERT INTO "summary_values" VALUES(5,'loss',9.99999999999999777955e-02);
CREATE TABLE sweeps (
  pk INTEGER PRIMARY KEY AUTOINCREMENT,
  project INTEGER NOT NULL REFERENCES projects, id TEXT NOT NULL UNIQUE,
  state TEXT NOT NULL, is_exhausted INTEGER NOT NULL DEFAULT 0, method TEXT NOT NULL,
  display_name TEXT, description TEXT,
  metric TEXT, goal TEXT NOT NULL, run_cap INTEGER, run_count_expected INTEGER,
  created REAL NOT NULL, updated REAL NOT NULL,
  config_text TEXT NOT NULL, spec TEXT NOT NULL
);
INSERT INTO "sweeps" VALUES(1,1,'2xanvyh9','RUNNING',0,'grid','legs',NULL,'loss','minimize',NULL,5,1.79574981294147253043e+09,1.79574981295914387702e+09,'{"method": "grid", "name": "legs", "metric": {"name": "loss", "goal": "minimize"}, "parameters": {"a": {"values": [1, 2.0, 3, 4, 5]}}}','{"method":"grid","name":"legs","metric":{"name":"loss","goal":"minimize"},"parameters":{"a":{"values":[1,2.0,3,4,5]}},"sweepctl":{"engine":"optuna","seed":"540102915","draws":5}}');
CREATE TABLE tags (
      pk INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, owner INTEGER NOT NULL,
      name TEXT NOT NULL, UNIQUE (kind, owner, name)
    );
CREATE TABLE writers (pk INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL, name TEXT NOT NULL, summary TEXT NOT NULL DEFAULT '{}', UNIQUE (run, name));
CREATE TABLE written (writer INTEGER NOT NULL, stream TEXT NOT NULL, number INTEGER NOT NULL, line INTEGER NOT NULL, PRIMARY KEY (writer, stream, number)) WITHOUT ROWID;
CREATE INDEX sweeps_of_project ON sweeps (project, pk);
CREATE INDEX agents_of_sweep ON agents (sweep, pk);
CREATE INDEX runs_of_project ON runs (project, pk);
CREATE INDEX runs_of_sweep ON runs (sweep, pk) WHERE sweep IS NOT NULL;
CREATE INDEX runs_held ON runs (agent) WHERE agent IS NOT NULL;
CREATE INDEX runs_queued ON runs (sweep, queued) WHERE queued IS NOT NULL;
CREATE INDEX runs_live ON runs (state) WHERE state IN ('pending', 'running', 'preempting');
CREATE INDEX history_steps ON history (run, step);
CREATE INDEX artifacts_of_collection ON artifacts (collection, digest);
CREATE INDEX artifacts_of_manifest ON artifacts (manifest) WHERE manifest IS NOT NULL;
CREATE INDEX aliases_of_membership ON aliases (membership);
CREATE INDEX artifact_runs_of_artifact ON artifact_runs (artifact, role);
CREATE INDEX manifests_of_artifact ON artifact_manifests (artifact);
CREATE INDEX manifests_of_blob ON artifact_manifests (blob) WHERE blob IS NOT NULL;
CREATE INDEX entries_of_blob ON artifact_entries (blob) WHERE blob IS NOT NULL;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('projects',1);
INSERT INTO "sqlite_sequence" VALUES('sweeps',1);
INSERT INTO "sqlite_sequence" VALUES('agents',1);
INSERT INTO "sqlite_sequence" VALUES('runs',5);
INSERT INTO "sqlite_sequence" VALUES('files',5);
COMMIT;
PRAGMA user_version = 10;
