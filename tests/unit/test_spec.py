"""sweep.yaml as a sweep: what is read, what is sent to W&B, what is refused before that."""

from __future__ import annotations

import io
import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepctl.search.metric import Metric
from sweepctl.sweepfile.document import MAX_SIZE_BYTES
from sweepctl.sweepfile.load import SweepSpec, config_text, load_sweep
from sweepctl_pod.errors import Problem, SpecError, UsageError
from sweepctl_pod.overrides import Grammar, ScaledDict
from sweepctl_pod.run_parameters import run_parameters

HEAD = """\
method: random
metric: {name: Train/mean_reward, goal: maximize}
command: [isaaclab, train, --num_envs, 64]
parameters:
"""
ANCESTOR = """\
method: bayes
entity: YOUR_WANDB_ENTITY
metric: {name: Metrics/base_velocity/error_vel_xy, goal: minimize}
command: [python, scripts/wandb_sweep/train_wrapper.py, --num_envs, 64, --task,
  Isaac-Velocity-G1-Lower-Agile-v0, --logger, wandb, --headless]
parameters:
  agent.algorithm.learning_rate: {distribution: log_uniform_values, min: 1.0e-4, max: 1.0e-3}
  p_gain_leg:
    distribution: uniform
    min: 0.5
    max: 2.0
    p_gain_leg_cli_path: {value: env.scene.robot.actuators.legs.stiffness}
    p_gain_leg_base_dict:
      value: |
        {".*_hip_yaw_joint": 100.0, ".*_hip_roll_joint": 100.0, ".*_hip_pitch_joint": 100.0,
         ".*_knee_joint": 200.0, "waist.*": 200.0}
"""
TABLE = {
    ".*_hip_yaw_joint": 100.0,
    ".*_hip_roll_joint": 100.0,
    ".*_hip_pitch_joint": 100.0,
    ".*_knee_joint": 200.0,
    "waist.*": 200.0,
}
REPOSITORY = Path(__file__).parents[2]


def load(text: str | bytes, **options: Any) -> SweepSpec:
    data = text if isinstance(text, bytes) else text.encode()
    return load_sweep("sweep.yaml", data, **options)


def parameters(text: str) -> Any:
    return load(HEAD + text).to_wandb_config()["parameters"]


def problems_of(text: str | bytes, **options: Any) -> tuple[Problem, ...]:
    try:
        load(text, **options)
    except SpecError as error:
        return error.problems
    return ()


def problems(text: str | bytes, **options: Any) -> list[str]:
    return [problem.message for problem in problems_of(text, **options)]


def test_ancestors_example_is_accepted_as_it_stands() -> None:
    spec = load(ANCESTOR)
    assert spec.method == "bayes"
    assert spec.metric == Metric("Metrics/base_velocity/error_vel_xy", "minimize")
    assert spec.entity is None, "a placeholder is no entity"
    assert spec.scaled == (
        ScaledDict("p_gain_leg", "env.scene.robot.actuators.legs.stiffness", TABLE),
    )
    assert [warning.path for warning in spec.warnings] == ["entity"]
    config = spec.to_wandb_config()
    assert "entity" not in config
    assert config["command"][2:4] == ["--num_envs", 64]  # type: ignore[index]
    assert config["parameters"] == {
        "agent.algorithm.learning_rate": {
            "distribution": "log_uniform_values",
            "min": 1e-4,
            "max": 1e-3,
        },
        "p_gain_leg": {"distribution": "uniform", "min": 0.5, "max": 2.0},
        "p_gain_leg_cli_path": {"value": "env.scene.robot.actuators.legs.stiffness"},
        "p_gain_leg_base_dict": {"value": json.dumps(TABLE)},
    }


def test_what_is_stored_is_read_again_as_the_same_sweep() -> None:
    spec = load(ANCESTOR)
    again = load(config_text(spec.to_wandb_config()))
    assert again.to_wandb_config() == spec.to_wandb_config()
    assert again.scaled == spec.scaled


def test_a_sampled_run_reaches_the_trainer_as_the_ancestor_promised() -> None:
    config = load(ANCESTOR).to_wandb_config()["parameters"]
    run = {name: spec.get("value", 1.5) for name, spec in config.items()}  # type: ignore[attr-defined]
    rate, gains = (
        override.text(Grammar.HYDRA) for override in run_parameters(run, config).overrides()
    )
    assert rate == "agent.algorithm.learning_rate=1.5"
    assert gains == (
        "env.scene.robot.actuators.legs.stiffness={.*_hip_yaw_joint:150.0,.*_hip_roll_joint:150.0,"
        ".*_hip_pitch_joint:150.0,.*_knee_joint:300.0,waist.*:300.0}"
    )


