"""Older wandb clients, as trainers' images have them: tables, images, a sweep by their agent."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.contract.locked_python import locked_python
from tests.serving import ServerProcess, sdk_environ

TRAIN = """
import struct, wandb, zlib

def part(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

head = part(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0))
rows = b"".join(b"\\0" + b"\\xff\\0\\0" * 4 for _ in range(4))
parts = head + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")
with open("red.png", "wb") as image:
    image.write(b"\\x89PNG\\r\\n\\x1a\\n" + parts)

run = wandb.init(project="p")
run.log({"a table": wandb.Table(columns=["joint", "gain"], data=[["hip", 1.5], ["knee", 2.0]])})
run.log({"an image": wandb.Image("red.png")})
run.log({"loss": run.config.get("a", 4) / 2})
run.finish()
"""
SPEC = {
    "method": "grid",
    "metric": {"name": "loss", "goal": "minimize"},
    "program": "train.py",
    "command": ["${env}", "${interpreter}", "${program}"],
    "parameters": {"a": {"values": [8]}},
}
RUNS = (
    '{ project(name: "p") { runs { edges { node {'
    " state sweepName summaryMetrics files { edges { node { name } } } } } } } }"
)


@pytest.fixture(params=["wandb-0.22.3", "wandb-0.29.0"])
def python(request: pytest.FixtureRequest) -> Path:
    return locked_python(request.param)


def test_an_older_client_logs_tables_and_images_and_its_agent_trains_a_sweep(
    python: Path, server: ServerProcess, tmp_path: Path
) -> None:
    environ = {**sdk_environ(server.url, tmp_path / "home"), "WANDB_SILENT": "false"}
    environ["PATH"] = f"{python.parent}:{environ['PATH']}"
    work = tmp_path / "work"
    work.mkdir()
    (work / "train.py").write_text(TRAIN)
    (work / "sweep.yaml").write_text(json.dumps(SPEC))

    def run(*command: str) -> str:
        done = subprocess.run(
            command, env=environ, cwd=work, capture_output=True, text=True, timeout=180
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    run(str(python), "train.py")
    said = run(str(python), "-m", "wandb", "sweep", "-p", "p", "sweep.yaml")
    sweep = said.split("Creating sweep with ID: ")[1].split()[0]
    run(str(python), "-m", "wandb", "agent", "--count", "1", f"local/p/{sweep}")
    alone, of_sweep = _runs(server)
    assert (alone["state"], alone["sweepName"]) == ("finished", None)
    assert (of_sweep["state"], of_sweep["sweepName"]) == ("finished", sweep)
    for found, loss in ((alone, 2), (of_sweep, 4)):
        summary = json.loads(str(found["summaryMetrics"]))
        assert summary["loss"] == loss
        assert summary["a table"]["_type"] == "table-file"
        assert summary["an image"]["_type"] == "image-file"
        assert {summary["a table"]["path"], summary["an image"]["path"]} <= found["names"]


def _runs(server: ServerProcess) -> list[dict[str, Any]]:
    nodes = [edge["node"] for edge in server.graphql(RUNS)["project"]["runs"]["edges"]]
    return [{**n, "names": {e["node"]["name"] for e in n["files"]["edges"]}} for n in nodes]
