"""Sweeps whose runs fail: agents that can train nothing give up, others go on to the end."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.sweeps import Sweepctl, write_values

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("server_image")]

RUNS = 100
GAVE_UP = (
    "gave up after 3 runs that all failed within 60 s of their start; the last: the trainer ended"
    " with exit code 2; its last line: python3: can't open file '/code/walk.py'"
)


def write_random_sweep(folder: Path, *command: str, run_cap: int = RUNS) -> None:
    sweep: dict[str, Any] = {
        "name": "plain",
        "project": "plain",
        "method": "random",
        "run_cap": run_cap,
        "metric": {"name": "loss", "goal": "minimize"},
        "command": ["python3", *command],
        "parameters": {"task.gain": {"min": 0.0, "max": 1.0}},
    }
    (folder / "plain.yaml").write_text(yaml.safe_dump(sweep, sort_keys=False))


def offer_code(sweepctl: Sweepctl, **files: str) -> None:
    named = {f"{name}.py": text for name, text in files.items()}
    code = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "trainer-code"}}
    sweepctl.cluster.apply({**code, "data": named}, namespace=sweepctl.namespace)


def states(sweepctl: Sweepctl) -> Counter[str]:
    return Counter(run["state"] for run in sweepctl.runs("plain"))


def test_agents_whose_every_run_fails_leave_the_sweep_to_the_next_job(
    sweepctl: Sweepctl, tmp_path: Path
) -> None:
    write_random_sweep(tmp_path, "/code/walk.py", "steps=1", "pause_s=0")
    values = str(write_values(tmp_path))
    submit = ("submit", "plain.yaml", "--agents", "4", "-f", values, "--create-secret")
    sweepctl.answer(*submit)
    waited = sweepctl("wait", "plain", timeout_s=300)
    assert waited.returncode == 3, waited.stderr
    assert "has work left: the same submit again starts another" in waited.stdout
    assert GAVE_UP in waited.stdout

    found = sweepctl.status("plain")
    assert found["job"]["state"] == "Failed"
    assert states(sweepctl) == {"failed": 12}
    assert [agent["state"] for agent in found["agents"]] == ["Failed"] * 4
    assert {agent["reason"].startswith(GAVE_UP) for agent in found["agents"]} == {True}
    assert {agent["failures"] for agent in found["agents"]} == {0}, "no replacement was made"
    table = sweepctl.answer("status", "plain")
    assert f"agents 0-3 Failed: {GAVE_UP[:40]}" in table
    assert "has work left: the same submit again starts another" in table
    assert GAVE_UP in sweepctl.answer("logs", "plain", "--no-follow")

    trainer = Path(__file__).with_name("plain_trainer.py").read_text()
    offer_code(sweepctl, walk=trainer)
    sweepctl.answer(*submit)
    done = sweepctl("wait", "plain", timeout_s=600)
    assert done.returncode == 3, done.stderr
    assert states(sweepctl) == {"failed": 12, "finished": RUNS - 12}


def test_a_third_of_the_runs_that_fail_at_once_stop_no_sweep(
    sweepctl: Sweepctl, tmp_path: Path
) -> None:
    trainer = Path(__file__).with_name("plain_trainer.py").read_text()
    begins = "process = uuid"
    assert begins in trainer
    weak = f"if gain < 0.3:\n    sys.exit('too weak')\n{begins}"
    offer_code(sweepctl, picky=trainer.replace(begins, weak))
    write_random_sweep(tmp_path, "/code/picky.py", "steps=1", "pause_s=0")
    values = str(write_values(tmp_path))
    sweepctl.answer("submit", "plain.yaml", "--agents", "4", "-f", values, "--create-secret")
    done = sweepctl("wait", "plain", timeout_s=600)
    assert done.returncode == 3, done.stderr
    runs = sweepctl.runs("plain")
    assert len(runs) == RUNS
    for run in runs:
        is_weak = run["parameters"]["task.gain"] < 0.3
        assert run["state"] == ("failed" if is_weak else "finished")