@pytest.mark.parametrize("file", ["sweep.yaml", "examples/toy_legs/sweep.yaml"])
def test_examples_of_this_repository_have_nothing_to_complain_about(file: str) -> None:
    spec = load_sweep(str(REPOSITORY / file))
    assert spec.warnings == ()
    assert spec.scaled


@pytest.mark.parametrize(
    "table",
    [
        pytest.param('{value: \'{".*_hip": 100.0, "knee": 2e2}\'}', id="json"),
        pytest.param("{value: {.*_hip: 100.0, knee: 200}}", id="yaml map"),
        pytest.param("\n      value:\n        .*_hip: 100\n        knee: 200.0", id="yaml lines"),
        pytest.param(
            '\n      value: |\n        {\n          ".*_hip": 100.0,\n'
            '          "knee": 200.0,\n        }',
            id="comma at the end",
        ),
        pytest.param(
            '\n      value: |-\n        {\n        \t".*_hip":100.0,\n        \t"knee":200.0}',
            id="tabs in json",
        ),
        pytest.param("{value: \"{'.*_hip': 100, knee: 200}\"}", id="yaml text"),
    ],
)
def test_base_dictionary_is_stored_as_canonical_json_however_it_is_written(table: str) -> None:
    factor = "  g:\n    min: 0.5\n    max: 2.0\n    g_cli_path: {value: env.a}\n"
    text = f"{factor}    g_base_dict: {table}\n"
    assert parameters(text)["g_base_dict"] == {"value": '{".*_hip": 100.0, "knee": 200.0}'}


def test_flat_stored_form_is_accepted_like_the_nested_one() -> None:
    nested = (
        "  g: {min: 0.5, max: 2.0, g_cli_path: {value: env.a}, g_base_dict: {value: {a: 1.0}}}\n"
    )
    flat = (
        "  g_base_dict: {value: '{\"a\": 1.0}'}\n"
        "  g_cli_path: {value: env.a}\n"
        "  g: {min: 0.5, max: 2.0}\n"
    )
    assert parameters(flat) == parameters(nested)


@pytest.mark.parametrize(
    ("parameter", "companion"),
    [
        pytest.param("{min: 0.5, max: 2.0}", None, id="uniform"),
        pytest.param("{value: 1.0}", None, id="float"),
        pytest.param("{values: [1, 2.0]}", None, id="mixed"),
        pytest.param("{min: 0.5, max: 2.0, type: float}", None, id="a type that the bounds tell"),
        pytest.param("{min: 1, max: 5, type: int}", None, id="integers that the bounds tell"),
        pytest.param("{values: [1, 2], type: int}", None, id="integers that the values tell"),
        pytest.param("{values: [true, false], type: bool}", None, id="truth values"),
        pytest.param("{values: [a, b], type: str}", None, id="words"),
        pytest.param("{value: 1, type: float}", "float", id="the ancestor's type"),
        pytest.param("{min: 1, max: 5, type: float}", "float", id="integers, meant as floats"),
        pytest.param("{values: [0, 1], type: bool}", "bool", id="integers, meant as truth values"),
        pytest.param("{values: ['[1]'], type: json}", "json", id="text, meant as a list"),
    ],
)
def test_nothing_is_added_but_a_type_that_was_asked_for_and_that_nothing_else_tells(
    parameter: str, companion: str | None
) -> None:
    config = parameters(f"  env.a: {parameter}\n")
    assert config.get("env.a_type") == (None if companion is None else {"value": companion})
    assert "type" not in config["env.a"]


def test_companion_in_the_file_is_sent_as_written_and_told_where_arguments_pass_it() -> None:
    text = "  env.a: {min: 0.5, max: 2.0}\n  env.a_type: {value: float}\n"
    assert parameters(text)["env.a_type"] == {"value": "float"}
    assert not load(HEAD + text).warnings
    (warning,) = load(HEAD.replace("command: [", "command: ['${args}', ") + text).warnings
    assert warning.message.startswith("env.a_type is taken for the type of env.a: W&B's agent")


def test_types_of_the_file_are_kept_and_settings_are_not_taken_for_types() -> None:
    config = parameters("  env.a: {min: 0.5, max: 2.0}\n  env.a_type: {value: int}\n")
    assert config["env.a_type"] == {"value": "int"}
    config = parameters("  env.solver_type: {values: [pgs, tgs]}\n")
    assert config == {"env.solver_type": {"values": ["pgs", "tgs"]}}


