"""The settings of a Job: the chart's values.yaml, then values files, then --set, then flags.

The chart's own schema checks the result, so helm and sweepctl take the same settings. Every
problem is reported at once, at the place where the setting was made. It renders nothing.
"""

from __future__ import annotations

import copy
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path as FilePath
from typing import Any, Protocol

import yaml

from sweepctl.sweepfile.document import (
    Document,
    Path,
    Unreadable,
    described,
    path_text,
    read_document,
)
from sweepctl.values.api_keys import covered, keys_in_settings, private_texts
from sweepctl.values.problems import Finding, schema_findings
from sweepctl.values.rules import contradictions
from sweepctl.values.set_flags import FLAG, Assignment, assign, parse_set, set_problem
from sweepctl_pod.errors import Problem, SpecError, SweepctlError, UsageError

FLAGS = {
    "agents": "--agents",
    "gpus": "--gpus-per-agent",
    "image": "--image",
    "sweepId": "--sweep",
    "wandb.baseUrl": "--server",
    "server.enabled": "--with-server",
    "seed": "--seed",
}
"""The flag behind each setting that has one: the only table of them."""

# Plain scalars that Helm's YAML takes for truth values or numbers and PyYAML for something else.
_READ_IN_TWO_WAYS = re.compile(
    r"[yYnN]|[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][0-9]+|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
    r"|0o[0-7]+|[-+]?[0-9]+(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"
)


@dataclass(frozen=True, slots=True)
class Chart:
    """The chart's contract: its version, its defaults, its schema."""

    version: str
    app_version: str
    oldest_kubernetes: str
    """The oldest version of Kubernetes that it works on, such as 1.33."""
    defaults: Mapping[str, Any]
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Values:
    """Settings that have passed the chart's schema and contradict each other nowhere."""

    tree: Mapping[str, Any]
    by_flag: frozenset[str] = frozenset()
    """The settings, by dotted place, that flags of their own gave."""

    def at(self, dotted: str) -> Any:
        """Give the setting at a dotted place, such as `wandb.baseUrl`."""
        found: Any = self.tree
        for part in dotted.split("."):
            found = found[part]
        return found

    def with_(self, overrides: Mapping[str, object]) -> Values:
        """Give the same settings with others in their place, by dotted place; checked again."""
        tree = copy.deepcopy(dict(self.tree))
        for dotted, value in overrides.items():
            assign(tree, Assignment(tuple(dotted.split(".")), value, 1, 1), "", 1)
        if problems := _complaints(tree, [_Flags(overrides)]):
            raise _refusal(problems, tree)
        return Values(tree, self.by_flag)


class _Source(Protocol):
    """Where settings come from, and how a complaint about one of them points there."""

    def has(self, path: Path) -> bool:
        """Tell whether the setting at `path` was made here."""
        ...

    def problem(self, finding: Finding) -> Problem:
        """Point to where it was made."""
        ...


def load_values(
    files: Sequence[str] = (),
    sets: Sequence[str] = (),
    *,
    overrides: Mapping[str, object] | None = None,
) -> Values:
    """Read settings as helm does: files in turn, then --set in turn, then `overrides`.

    `overrides` are settings by dotted place that flags of their own gave. Raises SpecError with
    every problem, UsageError where there is no such file; no key or password is in its words.
    """
    try:
        return _load(files, sets, overrides or {})
    except SpecError as refusal:
        raise _refusal(refusal.problems) from None


