"""W&B's own opinion of sweep files: its schema and its client, beside ours.

What we accept, W&B accepts: its schema (wandb/sweeps 0.3.0, config/schema.json) and what its client
does before it sends. Where we refuse what the schema allows, the reason is in the table below.
"""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
import pytest
from wandb.apis.public.sweeps import _validate_config_and_fill_distribution

from sweepctl.sweepfile.load import config_text, load_sweep
from sweepctl_pod.errors import SpecError
from tests.contract.wheels import Wheel, unpacked

SWEEPS = Wheel(
    "sweeps", "0.3.0", "e35fbfa87215000238dd4ee8589fc0fed476e4f792cbe803f65071e52d53a692"
)
STRICTER = {
    "one of min and max is an integer": "W&B's client refuses it, its schema does not",
    "is greater than max": "W&B checks it outside the schema",
    "min and max are both": "W&B checks it outside the schema",
    "the probabilities add up to": "W&B checks it outside the schema",
    "probabilities for": "W&B checks it outside the schema",
    "must be above 0": "the schema takes 0, for which scipy has no beta distribution",
    "bayes needs a metric": "W&B fails at the first run",
    "hyperband needs a metric": "W&B never stops a run",
    "a grid cannot walk through": "W&B fails at the first run",
    "must be 1 or more": "W&B stops nothing then",
}


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft7Validator:
    text = (unpacked(SWEEPS) / "sweeps" / "config" / "schema.json").read_text()
    checker = jsonschema.FormatChecker()
    checker.checks("float")(lambda value: isinstance(value, float))
    checker.checks("integer")(lambda value: isinstance(value, int))
    return jsonschema.Draft7Validator(json.loads(text), format_checker=checker)


def random_number(rng: random.Random) -> Any:
    return rng.choice([0, 1, 2, 5, -1, 0.5, 1.0, 2.5, 1e-4, -0.5, 1e-4, 3, 10])


def random_parameter(rng: random.Random) -> dict[str, Any]:
    """Draw a parameter that is near to some distribution, not always at one."""
    kinds = {
        "uniform": ("min", "max"),
        "int_uniform": ("min", "max"),
        "q_uniform": ("min", "max", "q"),
        "log_uniform": ("min", "max"),
        "q_log_uniform": ("min", "max", "q"),
        "inv_log_uniform": ("min", "max"),
        "log_uniform_values": ("min", "max"),
        "q_log_uniform_values": ("min", "max", "q"),
        "inv_log_uniform_values": ("min", "max"),
        "normal": ("mu", "sigma"),
        "q_normal": ("mu", "sigma", "q"),
        "log_normal": ("mu", "sigma"),
        "q_log_normal": ("mu", "sigma", "q"),
        "beta": ("a", "b"),
        "q_beta": ("a", "b", "q"),
        "constant": ("value",),
        "categorical": ("values",),
        "categorical_w_probabilities": ("values", "probabilities"),
    }
    kind = rng.choice(list(kinds))
    parameter: dict[str, Any] = {}
    if rng.random() < 0.75:
        parameter["distribution"] = kind
    for key in kinds[kind]:
        if rng.random() < 0.95:
            parameter[key] = random_number(rng)
    if "values" in parameter:
        parameter["values"] = rng.sample([1, 2.0, "a", True, None], k=rng.randint(0, 3))
    if "probabilities" in parameter:
        weights = [rng.random() for _ in parameter.get("values", [1])]
        parameter["probabilities"] = [weight / (sum(weights) or 1) for weight in weights]
    if rng.random() < 0.1:
        parameter[rng.choice(["q", "mu", "min", "value", "valeu"])] = random_number(rng)
    return {"parameters": {"x": parameter}} if rng.random() < 0.1 else parameter


