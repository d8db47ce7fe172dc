"""`best` prints the argv that the agent ran, word for word, for every form of command."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from sweepctl_pod.wandb.client import SweepInfo
from tests.contract.agents import SOURCES, World

SDK_TRAINER = """
import json, pathlib, sys, wandb
with wandb.init() as run:
    run.log({"loss": 1.0})
pathlib.Path(sys.argv[1]).write_text(json.dumps(sys.argv))
"""


def best(world: World, sweep: SweepInfo) -> dict[str, Any]:
    """Ask `best` for the best run of a sweep, as a user does."""
    name = f"local/agents/{sweep.id}"
    asked = subprocess.run(
        [
            sys.executable,
            "-m",
            "sweepctl",
            "best",
            name,
            "--server",
            world.server.url,
            "-o",
            "json",
        ],
        env={**os.environ, **world.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
    return dict(json.loads(asked.stdout)["runs"][0])


@pytest.mark.parametrize(
    "front",
    [
        pytest.param([], id="plain"),
        pytest.param(["${env}"], id="by-env"),
        pytest.param(["nice", "-n", "1"], id="launched"),
        pytest.param(["${env}", "python3", "-m", "sweepctl.pod.run"], id="wrapper"),
    ],
)
@pytest.mark.parametrize(
    "end",
    [
        pytest.param([], id="overrides-at-the-end"),
        pytest.param(["${overrides}", "z=1"], id="overrides-inside"),
        pytest.param(["${args}", "x=${envvar:FLAG}"], id="args"),
        pytest.param(["${args_no_hyphens}"], id="args-no-hyphens"),
    ],
)
def test_best_gives_the_argv_that_was_executed(
    front: list[str], end: list[str], world: World
) -> None:
    argv_file = world.folder / "argv"
    sweep = world.sweep([*front, *world.trainer(f"argv:{argv_file}", "log"), *end])
    agent = world.start(sweep, FLAG="two words")
    assert agent.wait() == 0, agent.said
    found = best(world, sweep)
    ran = json.loads((world.folder / f"argv-{found['run']}").read_text())
    told = [word.replace("${envvar:FLAG}", "two words") for word in found["command"]]
    assert found["command_is_recorded"]
    assert told[-len(ran) :] == ran
    assert told[: -len(ran)] == [word for word in front if word in ("nice", "-n", "1")] or (
        front == ["${env}"] and told[: -len(ran)] == ["/usr/bin/env"]
    )
    assert ("x=${envvar:FLAG}" in found["command"]) == ("x=${envvar:FLAG}" in end)


def test_best_gives_what_the_wrapper_ran_under_the_stock_agent(
    world: World, make_sdk: Callable[[str], Any]
) -> None:
    argv_file = world.folder / "argv"
    wrapper = [sys.executable, "-m", "sweepctl.pod.run"]
    sweep = world.sweep([*wrapper, *world.trainer(f"argv:{argv_file}", "log")])
    sdk = make_sdk(world.server.url)
    sdk.environ["PYTHONPATH"] = SOURCES
    _, out, err = sdk.end(sdk.start_agent(f"local/agents/{sweep.id}", "--count", "1"))
    found = best(world, sweep)
    ran = json.loads((world.folder / f"argv-{found['run']}").read_text())
    assert found["command_is_recorded"], out + err
    assert found["command"] == ran


def test_best_says_so_where_nothing_was_recorded(
    world: World, make_sdk: Callable[[str], Any]
) -> None:
    script, said = world.folder / "train.py", world.folder / "argv"
    script.write_text(SDK_TRAINER)
    sweep = world.sweep([sys.executable, str(script), str(said), "${args}"])
    sdk = make_sdk(world.server.url)
    _, out, err = sdk.end(sdk.start_agent(f"local/agents/{sweep.id}", "--count", "1"))
    found = best(world, sweep)
    ran = [sys.executable, *json.loads(said.read_text())]
    assert not found["command_is_recorded"], out + err
    assert found["command"] == ran