def _load(files: Sequence[str], sets: Sequence[str], overrides: Mapping[str, object]) -> Values:
    user: dict[str, Any] = {}
    sources: list[_Source] = []
    problems: list[Problem] = []
    for file in files:
        document = _read_file(file)
        if document is not None:
            source = _File(document)
            problems += source.problems()
            sources.append(source)
            if isinstance(document.value, dict):
                user = _merged(user, _without_unreadable(document.value))
    for ordinal, text in enumerate(sets, 1):
        assignments = parse_set(text, ordinal)
        for assignment in assignments:
            assign(user, assignment, text, ordinal)
        sources.append(_Set(text, ordinal, assignments))
    for dotted, value in overrides.items():
        assign(user, Assignment(tuple(dotted.split(".")), value, 1, 1), "", 1)
    sources.append(_Flags(overrides))
    tree = _whole(_coalesced(user, chart().defaults))
    places = {(problem.file, problem.line, problem.column) for problem in problems}
    problems += [
        problem
        for problem in _complaints(tree, sources)
        if (problem.file, problem.line, problem.column) not in places
    ]
    if problems:
        raise _refusal(problems, tree)
    return Values(tree, frozenset(overrides))


def _refusal(problems: Sequence[Problem], tree: Mapping[str, Any] | None = None) -> SpecError:
    """Make the error of these problems, with keys and passwords covered."""
    private = list(private_texts(tree or {}))
    return SpecError([covered(problem, private) for problem in problems])


def flag_settings(given: Mapping[str, object]) -> dict[str, object]:
    """Give the overrides that flags stand for; `given` has each flag's value, if it has one."""
    setting_of = {flag: setting for setting, flag in FLAGS.items()}
    overrides: dict[str, object] = {}
    for flag, value in given.items():
        setting = setting_of[flag]
        if value is not None and value is not False:
            overrides |= image_settings(str(value)) if setting == "image" else {setting: value}
    return overrides


def image_settings(reference: str) -> dict[str, object]:
    """Give the overrides that `--image REFERENCE` stands for."""
    name, _, digest = reference.partition("@")
    head, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        head, tag = name, ""
    if not tag and not digest:
        raise UsageError(
            f"--image {reference} has neither tag nor digest", f"try --image {reference}:3.0.0"
        )
    settings: dict[str, object] = {"image.repository": head, "image.digest": digest}
    return {**settings, "image.tag": tag} if tag else settings


@lru_cache(maxsize=1)
def chart() -> Chart:
    """Read the chart's contract, from the checkout or from the installed package."""
    folder = chart_folder()
    about = yaml.safe_load((folder / "Chart.yaml").read_text("utf-8"))
    defaults = yaml.safe_load((folder / "values.yaml").read_text("utf-8"))
    schema = json.loads((folder / "values.schema.json").read_text("utf-8"))
    oldest = re.fullmatch(r">=(\d+\.\d+)\.0-0", about["kubeVersion"])
    assert oldest is not None
    return Chart(str(about["version"]), str(about["appVersion"]), oldest[1], defaults, schema)


def chart_folder() -> FilePath:
    """Find the chart: beside the package in a checkout, inside it when installed."""
    package = FilePath(__file__).parents[1]
    for folder in (package.parent / "charts" / "isaac-sweep", package / "chart"):
        if (folder / "values.schema.json").is_file():
            return folder
    raise SweepctlError("the chart's files are missing", "install sweepctl again")


class _File:
    def __init__(self, document: Document) -> None:
        self.document = document

    def has(self, path: Path) -> bool:
        return path in self.document.nodes

    def problem(self, finding: Finding) -> Problem:
        hint = finding.hint
        if finding.wants_quotes and (raw := self.document.raw(finding.path)):
            hint = f'write "{raw}" in quotes'
        return self.document.problem(finding.path, finding.message, hint, at_key=finding.at_key)

    def problems(self) -> list[Problem]:
        """List what is wrong with the file itself, before its settings are looked at."""
        found = list(self.document.problems)
        if not isinstance(self.document.value, dict):
            message = f"expected a map of settings, found {described(self.document.value)}"
            found.append(self.document.problem((), message, "write agents: 8, for example"))
        for nodes in (self.document.nodes, self.document.keys):
            for path, node in nodes.items():
                if not isinstance(node, yaml.ScalarNode) or node.style is not None:
                    continue
                if _READ_IN_TWO_WAYS.fullmatch(node.value):
                    message = f"Helm and YAML 1.1 read {node.value} in two ways"
                    hint = f'write "{node.value}" in quotes, or the number in full'
                    at_key = nodes is self.document.keys
                    found.append(self.document.problem(path, message, hint, at_key=at_key))
        return found


