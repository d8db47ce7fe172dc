"""Agents of one machine train on GPUs of their own, by a stand-in for nvidia-smi."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.local.local_sweeps import LocalSweep, environment

LISTING = (
    "GPU 0: NVIDIA L40S (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)\n"
    "GPU 1: NVIDIA L40S (UUID: GPU-8932f937-d72c-4106-c12f-20bd9faed9f6)\n"
    "GPU 2: NVIDIA L40S (UUID: GPU-1f0d9c1a-0b6e-4f4c-8d07-7a1c6a3f3f10)\n"
)
SHOWS_ITS_GPUS = 'echo "SEES $CUDA_VISIBLE_DEVICES"; exec "$@"'


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """Give the environment of a machine on which nvidia-smi lists three GPUs."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "listing").write_text(LISTING)
    (programs / "nvidia-smi").write_text(f"#!/bin/sh\nexec cat {programs}/listing\n")
    (programs / "nvidia-smi").chmod(0o755)
    return environment(tmp_path, str(programs))


def sweep_of(ledger: Path) -> dict[str, Any]:
    trainer = Path(__file__).with_name("quick_trainer.py")
    return {
        "project": "gpus",
        "method": "random",
        "run_cap": 4,
        "metric": {"name": "score", "goal": "maximize"},
        "command": [
            "sh",
            "-c",
            SHOWS_ITS_GPUS,
            "sh",
            sys.executable,
            str(trainer),
            str(ledger),
            20,
        ],
        "parameters": {"env.gain": {"distribution": "uniform", "min": 0.5, "max": 2.0}},
    }


def seen_by(sweep: LocalSweep, agent: int) -> list[str]:
    (log,) = sweep.data.glob(f"logs/*/agent-{agent}.log")
    return re.findall(r"^SEES (.*)$", log.read_text(), re.M)


def test_each_agent_trains_on_a_gpu_of_its_own_and_keeps_it(
    start_sweep: Callable[..., LocalSweep], tmp_path: Path, machine: dict[str, str]
) -> None:
    ledger = tmp_path / "ledger"
    sweep = start_sweep(sweep_of(ledger), folder=tmp_path, path=machine["PATH"])
    sweep.wait_until(
        "two runs' middle",
        lambda: ledger.exists() and ledger.read_text().count("middle") >= 2,
        limit_s=90,
    )
    sweep.kill("agent")
    assert sweep.wait(180) == 0, sweep.story()
    assert "GPUs of agent-0: 0, agent-1: 1" in sweep.output
    assert [set(seen_by(sweep, index)) for index in range(2)] == [{"0"}, {"1"}]
    for run in sweep.ask("status")["runs"]:
        assert run["gpus"] == [run["agent"].rpartition("-")[2]]


def test_gpus_that_cannot_be_given_are_refused_before_anything_is_made(
    tmp_path: Path, machine: dict[str, str]
) -> None:
    file = tmp_path / "sweep.yaml"
    sweep = {**sweep_of(tmp_path / "ledger"), "command": ["true"]}
    file.write_text(json.dumps(sweep))

    def local(*options: str, **environ: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "sweepctl", "local", str(file), *options]
        return subprocess.run(
            [*command, "--data", str(tmp_path / "data")],
            env={**machine, **environ},
            capture_output=True,
            text=True,
        )

    refused = local("--agents", "2", "--gpus-per-agent", "2")
    assert refused.returncode == 2
    assert "4 wanted, 3 GPUs (0,1,2) found" in refused.stderr
    assert "--agents 1" in refused.stderr
    other = local("--gpus", "5")
    assert (other.returncode, "there is no GPU 5" in other.stderr) == (2, True)
    fewer = local("--agents", "2", "--gpus-per-agent", "1", CUDA_VISIBLE_DEVICES="2")
    assert (fewer.returncode, "2 wanted, 1 GPU (2) found" in fewer.stderr) == (2, True)
    assert not (tmp_path / "data").exists()
