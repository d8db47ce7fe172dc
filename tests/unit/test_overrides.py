"""Overrides as text, scaled dictionaries, the stored form of a run's parameters."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.overrides import (
    MAX_TEXT_BYTES,
    Grammar,
    InexpressibleError,
    Override,
    ScaledDict,
    inexpressible_key,
    inexpressible_path,
    overrides_from_config,
    read_table,
)

LEGS = "env.scene.robot.actuators.legs.stiffness"
LEGS_TABLE = (
    '{".*_hip_yaw_joint": 100.0, ".*_hip_roll_joint": 100.0, ".*_hip_pitch_joint": 100.0,'
    ' ".*_knee_joint": 200.0, "waist.*": 200.0}\n'
)


def text(value: Any, grammar: Grammar, path: str = "env.x") -> str:
    return Override(path, value, "x").text(grammar).removeprefix(path + "=")


def stored(factor: object = 1.5, path: object = LEGS, table: object = LEGS_TABLE) -> dict[str, Any]:
    return {"p_gain_leg": factor, "p_gain_leg_cli_path": path, "p_gain_leg_base_dict": table}


def texts(config: dict[str, Any], grammar: Grammar = Grammar.HYDRA) -> list[str]:
    return [override.text(grammar) for override in overrides_from_config(config)]


@pytest.mark.parametrize(
    ("value", "hydra", "literal"),
    [
        pytest.param(None, "null", "None", id="null"),
        pytest.param(True, "true", "True", id="true"),
        pytest.param(False, "false", "False", id="false"),
        pytest.param(1, "1", "1", id="int"),
        pytest.param(-(2**70), "-1180591620717411303424", "-1180591620717411303424", id="big int"),
        pytest.param(1.0, "1.0", "1.0", id="float stays a float"),
        pytest.param(1e-4, "0.0001", "0.0001", id="small float"),
        pytest.param(1e-05, "1e-05", "1e-05", id="exponent"),
        pytest.param(5e-324, "5e-324", "5e-324", id="subnormal"),
        pytest.param(-0.0, "-0.0", "-0.0", id="negative zero"),
        pytest.param(math.inf, "inf", "1e999", id="infinity"),
        pytest.param(-math.inf, "-inf", "-1e999", id="minus infinity"),
        pytest.param(math.nan, "nan", None, id="nan has no literal"),
        pytest.param("newton_mjwarp", "newton_mjwarp", "newton_mjwarp", id="word is bare"),
        pytest.param("true", "'true'", "'true'", id="word that is a truth value"),
        pytest.param("None", "'None'", "'None'", id="word that is none"),
        pytest.param("INF", "'INF'", "'INF'", id="word that is a number"),
        pytest.param("cuda:0", "'cuda:0'", "'cuda:0'", id="colon"),
        pytest.param("a,b (c)", "'a,b (c)'", "'a,b (c)'", id="comma and brackets"),
        pytest.param("it's", r"'it\'s'", '"it\'s"', id="quote"),
        pytest.param(r"a\b", r"'a\b'", r"'a\\b'", id="backslash"),
        pytest.param("a\\", r"'a\\'", r"'a\\'", id="backslash at the end"),
        pytest.param("${x}", r"'\${x}'", "'${x}'", id="interpolation"),
        pytest.param(r"\${x}", r"'\\\${x}'", r"'\\${x}'", id="backslash before interpolation"),
        pytest.param("1e-4", "'1e-4'", "'1e-4'", id="text that looks like a number"),
        pytest.param("", "''", "''", id="empty text"),
        pytest.param("é", "'é'", r"'\xe9'", id="letter beyond ascii"),
        pytest.param("???", None, "'???'", id="missing value of OmegaConf"),
        pytest.param("a\0b", None, r"'a\x00b'", id="nul"),
        pytest.param("\ud800", None, r"'\ud800'", id="lone surrogate"),
        pytest.param([1, 2.5, "a"], "[1,2.5,'a']", "[1,2.5,'a']", id="list"),
        pytest.param((1.0,), "[1.0]", "(1.0,)", id="tuple of one"),
        pytest.param((), "[]", "()", id="empty tuple"),
        pytest.param({}, "{}", "{}", id="empty map"),
        pytest.param({"a": {"b": [1]}}, "{a:{b:[1]}}", "{'a':{'b':[1]}}", id="nested"),
        pytest.param(
            {".*_thigh:0": 1.0}, r"{.*_thigh\:0:1.0}", "{'.*_thigh:0':1.0}", id="colon key"
        ),
        pytest.param({"(l|r)_[a]": 1}, r"{\(l|r\)_\[a\]:1}", "{'(l|r)_[a]':1}", id="bracket key"),
        pytest.param({r"h\d": 1}, r"{h\\d:1}", r"{'h\\d':1}", id="backslash key"),
        pytest.param({"a b": 1}, r"{a\ b:1}", "{'a b':1}", id="space key"),
        pytest.param({"^hip$": 1}, None, "{'^hip$':1}", id="anchored key"),
        pytest.param({"1": 1}, None, "{'1':1}", id="number key"),
        pytest.param({"": 1}, None, "{'':1}", id="empty key"),
        pytest.param({1: 1}, None, None, id="key that is no text"),
        pytest.param({None: 1}, None, None, id="key that is nothing"),
        pytest.param(10**4400, None, None, id="integer that no Python reads"),
        pytest.param("x" * MAX_TEXT_BYTES, None, None, id="longer than an argument may be"),
        pytest.param({1, 2}, None, None, id="set"),
        pytest.param([object()], None, None, id="object"),
    ],
)
def test_value_is_written_exactly_or_refused(
    value: Any, hydra: str | None, literal: str | None
) -> None:
    for grammar, expected in ((Grammar.HYDRA, hydra), (Grammar.LITERAL, literal)):
        if expected is not None:
            assert text(value, grammar) == expected
        else:
            with pytest.raises(InexpressibleError):
                text(value, grammar)


def test_value_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    for grammar in Grammar:
        with pytest.raises(InexpressibleError, match="nested more than 50 deep"):
            text(loop, grammar)


def test_refusal_names_path_value_grammar_reason_and_remedy() -> None:
    with pytest.raises(InexpressibleError) as refusal:
        Override(LEGS, {"^.*_hip$": 1.0}, "gain").text(Grammar.HYDRA)
    assert refusal.value.message == (
        "override env.scene.robot.actuators.legs.stiffness: the key '^.*_hip$' cannot be written "
        "in the hydra grammar: Hydra's grammar has no way to write '^' in a key"
    )
    assert refusal.value.hint is not None
    assert refusal.value.hint.startswith("write '.*_hip'")


@pytest.mark.parametrize(
    ("path", "part_of_reason"),
    [
        ("", "empty"),
        ("env..x", "part of the path is empty"),
        ("env.x=1", "'='"),
        ("env.x y", "' '"),
        ("env.K.*_hip", "'*'"),
        ("~env.x", "'~'"),
        ("env.01", "no name"),
        ("env.x\n", r"'\n'"),
    ],
)
def test_path_that_no_trainer_reads_is_refused(path: str, part_of_reason: str) -> None:
    assert part_of_reason in str(inexpressible_path(path))
    with pytest.raises(InexpressibleError, match=re.escape(part_of_reason)):
        Override(path, 1, "x").text(Grammar.LITERAL)


def test_path_outside_env_and_agent_is_written_for_hydra_whichever_the_grammar() -> None:
    assert text({"a:b": True}, Grammar.LITERAL, "hydra.x") == r"{a\:b:true}"
    assert text(None, Grammar.LITERAL, "++env.x") == "null"
    with pytest.raises(InexpressibleError, match="hydra grammar"):
        text({"^a": 1}, Grammar.LITERAL, "++env.x")


@pytest.mark.parametrize(
    "key", ["1", "-1.5", "1e3", ".5", "5.", "1_0", "True", "NULL", "inf", "+NaN"]
)
def test_key_that_hydra_takes_for_something_else_is_refused(key: str) -> None:
    assert "number, a truth value or null" in str(inexpressible_key(key, Grammar.HYDRA))
    assert inexpressible_key(key, Grammar.LITERAL) is None


@pytest.mark.parametrize("key", [".", "e5", "007", "1.2.3", "0x1", "none", "-", "+", "1 "])
def test_key_that_only_looks_like_a_number_is_kept(key: str) -> None:
    assert inexpressible_key(key, Grammar.HYDRA) is None


@pytest.mark.parametrize(
    ("grammar", "expected"),
    [
        (
            Grammar.HYDRA,
            f"{LEGS}={{.*_hip_yaw_joint:150.0,.*_hip_roll_joint:150.0,.*_hip_pitch_joint:150.0,"
            ".*_knee_joint:300.0,waist.*:300.0}",
        ),
        (
            Grammar.LITERAL,
            f"{LEGS}={{'.*_hip_yaw_joint':150.0,'.*_hip_roll_joint':150.0,"
            "'.*_hip_pitch_joint':150.0,'.*_knee_joint':300.0,'waist.*':300.0}",
        ),
    ],
)
def test_ancestors_example_sampled_at_one_and_a_half(grammar: Grammar, expected: str) -> None:
    assert texts(stored(), grammar) == [expected]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        pytest.param('{"a": 1}', {"a": 1.0}, id="json with an integer"),
        pytest.param({"a": 1.5}, {"a": 1.5}, id="map"),
        pytest.param('{"a": 1e-4}', {"a": 1e-4}, id="json exponent"),
        pytest.param(
            '{\n  ".*_hip": 100.0,\n  "b": 2.0,\n}', {".*_hip": 100.0, "b": 2.0}, id="comma"
        ),
        pytest.param("{'.*_h''ip': 1.0}", {".*_h'ip": 1.0}, id="single quotes"),
        pytest.param("{.*_hip:0: 1.0, b: 2}", {".*_hip:0": 1.0, "b": 2.0}, id="no quotes"),
        pytest.param(".*_hip: 1.0\nb: 2\n", {".*_hip": 1.0, "b": 2.0}, id="lines"),
        pytest.param(r'{"h\\d": 1.0,}', {r"h\d": 1.0}, id="escape"),
        pytest.param("", "is empty", id="empty text"),
        pytest.param("{}", "empty", id="empty map"),
        pytest.param("[1]", "not a map", id="list"),
        pytest.param(None, "not a map", id="nothing"),
        pytest.param(3, "not a map", id="number"),
        pytest.param('{"a": "x"}', "not a number", id="text in it"),
        pytest.param('{"a": true}', "not a number", id="truth value in it"),
        pytest.param('{"a": null}', "not a number", id="null in it"),
        pytest.param('{"a": {"b": 1}}', "not a number", id="nested"),
        pytest.param('{"a": [1, 2]}', "not a number", id="list in it"),
        pytest.param('{"a": NaN}', "not a finite float", id="nan"),
        pytest.param('{"a": 1e999}', "not a finite float", id="infinity"),
        pytest.param('{"a": 9007199254740993}', "not a finite float", id="integer no float is"),
        pytest.param(f'{{"a": {"1" * 5000}}}', "not a finite float", id="5000 digits"),
        pytest.param('{"a": 1, "a": 2}', "twice", id="duplicate key"),
        pytest.param("{a: 1, a: 2}", "twice", id="duplicate key without quotes"),
        pytest.param("{a: x}", "not a number", id="text without quotes"),
        pytest.param('{"a": 1', "neither JSON nor", id="broken"),
        pytest.param("[" * 100_000, "neither JSON nor", id="deep"),
        pytest.param({1: 1.0}, "not a string", id="number as key"),
    ],
)
def test_base_dictionary_is_a_flat_map_of_numbers(table: object, expected: Any) -> None:
    if isinstance(expected, dict):
        assert read_table(table) == expected
        assert all(type(number) is float for number in read_table(table).values())
        return
    with pytest.raises(ValueError, match=expected):
        read_table(table)
    with pytest.raises(SweepctlError, match="scaled dictionary p_gain_leg: p_gain_leg_base_dict"):
        overrides_from_config(stored(table=table))


@pytest.mark.parametrize(
    ("config", "part_of_message"),
    [
        (stored(factor="x"), "the factor is 'x', not a finite number"),
        (stored(factor=True), "the factor is True"),
        (stored(factor=math.nan), "the factor is nan"),
        (stored(factor=None), "the factor is None"),
        (stored(path="env..x"), "not an override path"),
        (stored(path=3), "not an override path"),
        (stored(factor=1e308), "not a finite number"),
        ({"p": 1.0, "p_cli_path": LEGS}, "no p_base_dict"),
        ({"p": 1.0, "p_base_dict": "{}"}, "no p_cli_path"),
        ({"p_cli_path": LEGS, "p_base_dict": "{}"}, "no factor p"),
        ({"env.a": {1}}, "a set is no value"),
    ],
)
def test_broken_stored_form_is_an_error_that_names_the_parameter(
    config: dict[str, Any], part_of_message: str
) -> None:
    with pytest.raises(SweepctlError, match=re.escape(part_of_message)):
        overrides_from_config(config)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param({"_wandb": {}, "_env.x": 1, "_constructed_command": "x"}, [], id="underscore"),
        pytest.param({"batch": 3, "log_dir": "x", "train_cfg": {"a": 1}}, [], id="no dot"),
        pytest.param({"env": {"sim": {"dt": 1}}}, [], id="nested parameters"),
        pytest.param({"env.b": 1, "env.a": 2}, ["env.b=1", "env.a=2"], id="order is kept"),
        pytest.param({"a_cli_path": "x", "b_base_dict": "y"}, [], id="names that only look alike"),
    ],
)
def test_which_parameters_are_overrides(config: dict[str, Any], expected: list[str]) -> None:
    assert texts(config) == expected


def test_scaled_dictionary_multiplies_every_number_and_leaves_its_table_alone() -> None:
    scaled = ScaledDict("gain", LEGS, {"a": 0.1, "b": 3e-7})
    assert scaled.times(3.0) == {"a": 0.1 * 3.0, "b": 3e-7 * 3.0}
    assert scaled.base == {"a": 0.1, "b": 3e-7}


# The ancestor's defects, by their numbers in its description.


def test_defect_1_learning_rates_are_not_rounded_to_zero() -> None:
    assert texts({"agent.algorithm.learning_rate": 3.3e-4}) == [
        "agent.algorithm.learning_rate=0.00033"
    ]
    assert texts({"env.x": 0.25}) == ["env.x=0.25"]


def test_defect_2_scaled_gains_keep_every_digit() -> None:
    config = stored(factor=0.7, table='{"a": 1.5e-7, "b": 123.456789012345}')
    (override,) = overrides_from_config(config)
    assert override.value == {"a": 0.7 * 1.5e-7, "b": 0.7 * 123.456789012345}


def test_defect_3_keys_and_values_are_escaped() -> None:
    config = {
        "env.n": None,
        "env.l": ["a", "b c"],
        "env.s": "a,b",
        "env.i": "${x}",
        "env.t": "None",
    }
    assert texts(config) == [
        "env.n=null",
        "env.l=['a','b c']",
        "env.s='a,b'",
        r"env.i='\${x}'",
        "env.t='None'",
    ]


def test_defect_4_isaac_lab_3_gets_a_dictionary_that_it_can_read() -> None:
    assert texts(stored(table={"a.*": 1.0}), Grammar.LITERAL) == [f"{LEGS}={{'a.*':1.5}}"]


def test_defect_10_suffixes_are_reserved_only_beside_their_parameter() -> None:
    with pytest.raises(SweepctlError, match="no p_gain_leg_base_dict"):
        overrides_from_config({"p_gain_leg": 1.3, "p_gain_leg_cli_path": LEGS})
    reordered = dict(reversed(stored().items()))
    assert texts(reordered) == texts(stored())


def test_defect_12_what_the_logger_adds_to_the_config_is_no_override() -> None:
    config = {"agent.seed": 1, "log_dir": "/x", "train_cfg": {"seed": 1}, "env_cfg": {"a": {}}}
    assert texts(config) == ["agent.seed=1"]


def test_defect_14_braces_are_balanced() -> None:
    (override,) = texts(stored())
    assert override.count("{") == override.count("}") == 1
