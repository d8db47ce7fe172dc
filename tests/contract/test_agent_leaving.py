"""How an agent goes, and how its runs live on: signals, commands, kill -9, and who goes on."""

import os
import signal
import subprocess
import sys

import pytest

from tests import needs
from tests.contract.agents import World
from tests.serving import wait_for

HANDED_BACK, INTERRUPTED, CONFIGURATION = 75, 130, 78
IMPATIENT = pytest.mark.parametrize(
    "world", [["--agent-timeout-s", "4"]], indirect=True, ids=["impatient-server"]
)
LONG = ["note:start", "log", "hang-once", "note:end"]


@pytest.mark.parametrize(
    ("signum", "words", "code"),
    [
        pytest.param(signal.SIGTERM, LONG, HANDED_BACK, id="sigterm"),
        pytest.param(signal.SIGHUP, LONG, HANDED_BACK, id="terminal-closed"),
        pytest.param(signal.SIGINT, LONG, INTERRUPTED, id="ctrl-c"),
        pytest.param(
            signal.SIGTERM, ["ignore-sigterm", *LONG], HANDED_BACK, id="trainer-ignores-it"
        ),
        pytest.param(
            signal.SIGTERM,
            ["exit-0-on-sigterm", *LONG],
            HANDED_BACK,
            id="exit-0-on-a-signal-is-no-end",
        ),
    ],
)
def test_signalled_agent_hands_its_run_back_and_another_finishes_it_once(
    signum: int, words: list[str], code: int, world: World
) -> None:
    sweep = world.sweep(world.trainer(*words))
    first = world.start(sweep, "--grace-s", "6")
    world.wait_noted("start")
    first.send(signum)
    assert first.wait() == code, first.said
    run = world.run(sweep)
    assert run.state == "preempted", first.said
    assert "handed back" in first.said

    second = world.start(sweep)
    assert second.wait() == 0, second.said
    assert world.run(sweep).id == run.id
    assert world.run(sweep).state == "finished"
    begun = world.noted("start")
    assert len(begun) == 2
    assert begun[0] == begun[1]
    assert len(world.noted("end")) == 1
    world.nothing_is_left()


def test_agent_of_nohup_outlives_its_terminal_and_finishes_its_run(world: World) -> None:
    gate = world.folder / "gate"
    sweep = world.sweep(world.trainer("note:start", "log", f"wait:{gate}", "note:end"))
    name = f"{sweep.entity}/{sweep.project}/{sweep.id}"
    command = ["nohup", sys.executable, "-S", "-m", "sweepctl_pod", "--sweep", name]
    agent = world.start_command(command)
    world.wait_noted("start")
    agent.send(signal.SIGHUP)
    gate.touch()
    assert agent.wait() == 0, agent.said
    assert world.run(sweep).state == "finished"
    assert len(world.noted("start")) == len(world.noted("end")) == 1


def test_trainer_behind_a_shell_has_its_time_to_save(world: World) -> None:
    command = " ".join(world.trainer("save-on-sigterm", "note:start", "hang"))
    sweep = world.sweep(["sh", "-c", f'{command} "$@"; true'])
    agent = world.start(sweep, "--grace-s", "20")
    world.wait_noted("start")
    agent.send(signal.SIGTERM)
    assert agent.wait() == HANDED_BACK, agent.said
    assert len(world.noted("saved")) == 1, agent.said


def test_second_ctrl_c_kills_at_once(world: World) -> None:
    sweep = world.sweep(world.trainer("ignore-sigterm", "note:start", "hang"))
    agent = world.start(sweep, "--grace-s", "1000")
    world.wait_noted("start")
    agent.send(signal.SIGINT)
    agent.says("handing run")
    agent.send(signal.SIGINT)
    assert agent.wait(30) == INTERRUPTED, agent.said
    assert world.run(sweep).state == "preempted"
    world.nothing_is_left()


def test_agent_without_a_run_leaves_at_sigterm_never_with_0(world: World) -> None:
    sweep = world.sweep(world.trainer("log"))
    world.client.set_sweep_state(sweep, "PAUSED")
    agent = world.start(sweep)
    agent.says("agent ")
    agent.send(signal.SIGTERM)
    assert agent.wait(30) == HANDED_BACK, agent.said
    world.nothing_is_left()


@IMPATIENT
def test_sigterm_while_the_server_is_down_still_ends_the_agent_in_its_grace(world: World) -> None:
    sweep = world.sweep(world.trainer(*LONG))
    agent = world.start(sweep, "--grace-s", "4")
    world.wait_noted("start")
    world.server.kill()
    agent.send(signal.SIGTERM)
    assert agent.wait(30) == HANDED_BACK, agent.said
    world.server.start()
    second = world.start(sweep)
    assert second.wait() == 0, second.said
    assert [run.state for run in world.runs(sweep)] == ["finished"]
    assert len(world.noted("end")) == 1


