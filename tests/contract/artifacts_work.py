"""Does with artifacts what trainings do, by whatever wandb client its Python has.

Prints what came of each step as one line of JSON: the same with every version.
"""

import json
import os
from pathlib import Path
from typing import Any

import wandb

found: dict[str, object] = {}
api_path = f"local/{os.environ['WANDB_PROJECT']}"


def write(name: str, text: str) -> str:
    Path(name).write_text(text)
    return name


def files(folder: str) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file())


def content(number: int) -> wandb.Artifact:
    data = wandb.Artifact("data", type="dataset", metadata={"number": number}, description="files")
    data.add_file(write("a.txt", "the same in each version"))
    data.add_file(write("b.txt", f"version {number}"), name="sub/b.txt")
    return data


run = wandb.init()
first = content(0)
run.log_artifact(first, aliases=["latest", "best"])
first.wait()
second = run.log_artifact(content(1))
second.wait()
again = run.log_artifact(content(1))
again.wait()
found["versions"] = [first.version, second.version, again.version]

outside = Path(write("outside.txt", "outside")).resolve().as_uri()
pointer = wandb.Artifact("pointer", type="dataset")
pointer.add_reference(outside, name="there.txt")
run.log_artifact(pointer).wait()

tables = wandb.Artifact("tables", type="dataset")
tables.add(wandb.Table(columns=["joint", "gain"], data=[["hip", 1.5], ["knee", 2.0]]), "gains")
run.log_artifact(tables).wait()

run.log_model(write("model.pt", "weights"), name="walker")
run.log({"a table": wandb.Table(columns=["x"], data=[[1]])})
run.finish()

run = wandb.init()
used = run.use_artifact("data:best")
found["used"] = [used.version, used.type, used.metadata, used.description]
found["digest"] = used.digest == first.digest
found["downloaded"] = files(used.download(root="down"))
found["text"] = Path("down/sub/b.txt").read_text()
found["one file"] = Path(run.use_artifact("data:v1").get_path("sub/b.txt").download()).read_text()
model = Path(run.use_model("walker:latest"))
found["model"] = model.read_text()
found["reference"] = [Path(run.use_artifact("pointer:latest").download(), "there.txt").read_text()]
table: Any = run.use_artifact("tables:latest").get("gains")
found["table"] = [table.columns, table.data]
run.link_artifact(used, f"{api_path}/chosen", aliases=["good"])
run.finish()

api: Any = wandb.Api()
versions = list(api.artifact_versions("dataset", f"{api_path}/data"))
found["listed"] = sorted(v.version for v in versions)
found["aliases"] = {v.version: sorted(v.aliases) for v in versions}
latest = api.artifact(f"{api_path}/data:latest")
latest.aliases.append("new")
latest.metadata["more"] = 2
latest.save()
latest = api.artifact(f"{api_path}/data:new")
found["saved"] = [latest.version, latest.metadata]
found["files"] = sorted(f.name for f in latest.files())
found["linked"] = api.artifact(f"{api_path}/chosen:good").digest == first.digest
found["types"] = sorted(t.name for t in api.artifact_types(project=api_path))
found["collections"] = sorted(c.name for c in api.artifact_type("dataset", api_path).collections())
found["logged by"] = latest.logged_by().id in [r.id for r in api.runs(api_path)]
found["used by"] = len(api.artifact(f"{api_path}/data:v0").used_by())
runs = {r.id: r for r in api.runs(api_path)}
logged = [artifact for run in runs.values() for artifact in run.logged_artifacts()]
found["outputs"] = sorted(a.name for a in logged if a.type in ("dataset", "model"))
found["inputs"] = sorted(a.name for run in runs.values() for a in run.used_artifacts())
api.artifact(f"{api_path}/data:v1").delete(delete_aliases=True)
versions = list(api.artifact_versions("dataset", f"{api_path}/data"))
found["after delete"] = sorted(v.version for v in versions)
found["latest now"] = api.artifact(f"{api_path}/data:latest").version
try:
    api.artifact(f"{api_path}/nothing:latest")
    found["absent"] = "found"
except Exception as error:
    found["absent"] = type(error).__name__
print(json.dumps(found))