def test_distribution_that_bounds_imply_is_written_out_as_wandbs_client_does() -> None:
    config = parameters("  env.a: {min: 1, max: 2}\n  env.b: {min: 1.0, max: 2.0}\n")
    assert config["env.a"]["distribution"] == "int_uniform"
    assert config["env.b"]["distribution"] == "uniform"


def test_nested_parameters_of_wandb_are_kept() -> None:
    config = parameters("  opt: {parameters: {lr: {value: 1.0}, mom: {min: 0.1, max: 0.9}}}\n")
    assert config["opt"] == {"parameters": {"lr": {"value": 1.0}, "mom": {"min": 0.1, "max": 0.9}}}


def test_fields_of_a_sweep() -> None:
    spec = load(
        "name: n\nproject: p\nentity: e\nprogram: train.py\nrun_cap: 3\nmethod: grid\n"
        "description: d\nmetric: {name: r, goal: minimize, target: 0}\n"
        "early_terminate: {type: hyperband, max_iter: 27, s: 2, eta: 3, strict: true}\n"
        "parameters: {lr: {values: [1.0]}}\n"
    )
    assert (spec.name, spec.project, spec.entity, spec.program) == ("n", "p", "e", "train.py")
    assert (spec.run_cap, spec.method, spec.command) == (3, "grid", None)
    assert spec.warnings == ()
    assert spec.to_wandb_config() == yaml.safe_load(spec.text)


def test_sweep_without_metric_or_goal_is_stored_as_it_is_written() -> None:
    rest = "program: train.py\nmethod: grid\nparameters: {seed: {values: [1, 2]}}\n"
    without = load(rest)
    assert without.metric is None
    assert without.to_wandb_config() == yaml.safe_load(rest)
    goalless = load(f"metric: {{name: loss}}\n{rest}")
    assert goalless.metric == Metric("loss", "minimize")
    assert goalless.to_wandb_config()["metric"] == {"name": "loss"}


def test_whole_numbers_that_are_floats_in_the_file_are_stored_as_integers() -> None:
    spec = load(
        "program: train.py\nmethod: random\nrun_cap: 9.0\nmetric: {name: r, goal: maximize}\n"
        "early_terminate: {type: hyperband, max_iter: 81.0, s: 2}\n"
        "parameters: {lr: {min: 0.1, max: 1.0}}\n"
    )
    config: Any = spec.to_wandb_config()
    whole = (spec.run_cap, config["run_cap"], config["early_terminate"]["max_iter"])
    assert [repr(number) for number in whole] == ["9", "9", "81"]


def test_the_config_that_is_given_out_is_a_copy() -> None:
    spec = load(ANCESTOR)
    spec.to_wandb_config()["parameters"].clear()  # type: ignore[attr-defined]
    assert spec.to_wandb_config()["parameters"]


@pytest.mark.parametrize(
    ("command", "has_problem"),
    [
        ("[isaaclab, train]", False),
        (
            "[/workspace/isaaclab/isaaclab.sh, -p, scripts/reinforcement_learning/rsl_rl/train.py]",
            True,
        ),
        ("[python, scripts/wandb_sweep/train_wrapper.py]", True),
        ("[python, -m, sweepctl.pod.run, isaaclab, train]", False),
        ("[python, my_program]", False),
    ],
)
def test_joint_expression_is_checked_for_the_grammar_that_the_command_tells(
    command: str, has_problem: bool
) -> None:
    text = HEAD.replace("[isaaclab, train, --num_envs, 64]", command) + (
        "  g: {min: 0.5, max: 2.0, g_cli_path: {value: env.a}, g_base_dict: {value: {^a: 1.0}}}\n"
    )
    found = problems(text)
    assert bool(found) == has_problem, found
    assert problems(text, grammar=Grammar.LITERAL) == []
    assert problems(text, grammar=Grammar.HYDRA) == [
        "Hydra's grammar has no way to write '^' in a key: '^a'"
    ]