@IMPATIENT
def test_killed_agent_takes_its_trainer_along_and_another_finishes_the_run(world: World) -> None:
    sweep = world.sweep(world.trainer("escape", "ignore-sigterm", *LONG))
    first = world.start(sweep)
    world.wait_noted("start")
    assert len(world.left_behind()) == 4  # agent, guardian, trainer, the one that escaped
    first.send(signal.SIGKILL)
    first.wait()
    world.nothing_is_left()
    run = world.run(sweep)

    second = world.start(sweep)
    assert second.wait(150) == 0, second.said
    assert [(found.id, found.state) for found in world.runs(sweep)] == [(run.id, "finished")]
    assert len(world.noted("end")) == 1


def test_agent_as_process_1_hears_sigterm_and_collects_the_dead(world: World) -> None:
    sweep = world.sweep(world.trainer("escape", *LONG))
    isolated = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if subprocess.run([*isolated, "true"], capture_output=True).returncode != 0:
        needs.lacks("no right to make a PID namespace here")
    name = f"local/agents/{sweep.id}"
    agent = world.start_command(
        [*isolated, sys.executable, "-S", "-m", "sweepctl_pod", "--sweep", name]
    )
    world.wait_noted("start")
    agents = [line for line in world.left_behind() if " -m sweepctl_pod " in line]
    (pid,) = [line.split()[0] for line in agents if "unshare" not in line]
    os.kill(int(pid), signal.SIGTERM)
    assert agent.wait() == HANDED_BACK, agent.said
    assert world.run(sweep).state == "preempted"
    world.nothing_is_left()


def test_guardian_ends_with_its_agent_and_does_not_mind_the_terminals_signals(
    world: World,
) -> None:
    sweep = world.sweep(world.trainer(*LONG))
    agent = world.start(sweep)
    world.wait_noted("start")
    (guardian,) = [line.split()[0] for line in world.left_behind() if "guardian.py" in line]
    assert os.getsid(int(guardian)) == int(guardian)
    os.kill(int(guardian), signal.SIGINT)
    os.kill(int(guardian), signal.SIGTERM)
    agent.send(signal.SIGKILL)
    agent.wait()
    world.nothing_is_left()


def test_stopped_run_is_killed_and_the_agent_takes_the_next(world: World) -> None:
    sweep = world.sweep(world.trainer("note:start", "log", "hang-once", "note:end"), run_cap=2)
    agent = world.start(sweep)
    world.wait_noted("start")
    world.stop_run(world.runs(sweep)[0])
    world.wait_noted("start", 2)
    world.stop_run(world.runs(sweep)[1])
    assert agent.wait() == 0, agent.said
    assert [run.state for run in world.runs(sweep)] == ["killed", "killed"]
    assert agent.said.count("W&B asks to stop it") == 2
    world.nothing_is_left()


def test_cancelled_sweep_ends_trainer_and_agent(world: World) -> None:
    sweep = world.sweep(world.trainer("note:start", "hang"))
    agent = world.start(sweep)
    world.wait_noted("start")
    world.client.set_sweep_state(sweep, "CANCELED")
    assert agent.wait() == 0, agent.said
    assert world.run(sweep).state == "killed"
    world.nothing_is_left()


def test_paused_sweep_keeps_its_agent_waiting_until_it_goes_on(world: World) -> None:
    gate = world.folder / "gate"
    sweep = world.sweep(world.trainer("note:start", f"wait:{gate}", "log"), run_cap=2)
    agent = world.start(sweep)
    world.wait_noted("start")
    world.client.set_sweep_state(sweep, "PAUSED")
    gate.touch()
    agent.says("finished: loss")
    wait_for("the agent's idle word", lambda: _is_idle(world, sweep.id))
    assert len(world.noted("start")) == 1
    world.client.set_sweep_state(sweep, "RUNNING")
    assert agent.wait() == 0, agent.said
    assert [run.state for run in world.runs(sweep)] == ["finished"] * 2


def _is_idle(world: World, sweep_id: str) -> bool:
    (run,) = world.client.runs("local", "agents", sweep_id)
    return run.state == "finished"


def test_two_agents_share_a_sweep_without_taking_a_run_twice(world: World) -> None:
    sweep = world.sweep(world.trainer("note:start", "log"), run_cap=12)
    agents = [world.start(sweep, "--index", str(index)) for index in range(2)]
    assert [agent.wait() for agent in agents] == [0, 0]
    assert sorted(run for run, _ in world.noted("start")) == sorted(
        run.id for run in world.runs(sweep)
    )
    assert [run.state for run in world.runs(sweep)] == ["finished"] * 12


def test_agent_outlives_the_reader_of_its_output(world: World) -> None:
    sweep = world.sweep(world.trainer("flood:1000", "note:end", "log"), run_cap=2)
    command = f"{sys.executable} -S -m sweepctl_pod --sweep local/agents/{sweep.id} | head -1"
    shell = world.start_command(["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"])
    assert shell.wait() == 0, shell.said
    assert len(world.noted("end")) == 2
