"""The agent when the API, the key, the node or the disk is no good."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests import needs
from tests.contract.agents import World
from tests.serving import API_KEY, ServerProcess

DONE, NODE_UNFIT, CONFIGURATION = 0, 76, 78


def test_agent_waits_for_an_api_that_is_down_at_the_start_and_says_so_once(world: World) -> None:
    sweep = world.sweep(world.trainer("log"))
    world.server.kill()
    agent = world.start(sweep)
    agent.says("connection refused")
    world.server.start()
    assert agent.wait() == DONE, agent.said
    assert world.run(sweep).state == "finished"
    assert agent.said.count("cannot reach") == 1
    assert agent.said.count("the API answers again") == 1


def test_server_that_dies_and_comes_back_harms_no_run_that_trains(world: World) -> None:
    gate = world.folder / "gate"
    sweep = world.sweep(world.trainer("note:start", f"wait:{gate}", "log"), run_cap=2)
    agent = world.start(sweep)
    world.wait_noted("start")
    world.server.kill()
    agent.says("cannot reach")
    world.server.start()
    gate.touch()
    assert agent.wait() == DONE, agent.said
    assert [run.state for run in world.runs(sweep)] == ["finished"] * 2
    assert len(world.noted("start")) == 2, agent.said


def test_run_that_ends_while_the_server_is_down_is_told_of_when_it_is_back(world: World) -> None:
    gate = world.folder / "gate"
    sweep = world.sweep(world.trainer("note:start", "log", "note:told", f"wait:{gate}", "note:end"))
    agent = world.start(sweep)
    world.wait_noted("start")
    world.wait_noted("told")
    world.server.kill()
    gate.touch()
    world.wait_noted("end")
    agent.says("cannot reach")
    world.server.start()
    assert agent.wait() == DONE, agent.said
    assert world.run(sweep).state == "finished"


@pytest.fixture
def guarded(start_server: Callable[..., ServerProcess], tmp_path: Path) -> Iterator[World]:
    """Give a world whose server asks for a key."""
    keys = tmp_path / "keys"
    keys.write_text(API_KEY + "\n")
    world = World(start_server("--api-keys", str(keys)), tmp_path)
    yield world
    world.end()


def test_refused_key_is_a_configuration_error_after_the_limit_and_no_key_is_shown(
    guarded: World,
) -> None:
    sweep = guarded.sweep(guarded.trainer("log"))
    wrong = "wrong-key-" + "x" * 40
    (guarded.folder / "termination-log").touch()
    agent = guarded.start(sweep, "--refused-limit-s", "1", WANDB_API_KEY=wrong)
    assert agent.wait() == CONFIGURATION, agent.said
    assert "set WANDB_API_KEY" in agent.said
    assert wrong not in agent.said
    message = (guarded.folder / "termination-log").read_text()
    assert "401" in message
    assert guarded.runs(sweep) == []


def test_right_key_opens_what_a_wrong_one_does_not(guarded: World) -> None:
    sweep = guarded.sweep(guarded.trainer("log"))
    agent = guarded.start(sweep)
    assert agent.wait() == DONE, agent.said
    assert guarded.run(sweep).state == "finished"
    assert API_KEY not in agent.said


def test_key_in_a_netrc_file_is_found_and_handed_to_the_trainer(guarded: World) -> None:
    sweep = guarded.sweep(guarded.trainer("log"))
    host = guarded.server.url.removeprefix("http://")
    (guarded.folder / ".netrc").write_text(f"machine {host}\n login user\n password {API_KEY}\n")
    agent = guarded.start(sweep, WANDB_API_KEY="")
    assert agent.wait() == DONE, agent.said
    assert guarded.run(sweep).state == "finished", agent.said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        pytest.param("local/agents/nosweep1", "no sweep local/agents/nosweep1", id="unknown"),
        pytest.param("local/agents", "does not name a sweep", id="no-id"),
        pytest.param("", "does not name a sweep", id="none"),
    ],
)
def test_sweep_that_cannot_be_is_an_error_without_traceback(
    name: str, said: str, world: World
) -> None:
    command = [sys.executable, "-S", "-m", "sweepctl_pod", "--sweep", name]
    agent = world.start_command([*command, "--refused-limit-s", "0"])
    assert agent.wait() in (CONFIGURATION, 2)
    assert said in agent.said
    assert "Traceback" not in agent.said


def test_deleted_sweep_ends_the_agent_after_its_run(world: World) -> None:
    gate = world.folder / "gate"
    sweep = world.sweep(world.trainer("note:start", f"wait:{gate}", "log"), run_cap=9)
    agent = world.start(sweep)
    world.wait_noted("start")
    world.server.kill()
    shutil.rmtree(world.server.data)
    world.server.start()
    agent.says("knows this agent no more")
    gate.touch()
    assert agent.wait() == DONE, agent.said
    assert "is not there any more" in agent.said


def test_agent_that_the_server_forgot_finishes_its_run_and_registers_again(world: World) -> None:
    gate = world.folder / "gate"
    sweep = world.sweep(world.trainer("note:start", f"wait:{gate}", "log"), run_cap=3)
    agent = world.start(sweep)
    world.wait_noted("start")
    world.server.kill()
    (database,) = world.server.data.glob("*.sqlite")
    with closing(sqlite3.connect(database)) as rows, rows:
        rows.execute("UPDATE runs SET agent = NULL")
        rows.execute("DELETE FROM agents")
    world.server.start()
    agent.says("W&B knows this agent no more; the run goes on")
    gate.touch()
    assert agent.wait() == DONE, agent.said
    assert "registering again" in agent.said
    assert "finished" in {run.state for run in world.runs(sweep)}
    assert len(world.runs(sweep)) == 3


@pytest.mark.parametrize(
    ("nvidia_smi", "said"),
    [
        pytest.param(None, "no GPU: nvidia-smi no such file", id="no-nvidia-smi"),
        pytest.param("", "no GPU: nvidia-smi is no program", id="empty-file-of-an-image"),
        pytest.param(
            "#!/bin/sh\necho 'NVIDIA-SMI has failed'; exit 9\n",
            "NVIDIA-SMI has failed",
            id="driver",
        ),
        pytest.param("#!/bin/sh\necho 'No devices found.'\n", "No devices found", id="none-listed"),
    ],
)
def test_node_without_a_gpu_is_left_before_a_run_is_taken(
    nvidia_smi: str | None, said: str, world: World
) -> None:
    sweep = world.sweep(world.trainer("log"))
    programs = world.folder / "bin"
    programs.mkdir()
    if nvidia_smi is not None:
        (programs / "nvidia-smi").write_text(nvidia_smi)
        (programs / "nvidia-smi").chmod(0o755)
    (world.folder / "termination-log").touch()
    agent = world.start(sweep, SWEEPCTL_PREFLIGHT_GPU="auto", PATH=str(programs))
    assert agent.wait() == NODE_UNFIT, agent.said
    assert said in agent.said
    assert said in (world.folder / "termination-log").read_text()
    assert world.runs(sweep) == []


def test_node_with_a_gpu_trains(world: World) -> None:
    sweep = world.sweep(world.trainer("log"))
    programs = world.folder / "bin"
    programs.mkdir()
    (programs / "nvidia-smi").write_text("#!/bin/sh\necho 'GPU 0: NVIDIA L40 (UUID: GPU-1)'\n")
    (programs / "nvidia-smi").chmod(0o755)
    path = f"{programs}:{world.environ['PATH']}"
    agent = world.start(sweep, SWEEPCTL_PREFLIGHT_GPU="auto", PATH=path)
    assert agent.wait() == DONE, agent.said


def test_folder_that_cannot_be_written_makes_the_node_unfit(world: World) -> None:
    sweep = world.sweep(world.trainer("log"))
    (world.folder / "file").touch()
    agent = world.start(sweep, "--work", str(world.folder / "file" / "work"))
    assert agent.wait() == NODE_UNFIT, agent.said
    assert "cannot be written to: not a directory" in agent.said


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a disk of 4 MB, as only root can make one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        needs.lacks("no right to mount a small disk here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_disk_that_fills_up_hands_the_run_back_and_the_agent_leaves_the_node(
    world: World, small_disk: Path
) -> None:
    words = ["note:start", f"fill:{small_disk / 'checkpoint'}", "log"]
    sweep = world.sweep(world.trainer(*words))
    agent = world.start(sweep, "--work", str(small_disk / "work"))
    assert agent.wait() == NODE_UNFIT, agent.said
    assert "no space left" in agent.said
    run = world.run(sweep)
    assert run.state == "preempted"

    again = world.start(sweep, "--work", str(small_disk / "work"))
    assert again.wait() == NODE_UNFIT, again.said
    assert "is full: 0 MB free, 1 MB needed" in again.said
    assert world.run(sweep).state == "preempted"


def test_slow_api_does_not_hold_up_the_trainers_output(world: World) -> None:
    gate = world.folder / "gate"
    sweep = world.sweep(world.trainer("note:start", f"wait:{gate}", "flood:50000", "log"))
    agent = world.start(sweep)
    world.wait_noted("start")
    os.kill(world.server.pid, signal.SIGSTOP)
    try:
        gate.touch()
        agent.says("line 49999")
    finally:
        os.kill(world.server.pid, signal.SIGCONT)
    assert agent.wait() == DONE, agent.said
    assert world.run(sweep).state == "finished"


def test_config_that_only_yaml_can_read_is_read_by_the_trainers_python(world: World) -> None:
    sweep = world.client.create_sweep(
        "local",
        "agents",
        "method: random\nrun_cap: 1\nmetric: {name: loss, goal: minimize}\n"
        "parameters: {env.gain: {value: 1.0e-05}}\n"
        f"command: {json.dumps(world.trainer('note:start', 'log'))}\n",
    )
    agent = world.start(sweep)
    assert agent.wait() == DONE, agent.said
    assert world.noted("start")[0][1] == "env.gain=1e-05"
