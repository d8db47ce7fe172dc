"""Complaints about a document: expectations, YAML's oddities, the nearest right word.

One checker collects every problem of a file; each method that tells whether something holds has
complained when it does not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeGuard

import yaml

from sweepctl.sweepfile.document import (
    Document,
    Path,
    Unreadable,
    as_warning,
    described,
    number_text,
)
from sweepctl_pod.errors import Problem, nearest

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)  # W&B: config/schema.json, propertyNames

# Plain scalars that people mean as numbers and YAML 1.1 takes for text: no dot, no sign, 0o.
_TEXT_NUMBER = re.compile(
    r"[-+]?(?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)[eE][-+]?\d+|0o[0-7]+|[-+]?(?:inf|nan)",
    re.IGNORECASE,
)
_OCTAL = re.compile(r"[-+]?0[0-7_]*[0-7]")
_SHORT = 120


@dataclass(slots=True)
class Checker:
    """Collects what is wrong in a document, each complaint with its place."""

    document: Document
    problems: list[Problem] = field(default_factory=list)
    _errors: set[tuple[int, int]] = field(default_factory=set)
    """The places of errors."""
    _meant: dict[Path, str] = field(default_factory=dict)
    """The keys that misspelt ones were probably meant to be, with what stands there."""

    def add(self, problem: Problem) -> None:
        """Take a complaint in."""
        self.problems.append(problem)
        if not problem.is_warning:
            self._errors.add((problem.line, problem.column))

    def error(
        self,
        path: Path,
        message: str,
        hint: str | None = None,
        *,
        at_key: bool = False,
        offset: tuple[int, int] | None = None,
    ) -> None:
        """Complain about what is at `path` (at its key, or at a place inside its text)."""
        self.add(self.document.problem(path, message, hint, at_key=at_key, offset=offset))

    def warn(
        self, path: Path, message: str, hint: str | None = None, *, at_key: bool = False
    ) -> None:
        """Complain about something legal that is probably not meant."""
        self.add(as_warning(self.document.problem(path, message, hint, at_key=at_key)))

    def expected(self, value: object, path: Path, what: str, hint: str | None = None) -> None:
        """Complain that `value` is not `what`, unless it was complained about already."""
        if isinstance(value, Unreadable):
            return
        problem = self.document.problem(path, f"expected {what}, found {described(value)}", hint)
        if (problem.line, problem.column) not in self._errors:
            self.add(problem)

    def mapping(self, value: object, path: Path, hint: str) -> TypeGuard[dict[str, object]]:
        """Tell whether `value` is a map; complain if not."""
        if not isinstance(value, dict):
            self.expected(value, path, "a map", hint)
        return isinstance(value, dict)

    def text(self, value: object, path: Path) -> TypeGuard[str]:
        """Tell whether `value` is a text that is not empty; complain if not."""
        if isinstance(value, str) and value.strip():
            return True
        raw = self.document.raw(path)
        hint = f"write '{raw}' in quotes" if raw and value is not None else None
        self.expected(value, path, "a text", hint)
        return False

    def number(self, value: object, path: Path) -> TypeGuard[float]:
        """Tell whether `value` is a number; complain if not, and about YAML's oddities."""
        return self._number(value, path, "a number")

    def integer(self, value: object, path: Path) -> TypeGuard[int]:
        """Tell whether `value` is an integer; complain if not."""
        if not self._number(value, path, "an integer"):
            return False
        if isinstance(value, int):
            return True
        hint = f"write {int(value)}" if value == int(value) else None
        self.expected(value, path, "an integer", hint)
        return False

    def whole(self, value: object, path: Path) -> TypeGuard[float]:
        """Tell whether `value` is a whole number: W&B's schema takes 10.0 for 10."""
        if isinstance(value, float) and value.is_integer():
            self.warn(path, f"{number_text(value)} is taken as {int(value)}", f"write {int(value)}")
            return True
        return self.integer(value, path)

    def choice(self, value: object, path: Path, options: Collection[str]) -> bool:
        """Tell whether `value` is one of `options`; complain with the nearest if not."""
        if isinstance(value, str) and value in options:
            return True
        near = nearest(value.lower(), options) if isinstance(value, str) else None
        hint = f"did you mean {near}?" if near else None
        if len(options) <= 6:
            self.expected(value, path, one_of(options), hint)
        else:
            self.expected(value, path, f"a known {path[-1]}", hint or f"write {one_of(options)}")
        return False

    def missing(
        self, path: Path, key: str, hint: str, *, message: str | None = None, at_key: bool = True
    ) -> None:
        """Complain that the map at `path` lacks `key`, unless it is there but misspelt."""
        if (*path, key) not in self._meant:
            self.error(path, message or f"{key} is missing", hint, at_key=at_key)

    def misspelt(self, path: Path, key: str) -> str | None:
        """Give what stands for `key` in the map at `path`, if it was complained about."""
        return self._meant.get((*path, key))

    def has_misspelt(self, path: Path) -> bool:
        """Tell whether the map at `path` has a key that was complained about as misspelt."""
        return any(meant[:-1] == path for meant in self._meant)

    def known_keys(
        self,
        value: Mapping[str, object],
        path: Path,
        known: Collection[str],
        synonyms: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Complain about every key of a map that is not known, with what is probably meant.

        `synonyms` are keys of other tools, with ours for the same.
        """
        for key in value:
            if key not in known:
                free = [name for name in known if name not in value] or known
                near = synonyms.get(key) or nearest(key, free) or nearest(key.lower(), free)
                if near:
                    self._meant.setdefault((*path, near), key)
                hint = f"did you mean {near}?" if near else f"the keys here are {listed(known)}"
                self.error((*path, key), f"unknown key {key!r}", hint, at_key=True)

    def parameter(self, value: object, path: Path, name: str) -> TypeGuard[dict[str, object]]:
        """Tell whether a parameter has a name that W&B takes and is a map; complain if not."""
        if not is_parameter_name(name):
            self.error(
                path,
                f"{name!r} is no name of a parameter",
                "use letters, digits, _ . and -, and begin with a letter or _",
                at_key=True,
            )
        if isinstance(value, list):
            hint = f"write {short_text({'values': value}) or '{values: [...]}'}"
        elif isinstance(value, (str, int, float)):
            hint = f"write {{value: {self.document.raw(path)}}}"
        else:
            hint = "write {value: …}, {values: […]} or {min: …, max: …} below it"
        return self.mapping(value, path, hint)

    def oddities(self, value: object, path: Path, passed_by: str | None = None) -> None:
        """Complain where YAML 1.1 makes something else of a scalar than what most people read.

        A text that looks like a number is legal where something passes it on as it stands.
        """
        raw = self.document.raw(path)
        if not self.document.is_plain(path):
            return
        if isinstance(value, str) and _TEXT_NUMBER.fullmatch(raw):
            hint = self._number_hint(raw, path)
            message = f"{raw} is the string '{raw}' to YAML 1.1, not a number"
            if passed_by is None:
                self.error(path, message, hint)
            else:
                fine = "fine where the trainer makes a number of it, as argparse does"
                meant = hint.partition(" (")[0] if hint and hint.startswith("write ") else None
                self.warn(
                    path,
                    f"{message}; {passed_by} gives the trainer the text",
                    f"{fine}; else {meant}" if meant else fine,
                )
        elif isinstance(value, bool):
            if raw.lower() not in ("true", "false"):
                self.warn(
                    path,
                    f"YAML 1.1 reads {raw} as {str(value).lower()}",
                    f"write {str(value).lower()}, or '{raw}' if the word is meant",
                )
        elif isinstance(value, int) and _OCTAL.fullmatch(raw):
            self.warn(
                path,
                f"YAML 1.1 reads {raw} as an octal number: {value}",
                f"write {value}, or '{raw}' if the text is meant",
            )
        elif isinstance(value, (int, float)) and ":" in raw:
            self.warn(
                path,
                f"YAML 1.1 reads {raw} in base 60: {number_text(value)}",
                f"write '{raw}' if the text is meant",
            )

    def value(self, value: object, path: Path, passed_by: str | None = None) -> None:
        """Complain about YAML's oddities anywhere in a parameter's value."""
        if isinstance(value, dict):
            for key, item in value.items():
                self.value(item, (*path, key), passed_by)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                self.value(item, (*path, index), passed_by)
        else:
            self.oddities(value, path, passed_by)

    def _number(self, value: object, path: Path, what: str) -> TypeGuard[float]:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            self.oddities(value, path)
            return True
        hint = self._number_hint(value, path) if isinstance(value, str) else None
        self.expected(value, path, what, hint)
        return False

    def _number_hint(self, value: str, path: Path) -> str | None:
        try:
            number = int(value, 8) if value.lower().startswith("0o") else float(value)
        except ValueError:
            return None
        if not math.isfinite(number):
            return "JSON has no such number; choose a finite one"
        if self.document.is_plain(path):
            spelled = str(number) if isinstance(number, int) else _spelled(value)
            return f"write {spelled} (YAML 1.1 reads {value} as text)"
        return f"remove the quotes: {value if value.isdecimal() else number_text(number)}"


def is_parameter_name(name: str) -> bool:
    """Tell whether W&B takes `name` for a parameter."""
    return _NAME.fullmatch(name) is not None


def short_text(value: object) -> str | None:
    """Write a value as YAML to paste; nothing when it is too long for a hint."""
    text = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=math.inf
    ).strip()
    return text if len(text) <= _SHORT and "\n" not in text else None


def one_of(options: Collection[str]) -> str:
    """Write the options for "expected …"."""
    return f"one of {listed(options, 'or')}" if len(options) > 2 else listed(options, "or")


def listed(words: Collection[str], joint: str = "and") -> str:
    """Join words as people do: a, b and c."""
    *most, last = words
    return f"{', '.join(most)} {joint} {last}" if most else last


def _spelled(raw: str) -> str:
    """Spell a number that YAML 1.1 takes for text so that it does not: 1e-4 is 1.0e-4."""
    mantissa, _, exponent = raw.replace("_", "").lower().partition("e")
    whole, _, fraction = mantissa.partition(".")
    whole = whole + "0" if whole in ("", "+", "-") else whole
    sign = "" if exponent.startswith(("+", "-")) else "+"
    return f"{whole}.{fraction or '0'}e{sign}{exponent}"
