"""Stores what trainers send: their run starts, streams lines, ends. One message, one transaction.

A message of an earlier attempt of a run changes nothing (`lifecycle.is_stale` decides what can be
recognized). A message that comes twice changes nothing the second time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sweepctl.server.engine.presence import Presence
from sweepctl.server.engine.work import Work
from sweepctl.server.errors import BadMessageError, GoneError, NotFoundError
from sweepctl.server.lifecycle import is_stale, state_after_exit
from sweepctl.server.runs import restarts
from sweepctl.server.runs.messages import RunChange, StreamMessage, config_text, merged_config
from sweepctl.server.store import (
    branches,
    history_keys,
    lines,
    run_store,
    summary_store,
    sweep_store,
    writers,
)
from sweepctl.server.store.database import Database
from sweepctl.server.store.run_store import Run
from sweepctl.server.store.sweep_store import Rows
from sweepctl_pod.wandb.states import HELD_RUNS, RunState, SweepState


@dataclass(frozen=True, slots=True)
class Intake:
    """Stores the messages of trainers; safe to use from any thread."""

    database: Database
    presence: Presence
    work: Work
    now: Callable[[], float]
    log: Callable[[str], None]

    def stream(self, run: Run, message: StreamMessage, attempt: int | None) -> bool:
        """Store what a run streamed; say whether its trainer is to stop.

        `attempt` is the number that sweepctl's agent has its clients send. A NotFoundError if the
        run was deleted.
        """
        if attempt is not None and is_stale(run.newest_attempt, attempt):
            return True
        self.presence.mark_seen("run", run.pk)
        if message.is_only_sign_of_life and run.state == RunState.RUNNING:
            return run.is_stop_asked
        with self.database.write() as tx:
            current = run_store.find_run(tx, pk=run.pk)
            if current is None:
                raise NotFoundError(f"run {run.id} was deleted")
            if attempt is not None and is_stale(current.newest_attempt, attempt):
                return True
            current = restarts.settled(tx, current, message, self.now())
            self._store_lines(tx, current, message)
            self._store_state(tx, current, message, attempt)
            return current.is_stop_asked

    def upsert(
        self,
        project: int,
        run: Run | None,
        id: str | None,
        change: RunChange,
        attempt: int | None,
    ) -> Run:
        """Create or change a run, and note whether its trainer starts again.

        A GoneError if the run was deleted.
        """
        now = self.now()
        with self.database.write() as tx:
            # Since it was looked up it may have changed, or another client may have made it.
            if run is not None:
                id, run = run.id, run_store.find_run(tx, pk=run.pk)
            elif id is not None:
                run = run_store.find_run(tx, project=project, id=id)
            if run is None and id is not None and run_store.was_deleted(tx, project, id):
                raise GoneError(f"run {id} was previously created and deleted; try a new run name")
            if run is not None and attempt is not None and is_stale(run.newest_attempt, attempt):
                return run
            if run is None:
                named = {"id": id} if id else {}
                state = change.state or RunState.RUNNING
                run = run_store.create_run(
                    tx, {"project": project, "state": state.value, **named}, now
                )
                run = self._named(tx, run, change, now)
                self._fork(tx, run, change)
                self.log(f"run {run.id} began on {change.host or 'an unnamed host'}")
            elif change.host is not None:
                has_history = lines.history_count(tx, run.pk) > 0
                # Of those who share a run only the first of an attempt can be starting it again.
                is_first = not (change.is_shared and run.is_started)
                is_restarted = has_history and not change.is_resumed and is_first
                if is_first:
                    writers.end_segment(tx, run.pk)
                if run.is_started and run.state == RunState.RUNNING and not has_history:
                    # One that began the run before is likely to be writing to it as well.
                    writers.mark_several(tx, run.pk)
                run_store.update_run(tx, run.pk, {"is_restarted": int(is_restarted)}, now)
            self._apply(tx, run, change, now)
            changed = run_store.run_by_pk(tx, run.pk)
        self.presence.mark_seen("run", changed.pk)
        return changed

    def rewind(self, run: Run, last_step: int) -> Run:
        """Take away what a run logged after a step; its trainer goes on from there."""
        with self.database.write() as tx:
            branches.rewind_history(tx, run.pk, last_step)
            self.log(f"run {run.id} is rewound to step {last_step}")
            return run_store.run_by_pk(tx, run.pk)

    def _fork(self, tx: Rows, run: Run, change: RunChange) -> None:
        """Give a new run that says so the start of another one's history."""
        if change.branch is None or change.branch.run == run.id:
            return
        parent = run_store.find_run(tx, project=run.project, id=change.branch.run)
        if parent is None:
            raise BadMessageError(
                f"run {run.id} cannot be forked: its project has no run {change.branch.run!r}"
            )
        branches.fork_history(tx, run.pk, parent.pk, change.branch.step)
        self.log(f"run {run.id} goes on from step {change.branch.step} of run {parent.id}")

    def ask_stop(self, run: Run) -> None:
        """Ask a run to stop: its trainer and its agent learn it with their next answer."""
        with self.database.write() as tx:
            if run.queued is not None:
                fields = {"state": RunState.KILLED.value, "queued": None, "is_stop_asked": 1}
                run_store.update_run(tx, run.pk, fields, self.now())
            elif run.state in HELD_RUNS:
                run_store.update_run(tx, run.pk, {"is_stop_asked": 1}, self.now())
                self.log(f"run {run.id} is asked to stop")

    def _named(self, tx: Rows, run: Run, change: RunChange, now: float) -> Run:
        if not change.fields.get("display_name"):
            number = run_store.count_runs(tx, project=run.project)
            run_store.update_run(tx, run.pk, {"display_name": f"run-{number}"}, now)
        return run_store.run_by_pk(tx, run.pk)

    def _apply(self, tx: Rows, run: Run, change: RunChange, now: float) -> None:
        fields = dict(change.fields)
        if change.config is not None:
            params = run_store.params_of(tx, run.pk) if run.sweep else {}
            before = run_store.run_document(tx, run.pk, "config")
            old = json.loads(before)
            config = merged_config(old, change.config, params, is_shared=change.is_shared)
            fields["config"] = config_text(config, len(before))
        if change.host is not None:
            # Runs show their agent as host: several agents of one machine differ only by that.
            host = run_store.agent_host(tx, run.pk) or change.host
            fields |= {"host": host, "is_started": 1, "exit_code": None}
            # A trainer that was told to leave while it started opens its run after that was marked.
            if run.agent is None or run.state != RunState.PREEMPTING:
                fields |= {"is_preempting": 0, "state": RunState.RUNNING.value}
        elif change.state is not None:
            fields["state"] = change.state.value
        if fields:
            run_store.update_run(tx, run.pk, fields, now)
        if change.summary is not None:
            summary_store.write_summary(tx, run.pk, change.summary)

    def _store_lines(self, tx: Rows, run: Run, message: StreamMessage) -> None:
        last_step = run.last_step
        writer = restarts.writer_now(tx, run, message)
        # The summary comes last: it names the last step.
        files = sorted(message.files.items(), key=lambda file: file[0] == lines.SUMMARY)
        for name, (offset, content) in files:
            if not content:
                continue
            if name in lines.STREAMS:
                if writer is None:
                    block = writers.apart(tx, run.pk, name, offset, content)
                else:
                    free = lines.count(tx, run.pk, name)
                    block = writers.placed(tx, writer, name, offset, content, free)
            if name == lines.HISTORY:
                is_shared = message.writer is not None
                change = lines.write_history(tx, run.pk, block, is_shared=is_shared)
                known = run_store.run_document(tx, run.pk, "history_keys")
                keys = history_keys.with_types(known, change.key_types)
                last_step = max(last_step, change.last_step)
                fields: dict[str, Any] = {"last_step": last_step}
                if keys is not None:
                    fields["history_keys"] = keys
                run_store.update_run(tx, run.pk, fields, self.now())
            elif name == lines.SUMMARY:
                whole = content[-1]
                if writer is not None:
                    whole = writers.merged_summary(tx, run.pk, writer, whole, last_step)
                elif writers.are_several(tx, run.pk):
                    whole = writers.laid_over(tx, run.pk, whole)
                summary_store.write_summary(tx, run.pk, whole)
            elif name in lines.STREAMS:
                lines.write_lines(tx, run.pk, name, block)

    def _store_state(self, tx: Rows, run: Run, message: StreamMessage, attempt: int | None) -> None:
        known = run.newest_attempt
        if attempt is None and is_stale(known, None):
            return
        fields: dict[str, Any] = {}
        if run.state == RunState.PENDING and not run.queued:
            fields |= {"state": RunState.RUNNING.value, "is_started": 1}
        elif run.state == RunState.CRASHED and run.attempt == 0:
            fields["state"] = RunState.RUNNING.value
        if message.is_preempting and run.state in HELD_RUNS:
            fields |= {"state": RunState.PREEMPTING.value, "is_preempting": 1}
        elif message.is_preempting and run.agent is not None:
            # Its trainer has ended the run already; its agent still decides what becomes of it.
            fields["is_preempting"] = 1
        if message.exit_code is not None and self._may_end(run, message.exit_code):
            if message.is_preempting:
                fields["is_preempting"] = 1
            marked = run.is_preempting or message.is_preempting
            asked = run.is_stop_asked or self._is_canceled(tx, run)
            attempt_now = replace(run.newest_attempt, is_preempting=marked, is_stop_asked=asked)
            state = state_after_exit(attempt_now, message.exit_code)
            fields |= {"state": state.value, "exit_code": message.exit_code, "queued": None}
            if state != run.state:
                self.log(f"run {run.id} is {state.value} (exit code {message.exit_code})")
        if fields:
            run_store.update_run(tx, run.pk, fields, self.now())
            self._release_handed_back(tx, run_store.run_by_pk(tx, run.pk))

    def _release_handed_back(self, tx: Rows, run: Run) -> None:
        """Release a run that its trainer handed back, where its agent will not report that."""
        if run.state != RunState.PREEMPTED or run.agent is None or run.sweep is None:
            return
        agent = sweep_store.find_agent(tx, pk=run.agent)
        if agent is not None and not agent.is_own:
            sweep = sweep_store.sweep_by_pk(tx, run.sweep)
            self.work.release_run(tx, run, sweep, "its trainer has handed it back")

    @staticmethod
    def _is_canceled(tx: Rows, run: Run) -> bool:
        """Say whether the run's sweep was canceled, which asks all its runs to stop."""
        if run.sweep is None:
            return False
        return sweep_store.sweep_by_pk(tx, run.sweep).state == SweepState.CANCELED

    @staticmethod
    def _may_end(run: Run, exit_code: int) -> bool:
        """Say whether an exit record ends the run.

        An agent that holds the run decides as long as it holds it. A run that waits to be taken
        again has no newer attempt, so its own success still counts.
        """
        if run.queued is not None:
            return exit_code == 0
        return run.agent is not None or run.attempt == 0 or run.state in HELD_RUNS
