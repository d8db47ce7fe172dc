"""An agent whose first runs all fail at once gives up, and leaves the sweep's other runs alone."""

import sqlite3
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from sweepctl_pod.wandb.client import SweepInfo
from tests.contract.agents import Agent, World

FAILS = [sys.executable, "-S", "-c", "import sys; print('no such task'); sys.exit(9)"]
FAILS_UNTIL_CORRECTED = [
    *(sys.executable, "-S", "-c"),
    "import os, sys; sys.exit(0 if os.path.exists('corrected') else 9)",
]
GIVEN_UP, FAILED_RUNS = 78, 3


def sweep_of(world: World, command: list[str], runs: int = 20) -> SweepInfo:
    return world.sweep(command, run_cap=runs, metric=None)


def in_job(world: World, sweep: SweepInfo, index: int, *options: str, **environ: str) -> Agent:
    """Start an agent as the pod of an index of a Job."""
    place = {"SWEEPCTL_HOST": f"legs-0a1b2c3d-{index}", "JOB_COMPLETION_INDEX": str(index)}
    return world.start(sweep, *options, **place, **environ)


def states(world: World, sweep: SweepInfo) -> Counter[str]:
    return Counter(run.state for run in world.runs(sweep))


def test_in_a_job_it_gives_its_index_up_and_says_why(world: World) -> None:
    said_last = world.folder / "termination-log"
    said_last.touch()
    sweep = sweep_of(world, FAILS)
    agent = in_job(world, sweep, 0)
    assert agent.wait() == GIVEN_UP, agent.said
    assert states(world, sweep) == {"failed": 3}
    reason = (
        "gave up after 3 runs that all failed within 60 s of their start;"
        " the last: the trainer ended with exit code 9; its last line: no such task"
    )
    assert reason in agent.said
    assert said_last.read_text().startswith(reason)
    assert "maxInitialFailures" in said_last.read_text()


def test_to_a_person_it_ends_with_failed_runs(world: World) -> None:
    sweep = sweep_of(world, FAILS)
    agent = world.start(sweep, "--asker", "person")
    assert agent.wait() == FAILED_RUNS, agent.said
    assert states(world, sweep) == {"failed": 3}
    assert "--max-initial-failures" in agent.said


@pytest.mark.parametrize(
    ("options", "environ", "code", "failed"),
    [
        pytest.param(["--max-initial-failures", "1"], {}, GIVEN_UP, 1, id="one is enough"),
        pytest.param(["--max-initial-failures", "5"], {}, GIVEN_UP, 5, id="five"),
        pytest.param(["--max-initial-failures", "0"], {}, 0, 6, id="never"),
        pytest.param([], {"SWEEPCTL_MAX_INITIAL_FAILURES": "off"}, 0, 6, id="off"),
        pytest.param([], {"WANDB_AGENT_MAX_INITIAL_FAILURES": "4"}, GIVEN_UP, 4, id="stock"),
        pytest.param(["--count", "2"], {}, 0, 2, id="it has taken its count before"),
    ],
)
def test_after_how_many_is_the_users_choice(
    world: World, options: list[str], environ: dict[str, str], code: int, failed: int
) -> None:
    sweep = sweep_of(world, FAILS, runs=6)
    agent = in_job(world, sweep, 0, *options, **environ)
    assert agent.wait() == code, agent.said
    assert states(world, sweep) == {"failed": failed}


@pytest.mark.parametrize(("asker", "code"), [("job", 0), ("person", FAILED_RUNS)])
def test_a_sweep_at_its_end_is_no_work_given_up(world: World, asker: str, code: int) -> None:
    sweep = sweep_of(world, FAILS, runs=3)
    agent = in_job(world, sweep, 0, "--asker", asker)
    assert agent.wait() == code, agent.said
    assert states(world, sweep) == {"failed": 3}
    assert "gave up" not in agent.said


