"""What the companion keeps beside a checkpoint, with the real trainer: as if nothing had happened.

The undisturbed training and the interrupted one are processes of `isaaclab train`; what they logged
is compared number by number. What is kept of a user's own terms, and when not, is seen in the
trainer's interpreter too (`states_in_trainer.py`): it has torch.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from sweepctl_pod import checkpoint
from tests import needs
from tests.contract.agents import DEVICE, ROOT

pytestmark = pytest.mark.trainer

POD = ROOT / "charts" / "isaac-sweep" / "files" / "sweepctl_pod"
TRAINER = ROOT / "examples" / "toy_legs" / ".venv" / "bin"
ITERATIONS = 6 if DEVICE == "cpu" else 60
COMMAND = [
    *(str(TRAINER / "isaaclab"), "train", "--rl_library", "rsl_rl", "--task", "Toy-Legs"),
    *("--num_envs", "8", "--device", DEVICE, f"agent.device={DEVICE}"),
    *("--run_timestamp", "run"),
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


def steps(logged: dict[str, list[list[float]]]) -> dict[str, list[float]]:
    return {tag: [step for step, _ in rows] for tag, rows in logged.items()}


@pytest.fixture(scope="module")
def _trainer_is_there() -> None:
    needs.trainer()


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
    if DEVICE != "cpu":  # there two trainings that nothing disturbs differ from iteration 0 on
        assert steps(found) == steps(expected)
        return
    assert found == expected


@pytest.fixture(scope="module")
def facts(_trainer_is_there: None) -> dict[str, Any]:
    """Give what states_in_trainer.py has found, by the name of the fact."""
    script = Path(__file__).with_name("states_in_trainer.py")
    done = subprocess.run([TRAINER / "python", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


ALL = ["algorithm", "counters", "environment", "episode_lengths", "random", "totals"]


def test_terms_of_a_users_own_are_restored_with_all_they_hold(facts: dict[str, Any]) -> None:
    found = facts["terms_of_a_users_own_are_restored_with_all_they_hold"]
    assert found["restored"] == ALL
    assert found["said"] == []
    assert found["values"] == [
        *([5], [5], 5),
        *([5], 5, 5),
        *([5], [5]),
        *([5, 5, 5], True),
        *(True, [5]),
    ]
    assert found["draws on"]
    assert found["not what was drawn"]


def test_counters_totals_and_the_learning_rate_are_restored(facts: dict[str, Any]) -> None:
    found = facts["counters_totals_and_the_learning_rate_are_restored"]
    assert found == {"counter": 7, "totals": 70, "rate": 0.007, "lengths": [7]}


def test_chance_goes_on_where_it_was(facts: dict[str, Any]) -> None:
    assert facts["chance_goes_on_where_it_was"] == {"same": True}


def test_settings_are_the_configured_ones_unless_a_curriculum_is_at_work(
    facts: dict[str, Any],
) -> None:
    found = facts["settings_are_the_configured_ones_unless_a_curriculum_is_at_work"]
    assert found == {"without": [1.0, [0.0, 1.0]], "with": [3.0, [-2.0, 2.0]]}


def test_of_another_number_of_environments_only_what_all_have_is_restored(
    facts: dict[str, Any],
) -> None:
    found = facts["of_another_number_of_environments_only_what_all_have_is_restored"]
    assert found["restored"] == ["algorithm", "counters", "totals"]
    assert found["counter"] == 5
    assert [line.partition("companion: ")[2] for line in found["said"]] == [
        "4 environments where the checkpoint had 8: theirs begin anew"
    ]


def test_part_that_fails_is_one_line_and_the_others_are_restored(facts: dict[str, Any]) -> None:
    found = facts["part_that_fails_is_one_line_and_the_others_are_restored"]
    assert found["restored"] == [part for part in ALL if part != "random"]
    assert found["lines"] == 1
    assert "random is not restored: " in found["said"]


def test_runner_of_another_shape_loses_only_what_it_has_not(facts: dict[str, Any]) -> None:
    found = facts["runner_of_another_shape_loses_what_it_has_not"]
    assert found == {"kept": ["random"], "restored": ["random"], "lines": True}


def test_data_is_no_state_and_what_all_environments_share_is_stored_once(
    facts: dict[str, Any],
) -> None:
    found = facts["data_is_no_state_and_what_all_environments_share_is_stored_once"]
    assert found == {"kept": ["same"], "is small": True, "refused": [], "back": True}
