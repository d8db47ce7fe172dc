"""docs/agent.md against the pod code: its variables, its exit codes, its lines."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import sweepctl_pod
from sweepctl.sweeps.log_lines import RunFilter
from sweepctl.values.settings import chart
from sweepctl_pod.errors import ExitCode
from sweepctl_pod.run.verdict import Ending

POD = Path(sweepctl_pod.__file__).parent
CHART = POD.parents[1]
ROOT = CHART.parents[1]
PAGE = (ROOT / "docs" / "agent.md").read_text("utf-8")
VARIABLE = re.compile(r"SWEEPCTL_[A-Z0-9_]+")
SOURCES = (
    *POD.rglob("*.py"),
    *(CHART / "files").glob("*.sh"),
    *(CHART / "templates").rglob("*.*"),
    *(ROOT / "sweepctl" / "manifest").rglob("*.*"),
)


def cells(heading: str) -> list[list[str]]:
    """Give the rows of the first table below a heading."""
    text = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return rows[2:]


def test_every_variable_that_the_pod_code_and_its_templates_read_is_on_the_page() -> None:
    texts = (file.read_text("utf-8") for file in SOURCES if file.suffix != ".pyc")
    read = {name for text in texts for name in VARIABLE.findall(text)}
    assert read
    assert set(VARIABLE.findall(PAGE)) == read


def test_no_variable_has_two_lines() -> None:
    names = [row[0] for row in cells("Variables of our own")]
    assert len(names) == len(set(names))


def test_the_settings_that_set_a_variable_are_settings_of_the_chart() -> None:
    named = {
        span for row in cells("Variables of our own") for span in re.findall(r"`([^`]+)`", row[1])
    }
    settings = {name for name in named if not name.startswith(("-", "/"))}
    assert {"grammar", "preflight.gpu"} <= settings
    for dotted in settings:
        found: Any = chart().defaults
        for part in dotted.split("."):
            assert part in found or dotted == "resources.requests.cpu", f"{dotted} is no setting"
            found = found.get(part)


def test_every_exit_code_has_its_line() -> None:
    told = {(int(row[0]), row[1]) for row in cells("Exit codes")}
    assert told == {(code.value, code.name) for code in ExitCode}


@cache
def texts_of_the_pod_code() -> str:
    trees = (ast.parse(file.read_text("utf-8")) for file in POD.rglob("*.py"))
    nodes = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return "\n".join(node.value for node in nodes if isinstance(node.value, str))


@pytest.mark.parametrize("line", [row[0].strip("`") for row in cells("What it prints")])
def test_every_line_on_the_page_is_one_that_the_pod_code_writes(line: str) -> None:
    written = texts_of_the_pod_code()
    for part in re.split(r"\b[A-Z]{2,}\b|\bN\b|[:…]", line):
        assert part.strip() in written, f"nothing in sweepctl_pod says {part!r}"


def test_every_ending_of_a_run_is_on_the_page() -> None:
    missing = [ending.value for ending in Ending if f"`{ending.value}`" not in PAGE]
    assert missing == []


def test_logs_know_a_runs_lines_by_those_on_the_page() -> None:
    begins, ends = "run ID starts: COMMAND", "run ID finished: REASON"
    assert f"`{begins}`" in PAGE
    assert f"`{ends}`" in PAGE
    keeps = RunFilter("k93c2z29").keeps
    printed = ["before", f"sweepctl: {begins}", "training", f"sweepctl: {ends}", "after"]
    kept = [line for line in printed if keeps(line.replace(" ID ", " k93c2z29 "))]
    assert kept == printed[1:4]
