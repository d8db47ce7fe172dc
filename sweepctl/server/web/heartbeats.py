"""The shortest way for what is asked most: a heartbeat of an agent that trains, and goes on to.

Agents of sweepctl and of W&B send the same few words every 5 s. An answer that changes nothing is
three look-ups, so it is given where the request came in: no thread, no execution of GraphQL. All
else (None here) goes the long way, which answers the same.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from graphql import (
    FieldNode,
    GraphQLError,
    ObjectValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    VariableNode,
    parse,
)

from sweepctl.server.engine.dispatch import Dispatcher
from sweepctl.server.errors import StoreUnavailableError
from sweepctl.server.store.api_forms import node_id, row_of

_MAX_CHARACTERS = 1_000
_MAX_TOKENS = 100
_MAX_RUNS = 16
_INPUT = {"id", "metrics", "runState"}
_ANSWER = [["agent", "id"], ["commands"]]


@functools.lru_cache(maxsize=64)
def _named(query: str) -> tuple[str, dict[str, str]] | None:
    """Give the operation's name, and its variables by the input's fields; None of any other."""
    try:
        definitions = parse(query, max_tokens=_MAX_TOKENS).definitions
    except (GraphQLError, RecursionError):
        return None
    operation = definitions[0]
    if len(definitions) > 1 or not isinstance(operation, OperationDefinitionNode):
        return None
    fields = _plain_fields(operation.selection_set)
    if operation.operation != OperationType.MUTATION or operation.directives or len(fields) != 1:
        return None
    if any(variable.default_value for variable in operation.variable_definitions or ()):
        return None
    (field,) = fields
    if field.name.value != "agentHeartbeat" or len(field.arguments or ()) != 1:
        return None
    (argument,) = field.arguments or ()
    if argument.name.value != "input" or not isinstance(argument.value, ObjectValueNode):
        return None
    given = {
        entry.name.value: entry.value.name.value
        for entry in argument.value.fields
        if isinstance(entry.value, VariableNode)
    }
    has_all = len(given) == len(argument.value.fields) and {"id", "runState"} <= set(given)
    paths = [
        [inner.name.value, *(leaf.name.value for leaf in _plain_fields(inner.selection_set))]
        for inner in _plain_fields(field.selection_set)
    ]
    if not has_all or not set(given) <= _INPUT or paths != _ANSWER:
        return None
    return operation.name.value if operation.name else "", given


def _plain_fields(selected: SelectionSetNode | None) -> list[FieldNode]:
    """Give the fields of a selection; none where it has anything but their names."""
    found = [] if selected is None else list(selected.selections)
    fields = [node for node in found if isinstance(node, FieldNode)]
    is_plain = len(fields) == len(found) and not any(f.alias or f.directives for f in fields)
    return fields if is_plain else []


def heartbeat_answer(
    dispatcher: Dispatcher, query: str, variables: Mapping[str, Any], operation_name: str | None
) -> dict[str, Any] | None:
    """Answer a heartbeat of an agent that has runs, where that changes nothing; else None."""
    if len(query) > _MAX_CHARACTERS or "agentHeartbeat" not in query:
        return None
    found = _named(query)
    if found is None or (operation_name or found[0]) != found[0]:
        return None
    given = {name: variables.get(variable) for name, variable in found[1].items()}
    agent, reported = given["id"], _runs(given["runState"])
    if not isinstance(agent, str) or not isinstance(given.get("metrics"), str | None):
        return None
    if not reported or len(reported) > _MAX_RUNS:
        return None
    try:
        unchanged = dispatcher.heartbeat_without_change(row_of("Agent", agent), reported)
    except StoreUnavailableError:
        return None
    if unchanged is None:
        return None
    beating, commands = unchanged
    answer = {"agent": {"id": node_id("Agent", beating.pk)}, "commands": json.dumps(commands)}
    return {"data": {"agentHeartbeat": answer}}


def _runs(text: object) -> list[str]:
    """Read the runs that an agent reports; none where the text is not as agents send it."""
    try:
        reported = json.loads(text) if isinstance(text, str) and len(text) < 4096 else None
    except (ValueError, RecursionError):
        return []
    return [run for run in reported if reported[run]] if isinstance(reported, dict) else []
