"""Made-up sweeps as a server would give them, for reports: `tests.figures` has their numbers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from sweepctl.figures import SweepFacts
from sweepctl.sweeps.api import SweepSource
from sweepctl.sweeps.names import SweepName
from sweepctl_pod.run_record import RunRecord
from sweepctl_pod.wandb.client import RunInfo, SweepInfo
from tests.figures import made_up

NAME = SweepName("local", "legs", "s1")
COMMAND = ("python", "train.py", "--task", "Isaac-Velocity-Flat-G1-v0", "${args}")


@dataclass
class MadeUpSource:
    """Keeps one sweep; counts what it was asked for."""

    facts: SweepFacts
    name: str | None = "toy legs"
    state: str = "FINISHED"
    command: Sequence[str] = COMMAND
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further parts of the sweep's config."""
    reason: str = "the trainer ended with exit code 1"
    asked: list[tuple[str, int]] = field(default_factory=list)
    where: str = "http://127.0.0.1:8080"

    @property
    def config(self) -> dict[str, Any]:
        metric = self.facts.metric
        named = {"metric": {"name": metric.name, "goal": metric.goal}} if metric else {}
        return {
            "method": "random",
            "program": "train.py",
            "command": list(self.command),
            **named,
            "parameters": {
                **{name: {"values": [1, 2]} for name in self.facts.searched},
                **self.facts.forms,
            },
            **self.more,
        }

    def default_entity(self) -> str:
        return "local"

    def projects(self, entity: str) -> list[str]:
        return ["legs"]

    def sweeps(self, entity: str, project: str) -> list[SweepInfo]:
        return [self.sweep(entity, project, "s1")]

    def sweep(self, entity: str, project: str, sweep_id: str) -> SweepInfo:
        return SweepInfo(
            entity="local",
            project="legs",
            id="s1",
            node_id="n",
            state=self.state,
            method="random",
            config_text=json.dumps(self.config, indent=2),
            description=None,
            display_name=self.name,
            created_at="2026-01-02T03:04:05",
            run_count=len(self.facts.runs),
            run_count_expected=None,
        )

    def runs(self, sweep: SweepInfo) -> list[RunInfo]:
        metric = self.facts.metric.name if self.facts.metric else "metric"
        found = []
        for at, run in enumerate(self.facts.runs):
            summary: dict[str, Any] = {"_runtime": run.duration_s}
            if run.metric is not None:
                summary[metric] = run.metric
            if run.state == "failed":
                summary["sweepctl/reason"] = self.reason
            found.append(
                RunInfo(
                    id=run.id,
                    node_id="n",
                    state=run.state,
                    display_name=run.name,
                    config=dict(run.parameters),
                    summary=summary,
                    created_at=datetime.fromtimestamp(1_700_000_000 + at, timezone.utc).isoformat(),
                    heartbeat_at=None,
                    sweep_id="s1",
                    is_started=True,
                    host=run.agent,
                )
            )
        return found

    def run_log(self, sweep: SweepInfo, run_id: str) -> list[str]:
        return []

    def run_record(self, sweep: str, run_id: str) -> RunRecord | None:
        return (self.run_records(sweep) or {}).get(run_id)

    def run_records(self, sweep: str) -> dict[str, RunRecord] | None:
        return {
            run.id: RunRecord((), "", run.agent, 1, attempts=tuple(run.attempts))
            for run in self.facts.runs
            if run.attempts
        }

    def histories(
        self, sweep: SweepInfo, runs: Sequence[str], keys: Sequence[str], samples: int
    ) -> dict[str, list[dict[str, Any]]]:
        found = {}
        for run in runs:
            self.asked.append((run, samples))
            curve = self.facts.curves.get(run)
            rows = []
            for at, value in enumerate(curve.values if curve else ()):
                assert curve is not None
                row = {"_step": int(curve.steps[at]), keys[-1]: value}
                if "_runtime" in keys:
                    row["_runtime"] = curve.times_s[at]
                rows.append(row)
            found[run] = rows[:: max(len(rows) // samples, 1)]
        return found


def source_of(count: int, seed: int = 1, **more: Any) -> MadeUpSource:
    """Keep a made-up sweep of so many runs."""
    return MadeUpSource(made_up(count, seed), **more)


def _is_a_source(source: MadeUpSource) -> SweepSource:
    return source
