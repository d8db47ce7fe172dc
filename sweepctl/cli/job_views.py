"""How submitted sweeps look on a terminal: lists, the agents, what stops them, the doctor's lines.

Values come in ready; nothing is fetched or decided here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from sweepctl.cli import output
from sweepctl.cli.views import (
    attempt_cells,
    counts_text,
    curve_lines,
    metric_text,
    progress_text,
    reason_lines,
    status_data,
    sweep_table,
)
from sweepctl.jobs.agents import LIVE, AgentRow, JobStatus, troubles
from sweepctl.jobs.handed_on import handed_on

if TYPE_CHECKING:
    from sweepctl.cli.screen import Room
    from sweepctl.jobs.doctor_checks import Check
    from sweepctl.jobs.state import JobLine, SubmittedState
    from sweepctl.jobs.submit import Submitted
    from sweepctl.kube.client import Object
    from sweepctl.sweeps.status import RunRow

_AGENT_COLUMNS = (
    output.Column("AGENT", 9),
    output.Column("STATE", 8),
    output.Column("RUN", 7),
    output.Column("PHASE", 3),
    output.Column("STEP", 6),
    output.Column("METRIC", 5),
    output.Column("TIME", 4),
)
_WIDE_AGENT_COLUMNS = (
    output.Column("FAILURES", 0),
    output.Column("NODE", 1, elastic=True),
    output.Column("POD", 0, elastic=True),
)
_HEAD_LINES = 5
"""Two of the Job, two of the sweep, and the titles of the agents."""

_MOST_TROUBLES = 5
_MOST_AGENTS = 40
_LEVEL_STYLES = {"ok": "green", "warning": "yellow", "missing": "red"}


def jobs_table(lines: Sequence[JobLine], *, wide: bool, all_namespaces: bool) -> output.Lines:
    """Lay out one line for each submitted sweep."""
    columns = ["NAME", "STATE", "AGENTS", "SWEEP", "AGE"]
    rows = [
        [
            line.name,
            line.state,
            f"{line.ready}/{line.wanted}",
            line.sweep or "<pending>",
            output.age(line.age_s),
        ]
        for line in lines
    ]
    if wide:
        columns[4:4] = ["JOB", "MANAGER"]
        for row, line in zip(rows, lines, strict=True):
            row[4:4] = [line.job, line.manager]
    if all_namespaces:
        columns.insert(0, "NAMESPACE")
        for row, line in zip(rows, lines, strict=True):
            row.insert(0, line.namespace)
    return output.table(columns, rows)


def job_line_data(line: JobLine) -> dict[str, Any]:
    """Give a submitted sweep of a list as data."""
    return {
        "name": line.name,
        "namespace": line.namespace,
        "job": line.job,
        "state": line.state,
        "ready": line.ready,
        "agents": line.wanted,
        "sweep": line.sweep,
        "manager": line.manager,
        "age_s": line.age_s,
    }


def state_view(state: SubmittedState, room: Room | None = None, *, wide: bool) -> RenderableType:
    """Lay a submitted sweep out: itself, its agents, and why agents do not run.

    Where there is only so much room, as many agents are shown as it has lines for.
    """
    width = room.columns if room else None
    head: list[RenderableType] = [_head(state, width)]
    if state.sweep is not None:
        head.append(sweep_table(state.sweep, width))
    else:
        head.append(Text(f"sweep {state.submission.sweep_id or 'not created yet'}"))
    foot: list[RenderableType] = []
    if state.job is not None:
        foot += _trouble_lines(state.job, wide=wide)
        runs = state.sweep.runs if state.sweep is not None else ()
        foot += [Text(each.text()) for each in handed_on(state.job, runs)]
    else:
        foot.append(Text("no Job: the same submit again completes it"))
    if state.unread:
        foot.append(Text(f"runs are not known: {state.unread}", style="yellow"))
    if state.sweep is not None:
        if state.work_left is not None:
            foot.append(Text(f"sweep {state.sweep.sweep} {state.work_left}"))
        foot += reason_lines(state.sweep)[1:]
    if room is not None:
        foot = foot[: room.lines // 3]
        if state.sweep is not None and state.sweep.runs:
            agents = len(state.job.agents) if state.job is not None else 0
            head += curve_lines(state.sweep, room, agents + len(foot))
        lines = room.lines - 1 - _HEAD_LINES - len(foot) - (len(head) - 2)
        return Group(*head, *_agents_that_fit(state.job, lines, width, wide=wide), *foot)
    parts = [head[0], Text(), head[1]]
    if state.job is not None:
        shown = state.job.agents if wide else state.job.agents[:_MOST_AGENTS]
        if shown:
            parts += [Text(), agents_table(shown, wide=wide)]
        if len(shown) < len(state.job.agents):
            parts.append(Text(f"… and {len(state.job.agents) - len(shown)} more: -o wide"))
    if wide and state.sweep is not None:
        parts += _disturbed_runs(state.sweep.runs)
    return Group(*parts, *([Text()] if foot else []), *foot)


def _disturbed_runs(runs: Sequence[RunRow]) -> list[RenderableType]:
    """Lay out the runs that had more than one attempt."""
    cells = [
        [row.id, row.state, *attempt_cells(row), row.agent or "<none>"]
        for row in runs
        if row.record is not None and len(row.record.attempts) > 1
    ]
    if not cells:
        return []
    columns = ["RUN", "STATE", "ATTEMPTS", "ENDED BY", "REPEATED", "LAST AT"]
    return [Text(), output.table(columns, cells)]


def _agents_that_fit(
    job: JobStatus | None, lines: int, width: int | None, *, wide: bool
) -> list[RenderableType]:
    """Lay out as many agents as there are lines for: those that train first."""
    if job is None or not job.agents:
        return []
    if len(job.agents) <= lines:
        return [agents_table(job.agents, width, wide=wide)]
    ordered = sorted(job.agents, key=lambda agent: (agent.run is None, agent.state not in LIVE))
    shown, rest = ordered[: max(1, lines - 1)], ordered[max(1, lines - 1) :]
    counts = counts_text(Counter(agent.state.value for agent in rest))
    table = agents_table(sorted(shown, key=lambda agent: agent.index), width, wide=wide)
    return [table, Text(f"… {len(rest)} more agents: {counts}")]


def agents_table(
    agents: Sequence[AgentRow], width: int | None = None, *, wide: bool = False
) -> output.Lines:
    """Lay out one line for each agent."""
    columns = [*_AGENT_COLUMNS, *(_WIDE_AGENT_COLUMNS if wide else ())]
    rows = [
        [
            str(agent.index),
            agent.state.value,
            agent.run.id if agent.run else "<none>",
            agent.run.phase.value if agent.run and agent.run.phase else "<none>",
            progress_text(agent.run.done, agent.run.steps) if agent.run else "<none>",
            metric_text(agent.run) if agent.run else "<none>",
            output.age(agent.run.duration_s if agent.run else None),
            *([str(agent.failures), agent.node or "<none>", agent.pod or "<none>"] if wide else []),
            output.age(agent.age_s),
        ]
        for agent in agents
    ]
    return output.fitted_table([*columns, output.Column("AGE", 2)], rows, width)


def state_data(state: SubmittedState) -> dict[str, Any]:
    """Give a submitted sweep as data for `-o json`."""
    job = state.job
    return {
        "name": state.submission.name,
        "namespace": state.submission.namespace,
        "job": None
        if job is None
        else {
            "name": job.job,
            "state": job.state,
            "agents": job.wanted,
            "ready": job.ready,
            "age_s": job.age_s,
        },
        "agents": [_agent_data(agent) for agent in job.agents] if job else [],
        "sweep": status_data(state.sweep) if state.sweep else None,
        "handed_on": _handed_on_data(state),
        "unread": state.unread,
    }


def _handed_on_data(state: SubmittedState) -> list[dict[str, Any]]:
    if state.job is None or state.sweep is None:
        return []
    found = handed_on(state.job, state.sweep.runs)
    return [{"agent": each.index, "run": each.run, "to": each.agent} for each in found]


def submitted_data(done: Submitted) -> dict[str, Any]:
    """Give what a submit did as data for `-o json`."""
    return {
        "name": done.name,
        "namespace": done.namespace,
        "sweep": done.sweep,
        "url": done.page,
        "job": done.job,
        "objects": [
            {"kind": each.kind, "name": each.name, "result": each.verb} for each in done.changes
        ],
        "notes": done.notes,
    }


def objects_text(objects: Sequence[Object], form: str) -> str:
    """Write objects as a file for kubectl: YAML documents, or a JSON List."""
    if form == "json":
        items = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        return json.dumps(items, indent=2, ensure_ascii=False)
    import yaml  # only here: the quick verbs need none of it

    documents = (yaml.safe_dump(each, sort_keys=False, allow_unicode=True) for each in objects)
    return "---\n".join(documents).rstrip("\n")


def check_text(check: Check) -> Text:
    """Write a line of the doctor's answer, with what to do below it."""
    style = _LEVEL_STYLES[check.level.value]
    text = Text.assemble((f"{check.level.value:<8}", style), f"{check.what:<18}", " ", check.words)
    if check.hint:
        text.append("\n" + "\n".join(f"{'':<9}{line}" for line in check.hint.splitlines()))
    return text


