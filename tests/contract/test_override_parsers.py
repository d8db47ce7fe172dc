"""What sweepctl writes is what the trainer reads: proved by the trainers' own parsers."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from sweepctl_pod.overrides import (
    Grammar,
    InexpressibleError,
    Override,
    inexpressible_key,
    inexpressible_path,
    overrides_from_config,
)
from tests.contract.isaaclab_parsers import ISAACLAB_2, ISAACLAB_3, Parser
from tests.contract.override_values import (
    chunks,
    hydra_value,
    random_key,
    random_scaled,
    random_value,
    same,
)

COUNT = 2000
HYDRA = OverridesParser.create()
PATH = "env.slots.value"


@pytest.fixture(scope="module")
def isaaclab_3() -> Iterator[Parser]:
    parser = Parser(ISAACLAB_3)
    yield parser
    parser.close()


@pytest.fixture(scope="module")
def isaaclab_2() -> Iterator[Parser]:
    parser = Parser(ISAACLAB_2)
    yield parser
    parser.close()


def drawn(seed: int) -> list[Override]:
    rng = random.Random(seed)
    values = [Override(PATH, random_value(rng), "value") for _ in range(COUNT)]
    return values + [random_scaled(rng)[0] for _ in range(COUNT // 4)]


def written(overrides: list[Override], grammar: Grammar) -> list[tuple[Override, str]]:
    kept = []
    for override in overrides:
        with contextlib.suppress(InexpressibleError):
            kept.append((override, override.text(grammar).partition("=")[2]))
    assert len(kept) > len(overrides) / 2, "most values can be written"
    return kept


def test_hydra_reads_back_every_value_bit_by_bit() -> None:
    for override, text in written(drawn(1), Grammar.HYDRA):
        got = hydra_value(HYDRA, OmegaConf, f"{PATH}={text}")
        assert same(override.value, got, tuples_are_lists=True), (override.value, text, got)


def test_isaaclab_3_reads_back_every_value_bit_by_bit(isaaclab_3: Parser) -> None:
    kept = written(drawn(2), Grammar.LITERAL)
    for (override, text), got in zip(
        kept, isaaclab_3.parse_values([text for _, text in kept]), strict=True
    ):
        assert same(override.value, got), (override.value, text, got)


def test_isaaclab_3_sets_every_value_in_its_task(isaaclab_3: Parser) -> None:
    kept = written(drawn(3), Grammar.LITERAL)
    for batch in chunks(kept, 500):
        overrides = [f"env.slots.s{i}={text}" for i, (_, text) in enumerate(batch)]
        slots = isaaclab_3.resolve(overrides, {f"s{i}": None for i in range(len(batch))})
        assert isinstance(slots, dict), slots
        for i, (override, text) in enumerate(batch):
            assert same(override.value, slots[f"s{i}"]), (override.value, text)


def test_isaaclab_2_sets_every_value_in_its_task(isaaclab_2: Parser) -> None:
    """Isaac Lab 2.x checks types: each slot begins with a value of the right type."""
    kept = [
        (override, text)
        for override, text in written(drawn(4), Grammar.HYDRA)
        if not has_map_in_list(override.value) and "slice(" not in text
    ][:600]
    for batch in chunks(kept, 100):
        defaults = {f"s{i}": other_value(o.value) for i, (o, _) in enumerate(batch)}
        overrides = [f"env.slots.s{i}={text}" for i, (_, text) in enumerate(batch)]
        slots = isaaclab_2.resolve(overrides, defaults)
        assert isinstance(slots, dict), slots
        for i, (override, text) in enumerate(batch):
            got = slots[f"s{i}"]
            assert same(override.value, got, tuples_are_lists=True), (override.value, text, got)


def has_map_in_list(value: Any, in_list: bool = False) -> bool:
    """Isaac Lab 2.x updates maps in lists item by item, which no slot here is made for."""
    if isinstance(value, dict):
        return in_list or any(has_map_in_list(item) for item in value.values())
    return isinstance(value, (list, tuple)) and any(has_map_in_list(item, True) for item in value)


def other_value(value: Any) -> Any:
    """Give another value of the same type."""
    if isinstance(value, dict):
        return {key: other_value(item) for key, item in value.items()}
    if isinstance(value, bool):
        return not value
    return value if value is None else type(value)()


def test_isaaclab_2_makes_a_tuple_of_a_list_where_the_default_is_one(isaaclab_2: Parser) -> None:
    text = Override(PATH, (0.5, 1.0), "value").text(Grammar.HYDRA)
    assert text == "env.slots.value=[0.5,1.0]"
    assert isaaclab_2.resolve([text], {"value": (-0.1, 0.1)}) == {"value": (0.5, 1.0)}


def test_scaled_dictionary_merges_in_isaaclab_2_and_replaces_in_isaaclab_3(
    isaaclab_2: Parser, isaaclab_3: Parser
) -> None:
    config = {
        "gain": 1.5,
        "gain_cli_path": "env.slots.stiffness",
        "gain_base_dict": '{".*_hip": 100.0}',
    }
    (override,) = overrides_from_config(config)
    before = {"stiffness": {".*_hip": 1.0, ".*_knee": 200.0}}
    merged = isaaclab_2.resolve([override.text(Grammar.HYDRA)], before)
    assert merged == {"stiffness": {".*_hip": 150.0, ".*_knee": 200.0}}
    replaced = isaaclab_3.resolve([override.text(Grammar.LITERAL)], before)
    assert replaced == {"stiffness": {".*_hip": 150.0}}


GAINS = {"d": {"hip": 1.0, "knee": 2.0}}
BOTH = {"hip": 3.0, "knee": 4.0}


@pytest.mark.parametrize(
    ("asked", "in_3", "in_2"),
    [
        # What comes last wins: a whole and its part are never both what was asked for.
        ([("d.hip", 9.0), ("d", BOTH)], BOTH, BOTH),
        ([("d", BOTH), ("d.hip", 9.0)], {**BOTH, "hip": 9.0}, {**BOTH, "hip": 9.0}),
        # A part that the whole lacks: Isaac Lab 3 replaces maps, Hydra merges them.
        ([("d.hip", 9.0), ("d", {"knee": 4.0})], {"knee": 4.0}, {"hip": 9.0, "knee": 4.0}),
        ([("d", {}), ("d.hip", 9.0)], {"hip": 9.0}, {"hip": 9.0, "knee": 2.0}),
        ([("d", {})], {}, GAINS["d"]),
        # Isaac Lab 3 leaves what has a plus to Hydra, after all that it reads itself.
        ([("++d.hip", 9.0), ("d.hip", 5.0)], {"hip": 9.0, "knee": 2.0}, {"hip": 5.0, "knee": 2.0}),
        ([("d.hip", 5.0), ("d.hip", 6.0)], {"hip": 6.0, "knee": 2.0}, {"hip": 6.0, "knee": 2.0}),
    ],
)
def test_of_two_overrides_that_overlap_the_last_wins(
    isaaclab_3: Parser, isaaclab_2: Parser, asked: list[tuple[str, Any]], in_3: Any, in_2: Any
) -> None:
    for parser, grammar, result in (
        (isaaclab_3, Grammar.LITERAL, in_3),
        (isaaclab_2, Grammar.HYDRA, in_2),
    ):
        texts = []
        for path, value in asked:
            plus = path[: len(path) - len(path.lstrip("+"))]
            override = Override(f"{plus}env.slots.{path.lstrip('+')}", value, "value")
            texts.append(override.text(grammar))
        assert parser.resolve(texts, GAINS) == {"d": result}


def test_path_through_a_list_is_hydras_alone(isaaclab_3: Parser, isaaclab_2: Parser) -> None:
    terms = {"terms": [{"scale": 1.0}, {"scale": 2.0}], "sizes": [1, 2]}
    asked = ["env.slots.terms.0.scale=0.5", "env.slots.sizes.1=9"]
    changed = {"terms": [{"scale": 0.5}, {"scale": 2.0}], "sizes": [1, 9]}
    assert isaaclab_2.resolve(asked, terms) == changed
    assert isaaclab_3.resolve([f"++{text}" for text in asked], terms) == changed
    for text in asked:
        assert "has no attribute" in str(isaaclab_3.resolve([text], terms))


def test_path_with_pluses_reaches_isaaclab_3_through_real_hydra(isaaclab_3: Parser) -> None:
    override = Override("++env.slots.stiffness", {".*_thigh:0": 1.5}, "gain")
    text = override.text(Grammar.LITERAL)
    assert text == r"++env.slots.stiffness={.*_thigh\:0:1.5}"
    slots = isaaclab_3.resolve([text], {"stiffness": {".*_thigh:0": 1.0, "knee": 2.0}})
    assert slots == {"stiffness": {".*_thigh:0": 1.5, "knee": 2.0}}


def test_word_chooses_a_preset_of_isaaclab_3(isaaclab_3: Parser) -> None:
    """A preset's name must stand without quotes: so do all words."""
    assert isaaclab_3.backend([]) == "chose the default"
    chosen = Override("env.backend", "newton", "backend").text(Grammar.LITERAL)
    assert isaaclab_3.backend([chosen]) == "chose newton"
    assert "Unknown preset" in isaaclab_3.backend(["env.backend='newton'"])