def random_sweep(rng: random.Random) -> dict[str, Any]:
    names = ["env.a", "env.b", "lr", "agent.seed"]
    sweep: dict[str, Any] = {
        "method": rng.choice(["random", "random", "random", "grid", "bayes"]),
        "command": ["isaaclab", "train"],
        "parameters": {name: random_parameter(rng) for name in rng.sample(names, k=1)},
    }
    if rng.random() < 0.9:
        sweep["metric"] = rng.choice(
            [{"name": "r", "goal": "maximize"}, {"name": "r"}, {"name": "r", "goal": "minimise"}]
        )
    if rng.random() < 0.2:
        sweep["early_terminate"] = rng.choice(
            [
                {"type": "hyperband", "min_iter": rng.choice([0, 3])},
                {"type": "hyperband", "max_iter": rng.choice([27, 27.0]), "s": 2},
                {"type": "hyperband", "max_iter": 27},
                {"type": "envelope", "min_iter": 3},
                {"type": "hyperband", "min_iter": 3, "eta": rng.choice([1, 2]), "strict": True},
            ]
        )
    if rng.random() < 0.1:
        sweep[rng.choice(["run_cap", "name", "agents"])] = rng.choice([1, 0, 8.0, "x", ""])
    return sweep


def test_what_is_accepted_is_legal_to_wandb_and_what_is_refused_is_not(
    schema: jsonschema.Draft7Validator,
) -> None:
    rng = random.Random(11)
    counts = {"both accept": 0, "both refuse": 0, "stricter": 0}
    for _ in range(1500):
        sweep = random_sweep(rng)
        text = config_text(sweep)
        is_legal = schema.is_valid(sweep)
        try:
            spec = load_sweep("sweep.yaml", text.encode())
        except SpecError as error:
            errors = [problem.message for problem in error.problems if not problem.is_warning]
            unexplained = [e for e in errors if not any(known in e for known in STRICTER)]
            assert not (is_legal and unexplained), (sweep, unexplained)
            counts["stricter" if is_legal else "both refuse"] += 1
            continue
        violations = [violation.message for violation in schema.iter_errors(sweep)]
        assert not violations, (sweep, violations)
        config = spec.to_wandb_config()
        assert schema.is_valid(config)
        assert _validate_config_and_fill_distribution(config) == config
        counts["both accept"] += 1
    assert min(counts.values()) > 100, counts


@pytest.mark.parametrize(
    "rest",
    [
        "method: grid\nparameters: {seed: {values: [7, 8]}}",
        "method: random\nmetric: {name: loss}\nparameters: {lr: {min: 0.1, max: 1.0}}",
        "method: random\nrun_cap: 5.\nparameters: {a: {distribution: log_uniform, min: 1, max: 2}}",
        "method: random\nparameters: {k: {distribution: inv_log_uniform, min: 0.5, max: 3}}",
        "method: random\nparameters: {k: {distribution: log_normal, mu: 0.5}}",
        "method: grid\nname: ''\nparameters: {lr: {values: [5e-4, -2E3, inf]}}",
        "method: random\nparameters: {opt: {parameters: {lr: {min: 0, max: 0.5}}}}",
    ],
)
def test_what_wandb_takes_is_taken_with_a_word_about_what_is_assumed(
    schema: jsonschema.Draft7Validator, rest: str
) -> None:
    spec = load_sweep("sweep.yaml", f"program: train.py\n{rest}\n".encode())
    assert spec.warnings
    schema.validate(spec.to_wandb_config())


def test_scaled_dictionaries_are_stored_as_wandb_takes_them(
    schema: jsonschema.Draft7Validator,
) -> None:
    text = (
        "method: random\nmetric: {name: r, goal: maximize}\ncommand: [isaaclab, train]\n"
        "parameters:\n  g: {min: 0.5, max: 2.0, g_cli_path: {value: env.a},\n"
        "      g_base_dict: {value: {a: 1.0}}}\n  env.b: {min: 0.5, max: 1.0}\n"
    )
    config = load_sweep("sweep.yaml", text.encode()).to_wandb_config()
    schema.validate(config)
    assert _validate_config_and_fill_distribution(config) == config
