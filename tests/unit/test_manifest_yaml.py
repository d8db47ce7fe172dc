"""Objects as YAML text: every text comes back as it was, whoever reads it."""

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sweepctl.manifest.hash import canonical_json
from sweepctl.manifest.yaml_text import scalar_json, yaml_text
from sweepctl_pod.errors import SweepctlError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
# YAML reads no key of more than 1024 characters, and one here may be written as ten: \\U0001f916.
KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=100)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
    max_leaves=10,
)
LOADERS = [yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)]


@given(VALUES)
def test_a_value_in_a_template_comes_back_as_it_was(value: object) -> None:
    text = f"a:\n  - {scalar_json(value)}\n"
    if not _has_odd_float(value):
        assert [yaml.load(text, loader) for loader in LOADERS] == [{"a": [value]}] * 2


@given(st.dictionaries(KEYS, TEXTS | st.lists(TEXTS), min_size=1))
def test_an_object_as_text_comes_back_as_it_was(piece: dict[str, object]) -> None:
    text = yaml_text([piece, piece])
    assert [list(yaml.load_all(text, loader)) for loader in LOADERS] == [[piece, piece]] * 2


@given(VALUES)
def test_canonical_json_is_json_of_the_same_value_as_helm_reads_numbers(value: object) -> None:
    if not _has_odd_float(value):
        assert json.loads(canonical_json(value), parse_int=float) == _with_float64(value)


def _with_float64(value: object) -> object:
    """Give the value as Helm has it, to which every number is a float64."""
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, list):
        return [_with_float64(item) for item in value]
    if isinstance(value, dict):
        return {key: _with_float64(item) for key, item in value.items()}
    return value


@pytest.mark.parametrize(
    "text",
    [
        *("1e3", "0o17", "12:30", "1_000", "3.10", "0x1F", ".5", "+1", "2026-01-01", "", "-", "'"),
        *("y", "N", "off", "True", "null", "~", "- a", "a: b", "a #b", "*a", "!a", " a", "a "),
    ],
)
def test_what_some_reader_takes_for_something_else_is_quoted(text: str) -> None:
    written = yaml_text([{"a": text}])
    assert written == f"---\na: {json.dumps(text)}\n"


@pytest.mark.parametrize("text", ["legs", "team/legs", "Indexed", "nvcr.io/nvidia/a:tag", "/work"])
def test_plain_words_stay_plain(text: str) -> None:
    assert yaml_text([{"a": text}]) == f"---\na: {text}\n"


def test_many_lines_are_written_as_they_are() -> None:
    assert yaml_text([{"a": "x = 1\n\n  y = '2'\n"}]) == "---\na: |\n  x = 1\n\n    y = '2'\n"


def test_half_a_character_is_refused() -> None:
    with pytest.raises(SweepctlError, match="half a character"):
        scalar_json("\ud800")


def _has_odd_float(value: object) -> bool:
    """Tell of floats that JSON lacks, or whose exponent YAML 1.1 takes for text."""
    if isinstance(value, float):
        return "e" in repr(value) or value in (float("inf"), float("-inf"))
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(_has_odd_float(part) for part in inner)