def test_some_failed_runs_are_no_failure_of_the_agent(world: World) -> None:
    sweep = world.sweep(
        [sys.executable, "-S", "-c", "import sys; sys.exit('=1' in sys.argv[-1])"],
        method="grid",
        run_cap=None,
        metric=None,
        parameters={"env.gain": {"values": [1, 0, 11]}},
    )
    agent = world.start(sweep, "--asker", "person")
    assert agent.wait() == 0, agent.said
    assert states(world, sweep) == {"failed": 2, "finished": 1}


def test_failures_are_counted_over_the_pods_of_an_index(world: World) -> None:
    sweep = sweep_of(world, FAILS)
    assert in_job(world, sweep, 0, "--count", "2").wait() == 0
    # Neither another index nor another Job is told by that.
    other = in_job(world, sweep, 1, "--count", "2")
    assert other.wait() == 0, other.said
    replacement = in_job(world, sweep, 0)
    assert replacement.wait() == GIVEN_UP, replacement.said
    assert states(world, sweep) == {"failed": 5}


def test_a_success_of_an_earlier_pod_counts_as_well(world: World) -> None:
    sweep = sweep_of(world, FAILS_UNTIL_CORRECTED, runs=6)
    corrected = world.folder / "corrected"
    corrected.touch()
    assert in_job(world, sweep, 0, "--count", "1").wait() == 0
    corrected.unlink()
    replacement = in_job(world, sweep, 0)
    assert replacement.wait() == 0, replacement.said
    assert states(world, sweep) == {"finished": 1, "failed": 5}


def test_a_corrected_sweep_goes_on_under_the_same_name(world: World) -> None:
    """A Job that was deleted and submitted again has the hosts of the one before."""
    sweep = sweep_of(world, FAILS_UNTIL_CORRECTED, runs=6)
    assert in_job(world, sweep, 0).wait() == GIVEN_UP
    (world.folder / "corrected").touch()
    again = in_job(world, sweep, 0)
    assert again.wait() == 0, again.said
    assert states(world, sweep) == {"failed": 3, "finished": 3}


def test_processes_on_one_machine_outside_a_job_count_for_themselves(world: World) -> None:
    sweep = sweep_of(world, FAILS)
    for _ in range(2):
        agent = world.start(sweep, "--asker", "person", SWEEPCTL_HOST="desk")
        assert agent.wait() == FAILED_RUNS, agent.said
    assert states(world, sweep) == {"failed": 6}


def test_a_third_of_the_runs_that_fail_stop_nobody(world: World) -> None:
    code = (
        "import sys; gain = float(sys.argv[-1].partition('=')[2]);"
        " sys.exit(1 if gain * 1000 % 10 < 3 else 0)"
    )
    gains = [n / 1000 for n in range(5, 105)]
    sweep = world.sweep(
        [sys.executable, "-S", "-c", code],
        method="grid",
        run_cap=None,
        metric=None,
        parameters={"env.gain": {"values": gains}},
    )
    agents = [in_job(world, sweep, index) for index in range(4)]
    for agent in agents:
        assert agent.wait(240) == 0, agent.said
    assert states(world, sweep) == {"finished": 70, "failed": 30}


def test_a_run_whose_host_the_server_does_not_know_is_told_it_before_it_fails(
    world: World, tmp_path: Path
) -> None:
    """W&B hands out runs without a host; a trainer that never began has named none."""
    go_on = world.folder / "go-on"
    sweep = world.sweep(world.trainer("note:start", f"wait:{go_on}", "exit:4"))
    agent = in_job(world, sweep, 2)
    world.wait_noted("start")
    with closing(sqlite3.connect(world.server.data / "sweepctl.sqlite", timeout=30)) as database:
        database.execute("UPDATE runs SET host = NULL")
        database.commit()
    assert world.run(sweep).host is None
    go_on.touch()
    assert agent.wait() == 0, agent.said
    run = world.run(sweep)
    assert (run.state, run.host, run.exit_code) == ("failed", "legs-0a1b2c3d-2", 4)
