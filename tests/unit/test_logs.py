"""Logs of replaced pods, broken streams, an API that refuses: every line, or why not."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from sweepctl.jobs.logs import (
    _Follower,
    choose_pods,
    follow_logs,
    follow_pod,
    read_logs,
)
from sweepctl.kube.errors import ClusterError
from sweepctl.sweeps.log_lines import Line, LogOptions
from tests.unit.kubernetes_objects import pod

ENDED = {"exitCode": 1}
Log = Callable[..., Iterator[str]]


class Pods:
    """A cluster of pods: what is asked of it for logs, and what it was asked for."""

    def __init__(self, log: Log, *pods: dict[str, Any]) -> None:
        self.log = log
        self.pods = pods
        self.refusal: ClusterError | None = None

    def get(self, kind: str, name: str, namespace: str) -> dict[str, Any] | None:
        return next((each for each in self.pods if each["metadata"]["name"] == name), None)

    def list(self, kind: str, namespace: str, *, selector: str) -> list[dict[str, Any]]:
        return list(self.pods)

    def watch(
        self, kind: str, namespace: str, *, selector: str
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        if self.refusal is not None:
            raise self.refusal
        for each in self.pods:
            yield "ADDED", each


def written(second: int, text: str) -> str:
    return f"2026-05-01T12:00:{second:02}.000000000Z {text}"


def follow(cluster: Any, options: LogOptions) -> list[Line]:
    lines = follow_logs(
        cluster, "legs", "robots", options, say=lambda line: None, is_over=lambda: True
    )
    return list(lines)


FIRST = pod(0, "Failed", age_s=90, terminated=ENDED, name="first")
SECOND = pod(0, "Failed", age_s=60, terminated=ENDED, name="second")
EVICTED = pod(0, "Failed", age_s=50, name="evicted")
PRESENT = pod(0, age_s=30, name="present")


@pytest.mark.parametrize(
    ("pods", "names"),
    [
        ([PRESENT], []),
        ([FIRST], ["first"]),
        ([FIRST, PRESENT], ["first"]),
        ([FIRST, SECOND], ["first", "second"]),
        ([FIRST, EVICTED], ["first", "evicted"]),
        ([FIRST, SECOND, PRESENT], ["first", "second"]),
    ],
    ids=["only one", "ended", "replaced", "both ended", "evicted", "replaced twice"],
)
def test_previous_pods_are_all_but_one_that_has_not_ended(
    pods: list[dict[str, Any]], names: list[str]
) -> None:
    chosen = choose_pods(pods, LogOptions(previous=True))
    assert [each["metadata"]["name"] for group in chosen for each in group] == names


def test_stream_that_breaks_before_its_first_line_is_opened_again_from_the_same_time() -> None:
    clock = [100.0]
    asked: list[float | None] = []

    def log(*_: Any, since_s: float | None, **__: Any) -> Iterator[str]:
        asked.append(since_s)
        clock[0] += 7
        if len(asked) < 3:
            raise ClusterError("the node does not answer", status=502)
        yield written(1, "late")

    stopped = threading.Event()
    stopped.wait = lambda timeout=None: False  # type: ignore[method-assign]
    cluster: Any = Pods(log, SECOND)
    lines = list(follow_pod(cluster, SECOND, 0, 99.0, stopped, lambda: clock[0]))
    assert [line.text for line in lines] == ["late"]
    assert asked == [1.0, 8.0, 15.0]


def test_log_that_may_not_be_read_ends_the_following_with_the_reason() -> None:
    def log(*_: Any, **__: Any) -> Iterator[str]:
        raise ClusterError("user 'ann' may not get pods/log", status=403)

    with pytest.raises(ClusterError, match="may not get pods/log"):
        follow(Pods(log, PRESENT), LogOptions())


def test_pods_that_may_not_be_watched_end_the_following_with_the_reason() -> None:
    cluster = Pods(lambda *_, **__: iter(()), PRESENT)
    cluster.refusal = ClusterError("user 'ann' may not watch pods", status=403)
    with pytest.raises(ClusterError, match="may not watch pods"):
        follow(cluster, LogOptions())


def test_api_that_is_away_at_the_end_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Pods(lambda *_, **__: iter([written(1, "last")]), FIRST)
    listed = cluster.list
    calls = 0

    def flaky(*args: Any, **options: Any) -> list[dict[str, Any]]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ClusterError("busy", status=503)
        return listed(*args, **options)

    monkeypatch.setattr(cluster, "list", flaky)
    assert [line.text for line in follow(cluster, LogOptions())] == ["last"]
    assert calls == 2


def test_log_on_a_node_that_does_not_answer_hides_no_other_agents() -> None:
    def log(name: str, *_: Any, **__: Any) -> Iterator[str]:
        if name == "lost":
            raise ClusterError("answered 500: dial tcp: i/o timeout", status=500)
        yield written(1, f"from {name}")

    cluster: Any = Pods(log, pod(0, name="lost"), pod(1, name="well"))
    lines = read_logs(cluster, "legs", "robots", LogOptions())
    assert next(lines).text == "from well"
    with pytest.raises(ClusterError, match=r"the log of agent 0 .*: answered 500: dial tcp"):
        next(lines)


def test_line_that_comes_at_the_last_moment_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = SimpleNamespace(monotonic=itertools.count(0, 3).__next__)
    monkeypatch.setattr("sweepctl.jobs.logs.time", quick)
    cluster: Any = Pods(lambda *_, **__: iter(()))
    follower = _Follower(cluster, "legs", "robots", LogOptions(), lambda line: None)
    last = Line(0, "2026-05-01T12:00:01.000000000Z", "last")
    is_idle = False

    class Late(queue.Queue[Line]):
        """Runs empty; the moment after, the reader puts its last line there and is done."""

        asked = 0

        def get(self, block: bool = True, timeout: float | None = None) -> Line:
            nonlocal is_idle
            self.asked += 1
            if self.asked == 2:
                self.put(last)
                is_idle = True
                raise queue.Empty
            return super().get(block, 0.01)

    follower._queue = Late()
    follower._agents = {0: SimpleNamespace(is_idle=lambda: is_idle)}  # type: ignore[dict-item]
    assert list(follower.lines(lambda: True)) == [last]
