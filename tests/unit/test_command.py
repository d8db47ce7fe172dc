"""A sweep's command, expanded as the stock agent does and with `${overrides}`."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sweepctl_pod.command import (
    DEFAULT_COMMAND,
    KNOWN_MACROS,
    OWN_MACROS,
    args_json,
    expand_command,
    shell_line,
    unknown_macros,
    uses_args,
)
from sweepctl_pod.errors import SweepctlError

CONFIG = {
    "env.scene.num_envs": 64,
    "agent.lr": 1e-05,
    "flag": True,
    "off": False,
    "none": None,
    "list": [1, "b"],
    "map": {"a": 1},
    "text": "two words, 'quoted'\nand lines",
    "gain": 1.5,
    "gain_cli_path": "env.x",
    "gain_base_dict": '{"a": 1.0}',
}


STOCK_MACROS = [macro for macro in KNOWN_MACROS if macro not in OWN_MACROS]


def expand(command: list[object], **changes: Any) -> list[str]:
    arguments: dict[str, Any] = {
        "config": {"a": 1},
        "overrides": ["env.x=1", "env.y=2"],
        "program": "train.py",
        "environ": {"HOME": "/home/x"},
        "args_json_file": "/tmp/args.json",
    }
    return expand_command(command, **{**arguments, **changes})


def stock_argv(
    command: list[object],
    config: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
) -> list[str]:
    """Let the real agent of wandb start a run, and catch what it would start."""
    import wandb.wandb_agent  # only here: it takes seconds, in each process of pytest

    started: list[list[str]] = []

    def start(command: list[str], **_: Any) -> Any:
        started.append(command)
        return type("Process", (), {"last_sigterm_time": None})()

    (folder / "wandb" / "sweep-s").mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("WANDB_DIR", str(folder))
    monkeypatch.setenv("WANDB_SWEEP_ID", "s")
    for name in ("WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(wandb.wandb_agent, "AgentProcess", start)
    agent = object.__new__(wandb.wandb_agent.Agent)
    agent.__dict__.update(
        _sweep_command=list(command),
        _in_jupyter=False,
        _function=None,
        _forward_signals=False,
        _run_processes={},
    )
    args = {name: {"value": value} for name, value in config.items()}
    agent._command_run(
        {  # type: ignore[no-untyped-call]
            "type": "run",
            "run_id": "r",
            "program": "train.py",
            "args": args,
        }
    )
    return started[0]


@pytest.mark.parametrize(
    "command",
    [
        pytest.param([], id="default"),
        pytest.param(["python", "train.py"], id="no macro"),
        *(pytest.param(["x", macro, "y"], id=macro) for macro in STOCK_MACROS),
        pytest.param(["${args}", "${args}"], id="twice"),
        pytest.param([64, 1.5, True, None], id="no texts"),
        pytest.param(["x${args}y", "${args", "args}"], id="parts of macros"),
        pytest.param(["${unknown}", "${}", "${ARGS}"], id="unknown"),
        pytest.param(["${envvar:HOME}/x", "${envvar:NO_SUCH_NAME}"], id="environment"),
        pytest.param(["${envvar:A}${envvar:B}", "${envvar:lower}"], id="environment twice"),
        pytest.param(["${envvar:MACRO}"], id="macro from the environment"),
    ],
)
def test_expansion_is_that_of_the_stock_agent(
    command: list[object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environ = {"HOME": "/home/x", "A": "1", "B": "${envvar:HOME}", "MACRO": "${env}"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    expected = stock_argv(command, CONFIG, monkeypatch, tmp_path)
    file = str(tmp_path / "wandb" / "sweep-s" / "config-r.json")
    ours = expand(command, config=CONFIG, overrides=[], environ=environ, args_json_file=file)
    assert ours == expected
    if "${args_json_file}" in command:
        assert Path(file).read_text() == args_json(CONFIG)


def test_expansion_is_that_of_the_stock_agent_for_random_commands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rng = random.Random(7)
    words = [*STOCK_MACROS, "${envvar:HOME}", "a", 1, 2.5, "${x}", "--k=${args}"]
    monkeypatch.setenv("HOME", "/home/x")
    file = str(tmp_path / "wandb" / "sweep-s" / "config-r.json")
    for _ in range(200):
        command = rng.choices(words, k=rng.randint(1, 6))
        names = rng.sample(list(CONFIG), k=rng.randint(0, len(CONFIG)))
        config = {name: CONFIG[name] for name in names}
        expected = stock_argv(command, config, monkeypatch, tmp_path)
        ours = expand(command, config=config, overrides=[], args_json_file=file)
        assert ours == expected, command


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        pytest.param(["t"], ["t", "env.x=1", "env.y=2"], id="at the end"),
        pytest.param(
            ["t", "${overrides}", "z"], ["t", "env.x=1", "env.y=2", "z"], id="at the macro"
        ),
        pytest.param(["t", "${args}"], ["t", "--a=1"], id="not beside args"),
        pytest.param(["t", "${args_json}"], ["t", '{"a": 1}'], id="not beside other args"),
        pytest.param(["${overrides}", "${args}"], ["env.x=1", "env.y=2", "--a=1"], id="both asked"),
        pytest.param([], ["/usr/bin/env", "python", "train.py", "--a=1"], id="default command"),
    ],
)
def test_where_overrides_go(command: list[object], expected: list[str]) -> None:
    assert expand(command) == expected


@pytest.mark.parametrize(
    ("checkpoint", "expected"),
    [("/w/3.pt", ["t", "/w/3.pt", "--from=/w/3.pt"]), ("", ["t", "", "--from="])],
)
def test_the_checkpoint_stands_where_its_macro_does(checkpoint: str, expected: list[str]) -> None:
    command: list[object] = ["t", "${checkpoint}", "--from=${checkpoint}", "${args_no_hyphens}"]
    assert expand(command, checkpoint=checkpoint) == [*expected, "a=1"]


def test_a_script_with_a_variable_of_its_own_of_that_name_keeps_it() -> None:
    script = 'checkpoint=$(ls *.pt | tail -1); python train.py ${checkpoint} "$@"'
    assert expand(["sh", "-c", script], overrides=[], checkpoint="/w/3.pt") == ["sh", "-c", script]


@pytest.mark.parametrize("macro", ["${program}", "${args_json_file}"])
def test_macro_without_its_value_is_an_error_and_not_a_hole_in_the_command(macro: str) -> None:
    with pytest.raises(SweepctlError, match="there is none") as error:
        expand(["python", macro], program=None, args_json_file=None)
    assert error.value.hint


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["${args}", "${overrides}", "${envvar:HOME}", "x${y}", "${", "}"], []),
        (["a", "${arg}"], [(1, "${arg}")]),
        (["${envvar:home}"], [(0, "${envvar:home}")]),
        (["${args_dict}", 3], []),
    ],
)
def test_unknown_macros_are_found_with_their_place(
    command: list[object], expected: list[tuple[int, str]]
) -> None:
    assert unknown_macros(command) == expected


def test_args_json_is_what_json_reads() -> None:
    assert json.loads(args_json(CONFIG)) == CONFIG


def test_default_command_passes_parameters_as_arguments() -> None:
    assert uses_args(DEFAULT_COMMAND)
    assert not uses_args(["python", "${program}", "${overrides}"])


@pytest.mark.parametrize(
    "argv",
    [
        ["isaaclab", "train", "--task", "Toy-Legs"],
        ["K={'.*_hip_(yaw|roll)_joint':150.0,'.*_knee':300.0}"],
        ["K={.*_hip\\:0:150.0}", "it's $HOME", 'say "it\'s"', "a!'b", "`x`'", "back\\slash'"],
        ["", " ", "é", "line\nbreak'"],
    ],
    ids=str,
)
def test_shell_line_is_read_back_by_a_real_shell(argv: list[str]) -> None:
    script = 'for word in "$@"; do printf "%s\\0" "$word"; done'
    line = f"set -- {shell_line(argv)}; {script}"
    read = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert read.stdout.split("\0")[:-1] == argv


def test_shell_line_keeps_a_literal_dictionary_readable() -> None:
    assert shell_line(["K={'.*_knee':300.0}"]) == "\"K={'.*_knee':300.0}\""
