"""Commands that are a shell's script: where it stands, what it does with what comes behind it."""

import json
import subprocess

import pytest

from sweepctl.sweepfile.load import load_sweep
from sweepctl_pod.errors import SpecError, SweepctlError
from sweepctl_pod.overrides import Grammar
from sweepctl_pod.run_parameters import run_parameters
from sweepctl_pod.shell_script import commands_in, find_script, script_trouble
from sweepctl_pod.trainer.resolve import default_grammar, resolve

TRAIN = "isaaclab train --task Legs"


@pytest.mark.parametrize(
    ("command", "index"),
    [
        (["bash", "-c", TRAIN], 2),
        (["/bin/sh", "-ec", TRAIN, "name"], 2),
        (["env", "A=1", "bash", "-l", "-c", TRAIN], 5),
        (["nice", "-n", "5", "bash", "-o", "pipefail", "-c", TRAIN], 7),
        (["bash", "-euo", "pipefail", "-c", TRAIN], 4),
        (["bash", "--login", "-c", TRAIN], 3),
        (["bash", "-c", "-e", TRAIN], 3),
        (["bash", "-c", "--", TRAIN], 3),
        (["bash", "run.sh", "-c", TRAIN], None),
        (["bash", "run.sh"], None),
        (["bash"], None),
        (["bash", "-c"], None),
        (["isaaclab", "train", "-c", "x"], None),
        (["push", "-c", TRAIN], None),
    ],
)
def test_script_is_found_where_the_shell_finds_it(command: list[str], index: int | None) -> None:
    found = find_script(command)
    assert (found.index if found else None) == index


@pytest.mark.parametrize(
    ("script", "passes"),
    [
        (f'{TRAIN} "$@"', True),
        (f"{TRAIN} $*", True),
        (f'{TRAIN} "${{@}}"', True),
        (f'{TRAIN} "${{@:2}}"', True),
        (f'{TRAIN} "$1" "$2"', True),
        (f"shift; {TRAIN}", True),
        ("python -m sweepctl.pod.run isaaclab train", True),
        ("python mine.py --config $WANDB_SWEEP_PARAM_PATH", True),
        (TRAIN, False),
        (f"{TRAIN} '$@'", False),
        (f"{TRAIN} $HOME $0 $? $$ ${{HOME}}", False),
        ("", False),
    ],
)
def test_script_that_does_nothing_with_its_arguments_is_refused(script: str, passes: bool) -> None:
    trouble = script_trouble(["bash", "-c", script])
    assert (trouble is None) == passes
    if trouble:
        assert trouble[1].endswith(' "$@"')


@pytest.mark.parametrize(
    ("script", "commands"),
    [
        ("a 'b c' && d", [["a", "b c"], ["d"]]),
        ("a \\\n  b\nc;d", [["a", "b"], ["c"], ["d"]]),
        ('a | b "$@" &', [["a"], ["b", "$@"]]),
        ("echo it's", []),
        ("", []),
    ],
)
def test_script_is_taken_apart_into_its_commands(script: str, commands: list[list[str]]) -> None:
    assert commands_in(["bash", "-c", script]) == commands


def test_script_tells_the_grammar_of_the_trainer_that_it_starts() -> None:
    assert default_grammar(["bash", "-c", f'cd x && {TRAIN} "$@"']) is Grammar.LITERAL
    assert default_grammar(["bash", "-c", 'cd x && python train.py "$@"']) is Grammar.HYDRA


def argv_of(command: list[str], **values: object) -> list[str]:
    config = {name.replace("__", "."): value for name, value in values.items()}
    resolved = resolve(
        command,
        program=None,
        parameters=run_parameters(config, {name: {"value": v} for name, v in config.items()}),
        run_id="r1",
        project="p",
        entity="e",
        grammar=Grammar.LITERAL,
        environ={},
    )
    return list(resolved.argv)


@pytest.mark.parametrize(
    "command",
    [
        ["bash", "-c", 'printf "%s\\n" "$@"'],
        ["bash", "-c", 'printf "%s\\n" "$@"', "mine"],
        ["sh", "-ec", 'set -- "$@"; printf "%s\\n" "$@"'],
        ["bash", "-c", 'printf "%s\\n" "$@"', "${overrides}"],
        ["env", "-i", "bash", "-c", 'printf "%s\\n" "$@"'],
    ],
)
def test_every_override_reaches_what_the_script_starts(command: list[str]) -> None:
    argv = argv_of(command, env__gain=1.5, agent__seed=3)
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["env.gain=1.5", "agent.seed=3"]


def test_script_without_overrides_is_nobodys_business_but_the_users() -> None:
    assert argv_of(["bash", "-c", "python mine.py"], lr=0.1) == ["bash", "-c", "python mine.py"]
    with pytest.raises(SweepctlError, match="passes no arguments on"):
        argv_of(["bash", "-c", "python mine.py"], env__gain=1.0)


def test_users_own_arguments_stand_as_wandbs_agent_puts_them_and_the_lost_one_is_told() -> None:
    command = ["bash", "-c", 'echo "$@"', "${args_no_hyphens}"]
    resolved = resolve(
        command,
        program=None,
        parameters=run_parameters({"a": 1, "b": 2}, {}),
        run_id="r1",
        project="p",
        entity="e",
        grammar=Grammar.LITERAL,
        environ={},
    )
    assert resolved.argv == ("bash", "-c", 'echo "$@"', "a=1", "b=2")
    assert resolved.notes[-1].endswith("write bash before ${args_no_hyphens}")


@pytest.mark.parametrize(
    ("before", "kept"),
    [
        (["python"], []),
        (["${env}", "python3", "-u"], []),
        (["${env}", "FOO=1", "${interpreter}"], ["/usr/bin/env", "FOO=1"]),
        (["nice", "-n", "5", "/isaac-sim/python.sh"], ["nice", "-n", "5"]),
        (["env", "A=1", "B=2", "python3.11", "-S", "-E"], ["env", "A=1", "B=2"]),
    ],
)
def test_words_before_the_wrapper_hold_for_the_trainer(before: list[str], kept: list[str]) -> None:
    command = [*before, "-m", "sweepctl.pod.run", "./train", "x"]
    assert argv_of(command, env__gain=1.5) == [*kept, "./train", "x", "env.gain=1.5"]


@pytest.mark.parametrize(
    ("command", "is_refused"),
    [
        (["sh", "-c", TRAIN, "name"], True),
        (["bash", "-lc", f"{TRAIN}; echo $#", "${overrides}"], True),
        (["python", "-m", "sweepctl.pod.run", "bash", "-c", TRAIN], True),
        (["bash", "-c", TRAIN, "bash", "${args}"], False),
        (["bash", "-c", f'{TRAIN} "$@"'], False),
        (["bash", "train.sh"], False),
    ],
)
@pytest.mark.parametrize("name", ["env.gain", "gain"])
def test_validate_refuses_what_the_agent_refuses(
    command: list[str], is_refused: bool, name: str
) -> None:
    sweep = {"method": "random", "command": command, "parameters": {name: {"value": 1.5}}}
    problems = []
    try:
        load_sweep("sweep.yaml", json.dumps(sweep).encode())
    except SpecError as error:
        problems = [problem.message for problem in error.problems if not problem.is_warning]
    try:
        argv_of(command, **{name: 1.5})
        refusals = []
    except SweepctlError as error:
        refusals = [error.message]
    assert problems == refusals
    assert bool(problems) == (is_refused and name == "env.gain")
