"""What `GET /metrics` tells Prometheus: sweeps, runs, agents, the times of requests and commits."""

from __future__ import annotations

import os
import resource
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import Response

from sweepctl.server.access.allowed import ApiKeys
from sweepctl.server.engine.presence import Presence
from sweepctl.server.lifecycle import Limits
from sweepctl.server.store import count_store, summary_store, sweep_store
from sweepctl.server.store.database import Database
from sweepctl.server.store.filters import TRUE
from sweepctl.server.store.sweep_store import Rows, Sweep
from sweepctl.server.timings import Timings
from sweepctl.server.web.exposition import Labels, Sample, family, histogram

_MAX_SWEEPS = 200
"""The newest ones alone are told one by one: a watcher keeps every series it has seen."""


_KINDS = {
    "healthz": "health",
    "files": "file",
    "storage": "file",
    "wandb_artifacts": "artifact",
    "blobs": "artifact",
    "artifacts": "artifact",
    "artifactsV2": "artifact",
}


def kind_of(path: str, method: str) -> str:
    """Name what is asked at a route: `heartbeat` is a `graphql` that finds out later."""
    first = path.split("/")[1]
    if first == "files" and method == "POST":
        return "stream"
    if not first or first.startswith("{"):
        return "page" if method == "GET" else "unknown"
    return _KINDS.get(first, first)


class RequestTimes:
    """How long requests took, by what was asked, and how they were answered."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._times: dict[str, Timings] = {}
        self._answers: Counter[tuple[str, int]] = Counter()

    def timed(
        self, kind: str, handler: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Give a handler whose requests are counted as of a kind, or of one it finds itself."""

        async def answer(request: Request) -> Response:
            began, status = self._clock(), 500
            try:
                response = await handler(request)
                status = response.status_code
                return response
            finally:
                found = getattr(request.state, "kind", kind)
                self._times.setdefault(found, Timings()).note(self._clock() - began)
                self._answers[found, status] += 1

        return answer

    def families(self) -> Iterator[str]:
        """Write what was counted."""
        yield family(
            "sweepctl_request_seconds",
            "histogram",
            "How long requests took, by what was asked.",
            [
                sample
                for kind, times in sorted(self._times.items())
                for sample in histogram(times, {"request": kind})
            ],
        )
        yield family(
            "sweepctl_requests_total",
            "counter",
            "Requests, by what was asked and by the status of the answer.",
            [
                Sample({"request": kind, "code": str(status)}, count)
                for (kind, status), count in sorted(self._answers.items())
            ],
        )


