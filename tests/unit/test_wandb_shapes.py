"""Answers of any shape: whatever JSON comes back, a call gives its value or an ApiError."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepctl_pod.wandb.client import ApiError, Connection, WandbClient
from sweepctl_pod.wandb.outputs import (
    console_count,
    console_lines,
    find_file,
    last_logged,
    upload_file,
)

NAMES = (
    *("data", "project", "run", "sweep", "runs", "sweeps", "edges", "node", "pageInfo", "name"),
    *("agentHeartbeat", "commands", "createAgent", "agent", "id", "viewer", "upsertSweep"),
    *("config", "summaryMetrics", "state", "entity", "files", "errors", "extensions", "code"),
    *("hasNextPage", "endCursor", "message", "uploadHeaders", "uploadUrl", "sampledHistory"),
    *("logLineCount", "logLines", "line", "_step", "loss", "url", "sizeBytes", "createRunFiles"),
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["[]", "{}", "[1]", '{"a": {"value": 1}}', "{"]),
)
ANSWERS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    ),
    max_leaves=25,
)
CALLS: dict[str, Callable[[WandbClient], object]] = {
    "run": lambda client: client.run("e", "p", "r"),
    "runs": lambda client: list(client.runs("e", "p", "s")),
    "sweep": lambda client: client.sweep("e", "p", "s"),
    "sweeps": lambda client: client.sweeps("e", "p"),
    "viewer": lambda client: client.viewer_entity(),
    "register": lambda client: client.register_agent("e", "p", "s", "h"),
    "heartbeat": lambda client: client.heartbeat("a", ["r"]),
    "create": lambda client: client.create_sweep("e", "p", "{}"),
    "upload": lambda client: upload_file(client, ("e", "p", "r"), "f", b""),
    "history": lambda client: last_logged(client, ("e", "p", "r"), "loss"),
    "count": lambda client: console_count(client, ("e", "p", "r")),
    "console": lambda client: console_lines(client, ("e", "p", "r")),
    "find": lambda client: find_file(client, ("e", "p", "r"), "f"),
}
PATHS = {
    "run": ("data", "project", "run"),
    "runs": ("data", "project", "runs", "edges"),
    "sweep": ("data", "project", "sweep"),
    "sweeps": ("data", "project", "sweeps", "edges"),
    "viewer": ("data", "viewer"),
    "register": ("data", "createAgent", "agent"),
    "heartbeat": ("data", "agentHeartbeat", "commands"),
    "create": ("data", "upsertSweep", "sweep"),
    "upload": ("data", "createRunFiles"),
    "history": ("data", "project", "run", "sampledHistory"),
    "count": ("data", "project", "run", "logLineCount"),
    "console": ("data", "project", "run", "logLines", "edges"),
    "find": ("data", "project", "run", "files", "edges"),
}


def placed(path: tuple[str, ...], depth: int, answer: Any) -> Any:
    """Put an odd answer at some depth of the path that a call reads."""
    for key in reversed(path[:depth]):
        answer = {key: answer}
    return answer


@pytest.mark.parametrize("name", CALLS)
def test_answer_of_any_shape_is_a_value_or_an_api_error(name: str) -> None:
    client = WandbClient(Connection("http://127.0.0.1:9", "key"))

    @settings(max_examples=300, deadline=None)
    @given(ANSWERS, st.integers(0, 5))
    def check(odd: Any, depth: int) -> None:
        answer = placed(PATHS[name], depth, odd)
        client.transport.json = lambda *_, **__: answer  # type: ignore[method-assign]
        with suppress(ApiError):
            CALLS[name](client)

    check()
