"""What the companion keeps beside a checkpoint, with the real trainer: as if nothing had happened.

The undisturbed training and the interrupted one are processes of `isaaclab train`; what they logged
is compared number by number.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sweepctl_pod import checkpoint
from tests.contract.agents import ROOT

pytestmark = pytest.mark.trainer

POD = ROOT / "charts" / "isaac-sweep" / "files" / "sweepctl_pod"
TRAINER = ROOT / "examples" / "toy_legs" / ".venv" / "bin"
ITERATIONS = 6
COMMAND = [
    *(str(TRAINER / "isaaclab"), "train", "--rl_library", "rsl_rl", "--task", "Toy-Legs"),
    *("--num_envs", "8", "--device", "cpu", "agent.device=cpu", "--run_timestamp", "run"),
    *("--max_iterations", str(ITERATIONS), "agent.init_at_random_ep_len=true"),
]
READ = """
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
found = {}
for path in sys.argv[1:]:
    events = EventAccumulator(path)
    events.Reload()
    for tag in events.Tags()["scalars"]:
        if not tag.startswith("Perf/") and not tag.endswith("/time"):
            found.setdefault(tag, []).extend((e.step, e.value) for e in events.Scalars(tag))
print(json.dumps(found))
"""


class Training:
    """One training in a folder of its own, in as many attempts as it takes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.own = folder / checkpoint.OWN_FOLDER
        self.own.mkdir(parents=True)
        self.attempts = 0
        self.said = folder / "said"

    def start(self) -> subprocess.Popen[bytes]:
        self.attempts += 1
        found = checkpoint.newest_good(self.own / checkpoint.CHECKPOINTS)
        orders = {
            "folder": str(self.own),
            "every_s": 600,
            "leave_within_s": 120,
            "keep": 2,
            "attempt": self.attempts,
            "resume": found and str(found.folder / found.manifest.name),
        }
        environ = {
            **os.environ,
            "PYTHONPATH": str(POD / "pythonpath"),
            "SWEEPCTL_COMPANION": json.dumps(orders),
        }
        with self.said.open("ab") as said:
            return subprocess.Popen(COMMAND, cwd=self.folder, env=environ, stdout=said, stderr=said)

    def iteration(self) -> int:
        try:
            text = (self.own / checkpoint.PROGRESS_FILE).read_text()
            return int(json.loads(text)["iteration"])
        except OSError:
            return -1

    def logged(self) -> dict[str, list[list[float]]]:
        paths = sorted((self.folder / "logs").rglob("events.out.tfevents.*"))
        done = subprocess.run(
            [str(TRAINER / "python"), "-c", READ, *map(str, paths)], capture_output=True, check=True
        )
        found: dict[str, list[list[float]]] = json.loads(done.stdout)
        return {tag: sorted(values) for tag, values in found.items()}


@pytest.fixture
def _trainer_is_there() -> None:
    check = [sys.executable, str(TRAINER.parents[1] / "setup_trainer.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True)
    if done.returncode != 0:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing(f"{done.stderr.strip()}: run `make trainer`")


@pytest.mark.usefixtures("_trainer_is_there")
def test_real_trainer_that_sigterm_interrupted_logs_the_very_numbers_of_one_that_nothing_did(
    tmp_path: Path,
) -> None:
    undisturbed, interrupted = Training(tmp_path / "one"), Training(tmp_path / "two")
    assert undisturbed.start().wait(300) == 0, undisturbed.said.read_text()
    process = interrupted.start()
    until = time.monotonic() + 300
    while interrupted.iteration() < 1 and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 128 + signal.SIGTERM, interrupted.said.read_text()
    assert 1 <= interrupted.iteration() < ITERATIONS - 1
    assert interrupted.start().wait(300) == 0, interrupted.said.read_text()
    said = interrupted.said.read_text()
    assert "going on from checkpoint" in said
    assert "is not restored" not in said
    assert "do not fit" not in said
    expected, found = undisturbed.logged(), interrupted.logged()
    assert len(expected["Loss/value"]) == ITERATIONS
    assert found == expected
