"""W&B's filters and orders of runs and sweeps, turned into SQL conditions. Pure.

The filters are MongoDB's language as far as W&B's client speaks it
(https://docs.wandb.ai/ref/python/public-api/api#method-apiruns). An unknown field or operator is
refused: to ignore a filter silently would give wrong runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sweepctl.server.bounds import MAX_CONDITION_DEPTH, MAX_CONDITIONS, MAX_PATTERN_CHARACTERS
from sweepctl.server.json_texts import JsonTextError, checked, parsed
from sweepctl.server.store.api_forms import iso_time
from sweepctl_pod.errors import SweepctlError

Argument = str | int | float | None


class FilterError(SweepctlError):
    """The filter or the order cannot be understood."""


@dataclass(frozen=True, slots=True)
class Sql:
    """A piece of SQL with the values for its marks."""

    text: str
    arguments: tuple[Argument, ...] = ()


Field = Callable[[str], "Sql | None"]

TRUE = Sql("1")

NONE = Sql("0")

OLDEST_FIRST = Sql("runs.pk")

_INFINITE = (float("inf"), float("-inf"))
_MAX_PATH = 1_000
_MAX_ORDERS = 10

_COMPARISONS = {"$eq": "IS", "$ne": "IS NOT", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}

_DURATION = (
    "coalesce((SELECT value FROM summary_values WHERE run = runs.pk AND key = '_runtime'"
    " AND typeof(value) IN ('integer', 'real')), max(0.0, runs.heartbeat - runs.created))"
)
"""The trainer's own figure; a run that never logged lasted until it was last heard of."""

_RUN_COLUMNS = {
    "id": "runs.id",
    "name": "runs.id",
    "display_name": "runs.display_name",
    "displayName": "runs.display_name",
    "state": "runs.state",
    "sweep": "(SELECT sweeps.id FROM sweeps WHERE sweeps.pk = runs.sweep)",
    "sweepName": "(SELECT sweeps.id FROM sweeps WHERE sweeps.pk = runs.sweep)",
    "group": "runs.group_name",
    "jobType": "runs.job_type",
    "job_type": "runs.job_type",
    "host": "runs.host",
    "notes": "runs.notes",
    "tags": "runs.tags",
    "exitcode": "runs.exit_code",
    "exitCode": "runs.exit_code",
    "program": "runs.program",
    "commit": "runs.commit_hash",
    "description": "runs.description",
    "username": "runs.user_name",
    "user": "runs.user_name",
    "duration": _DURATION,
    "created_at": "iso_time(runs.created)",
    "createdAt": "iso_time(runs.created)",
    "updated_at": "iso_time(runs.updated)",
    "updatedAt": "iso_time(runs.updated)",
    "heartbeat_at": "iso_time(runs.heartbeat)",
    "heartbeatAt": "iso_time(runs.heartbeat)",
}

_TAGS = Sql("runs.tags")
_SWEEP_ID = Sql(_RUN_COLUMNS["sweep"])

_RUN_ORDERS = {
    "created_at": "runs.pk",
    "createdAt": "runs.pk",
    "updated_at": "runs.updated",
    "updatedAt": "runs.updated",
    "heartbeat_at": "runs.heartbeat",
    "heartbeatAt": "runs.heartbeat",
}

_SWEEP_COLUMNS = {
    "id": "sweeps.id",
    "name": "sweeps.id",
    "display_name": "sweeps.display_name",
    "displayName": "sweeps.display_name",
    "description": "sweeps.description",
    "state": "sweeps.state",
    "method": "sweeps.method",
    "created_at": "iso_time(sweeps.created)",
    "createdAt": "iso_time(sweeps.created)",
}


def run_filter(text: object) -> Sql:
    """Turn the filters of a `runs` field into a condition on the table `runs`."""
    return filter_by(text, _run_field)


def sweep_filter(text: object) -> Sql:
    """Turn the filters of a `sweeps` field into a condition on the table `sweeps`."""
    return filter_by(text, lambda name: _column(_SWEEP_COLUMNS, name))


def run_order(text: str | None) -> Sql:
    """Turn "+created_at" or "-summary_metrics.loss" into an ORDER BY; runs without it come last."""
    if not text:
        return OLDEST_FIRST
    parts: list[str] = []
    arguments: list[Argument] = []
    items = text.split(",")
    if len(items) > _MAX_ORDERS:
        raise FilterError(f"runs are ordered by {len(items)} fields, over {_MAX_ORDERS}")
    for item in items:
        key = item.strip().lstrip("+-")
        direction = "DESC" if item.strip().startswith("-") else "ASC"
        field = _column(_RUN_ORDERS, key) or _run_field(key)
        if field is None:
            raise FilterError(f"runs cannot be ordered by {key[:100]!r}")
        if field.text == "runs.pk":
            # Nothing stands beside it, and an index gives this order.
            return Sql(", ".join([*parts, f"runs.pk {direction}"]), tuple(arguments))
        parts.append(f"{field.text} {direction} NULLS LAST")
        arguments += field.arguments
    return Sql(", ".join([*parts, "runs.pk"]), tuple(arguments))