class Metrics:
    """Writes the answer, and says who gets it; safe to use from any thread.

    `keys` open it besides the server's own ones, which `is_open` makes needless.
    """

    def __init__(
        self,
        database: Database,
        presence: Presence,
        now: Callable[[], float],
        limits: Limits,
        *,
        keys: ApiKeys | None = None,
        is_open: bool = False,
    ) -> None:
        self.requests = RequestTimes()
        self._database = database
        self._presence = presence
        self._now = now
        self._limits = limits
        self._keys = keys
        self._is_open = is_open
        self._began = now()
        self._turn = CapacityLimiter(1)
        self._asked = 0
        self._written: tuple[int, str] = (0, "")

    def are_for(self, authorization: str | None) -> bool:
        """Say whether a request needs no key of the server's to be answered."""
        if self._is_open:
            return True
        return self._keys is not None and self._keys.of_header(authorization) is not None

    async def answer(self) -> str:
        """Give all of it as it is, written once at a time however many ask, perhaps without a key.

        Who waits for its turn takes what was begun after it had asked. Sending is no part of it:
        one that reads slowly holds nobody up.
        """
        self._asked += 1
        asked = self._asked
        async with self._turn:
            if self._written[0] < asked:
                self._written = (self._asked, await to_thread.run_sync(self.text))
            return self._written[1]

    def text(self) -> str:
        """Write all of it."""
        with self._database.read() as rows:
            told = "".join(self._of_sweeps(rows))
        return told + "".join((*self.requests.families(), *self._of_process()))

    def _of_sweeps(self, rows: Rows) -> Iterator[str]:
        newest = sweep_store.sweeps(rows, None, TRUE, 0, _MAX_SWEEPS)
        named = {sweep.pk: self._labels(rows, sweep) for sweep in newest}
        states = count_store.sweeps_by_state(rows)
        yield family(
            "sweepctl_sweeps",
            "gauge",
            "Sweeps by state.",
            [Sample({"state": state}, states[state]) for state in sorted(states)],
        )
        runs = count_store.runs_by_state(rows)
        yield family(
            "sweepctl_runs",
            "gauge",
            f"Runs of the newest {_MAX_SWEEPS} sweeps by state.",
            [
                Sample({**labels, "state": state}, count)
                for pk, labels in named.items()
                for state, count in sorted(runs.get(pk, {}).items())
            ],
        )
        yield family(
            "sweepctl_runs_expected",
            "gauge",
            "Runs that a sweep will have, where that is known.",
            [
                Sample(named[sweep.pk], sweep.run_count_expected)
                for sweep in newest
                if sweep.run_count_expected is not None
            ],
        )
        best = [
            (sweep, summary_store.best_loss(rows, sweep, only_finished=True)) for sweep in newest
        ]
        yield family(
            "sweepctl_best_metric",
            "gauge",
            "The best value of a sweep's metric among its finished runs.",
            [
                Sample({**named[sweep.pk], "metric": str(sweep.metric), "goal": sweep.goal}, number)
                for sweep, number in best
                if number is not None
            ],
        )
        yield from self._of_agents(rows, named)

    def _of_agents(self, rows: Rows, named: dict[int, Labels]) -> Iterator[str]:
        counts: Counter[tuple[int, str]] = Counter()
        oldest: dict[int, float] = {}
        for agent in count_store.watched_agents(rows):
            if agent.sweep not in named:
                continue
            seen = self._presence.seconds_ago("agent", agent.pk)
            age_s = max(0.0, self._now() - agent.heartbeat) if seen is None else seen
            is_silent = age_s >= self._limits.agent_timeout_s
            if is_silent and not agent.has_run:
                continue  # it has ended, as far as is known: who ends says so to nobody
            counts[agent.sweep, "silent" if is_silent else "running"] += 1
            if agent.has_run:
                oldest[agent.sweep] = max(oldest.get(agent.sweep, 0.0), age_s)
        yield family(
            "sweepctl_agents",
            "gauge",
            "Agents that have not ended, by whether they were heard of within the agent timeout;"
            " a silent one without a run has ended.",
            [
                Sample({**named[pk], "state": state}, count)
                for (pk, state), count in sorted(counts.items())
            ],
        )
        yield family(
            "sweepctl_oldest_heartbeat_age_seconds",
            "gauge",
            "Seconds since the heartbeat of the agent with a run that was silent longest.",
            [Sample(named[pk], age_s) for pk, age_s in sorted(oldest.items())],
        )

    def _of_process(self) -> Iterator[str]:
        known = _one(1, version=version("sweepctl"))
        yield family("sweepctl_info", "gauge", "The server's version.", [known])
        yield family(
            "sweepctl_commit_seconds",
            "histogram",
            "How long commits took, the disk's part of which is an fsync; writes share them.",
            histogram(self._database.commits, {}),
        )
        yield family(
            "sweepctl_writes_total",
            "counter",
            "Writes that were committed.",
            [_one(self._database.writes())],
        )
        used = resource.getrusage(resource.RUSAGE_SELF)
        process = {
            "process_cpu_seconds_total": ("counter", used.ru_utime + used.ru_stime),
            "process_start_time_seconds": ("gauge", self._began),
        }
        with suppress(OSError, ValueError, IndexError):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            process["process_resident_memory_bytes"] = ("gauge", pages * os.sysconf("SC_PAGE_SIZE"))
            process["process_open_fds"] = ("gauge", len(os.listdir("/proc/self/fd")))
        for name, (kind, value) in process.items():
            yield family(name, kind, "As of any process.", [_one(value)])

    @staticmethod
    def _labels(rows: Rows, sweep: Sweep) -> Labels:
        project = sweep_store.project_by_pk(rows, sweep.project)
        return {"entity": project.entity, "project": project.name, "sweep": sweep.id}


def _one(value: float, **labels: str) -> Sample:
    return Sample(labels, value)
