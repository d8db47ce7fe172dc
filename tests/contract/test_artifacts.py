"""Artifacts, by W&B's real clients of many versions against the real server."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.clients import Cells, clients, python_of
from tests.contract.conftest import Sdk
from tests.serving import ServerProcess, sdk_environ

WORK = Path(__file__).with_name("artifacts_work.py")

EXPECTED = {
    "versions": ["v0", "v1", "v1"],
    "used": ["v0", "dataset", {"number": 0}, "files"],
    "digest": True,
    "downloaded": ["a.txt", "sub/b.txt"],
    "text": "version 0",
    "one file": "version 1",
    "model": "weights",
    "reference": ["outside"],
    "table": [["joint", "gain"], [["hip", 1.5], ["knee", 2.0]]],
    "listed": ["v0", "v1"],
    "aliases": {"v0": ["best"], "v1": ["latest"]},
    "saved": ["v1", {"number": 1, "more": 2}],
    "files": ["a.txt", "sub/b.txt"],
    "linked": True,
    "types": ["dataset", "model", "run_table"],
    "collections": ["chosen", "data", "pointer", "tables"],
    "logged by": True,
    "used by": 1,
    "outputs": ["data:v0", "data:v1", "pointer:v0", "tables:v0", "walker:v0"],
    "inputs": ["data:v0", "data:v1", "pointer:v0", "tables:v0", "walker:v0"],
    "after delete": ["v0"],
    "latest now": "v0",
    "absent": "CommError",
}


@pytest.mark.parametrize("client", clients("artifacts"))
def test_a_client_of_any_version_logs_uses_links_and_deletes_artifacts(
    client: str, server: ServerProcess, tmp_path: Path, cells: Cells
) -> None:
    with cells.of(client, "artifacts"):
        _work_with_artifacts(python_of(client), server, tmp_path)


def _work_with_artifacts(python: str, server: ServerProcess, tmp_path: Path) -> None:
    environ = {**sdk_environ(server.url, tmp_path / "home"), "WANDB_PROJECT": "p"}
    work = tmp_path / "work"
    work.mkdir()
    done = subprocess.run(
        [python, str(WORK)], env=environ, cwd=work, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.strip().splitlines()[-1]) == EXPECTED
    assert "unknown" not in server.log, server.log
    texts = [path.read_text("utf-8", "replace") for path in contents(server)]
    assert texts.count("the same in each version") == 1, "a content lies on the disk once"
    assert "version 0" in texts
    assert "version 1" not in texts, "the version that had it was deleted"


REGISTRY = """
import json, wandb
with wandb.init(project="p") as run:
    data = wandb.Artifact("data", type="dataset")
    with data.new_file("a.txt") as file:
        file.write("alpha")
    run.log_artifact(data).wait()
    try:
        data.link("wandb-registry-model/walkers")
        said = "nothing"
    except Exception as error:
        said = str(error)
print(json.dumps(said))
"""


def test_a_link_to_a_registry_is_a_clear_error(server: ServerProcess, sdk: Sdk) -> None:
    assert "organization" in sdk.ask(REGISTRY)


def contents(server: ServerProcess) -> list[Path]:
    """Give the contents that lie in the data folder."""
    return [path for path in (server.data / "artifacts").rglob("*") if path.is_file()]