def check_data(check: Check) -> dict[str, Any]:
    """Give a line of the doctor's answer as data."""
    return {
        "check": check.what,
        "level": check.level.value,
        "message": check.words,
        "hint": check.hint,
    }


def _head(state: SubmittedState, width: int | None) -> output.Lines:
    job = state.job
    columns = [
        output.Column("NAME", 9, elastic=True),
        output.Column("STATE", 8),
        output.Column("AGENTS", 7),
        output.Column("JOB", 5, elastic=True),
        output.Column("AGE", 6),
    ]
    cells = [
        state.submission.name,
        job.state if job else "<none>",
        f"{job.ready}/{job.wanted}" if job else "0/0",
        job.job if job else "<none>",
        output.age(job.age_s if job else None),
    ]
    return output.fitted_table(columns, [cells], width)


def _trouble_lines(job: JobStatus, *, wide: bool) -> list[RenderableType]:
    found = troubles(job)
    shown = found if wide else found[:_MOST_TROUBLES]
    lines: list[RenderableType] = []
    if job.end_reason is not None:
        lines.append(Text(f"the Job has failed: {job.end_reason.words}", style="red"))
    for trouble in shown:
        lines.append(Text(trouble.text()))
        if trouble.reason.hint:
            lines.append(Text(f"  {trouble.reason.hint}", style="dim"))
    if len(shown) < len(found):
        lines.append(Text(f"… and {len(found) - len(shown)} more reasons: -o wide"))
    return lines


def _agent_data(agent: AgentRow) -> dict[str, Any]:
    run = agent.run
    return {
        "agent": agent.index,
        "name": agent.name,
        "state": agent.state.value,
        "pod": agent.pod,
        "node": agent.node,
        "run": run.id if run else None,
        "phase": run.phase.value if run and run.phase else None,
        "step": run.step if run else None,
        "steps": run.steps if run else None,
        "metric": run.metric if run else None,
        "failures": agent.failures,
        "age_s": agent.age_s,
        "reason": agent.reason.words if agent.reason else None,
        "hint": agent.reason.hint if agent.reason else None,
        "replacement_due_s": agent.due_s,
    }
