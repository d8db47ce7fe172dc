"""Which tests run one after the other in one process when `pytest -n` runs all else side by side.

A chain holds tests that would disturb each other, or whose costly fixture is made once for all.
Its tests are found by their ids: the process that hands tests out has imported none of them.
"""

from __future__ import annotations

import re

import pytest
from xdist.scheduler import LoadScopeScheduling

CHAINS = {
    # Three trainers at a time are as many as two cores and the memory of a small machine bear.
    "real trainers": r"test_(trainer_in_pods|toy_legs|example_settings)\.py|::test_isaac_lab_",
    # torch's launcher listens on one port of the machine, whoever starts it.
    "several processes": r"::test_real_trainer_(in_two|tells_a_typo_in_several)_processes",
    # A bed of its own, from which everything is taken away.
    "disruptions": r"cluster/test_disruptions\.py",
    # Each compares the whole machine before and after.
    "small beds": r"cluster/test_testbed_lifecycle\.py",
    # What is said of a pod that waits depends on how many nodes there are.
    "all nodes": r"::test_(simulated_nodes_|status_says_why_a_pod_|doctor_looks_at_everything)",
    # A fixture of the whole module: images, a wheel, a server, a browser, runs trained before.
    "image routes": r"cluster/test_image_routes\.py",
    "install": r"contract/test_install\.py",
    "chromium": r"contract/test_chromium\.py",
    "page looks": r"contract/test_page_looks\.py",
    "bayes": r"contract/test_bayes\.py",
    "endings": r"contract/test_endings\.py",
    "command forms": r"contract/test_command_forms\.py",
    "override parsers": r"contract/test_override_parsers\.py",
}
"""Name -> what the ids of its tests match."""


class Chains(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """Hands out the chains first, then every other test by itself."""

    def _split_scope(self, nodeid: str) -> str:
        return chain_of(nodeid) or nodeid


def chain_of(nodeid: str) -> str | None:
    """Give the name of the chain that a test is in."""
    found = (name for name, pattern in CHAINS.items() if re.search(pattern, nodeid))
    return next(found, None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Chains | None:
    """Give the scheduler of `--dist loadgroup`; xdist's own groups need an older pytest."""
    return Chains(config, log) if config.getoption("dist") == "loadgroup" else None