# Files that are hard to read.


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"", "the file is empty", id="empty"),
        pytest.param(b"\xef\xbb\xbf", "the file is empty", id="byte order mark alone"),
        pytest.param(b"method: \xff", "not UTF-8 text: the byte 0xff", id="latin-1"),
        pytest.param("method: random".encode("utf-16"), "not UTF-8 text", id="utf-16"),
        pytest.param(b"method: r\x00", r"the character '\x00' is not allowed", id="nul"),
        pytest.param(b"method: \x1b[31m", r"the character '\x1b' is not allowed", id="escape"),
        pytest.param(b"a: 1\n" * 2_000_000, "10000000 bytes", id="10 MB"),
        pytest.param(b"[" * 100_000, "nested more than 50 deep", id="deep flow"),
        pytest.param(b"- " * 1000, "nested more than 50 deep", id="deep block"),
        pytest.param(b"%YAML 9.9\n---\na: 1", "not YAML", id="version"),
        pytest.param(b"a: &a\nb: *a\nc: &a *a", "not YAML", id="anchor on an alias"),
    ],
)
def test_file_that_cannot_be_read_is_one_problem(data: bytes, expected: str) -> None:
    if b"0000000" in expected.encode():
        expected = f"{len(data)} bytes"
    (message,) = problems(data)
    assert expected in message


@pytest.mark.parametrize(
    "bomb",
    [
        pytest.param("[{0}, {0}, {0}, {0}, {0}, {0}, {0}, {0}, {0}]", id="lists"),
        pytest.param("{{a: {0}, b: {0}, c: {0}, d: {0}, e: {0}, f: {0}}}", id="maps"),
        pytest.param("{{<<: [{0}, {0}, {0}, {0}, {0}, {0}, {0}, {0}]}}", id="merges"),
    ],
)
def test_alias_bomb_is_refused_before_it_goes_off(bomb: str) -> None:
    lines = ["l0: &l0 {x: 1}", *(f"l{i}: &l{i} {bomb.format(f'*l{i - 1}')}" for i in range(1, 30))]
    (message,) = problems("\n".join(lines))
    assert message == "the file holds more than 50000 values, with every alias written out"


def test_chain_of_aliases_is_as_deep_as_nesting() -> None:
    lines = ["l0: &l0 [1]", *(f"l{i}: &l{i} [*l{i - 1}]" for i in range(1, 2000))]
    assert problems("\n".join(lines)) == ["nested more than 50 deep"]


@pytest.mark.parametrize("line_break", ["\r\n", "\r", "\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_breaks_and_byte_order_mark_change_nothing(line_break: str, mark: bytes) -> None:
    text = ANCESTOR.replace("min: 0.5", "min: half")
    data = mark + text.replace("\n", line_break).encode()
    with pytest.raises(SpecError) as error:
        load(data)
    found = [(p.line, p.column, p.source) for p in error.value.problems if not p.is_warning]
    assert found == [(10, 10, "    min: half")]
    assert load(mark + ANCESTOR.replace("\n", line_break).encode()).scaled == load(ANCESTOR).scaled


def test_aliases_and_merges_read_as_pyyaml_reads_them() -> None:
    text = HEAD + (
        "  env.a: &range {distribution: uniform, min: 0.5, max: 2.0}\n"
        "  env.b: *range\n"
        "  env.c: {<<: *range, max: 3.0}\n"
        "  env.d: {<<: [{min: 0.1}, *range]}\n"
    )
    config = parameters(text.removeprefix(HEAD))
    plain = yaml.safe_load(text)["parameters"]
    assert {name: config[name] for name in plain} == plain


def test_problem_behind_an_alias_is_told_once() -> None:
    text = HEAD + "  env.a: &x {values: [2026-01-01]}\n  env.b: *x\n  env.c: {<<: *x}\n"
    assert problems(text) == ["YAML 1.1 reads this as timestamp, which JSON lacks"]


def test_every_problem_of_a_long_file_is_told() -> None:
    lines = "".join(f"  env.p{i}: {{min: 2.0, max: 1.0, q: x}}\n" for i in range(3000))
    assert len(problems(HEAD + lines)) == 6000


# Where the file comes from.


def test_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(ANCESTOR.encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    spec = load_sweep("-")
    assert (spec.file, spec.argument) == ("<stdin>", "-")
    assert spec.warnings[0].text().startswith("<stdin>:2:9: warning: entity:")


def test_problem_of_standard_input_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(SpecError, match="<stdin>:1:1: the file is empty"):
        load_sweep("-")


def test_endless_input_is_read_no_further_than_the_limit() -> None:
    with pytest.raises(SpecError, match=f"{MAX_SIZE_BYTES + 1} bytes"):
        load_sweep("/dev/zero")


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        pytest.param(lambda path: None, "there is no file", id="missing"),
        pytest.param(lambda path: path.mkdir(), "is a folder", id="folder"),
        pytest.param(lambda path: path.symlink_to(path), "cannot read", id="link to itself"),
    ],
)
def test_no_file_is_an_error_of_usage(tmp_path: Path, make: Any, expected: str) -> None:
    path = tmp_path / "sweep.yaml"
    make(path)
    with pytest.raises(UsageError, match=expected) as error:
        load_sweep(str(path))
    assert "sweep.yaml" in error.value.message
    assert error.value.exit_code == 2


def test_path_that_no_system_call_takes_is_an_error_of_usage() -> None:
    with pytest.raises(UsageError, match="cannot read"):
        load_sweep("a\0b")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission_is_an_error_of_usage(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.touch(mode=0)
    with pytest.raises(UsageError, match="Permission denied"):
        load_sweep(str(path))


# The text that W&B stores.

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=20), inner, max_size=4
        )
    ),
    max_leaves=20,
)


