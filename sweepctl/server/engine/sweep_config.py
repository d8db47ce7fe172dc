"""Reads the text of a sweep's configuration, JSON or YAML, within bounds. Pure.

YAML has more ways than one to make a little text endless or huge: aliases, merge keys, numbers of
base 60. Its events are counted before anything is built of them.
"""

from __future__ import annotations

import json
from typing import Any

import yaml

from sweepctl.server import json_texts
from sweepctl.server.bounds import (
    MAX_CONFIG_ALIASES,
    MAX_CONFIG_CHARACTERS,
    MAX_CONFIG_DEPTH,
    MAX_CONFIG_VALUES,
)
from sweepctl_pod.errors import SweepctlError

_MAX_NUMBER = 1_000
_SAFE_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class SweepError(SweepctlError):
    """The sweep cannot be created or changed like this."""


def read_config(text: str) -> Any:
    """Read a sweep's configuration: JSON, or YAML as W&B's client sends it."""
    if len(text) > MAX_CONFIG_CHARACTERS:
        raise SweepError(
            f"the configuration has {len(text)} characters, over {MAX_CONFIG_CHARACTERS}"
        )
    try:
        document = _parsed(text)
        _count_values(document, [MAX_CONFIG_VALUES], MAX_CONFIG_DEPTH)
        # What JSON cannot say, a run's parameters cannot be.
        return json_texts.parsed(json.dumps(document, allow_nan=False))
    except yaml.YAMLError as error:
        raise SweepError(f"the configuration is no YAML: {error}") from error
    except RecursionError as error:
        raise SweepError("the configuration is nested too deeply") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise SweepError(f"the configuration holds what JSON cannot say: {error}") from error


class _Loader(_SAFE_LOADER):  # type: ignore[misc] # which of PyYAML's loaders is known late
    """PyYAML's, with an end to what merge keys copy."""

    def flatten_mapping(self, node: Any) -> None:
        super().flatten_mapping(node)
        if len(node.value) > MAX_CONFIG_VALUES // 10:
            raise _too_many()


def _parsed(text: str) -> Any:
    if text.lstrip().startswith("{"):
        try:
            return json_texts.parsed(text)
        except json_texts.JsonTextError:
            pass
    _check_events(text)
    return yaml.load(text, Loader=_Loader)


def _check_events(text: str) -> None:
    """Refuse YAML that would become too much, by its events alone."""
    values = aliases = depth = 0
    for event in yaml.parse(text, Loader=_SAFE_LOADER):
        if isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
            continue
        if not isinstance(event, yaml.NodeEvent):
            continue
        values += 1
        aliases += isinstance(event, yaml.AliasEvent)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.ScalarEvent) and _is_long_number(event):
            raise SweepError(f"the configuration has a number of {len(event.value)} characters")
        if values > MAX_CONFIG_VALUES:
            raise _too_many()
        if aliases > MAX_CONFIG_ALIASES:
            raise SweepError(f"the configuration has more than {MAX_CONFIG_ALIASES} aliases")
        if depth > MAX_CONFIG_DEPTH:
            raise _too_deep()


def _is_long_number(event: yaml.ScalarEvent) -> bool:
    """Say whether it may be one of base 60 (1:59:59), which takes the square of its length."""
    is_plain = event.style in (None, "")
    return is_plain and len(event.value) > _MAX_NUMBER and event.value[0] in "+-0123456789"


def _count_values(value: Any, left: list[int], depth: int) -> None:
    """Refuse a document that aliases make huge or endless, before it is written out."""
    left[0] -= 1
    if left[0] < 0:
        raise _too_many()
    if depth < 0:
        raise _too_deep()
    if isinstance(value, dict):
        for item in value.values():
            _count_values(item, left, depth - 1)
    elif isinstance(value, list):
        for item in value:
            _count_values(item, left, depth - 1)


def _too_many() -> SweepError:
    return SweepError(f"the configuration has more than {MAX_CONFIG_VALUES} values")


def _too_deep() -> SweepError:
    return SweepError(f"the configuration is nested more than {MAX_CONFIG_DEPTH} deep")
