"""Agents of the version before and of this one share sweeps: what one began the other goes on with.

The old code lies where the old Job mounted it or an old image has it baked in; today's start.sh
starts it, as a Job without a mount does.
"""

import json
import signal
import sys
from pathlib import Path

import pytest

from sweepctl.manifest.pod_code import MOUNT_PATH, pod_code, script
from sweepctl_pod.find_sweep import jobs_of, sweep_key
from tests import needs
from tests.contract.agents import Agent, World
from tests.old_release import lay_out_old_code

HANDED_BACK = 75
LONG = ["note:start", "log", "hang-once", "note:end"]


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return needs.got(lay_out_old_code, tmp_path_factory.mktemp("before"))


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("now")
    for key, place in pod_code().paths():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(pod_code().files[key], encoding="utf-8")
    return folder


def start(world: World, code: Path, **environ: str) -> Agent:
    """Start a pod's command, with the pod code at a place of the test's own."""
    command = ["/bin/sh", "-c", script("start.sh").replace(MOUNT_PATH, str(code))]
    return world.start_command(command, SWEEPCTL_PYTHON=sys.executable, **environ)


def test_the_layouts_differ(old: Path, new: Path) -> None:
    assert (old / "sweepctl" / "pod" / "agent.py").is_file()
    assert not (old / "sweepctl_pod").exists()
    assert (new / "sweepctl_pod" / "agent.py").is_file()


@pytest.mark.parametrize(
    "order", [("old", "new"), ("new", "old")], ids=["an upgrade", "a rollback"]
)
def test_a_run_handed_back_by_one_version_is_finished_by_the_other(
    world: World, old: Path, new: Path, order: tuple[str, str]
) -> None:
    first_code, second_code = ({"old": old, "new": new}[name] for name in order)
    sweep = world.sweep(world.trainer(*LONG))
    name = f"{sweep.entity}/{sweep.project}/{sweep.id}"
    first = start(world, first_code, SWEEPCTL_SWEEP=name)
    world.wait_noted("start")
    first.send(signal.SIGTERM)
    assert first.wait() == HANDED_BACK, first.said
    run = world.run(sweep)
    assert run.state == "preempted", first.said

    second = start(world, second_code, SWEEPCTL_SWEEP=name)
    assert second.wait() == 0, second.said
    assert (world.run(sweep).id, world.run(sweep).state) == (run.id, "finished")
    begun = world.noted("start")
    assert len(begun) == 2
    assert begun[0] == begun[1]
    world.nothing_is_left()


def test_a_job_of_this_version_finds_the_sweep_that_the_version_before_made(
    world: World, old: Path, new: Path
) -> None:
    file = world.folder / "sweep.yaml"
    document = {
        "project": "legs",
        "method": "random",
        "run_cap": 1,
        "metric": {"name": "loss", "goal": "minimize"},
        "command": world.trainer(*LONG),
        "parameters": {"env.gain": {"min": 0.5, "max": 2.0}},
    }
    file.write_text(json.dumps(document))
    release = {
        "SWEEPCTL_SWEEP_FILE": str(file),
        "SWEEPCTL_NAMESPACE": "robots",
        "SWEEPCTL_NAME": "legs",
        "JOB_COMPLETION_INDEX": "0",
    }
    first = start(world, old, SWEEPCTL_JOB_UID="old-job", **release)
    world.wait_noted("start")
    first.send(signal.SIGTERM)
    assert first.wait() == HANDED_BACK, first.said

    second = start(world, new, SWEEPCTL_JOB_UID="new-job", **release)
    assert second.wait() == 0, second.said
    (sweep,) = world.client.sweeps("local", "legs")
    key = sweep_key("robots", "legs", file.read_bytes())
    assert jobs_of(sweep, key) == frozenset({"old-job", "new-job"})
    assert world.run(sweep).state == "finished"
    begun = world.noted("start")
    assert [words[0] for words in begun] == [world.run(sweep).id] * 2
    world.nothing_is_left()