class _Set:
    def __init__(self, text: str, ordinal: int, assignments: Sequence[Assignment]) -> None:
        self.text = text
        self.ordinal = ordinal
        self.assignments = assignments

    def has(self, path: Path) -> bool:
        return any(assignment.path[: len(path)] == path for assignment in self.assignments)

    def problem(self, finding: Finding) -> Problem:
        column = 1
        for assignment in self.assignments:
            if assignment.path[: len(finding.path)] == finding.path:
                column = assignment.key_column if finding.at_key else assignment.column
        shown = path_text(finding.path)
        return set_problem(self.text, self.ordinal, column, finding.message, finding.hint, shown)


class _Flags:
    def __init__(self, overrides: Mapping[str, object]) -> None:
        self.overrides = overrides

    def has(self, path: Path) -> bool:
        return self._dotted(path) is not None

    def problem(self, finding: Finding) -> Problem:
        shown = path_text(finding.path)
        dotted = self._dotted(finding.path) or shown
        names = (dotted, dotted.partition(".")[0])
        flag = next((FLAGS[name] for name in names if name in FLAGS), FLAG)
        source = str(self.overrides.get(dotted, ""))
        return Problem(flag, 1, 1, shown, finding.message, finding.hint, source)

    def _dotted(self, path: Path) -> str | None:
        for dotted in self.overrides:
            if tuple(dotted.split("."))[: len(path)] == path:
                return dotted
        return None


def _complaints(tree: dict[str, Any], sources: Sequence[_Source]) -> list[Problem]:
    findings = schema_findings(tree, chart().schema)
    findings = findings or [*keys_in_settings(tree), *contradictions(tree)]
    return [_located(finding, sources) for finding in findings]


def _located(finding: Finding, sources: Sequence[_Source]) -> Problem:
    """Point to the last place that made the setting, or the nearest setting round it."""
    for length in range(len(finding.path), 0, -1):
        for source in reversed(sources):
            if source.has(finding.path[:length]):
                return source.problem(finding)
    return Problem("values.yaml", 1, 1, path_text(finding.path), finding.message, finding.hint)


def _read_file(file: str) -> Document | None:
    """Read a values file, `-` from stdin; None when there is nothing in it but comments."""
    try:
        data = sys.stdin.buffer.read() if file == "-" else FilePath(file).read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(
            f"cannot read the values file {file}: {reason}", "name one with -f FILE"
        ) from None
    if all(
        line.strip() in (b"", b"---") or line.lstrip()[:1] == b"#" for line in data.splitlines()
    ):
        return None
    return read_document("<stdin>" if file == "-" else file, data)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one file's settings over another's: maps are merged, everything else replaced."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        if isinstance(value, dict) and isinstance(under, dict):
            value = _merged(under, value)
        merged[key] = value
    return merged


def _coalesced(user: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Lay the user's settings over the chart's, where null takes a default away, as Helm does."""
    tree = copy.deepcopy({key: value for key, value in defaults.items() if key not in user})
    for key, value in user.items():
        if isinstance(value, dict) and isinstance(defaults.get(key), dict):
            tree[key] = _coalesced(value, defaults[key])
        elif value is not None or key not in defaults:
            tree[key] = value
    return tree


def _without_unreadable(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: part for key, part in value.items() if not isinstance(part, Unreadable)}
        return {key: _without_unreadable(part) for key, part in kept.items()}
    if isinstance(value, list):
        return [_without_unreadable(part) for part in value if not isinstance(part, Unreadable)]
    return value


def _whole(value: Any) -> Any:
    """Give whole numbers as integers: 4.0 in YAML is 4 to Helm."""
    change: Callable[[Any], Any] = _whole
    if isinstance(value, dict):
        return {key: change(part) for key, part in value.items()}
    if isinstance(value, list):
        return [change(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