@given(VALUES)
@settings(deadline=None)
def test_config_text_reads_the_same_in_json_and_in_yaml_1_1(value: Any) -> None:
    text = config_text({"parameters": {"a": {"value": value}}})
    for read in (json.loads, yaml.safe_load):
        got = read(text)["parameters"]["a"]["value"]
        assert repr(got) == repr(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-05, "1.0e-05"),
        (1e22, "1.0e+22"),
        (1.5e-07, "1.5e-07"),
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (5e-324, "5.0e-324"),
        (2**70, "1180591620717411303424"),
        ("1e-4", '"1e-4"'),
        ("on", '"on"'),
        ("\x7f\x85\u2028é\ufeff", r'"\u007f\u0085\u2028\u00e9\ufeff"'),
        ("\U0001f916", '"\U0001f916"'),
        ([], "[]"),
    ],
)
def test_scalars_of_config_text(value: Any, text: str) -> None:
    assert config_text({"a": value}) == f'{{\n  "a": {text}\n}}\n'


def test_config_text_refuses_what_json_lacks() -> None:
    with pytest.raises(TypeError, match="set"):
        config_text({"a": {1}})


# Anything at all.

SEEDS = [ANCESTOR, (REPOSITORY / "sweep.yaml").read_text()]
SPICE = [
    *(
        "{",
        "}",
        "[",
        "]",
        ":",
        ": ",
        "- ",
        "\n",
        "  ",
        "\t",
        '"',
        "'",
        "|",
        ">",
        "&a ",
        "*a",
        "<<: ",
    ),
    *(
        "!!int ",
        "!x ",
        "---\n",
        "...",
        "#",
        "%",
        "?",
        "null",
        "1e-4",
        "on",
        ".nan",
        "0x",
        "1:2",
        "-",
    ),
    *(
        "value: ",
        "values: ",
        "min: ",
        "parameters: ",
        "\x00",
        "é",
        "\u2028",
        "\U0001f916",
        "\\",
        ",",
    ),
    *("99999999999999999999", "1" * 5000, "distribution: log_uniform", "_base_dict", "_cli_path"),
]


def mutated(rng: random.Random, text: str) -> bytes:
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        start = rng.randrange(len(text) + 1)
        end = min(len(text), start + rng.choice([0, 0, 1, 1, 2, 5, 30]))
        kind = rng.random()
        if kind < 0.5:
            text = text[:start] + rng.choice(SPICE) + text[end:]
        elif kind < 0.7:
            text = text[:start] + text[end:]
        elif kind < 0.85:
            text = text[:start] + text[start:end] * 3 + text[end:]
        else:
            lines = text.splitlines(keepends=True)
            rng.shuffle(lines) if rng.random() < 0.1 else lines.append(rng.choice(lines or [""]))
            text = "".join(lines)
    data = text.encode("utf-8", "surrogatepass")
    return data if rng.random() < 0.95 else data + bytes([rng.randrange(256)])


@pytest.mark.parametrize("seed", range(5))
def test_any_file_is_a_sweep_or_a_list_of_problems(seed: int) -> None:
    rng = random.Random(seed)
    valid = 0
    for _ in range(120):
        data = mutated(rng, rng.choice(SEEDS))
        refused = problems_of(data)
        if refused:
            assert all(problem.line >= 1 and problem.column >= 1 for problem in refused)
            assert "".join(problem.text() for problem in refused).encode()
            continue
        valid += 1
        config = load(data).to_wandb_config()
        text = config_text(config)
        assert json.loads(text) == yaml.safe_load(text) == config
        parameters: Any = config["parameters"]
        run = {name: p.get("value", 1.0) for name, p in parameters.items()}
        run_parameters(run, parameters).overrides()
    assert valid, "mutations must leave some files valid"
