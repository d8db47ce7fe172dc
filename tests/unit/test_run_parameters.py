"""What a run was handed out, read by its sweep's config: floats, companions, what is passed on."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
import yaml

from sweepctl.search.next_params import next_params
from sweepctl.sweepfile.load import config_text
from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.overrides import Grammar
from sweepctl_pod.run_parameters import run_parameters, type_owner
from sweepctl_pod.stored_form import stored_config

LEGS = "env.scene.robot.actuators.legs.stiffness"
SCALED: dict[str, Any] = {
    "gain_cli_path": {"value": LEGS},
    "gain_base_dict": {"value": '{".*_knee": 200.0}'},
}


def texts(config: dict[str, Any], parameters: Any) -> list[str]:
    overrides = run_parameters(config, parameters).overrides()
    return [override.text(Grammar.LITERAL) for override in overrides]


@pytest.mark.parametrize(
    ("form", "came", "written"),
    [
        pytest.param("{distribution: uniform, min: 0, max: 2}", 1, "1.0", id="uniform"),
        pytest.param("{distribution: log_uniform_values, min: 1, max: 9}", 3, "3.0", id="log"),
        pytest.param("{distribution: normal}", 0, "0.0", id="normal"),
        pytest.param("{distribution: beta, a: 2, b: 3}", 1, "1.0", id="beta"),
        pytest.param("{min: 0.5, max: 2.0}", 2, "2.0", id="bounds that are floats"),
        pytest.param("{min: 1, max: 2.0}", 2, "2.0", id="one bound is a float"),
        pytest.param("{min: 1, max: 5}", 2, "2", id="bounds that are integers"),
        pytest.param("{min: 1, max: 5}", 2.0, "2", id="an integer that came as a float"),
        pytest.param("{distribution: q_uniform, min: 0, max: 8, q: 2}", 4, "4", id="whole steps"),
        pytest.param("{distribution: q_uniform, min: 0, max: 8, q: 0.5}", 4, "4.0", id="steps"),
        pytest.param("{value: 1.0}", 1, "1.0", id="constant"),
        pytest.param("{value: 1}", 1, "1", id="constant integer"),
        pytest.param("{value: !!float 1}", 1, "1.0", id="constant by its tag"),
        pytest.param("{value: 1.0e+22}", 10**22, "1e+22", id="big constant"),
        pytest.param("{value: true}", True, "True", id="truth value"),
        pytest.param("{values: [0.5, 2.0]}", 2, "2.0", id="choice"),
        pytest.param("{values: [0.5, 2]}", 2, "2", id="choice of an integer among floats"),
        pytest.param("{values: [1, 2.0]}", 2, "2.0", id="choice of a float among integers"),
        pytest.param("{values: [1, 1.0]}", 1, "1", id="which of two nobody knows"),
        pytest.param("{values: [true, 1.0]}", 1, "1.0", id="a number is no truth value"),
        pytest.param("{values: [false, 0.0]}", False, "False", id="a truth value is no number"),
        pytest.param("{values: [2.0, 3.0]}", 1, "1.0", id="of a choice that was changed since"),
        pytest.param("{values: ['1', 2.0]}", "1", "'1'", id="text"),
        pytest.param("{values: [null, 1.0]}", None, "None", id="nothing"),
        pytest.param("{values: [.inf, 1.0]}", float("inf"), "1e999", id="infinity"),
        pytest.param(
            "{values: [1.0, 2.0], probabilities: [0.5, 0.5]}", 2, "2.0", id="probabilities"
        ),
        pytest.param("{value: [1.0, 2]}", [1, 2], "[1.0,2]", id="list"),
        pytest.param(
            "{values: [{a: 1.0, b: 1}, {a: 2, b: 2.0}]}",
            {"a": 2, "b": 2},
            "{'a':2,'b':2.0}",
            id="maps",
        ),
        pytest.param(
            "{parameters: {a: {min: 0.5, max: 2.0}, b: {parameters: {c: {value: 1.0}}}}}",
            {"a": 1, "b": {"c": 1}, "d": 1},
            "{'a':1.0,'b':{'c':1.0},'d':1}",
            id="nested parameters",
        ),
    ],
)
def test_overrides_write_what_the_sweeps_config_samples(form: str, came: Any, written: str) -> None:
    parameters = {"env.a": yaml.safe_load(form)}
    assert texts({"env.a": came}, parameters) == [f"env.a={written}"]
    assert run_parameters({"env.a": came}, parameters).given == {"env.a": came}, "as it came"


def shortened(value: Any) -> Any:
    """Do what JSON may do on the way through W&B: 1.0 comes back as 1."""
    if isinstance(value, dict):
        return {key: shortened(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shortened(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def random_form(rng: random.Random) -> dict[str, Any]:
    number = rng.choice([0.5, 1.0, 3.0, 1e-4, 2, 7, -3.0, 1e22, 2.0**60])
    kind = rng.choice(["uniform", "log_uniform_values", "q_uniform", "value", "values", "ints"])
    if kind == "uniform":
        return {"min": 0.0, "max": rng.choice([1.0, 1e-3, 1e6])}
    if kind == "log_uniform_values":
        return {"distribution": kind, "min": 1e-6, "max": rng.choice([1, 1.0, 1e3])}
    if kind == "q_uniform":
        return {"distribution": kind, "min": 0, "max": 9, "q": rng.choice([0.5, 1.0, 3.0])}
    if kind == "ints":
        return {"min": 1, "max": 9}
    if kind == "value":
        return {"value": rng.choice([number, [number, 1.0], {"k": number}, "1.0", True, None])}
    return {"values": list(dict.fromkeys([number, 4.0, 5, "x"]))}


def test_what_json_takes_from_numbers_comes_back_for_any_sweep() -> None:
    rng = random.Random(9)
    for _ in range(1500):
        forms = {f"env.{name}": random_form(rng) for name in "abcd"}
        config = stored_config({"method": "random", "parameters": forms})
        sampled = next_params(config, [], rng) or {}
        told = json.loads(config_text(config))["parameters"]
        came = run_parameters(shortened(sampled), told)
        assert repr(came.meant()) == repr(sampled), (forms, sampled)
        assert repr(came.given) == repr(shortened(sampled))


FLOATS = {"min": 0.5, "max": 2.0}


@pytest.mark.parametrize(
    ("name", "parameters", "is_companion"),
    [
        pytest.param("env.a_type", {"env.a": FLOATS}, True, id="ours"),
        pytest.param("lr_type", {"lr": FLOATS}, True, id="the ancestor's, of no override"),
        pytest.param("gain_type", {"gain": FLOATS, **SCALED}, True, id="of a factor"),
        pytest.param("env.a_type", {"env.a": {"values": [1, 2]}}, True, id="of integers"),
        pytest.param("env.a_type", {"env.a": {"value": [1, {"b": 2}]}}, True, id="deep numbers"),
        pytest.param("env.a_type", {"env.a": {"values": ["x", "y"]}}, False, id="of words"),
        pytest.param("optim_type", {"optim": {"values": ["x"]}}, False, id="words, no override"),
        pytest.param("env.a_type", {"env.b": FLOATS}, False, id="of nothing"),
        pytest.param("env.a_type", {"env.a": {"parameters": {"b": FLOATS}}}, False, id="of a map"),
        pytest.param("_type", {"": FLOATS}, True, id="of a name that is empty"),
    ],
)
def test_constant_float_beside_numbers_is_a_companion(
    name: str, parameters: dict[str, Any], is_companion: bool
) -> None:
    forms = {**parameters, name: {"value": "float"}}
    assert (type_owner(name, forms) is not None) is is_companion


@pytest.mark.parametrize(
    ("owner", "form", "word", "is_companion"),
    [
        ("env.a", FLOATS, "int", True),
        ("env.a", {"values": [0, 1]}, "bool", True),
        ("env.a", {"values": ["[1]"]}, "json", True),
        ("env.a", {"values": ["x"]}, "str", True),
        ("env.a", FLOATS, "json", False),
        ("env.a", FLOATS, "bool", False),
        ("env.a", {"values": ["x", 1]}, "str", False),
        ("env.a", FLOATS, "scalar", False),
        ("env.a", FLOATS, 1, False),
        ("env.a", FLOATS, None, False),
        ("env.a", FLOATS, ["float"], False),
        ("policy", {"values": ["mlp"]}, "str", False),
        ("policy", {"values": [0, 1]}, "bool", False),
        ("policy", {"values": [2, 3]}, "int", False),
        ("_env.a", FLOATS, "int", False),
    ],
)
def test_word_is_a_companion_where_the_values_are_of_that_type(
    owner: str, form: dict[str, Any], word: Any, is_companion: bool
) -> None:
    forms = {owner: form, owner + "_type": {"value": word}}
    assert (type_owner(owner + "_type", forms) == owner) is is_companion


def test_what_is_searched_is_no_companion() -> None:
    forms = {"env.a": FLOATS, "env.a_type": {"values": ["float", "int"]}}
    given = {"env.a": 1, "env.a_type": "float"}
    assert run_parameters(given, forms).given == given
    assert texts(given, forms) == ["env.a=1.0", "env.a_type=float"]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param({"env.a": 1, "env.a_type": "float"}, ["env.a=1.0"], id="float"),
        pytest.param({"env.a_type": "float", "env.a": 1}, ["env.a=1.0"], id="type comes first"),
        pytest.param(
            {"env.a": [1, {"b": 2}], "env.a_type": "float"}, ["env.a=[1.0,{'b':2.0}]"], id="deep"
        ),
        pytest.param({"env.a": 2.0, "env.a_type": "int"}, ["env.a=2"], id="int"),
        pytest.param({"env.a": 1, "env.a_type": "bool"}, ["env.a=True"], id="bool"),
        pytest.param({"env.a": "[1]", "env.a_type": "json"}, ["env.a=[1]"], id="json"),
        pytest.param(
            {"env.sim.solver": 1, "env.sim.solver_type": "tgs"},
            ["env.sim.solver=1", "env.sim.solver_type=tgs"],
            id="setting that ends in _type",
        ),
        pytest.param({"env.solver_type": "float"}, ["env.solver_type=float"], id="type of nothing"),
    ],
)
def test_companions_are_used_and_never_passed_on(config: Any, expected: list[str]) -> None:
    as_constants = {name: {"value": value} for name, value in config.items()}
    assert texts(config, as_constants) == expected
    assert texts(config, {}) == texts(config, None) == expected, "without the sweep's config"
    kept = {key: value for key, value in config.items() if len(expected) == 2 or key == "env.a"}
    if "env.solver_type" not in config:
        assert run_parameters(config, {}).given == kept


def test_a_companion_works_where_the_run_has_lost_it() -> None:
    parameters = {"env.a": {"values": [1, 2]}, "env.a_type": {"value": "float"}}
    assert texts({"env.a": 1}, parameters) == ["env.a=1.0"]


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"env.a": "{", "env.a_type": "json"}, "parameter env.a: '{' is not of the type json"),
        ({"env.a": 2**53 + 1, "env.a_type": "float"}, "no float is equal"),
        ({"env.a": 10**400, "env.a_type": "float"}, "parameter env.a"),
    ],
)
def test_value_that_is_not_of_its_type_is_an_error_that_names_it(
    config: Any, complaint: str
) -> None:
    with pytest.raises(SweepctlError) as error:
        run_parameters(config, {}).overrides()
    assert complaint in error.value.message


def test_defect_5_of_the_ancestor_types_survive_json() -> None:
    config = {"agent.seed": 3.0, "agent.seed_type": "int", "env.w": 2, "env.w_type": "float"}
    assert texts(config, {}) == ["agent.seed=3", "env.w=2.0"]
    told = {"agent.seed": {"min": 1, "max": 9}, "env.w": {"min": 0.5, "max": 3.0}}
    assert texts({"agent.seed": 3.0, "env.w": 2}, told) == ["agent.seed=3", "env.w=2.0"]