def matches(pattern: str, value: object) -> bool:
    """Say whether a text holds a match of the pattern, as MongoDB's $regex."""
    return isinstance(value, str) and _compiled(pattern).search(value[:10_000]) is not None


def config_value(config: str, path: str) -> Argument:
    """Find a value in a run's config by W&B's dotted path, `.value` in it or left out.

    The names of override parameters have dots themselves, so every way to split the path is tried.
    """
    found = _descend(json.loads(config), path[:_MAX_PATH])
    if isinstance(found, Mapping) and "value" in found:
        found = found["value"]
    if isinstance(found, bool):
        return int(found)
    return found if isinstance(found, str | int | float) else None


def _descend(place: object, path: str) -> object:
    if not isinstance(place, Mapping):
        return None
    if path in place:
        return place[path]
    for end in range(len(path) - 1, 0, -1):
        if path[end] == "." and path[:end] in place:
            inner = place[path[:end]]
            found = _descend(inner, path[end + 1 :])
            if found is None and isinstance(inner, Mapping) and "value" in inner:
                found = _descend(inner["value"], path[end + 1 :])
            if found is not None:
                return found
    return None


SQL_FUNCTIONS: dict[str, tuple[int, Callable[..., Argument]]] = {
    "iso_time": (1, iso_time),
    "matches": (2, matches),
    "config_value": (2, config_value),
}
"""What the conditions call: name, number of arguments, function."""


def filter_by(text: object, field: Field) -> Sql:
    """Turn filters into a condition; `field` gives the place of each name, or None."""
    if text is None or text == "":
        return TRUE
    try:
        document = parsed(text) if isinstance(text, str) else checked(text)
    except JsonTextError as error:
        raise FilterError(f"the filters are no JSON: {error}") from error
    if document is None:
        return TRUE
    _check_size(document)
    return _condition(document, field)


def _check_size(document: object) -> None:
    """Refuse a filter that SQLite would choke on: its SQL has a place for every condition."""
    count, level = 0, [document]
    for _ in range(MAX_CONDITION_DEPTH):
        below: list[object] = []
        for place in level:
            if isinstance(place, Mapping):
                count += len(place)
                below.extend(place.values())
            elif isinstance(place, list):
                below.extend(item for item in place if isinstance(item, list | Mapping))
        if not below:
            break
        level = below
    else:
        raise FilterError(f"the filters are nested more than {MAX_CONDITION_DEPTH} deep")
    if count > MAX_CONDITIONS:
        raise FilterError(
            f"the filters have {count} conditions, over {MAX_CONDITIONS}: give a list to $in"
        )


def _condition(document: object, field: Field) -> Sql:
    if not isinstance(document, Mapping):
        raise FilterError(f"a filter is a map, not {json.dumps(document)[:100]}")
    parts = []
    for key, value in document.items():
        if key in ("$and", "$or", "$nor"):
            if not isinstance(value, list):
                raise FilterError(f"{key} needs a list of filters")
            word = " AND " if key == "$and" else " OR "
            joined = _joined(word, [_condition(item, field) for item in value])
            parts.append(_negated(joined) if key == "$nor" else joined)
        elif key == "$not":
            parts.append(_negated(_condition(value, field)))
        else:
            parts.append(_field_condition(str(key), value, field))
    return _joined(" AND ", parts)


def _field_condition(name: str, value: object, field: Field) -> Sql:
    place = field(name)
    if place is None:
        raise FilterError(f"cannot filter by {name[:100]!r}")
    if place == _TAGS:
        return _tags(value)
    if place == _SWEEP_ID and isinstance(value, str):
        return _counted_by(value)
    if not isinstance(value, Mapping):
        return _compare(place, "$eq", value, name)
    return _joined(" AND ", [_compare(place, op, item, name) for op, item in value.items()])


def _compare(place: Sql, operator: str, value: object, name: str) -> Sql:
    name = name[:100]
    if operator in ("$in", "$nin"):
        if not isinstance(value, list):
            raise FilterError(f"{name}: {operator} needs a list")
        found = _is_one_of(place, [_comparable(item, name) for item in value])
        return _negated(found) if operator == "$nin" else found
    if operator == "$regex":
        pattern = str(value)
        _check_pattern(pattern, name)
        return Sql(f"matches(?, {place.text})", (pattern, *place.arguments))
    if operator == "$exists":
        return Sql(f"({place.text} IS {'NOT ' if value else ''}NULL)", place.arguments)
    if operator == "$not":
        return _negated(_field_condition(name, value, lambda _: place))
    if operator not in _COMPARISONS:
        raise FilterError(f"{name}: unknown operator {operator[:100]!r}")
    argument = _comparable(value, name)
    test = f"({place.text} {_COMPARISONS[operator]} ?)"
    if operator in ("$eq", "$ne"):
        return Sql(test, (*place.arguments, argument))
    # SQLite holds every text to be more than every number; MongoDB compares within a type.
    kinds = "('text')" if isinstance(argument, str) else "('integer', 'real')"
    return Sql(
        f"(typeof({place.text}) IN {kinds} AND {test})",
        (*place.arguments, *place.arguments, argument),
    )


