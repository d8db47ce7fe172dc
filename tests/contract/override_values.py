"""Random values such as overrides carry, exact comparison, and the ancestor's formatting.

Shared by the contract tests and benchmarks/overrides.py.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterator
from typing import Any

from sweepctl_pod.overrides import PATH_SUFFIX, TABLE_SUFFIX, Override, overrides_from_config

_NASTY = list("abAB019_.*+?|$%@/-()[]{}:=, \\'\"^#~!;&<>`\t\n\r\0\x7f\x85\xa0é漢\u2028\U0001f916")
_WORDS = (
    *(
        "true",
        "False",
        "NULL",
        "None",
        "inf",
        "-inf",
        "nan",
        "NaN",
        "1",
        "-1",
        "0.5",
        "1e5",
        "1e-5",
    ),
    *("0x10", "0o7", "1_000", "007", "1:30", "on", "yes", "off", "", " ", "???", "${env.x}", "$x"),
    *("\\${x}", "\\\\${x}", "a,b", "[1,2]", "{a:1}", "(1,)", "'quoted'", '"', "'", "\\", "\\\\'"),
    *(
        "cuda:0",
        "newton_mjwarp",
        "a b",
        "k=v",
        "choice(1,2)",
        "slices(1)",
        "lambda",
        "b'x'",
        "f'{x}'",
    ),
    *(
        "isaaclab.envs.mdp:reset",
        "/tmp/a b/c.usd",
        "omniverse://x/y.usd",
        "1+1j",
        "__import__('os')",
    ),
)
_INTEGERS = (
    0,
    1,
    -1,
    42,
    2**31,
    -(2**63),
    2**63,
    2**64 + 1,
    10**30,
    -(10**300),
    10**4200,
)
_FLOATS = (
    *(0.0, -0.0, 1.0, 0.1, 1e-4, 1e-5, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308),
    *(1e16, 1e22, 123456789012345680.0, 0.30000000000000004, float("inf"), float("-inf")),
    *(float("nan"),),
)
_JOINTS = ("hip_yaw", "hip_roll", "knee", "ankle", "waist", "shoulder", "thigh:0", "arm joint")
_SIDES = (".*_", "(left|right)_", "[lr]_", "", "^", "L.+", "(?i)", "(?!toe)", "\\w+_", "x{1,2}")
_ENDS = ("_joint", ".*", "", "$", "_\\d", "_[0-9]+", "(_a|_b)?", "é")


def random_value(rng: random.Random, depth: int = 0) -> Any:
    """Draw a value of any type, special cases often."""
    draw = rng.random()
    if depth < 3 and draw < 0.2:
        return _container(rng, depth)
    if draw < 0.55:
        return random_float(rng)
    if draw < 0.68:
        return rng.choice(_INTEGERS) if rng.random() < 0.2 else rng.randint(-10_000, 10_000)
    if draw < 0.74:
        return rng.random() < 0.5
    return None if draw < 0.77 else random_text(rng)


def random_float(rng: random.Random) -> float:
    """Draw a float: any bit pattern, one near 1, one of many decades, a special one."""
    draw = rng.random()
    if draw < 0.25:
        return float(struct.unpack("<d", rng.randbytes(8))[0])
    if draw < 0.5:
        return rng.uniform(0.1, 10)
    if draw < 0.7:
        return float(10.0 ** rng.uniform(-12, 12))
    if draw < 0.9:
        return round(rng.uniform(-1000, 1000), rng.randint(0, 4))
    return rng.choice(_FLOATS)


def random_text(rng: random.Random) -> str:
    """Draw a string that a grammar may trip over."""
    if rng.random() < 0.3:
        return rng.choice(_WORDS)
    letters = "\\${}'a " if rng.random() < 0.3 else _NASTY
    return "".join(rng.choice(letters) for _ in range(rng.randint(0, 12)))


def _container(rng: random.Random, depth: int) -> Any:
    items = [random_value(rng, depth + 1) for _ in range(rng.randint(0, 4))]
    kind = rng.random()
    if kind < 0.45:
        return items
    if kind < 0.6:
        return tuple(items)
    return {random_key(rng): item for item in items}


def random_key(rng: random.Random) -> str:
    """Draw a dictionary key: mostly a joint expression, sometimes anything."""
    if rng.random() < 0.2:
        return random_text(rng)
    return rng.choice(_SIDES) + rng.choice(_JOINTS) + rng.choice(_ENDS)


def random_scaled(rng: random.Random) -> tuple[Override, dict[str, float]]:
    """Draw a scaled dictionary in its stored form; give its override and factor times table."""
    table = {random_key(rng): abs(random_float(rng)) % 1e6 for _ in range(rng.randint(1, 8))}
    table = {key: number if number == number else 1.0 for key, number in table.items()}
    factor = rng.uniform(0.1, 4.0)
    config = {
        "gain": json.loads(json.dumps(factor)),
        "gain" + PATH_SUFFIX: "env.slots.gain",
        "gain" + TABLE_SUFFIX: json.dumps(table),
    }
    (override,) = overrides_from_config(config)
    return override, {key: factor * number for key, number in table.items()}


def same(one: Any, other: Any, *, tuples_are_lists: bool = False) -> bool:
    """Tell whether two values are equal in type, order and every bit."""
    if tuples_are_lists:
        one, other = (list(v) if isinstance(v, tuple) else v for v in (one, other))
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return struct.pack("<d", one) == struct.pack("<d", other) or one != one != other != other
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(
            same(a, b, tuples_are_lists=tuples_are_lists) for a, b in zip(one, other, strict=True)
        )
    if isinstance(one, dict):
        return list(one) == list(other) and all(
            same(one[key], other[key], tuples_are_lists=tuples_are_lists) for key in one
        )
    return bool(one == other)


def ancestor_text(path: str, value: Any, is_scaled: bool) -> str:
    """Write an override as WBC-AGILE's train_wrapper.py does (commit db4be41)."""
    if is_scaled:
        return f"{path}={{{','.join(f'{k}:{v:.6f}' for k, v in value.items())}}}"
    if isinstance(value, float):
        return f"{path}={value:.1f}"
    return f"{path}={value}"


def hydra_value(parser: Any, omega_conf: Any, text: str) -> Any:
    """Read an override as Hydra does, interpolations and escapes resolved by OmegaConf."""
    config = omega_conf.create({"value": parser.parse_override(text).value()})
    return omega_conf.to_container(config, resolve=True)["value"]


def chunks(items: list[Any], size: int) -> Iterator[list[Any]]:
    """Cut a list into pieces."""
    return (items[start : start + size] for start in range(0, len(items), size))
