"""The sweep's metric as `define_metric` lets it be kept: the real client, judged by the agent."""

import json
import sys

import pytest

from sweepctl_pod.wandb.summary import read_metric, reason_of
from tests.contract.agents import World

TRAINER = """
import json, sys, wandb
name, how, values, nested = json.loads(sys.argv[1])
run = wandb.init()
run.define_metric(name, **how)
for value in values:
    value = float(value) if value in ("nan", "inf") else value
    outer, _, inner = name.partition(".")
    run.log({outer: {inner: value}} if nested else {name: value, "other": 1})
run.log({"later": 1})
run.finish()
"""


def commanded(world: World, name: str, how: object, values: object, nested: bool) -> list[str]:
    script = world.folder / "train.py"
    script.write_text(TRAINER)
    return [sys.executable, str(script), json.dumps([name, how, values, nested])]


@pytest.mark.parametrize(
    ("name", "how", "values", "nested", "expected"),
    [
        pytest.param("loss", {"summary": "none"}, [3, 1, 2], False, 2.0, id="none"),
        pytest.param("a/loss", {"summary": "none", "hidden": True}, [0.5], False, 0.5, id="hidden"),
        pytest.param("eval.loss", {"summary": "none"}, [3, 1.5], True, 1.5, id="nested-none"),
        pytest.param("loss", {"summary": "min"}, [3, 1, 2], False, 1.0, id="min"),
        pytest.param("loss", {"summary": "max"}, [3, 1, 2], False, 3.0, id="max"),
        pytest.param("loss", {"summary": "mean"}, [3, 1, 2], False, 2.0, id="mean"),
        pytest.param("loss", {"summary": "last"}, [3, 1, 2], False, 2.0, id="last"),
    ],
)
def test_metric_is_found_however_the_client_was_told_to_sum_it_up(
    name: str,
    how: object,
    values: object,
    nested: bool,
    expected: float,
    world: World,
) -> None:
    command = commanded(world, name, how, values, nested)
    sweep = world.sweep(command, metric={"name": name, "goal": "minimize"})
    agent = world.start(sweep)
    assert agent.wait() == 0, agent.said
    run = world.run(sweep)
    assert f"finished: {name} = {expected}" in agent.said
    assert (run.state, reason_of(run.summary)) == ("finished", None)
    assert read_metric(run.summary, name).number == expected
    assert run.summary["later"] == 1


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1.0, "nan"], "metric loss is NaN"),
        (["inf"], "metric loss is Infinity"),
        ([2, "0.5"], 'metric loss is the text "0.5"'),
        ([], "metric loss was not logged: it logged later"),
    ],
)
def test_what_is_no_number_in_the_history_fails_the_run_with_that_reason(
    values: object, said: str, world: World
) -> None:
    sweep = world.sweep(commanded(world, "loss", {"summary": "none"}, values, False))
    agent = world.start(sweep)
    agent.wait()
    run = world.run(sweep)
    assert run.state == "failed", agent.said
    assert said in (reason_of(run.summary) or "")
    assert "loss" not in run.summary