def test_key_that_is_refused_cannot_be_written_for_hydra_in_any_way() -> None:
    rng = random.Random(5)
    refused = {
        key
        for key in (random_key(rng) for _ in range(4000))
        if inexpressible_key(key, Grammar.HYDRA)
    }
    assert len(refused) > 100
    for key in refused - {""}:
        escaped = "".join("\\" + c if c in "\\()[]{}:=, \t" else c for c in key)
        for spelling in (key, escaped, f"'{key}'", f'"{key}"'):
            try:
                got = HYDRA.parse_override(f"k={{{spelling}:1}}").value()
            except Exception:  # the parser has several
                continue
            assert got != {key: 1}, f"{key!r} could have been written as {spelling}"


@pytest.mark.parametrize(
    "path",
    [
        *("env.scene.num_envs", "agent.a-b.c_1", "env.list.0.weight", "hydra.run.dir", "++env.x"),
        *("env.a..b", "env.a b", "env.a=b", "env.", ".a", "", "env.é", "env.01", "env.-a", "a@b"),
        *("env.K.*_hip", "~env.a", "env.a:0", "env.x+", "+++env.x", "env.a\n", "env.1a"),
    ],
)
def test_path_is_accepted_only_if_hydra_takes_it_whole(path: str) -> None:
    if inexpressible_path(path):
        return
    parsed = HYDRA.parse_override(f"{path}=1")
    assert parsed.key_or_group == path.lstrip("+")
    assert parsed.package is None
    assert parsed.value() == 1
