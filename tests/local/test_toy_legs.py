"""Sweeps of real Isaac Lab training through `sweepctl local`: examples/toy_legs, made small."""

import re
import shlex
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from tests.local.local_sweeps import LocalSweep, overrides_of, read_record, setting, toy_sweep

pytestmark = pytest.mark.trainer

STIFFNESS = "env.scene.robot.actuators.legs.stiffness"
LEARNING_RATE = "agent.algorithm.learning_rate"
RUNS = 3


def scaled_tables(sweep: dict[str, Any]) -> dict[str, tuple[str, dict[str, float]]]:
    """Give path and table of each scaled dictionary in a sweep's file."""
    return {
        name: (form[f"{name}_cli_path"]["value"], form[f"{name}_base_dict"]["value"])
        for name, form in sweep["parameters"].items()
        if f"{name}_cli_path" in form
    }


def record_of(sweep: LocalSweep, run: str, name: str) -> Any:
    """Read what the trainer of a run wrote of its own configuration."""
    found = list(sweep.folder.rglob(f"{run}/params/{name}.yaml"))
    assert len(found) == 1, (run, found)
    return read_record(found[0])


def endings(sweep: LocalSweep) -> list[str]:
    """Give the runs that the agents called finished, once for each time they did."""
    return sorted(re.findall(r"run (\w+) finished:", sweep.agents_output))


@pytest.fixture(scope="module")
def finished(start_sweep: Callable[..., LocalSweep], trainer_bin: str) -> LocalSweep:
    sweep = start_sweep(toy_sweep(RUNS), path=trainer_bin)
    assert sweep.wait(400) == 0, sweep.story()
    return sweep


def test_every_run_finishes_once_and_nothing_stays_behind(finished: LocalSweep) -> None:
    finished.no_process_is_left()
    status = finished.ask("status")
    assert status["counts"] == {"finished": RUNS}
    assert status["state"] == "FINISHED"
    assert endings(finished) == sorted(run["run"] for run in status["runs"])


def test_the_trainers_own_record_holds_exactly_factor_times_table(finished: LocalSweep) -> None:
    tables = scaled_tables(toy_sweep(RUNS))
    assert len(tables) == 2
    for run in finished.ask("status")["runs"]:
        env = record_of(finished, run["run"], "env")
        for name, (path, table) in tables.items():
            factor = run["parameters"][name]
            assert isinstance(factor, float)
            got = setting(env, path)
            assert got == {key: factor * base for key, base in table.items()}
            assert list(map(type, got.values())) == [float] * len(table)


def test_the_trainers_own_record_holds_the_sampled_learning_rate(finished: LocalSweep) -> None:
    rates = set()
    for run in finished.ask("status")["runs"]:
        rate = setting(record_of(finished, run["run"], "agent"), LEARNING_RATE)
        assert rate == run["parameters"][LEARNING_RATE]
        assert 1e-4 <= rate <= 1e-2
        rates.add(rate)
    assert len(rates) == RUNS


def test_best_ranks_the_runs_and_repeats_them_exactly(finished: LocalSweep) -> None:
    metrics = {run["run"]: run["metric"] for run in finished.ask("status")["runs"]}
    assert len(set(metrics.values())) == RUNS, "the gains make no difference to the metric"
    best = finished.ask("best")["runs"]
    assert [entry["run"] for entry in best] == sorted(metrics, key=lambda run: -metrics[run])
    for entry in best:
        assert entry["metric"] == {"Train/mean_reward": metrics[entry["run"]]}
        env = record_of(finished, entry["run"], "env")
        agent = record_of(finished, entry["run"], "agent")
        given = overrides_of(entry["command"])
        for path, value in {**entry["overrides"], "agent.device": "cpu"}.items():
            assert given[path] == value
            assert setting(env if path.startswith("env.") else agent, path) == value


def test_preview_shows_the_command_line_that_the_agents_ran(finished: LocalSweep) -> None:
    ran = [
        shlex.split(line) for line in re.findall(r"run \w+ starts: (.*)", finished.agents_output)
    ]
    assert len(ran) == RUNS
    (previewed,) = finished.preview(1)
    for command in ran:
        assert list(overrides_of(command)) == list(overrides_of(previewed["command"]))
        assert len(command) == len(previewed["command"])
        differ = {
            one.partition("=")[0]
            for one, other in zip(command, previewed["command"], strict=True)
            if one != other
        }
        tables = {path for path, _ in scaled_tables(toy_sweep(RUNS)).values()}
        run_id = command[command.index("--run_timestamp") + 1]
        assert differ == {*tables, LEARNING_RATE, run_id}


def test_a_misspelt_setting_fails_the_run_and_names_the_right_one(
    start_sweep: Callable[..., LocalSweep], trainer_bin: str
) -> None:
    sweep_file = toy_sweep(2)
    wrong = STIFFNESS.replace("stiffness", "stifness")
    sweep_file["parameters"]["p_gain_leg"]["p_gain_leg_cli_path"]["value"] = wrong

    sweep = start_sweep(sweep_file, agents=1, path=trainer_bin)

    assert sweep.wait(180) == 1, sweep.story()
    sweep.no_process_is_left()
    assert f"{wrong}: the trainer has no such setting (did you mean {STIFFNESS}?)" in sweep.output
    assert sweep.ask("status")["counts"].get("finished", 0) == 0


def test_a_value_that_the_trainer_refuses_fails_that_run_alone(
    start_sweep: Callable[..., LocalSweep], trainer_bin: str
) -> None:
    sweep_file = toy_sweep(2)
    sweep_file["method"] = "grid"
    sweep_file["parameters"] = {LEARNING_RATE: {"values": [0.001, "fast"]}}

    sweep = start_sweep(sweep_file, path=trainer_bin)

    assert sweep.wait(240) == 3, sweep.story()
    sweep.no_process_is_left()
    runs = {run["parameters"][LEARNING_RATE]: run for run in sweep.ask("status")["runs"]}
    assert {value: run["state"] for value, run in runs.items()} == {
        0.001: "finished",
        "fast": "failed",
    }
    reason = "'<=' not supported between instances of 'float' and 'str'"
    assert reason in sweep.output
    assert [entry["run"] for entry in sweep.ask("best")["runs"]] == [runs[0.001]["run"]]


def test_real_training_survives_the_death_of_trainer_server_and_agent(
    start_sweep: Callable[..., LocalSweep], trainer_bin: str
) -> None:
    before = toy_sweep(RUNS)
    sweep = start_sweep(deepcopy(before), path=trainer_bin)

    for trainings, victim in enumerate(("trainer", "server", "agent"), start=1):

        def iterate(count: int = trainings) -> bool:
            return sweep.agents_output.count("Learning iteration 1/") >= count

        sweep.wait_until(f"{trainings} trainings iterate", iterate, limit_s=120)
        sweep.kill(victim)

    assert sweep.wait(400) == 0, sweep.story()
    sweep.no_process_is_left()
    status = sweep.ask("status")
    assert status["counts"] == {"finished": RUNS}, sweep.story()
    # An agent killed between its trainer's last word and its own says nothing of that run.
    ended = endings(sweep)
    assert len(ended) == len(set(ended)), "a run finished twice"
    assert set(ended) <= {run["run"] for run in status["runs"]}
    for run in status["runs"]:
        env = record_of(sweep, run["run"], "env")
        for name, (path, table) in scaled_tables(before).items():
            factor = run["parameters"][name]
            assert setting(env, path) == {key: factor * base for key, base in table.items()}
