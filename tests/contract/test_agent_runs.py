"""What the agent makes of a run's end: every verdict, on a real server with real processes."""

import json
import re
import sys
from signal import SIGKILL, SIGSEGV
from typing import Any

import pytest

from tests.contract.agents import World


@pytest.mark.parametrize(
    ("words", "config", "state", "reason"),
    [
        pytest.param(["log"], {}, "finished", r"loss = 1\.5", id="metric-logged"),
        pytest.param([], {"metric": None}, "finished", "came to its end", id="no-metric-asked"),
        pytest.param([], {}, "failed", "metric loss was not logged", id="nothing-logged"),
        pytest.param(
            ["log:reward"],
            {},
            "failed",
            r"metric loss was not logged: it logged reward; correct metric\.name",
            id="another-metric-logged",
        ),
        pytest.param(
            ["log", "say:boom", "exit:3"],
            {},
            "failed",
            "exit code 3; its last line: boom",
            id="exit-code",
        ),
        pytest.param(["log", f"signal:{SIGSEGV:d}"], {}, "failed", "SIGSEGV", id="crash"),
        pytest.param(
            ["note:start", "log", f"signal:{SIGKILL:d}"],
            {},
            "failed",
            "killed from outside",
            id="killed-each-time",
        ),
        pytest.param(
            ["note:start", "log", f"signal-once:{SIGKILL:d}"],
            {},
            "finished",
            "loss = 1.5",
            id="killed-once",
        ),
    ],
)
def test_run_is_judged_by_code_and_metric(
    words: list[str], config: dict[str, object], state: str, reason: str, world: World
) -> None:
    sweep = world.sweep(world.trainer(*words), **config)
    agent = world.start(sweep)
    assert agent.wait() == 0, agent.said
    assert world.run(sweep).state == state, agent.said
    assert re.search(reason, agent.said), agent.said
    world.nothing_is_left()


def test_run_that_is_killed_from_outside_is_tried_three_times_with_the_same_id(
    world: World,
) -> None:
    sweep = world.sweep(world.trainer("note:start", f"signal:{SIGKILL:d}"))
    assert world.start(sweep).wait() == 0
    begun = world.noted("start")
    assert len(begun) == 3
    assert len({(run, override) for run, override in begun}) == 1
    assert world.run(sweep).state == "failed"


def test_sampled_value_reaches_the_trainer_exactly(world: World) -> None:
    sweep = world.sweep(world.trainer("note:start", "log"), run_cap=5)
    assert world.start(sweep).wait() == 0
    asked = {run.id: run.config["env.gain"] for run in world.runs(sweep)}
    got = {run: float(override.partition("=")[2]) for run, override in world.noted("start")}
    assert got == asked
    assert len(set(got.values())) == 5


def test_trainer_finds_its_run_in_the_environment_and_the_parameters_in_a_file(
    world: World,
) -> None:
    script = (
        "import json, os, yaml; e = os.environ;"
        "print('ENV', json.dumps({k: v for k, v in e.items() if k != 'WANDB_API_KEY'}));"
        "print('FILE', json.dumps(yaml.safe_load(open(e['WANDB_SWEEP_PARAM_PATH']))))"
    )
    parameters: dict[str, dict[str, Any]] = {
        "a.b": {"value": 1e-05},
        "note": {"value": "ü 😀 ' \"\n\u2028 1e-5"},
        "n": {"value": 3},
    }
    sweep = world.sweep([sys.executable, "-c", script], metric=None, parameters=parameters)
    agent = world.start(sweep, WANDB_SERVICE="other", WANDB_RESUME="must", WANDB_NAME="kept")
    assert agent.wait() == 0, agent.said
    environ = json.loads(re.findall("^ENV (.*)$", agent.said, re.M)[0])
    run = world.run(sweep)
    wanted = {
        "WANDB_RUN_ID": run.id,
        "WANDB_SWEEP_ID": sweep.id,
        "WANDB_PROJECT": "agents",
        "WANDB_ENTITY": "local",
        "WANDB_BASE_URL": world.server.url,
        "WANDB_DIR": str(world.work),
        "WANDB_NAME": "kept",
        "PYTHONUNBUFFERED": "1",
        "USER": "sweepctl",
        "GIT_PYTHON_REFRESH": "quiet",
    }
    assert {name: environ.get(name) for name in wanted} == wanted
    assert not {"WANDB_SERVICE", "WANDB_RESUME"} & set(environ)
    assert json.loads(re.findall("^FILE (.*)$", agent.said, re.M)[0]) == {
        "wandb_version": 1,
        **{name: {"desc": None, **form} for name, form in parameters.items()},
    }


