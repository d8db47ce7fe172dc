"""The tables of artifacts, as SQL: what a new data file begins with, and an older one is given."""

from __future__ import annotations

ARTIFACT_TABLES = (
    """
    CREATE TABLE collections (
      pk INTEGER PRIMARY KEY AUTOINCREMENT, project INTEGER NOT NULL REFERENCES projects,
      name TEXT NOT NULL, is_portfolio INTEGER NOT NULL DEFAULT 0, type TEXT NOT NULL,
      description TEXT, next_version INTEGER NOT NULL DEFAULT 0,
      created REAL NOT NULL, updated REAL NOT NULL, UNIQUE (project, name)
    );
    """,
    """
    CREATE TABLE artifacts (
      pk INTEGER PRIMARY KEY AUTOINCREMENT, collection INTEGER NOT NULL REFERENCES collections,
      state TEXT NOT NULL, digest TEXT NOT NULL, description TEXT, metadata TEXT, run INTEGER,
      history_step INTEGER, ttl_s INTEGER, distributed_id TEXT, manifest TEXT,
      size_bytes INTEGER NOT NULL DEFAULT 0, file_count INTEGER NOT NULL DEFAULT 0,
      aliases_asked TEXT NOT NULL DEFAULT '[]', created REAL NOT NULL, updated REAL NOT NULL
    );
    """,
    """
    CREATE INDEX artifacts_of_collection ON artifacts (collection, digest);
    """,
    """
    CREATE INDEX artifacts_of_manifest ON artifacts (manifest) WHERE manifest IS NOT NULL;
    """,
    """
    CREATE TABLE artifact_clients (
      client_id TEXT PRIMARY KEY, artifact INTEGER NOT NULL REFERENCES artifacts
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE memberships (
      pk INTEGER PRIMARY KEY AUTOINCREMENT, collection INTEGER NOT NULL REFERENCES collections,
      artifact INTEGER NOT NULL REFERENCES artifacts, version INTEGER NOT NULL,
      created REAL NOT NULL,
      UNIQUE (collection, version), UNIQUE (artifact, collection)
    );
    """,
    """
    CREATE TABLE aliases (
      pk INTEGER PRIMARY KEY AUTOINCREMENT, collection INTEGER NOT NULL REFERENCES collections,
      membership INTEGER NOT NULL REFERENCES memberships, alias TEXT NOT NULL,
      UNIQUE (collection, alias)
    );
    """,
    """
    CREATE INDEX aliases_of_membership ON aliases (membership);
    """,
    """
    CREATE TABLE tags (
      pk INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, owner INTEGER NOT NULL,
      name TEXT NOT NULL, UNIQUE (kind, owner, name)
    );
    """,
    """
    CREATE TABLE artifact_runs (
      run INTEGER NOT NULL, role TEXT NOT NULL, artifact INTEGER NOT NULL REFERENCES artifacts,
      PRIMARY KEY (run, role, artifact)
    ) WITHOUT ROWID;
    """,
    """
    CREATE INDEX artifact_runs_of_artifact ON artifact_runs (artifact, role);
    """,
    """
    CREATE TABLE artifact_manifests (
      pk INTEGER PRIMARY KEY AUTOINCREMENT, artifact INTEGER NOT NULL REFERENCES artifacts,
      kind TEXT NOT NULL, base INTEGER, blob TEXT
    );
    """,
    """
    CREATE INDEX manifests_of_artifact ON artifact_manifests (artifact);
    """,
    """
    CREATE INDEX manifests_of_blob ON artifact_manifests (blob) WHERE blob IS NOT NULL;
    """,
    """
    CREATE TABLE artifact_entries (
      artifact INTEGER NOT NULL REFERENCES artifacts, name TEXT NOT NULL, digest TEXT NOT NULL,
      blob TEXT, ref TEXT, size_bytes INTEGER NOT NULL, PRIMARY KEY (artifact, name)
    ) WITHOUT ROWID;
    """,
    """
    CREATE INDEX entries_of_blob ON artifact_entries (blob) WHERE blob IS NOT NULL;
    """,
    """
    CREATE TABLE blobs (
      blob TEXT PRIMARY KEY, size_bytes INTEGER NOT NULL, created REAL NOT NULL
    ) WITHOUT ROWID;
    """,
)