def _comparable(value: object, name: str) -> Argument:
    if isinstance(value, bool):
        return int(value)
    if value is None or isinstance(value, str | int | float):
        return value
    raise FilterError(f"{name}: cannot compare with {json.dumps(value)[:100]}")


def _is_one_of(place: Sql, values: list[Argument]) -> Sql:
    """Give the condition of a list of any length, which is one argument."""
    sayable = [v for v in values if isinstance(v, str | int | float) and v not in _INFINITE]
    given = json.dumps([value for value in sayable if value == value])
    found = [
        Sql(
            f"(ifnull({place.text} IN (SELECT value FROM json_each(?)), 0))",
            (*place.arguments, given),
        )
    ]
    # What JSON cannot say, or `=` never finds.
    for value in {value for value in values if value is None or value in _INFINITE}:
        found.append(Sql(f"({place.text} IS ?)", (*place.arguments, value)))
    return _joined(" OR ", found)


def _check_pattern(pattern: str, name: str) -> None:
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise FilterError(
            f"{name}: the regular expression has {len(pattern)} characters,"
            f" over {MAX_PATTERN_CHARACTERS}"
        )
    import re2  # takes a while, and hardly any filter has a pattern

    try:
        _compiled(pattern)
    except re2.error as error:
        why = error.args[0] if error.args else ""
        said = why.decode("utf-8", "replace") if isinstance(why, bytes) else str(why)
        raise FilterError(
            f"{name}: {pattern[:100]!r} is no regular expression that is taken: {said}"
            " (its syntax is RE2's, without lookahead and backreferences)"
        ) from error


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> Any:
    """Compile for RE2, whose time grows with the text and never with its square."""
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20
    return re2.compile(pattern, options)


def _tags(value: object) -> Sql:
    if isinstance(value, Mapping):
        return _joined(" AND ", [_tags_by(op, item) for op, item in value.items()])
    return _tags_by("$eq", value)


def _tags_by(operator: str, operand: object) -> Sql:
    wanted = operand if isinstance(operand, list) else [operand]
    if all(isinstance(tag, str) for tag in wanted):
        match operator:
            case "$eq" | "$in":
                return _has_tag(wanted)
            case "$ne" | "$nin":
                return _negated(_has_tag(wanted))
            case "$all":
                return _joined(" AND ", [_has_tag([tag]) for tag in wanted]) if wanted else NONE
            case "$regex" if isinstance(operand, str):
                _check_pattern(operand, "tags")
                test = f"SELECT 1 FROM json_each({_TAGS.text}) AS tag WHERE matches(?, tag.value)"
                return Sql(f"(EXISTS ({test}))", (operand,))
    if operator == "$not" and isinstance(operand, Mapping):
        return _negated(_tags(operand))
    if (operator, operand) in (("$eq", None), ("$ne", None)) or operator == "$exists":
        has_none = operand is None if operator == "$eq" else operator == "$exists" and not operand
        return Sql(f"(runs.tags {'=' if has_none else '!='} '[]')")
    raise FilterError(f"tags: cannot filter by {json.dumps({operator: operand})[:100]}")


def _negated(condition: Sql) -> Sql:
    return Sql(f"NOT {condition.text}", condition.arguments)


def _counted_by(sweep: str) -> Sql:
    """Give the condition of a sweep's runs, with the prior runs that it counts as its own."""
    wanted = "(SELECT sweeps.pk FROM sweeps WHERE sweeps.id = ?)"
    prior = f"(SELECT run FROM prior_runs WHERE prior_runs.sweep = {wanted})"
    return Sql(f"(runs.sweep = {wanted} OR runs.pk IN {prior})", (sweep, sweep))


def _has_tag(tags: list[Any]) -> Sql:
    return Sql(
        f"(EXISTS (SELECT 1 FROM json_each({_TAGS.text}) AS tag"
        " WHERE tag.value IN (SELECT value FROM json_each(?))))",
        (json.dumps([str(tag) for tag in tags]),),
    )


def _run_field(name: str) -> Sql | None:
    for prefix in ("summary_metrics.", "summaryMetrics.", "summary."):
        if name.startswith(prefix):
            query = "(SELECT value FROM summary_values WHERE run = runs.pk AND key = ?)"
            return Sql(query, (name.removeprefix(prefix),))
    if name.startswith("config."):
        return Sql("config_value(runs.config, ?)", (name.removeprefix("config."),))
    return _column(_RUN_COLUMNS, name)


def _column(columns: Mapping[str, str], name: str) -> Sql | None:
    return Sql(columns[name]) if name in columns else None


def _joined(word: str, parts: list[Sql]) -> Sql:
    if not parts:
        return TRUE if word == " AND " else NONE
    if len(parts) == 1:
        return parts[0]
    # In halves: a chain of a thousand is deeper than SQLite goes.
    half = len(parts) // 2
    left, right = _joined(word, parts[:half]), _joined(word, parts[half:])
    return Sql(f"({left.text}{word}{right.text})", (*left.arguments, *right.arguments))