def test_output_is_passed_on_whole_whatever_its_bytes(world: World) -> None:
    words = [
        "flood:100000",
        "say:\\u00fcn\\u00efc\\u00f6d\\u00e9 \\u2603",
        "bytes:00ff80fe0d",
        "log",
    ]
    sweep = world.sweep(world.trainer(*words, "bytes:6e6f20656e64"))
    agent = world.start(sweep)
    assert agent.wait() == 0, agent.said
    flood = b"".join(b"line %d\n" % number for number in range(100_000))
    passed = flood + "ünïcödé ☃\n".encode() + b"\x00\xff\x80\xfe\r" + b"no end"
    run = world.run(sweep)
    assert passed in agent.raw
    assert b"no end\nsweepctl: run " in agent.raw
    assert (world.work / run.id / "trainer.log").read_bytes() == passed
    assert run.state == "finished"


def test_whole_family_of_a_trainer_is_dead_before_the_next_run_starts(world: World) -> None:
    look = (
        "import pathlib, os, sys\n"
        "mine = f'HOME={os.environ[\"HOME\"]}'.encode()\n"
        "for p in pathlib.Path('/proc').glob('[0-9]*/environ'):\n"
        "  try: there = mine in p.read_bytes().split(b'\\0')\n"
        "  except OSError: continue\n"
        "  words = (p.parent / 'cmdline').read_bytes().split(b'\\0')\n"
        "  if there and b'sweepctl_pod' not in words: print('SEEN', p, words)\n"
    )
    script = world.folder / "look.py"
    script.write_text(look)
    train = " ".join(world.trainer("escape", "log"))
    sweep = world.sweep(["sh", "-c", f'{sys.executable} -S {script}; {train} "$@"'], run_cap=2)
    agent = world.start(sweep)
    assert agent.wait() == 0, agent.said
    seen = [line for line in agent.said.splitlines() if line.startswith("SEEN")]
    others = [line for line in seen if "look.py" not in line and "guardian" not in line]
    assert others == [], agent.said
    assert [run.state for run in world.runs(sweep)] == ["finished"] * 2
    world.nothing_is_left()


def test_agent_with_a_count_takes_so_many_runs_and_leaves_the_rest(world: World) -> None:
    sweep = world.sweep(world.trainer("log"), run_cap=5)
    agent = world.start(sweep, "--count", "2")
    assert agent.wait() == 0, agent.said
    assert [run.state for run in world.runs(sweep)] == ["finished"] * 2
    assert world.start(sweep).wait() == 0
    assert [run.state for run in world.runs(sweep)] == ["finished"] * 5


def test_parameters_that_make_no_command_fail_the_run_and_the_agent_goes_on(world: World) -> None:
    sweep = world.sweep(
        world.trainer("log"),
        method="grid",
        run_cap=None,
        parameters={"env.gain": {"values": ["a\u0000b", "fine"]}},
    )
    agent = world.start(sweep)
    assert agent.wait() == 0, agent.said
    assert sorted(run.state for run in world.runs(sweep)) == ["failed", "finished"]
    assert "NUL" in agent.said


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        pytest.param(["/no/such/trainer"], "no such file", id="no-file"),
        pytest.param(["no-such-trainer"], "no such file", id="not-on-path"),
        pytest.param(["/etc/passwd"], "permission denied", id="not-executable"),
        pytest.param(["/usr/bin/env", "no-such-trainer"], "exit code 127", id="env-finds-nothing"),
        pytest.param(["sh", "-c", 'no-such-trainer "$@"'], "exit code 127", id="sh-finds-nothing"),
    ],
)
def test_trainer_that_cannot_start_is_a_configuration_error_and_the_run_is_handed_back(
    command: list[str], reason: str, world: World
) -> None:
    sweep = world.sweep(command)
    agent = world.start(sweep)
    assert agent.wait() == 78, agent.said
    assert reason in agent.said.lower()
    assert "correct `command` in the sweep's file" in agent.said
    assert world.run(sweep).state == "preempted"
    world.nothing_is_left()


def test_isaac_sims_cold_start_is_tried_once_more_and_nothing_else_is(world: World) -> None:
    fake = world.folder / "scripts" / "rsl_rl" / "train.py"
    fake.parent.mkdir(parents=True)
    cold = "[Error] [omni.ext.plugin] Failed to resolve extension dependencies. Failure hints:"
    fake.write_text(
        f"import os, sys\nn = len(os.listdir('.'))\nprint({cold!r})\n"
        "open(f'try-{os.getpid()}', 'w')\nsys.exit(1)\n"
    )
    sweep = world.sweep([sys.executable, str(fake)])
    agent = world.start(sweep)
    assert agent.wait() == 0, agent.said
    assert len(list(world.folder.glob("try-*"))) == 2
    assert world.run(sweep).state == "failed"
    assert agent.said.count("cold start failed; trying once more") == 1


def test_stock_environment_of_a_terminal_is_not_needed(world: World) -> None:
    sweep = world.sweep(world.trainer("log"))
    name = f"local/agents/{sweep.id}"
    agent = world.start_command(
        [sys.executable, "-S", "-m", "sweepctl_pod"], SWEEPCTL_SWEEP=name, SWEEPCTL_COUNT="1"
    )
    assert agent.wait() == 0, agent.said
    assert world.run(sweep).state == "finished"
