"""The chains of tests that `make test` keeps in one process: each names tests that there are."""

import re
from pathlib import Path

import pytest

from tests.side_by_side import CHAINS, chain_of

TESTS = Path(__file__).parents[1]


def ids() -> list[str]:
    """Give the ids of all tests, but for their parameters."""
    found = []
    for file in TESTS.glob("*/test_*.py"):
        names = re.findall(r"(?m)^def (test_\w+)", file.read_text())
        found += [f"tests/{file.relative_to(TESTS)}::{name}" for name in names]
    return found


@pytest.mark.parametrize("part", [part for p in CHAINS.values() for part in p.split("|::")])
def test_every_pattern_of_a_chain_matches_tests(part: str) -> None:
    assert [found for found in ids() if re.search(part, found)]


def test_a_chain_has_a_few_tests_and_no_unit_test() -> None:
    chained = [found for found in ids() if chain_of(found)]
    assert not [found for found in chained if found.startswith("tests/unit/")]
    assert len(chained) < len(ids()) / 10
