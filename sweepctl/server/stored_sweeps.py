"""Reads a data folder without a server: its sweeps and runs, as its server would give them.

It disturbs no server that works there, and leaves no file behind. It imports neither GraphQL nor
HTTP, which makes `status` and other verbs quick on this machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sweepctl.server.store import file_store, lines, record_store, run_store, sweep_store
from sweepctl.server.store.api_forms import iso_time, node_id
from sweepctl.server.store.database import read_only
from sweepctl.server.store.filters import TRUE
from sweepctl.server.store.run_store import Run
from sweepctl.server.store.sweep_store import Project, Rows, Sweep
from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.run_record import RECORD_FILE, RunRecord, read_record
from sweepctl_pod.wandb.client import RunInfo, SweepInfo, run_info

_ENTITY = "local"


class StoredSweeps:
    """The sweeps of one data folder: what `WandbApi` gives for reading, from the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def where(self) -> str:
        """The folder, as people know it."""
        return f"the data folder {self._folder}"

    def default_entity(self) -> str:
        """Give the entity of all that an embedded server makes."""
        return _ENTITY

    def projects(self, entity: str) -> list[str]:
        """List the names of an entity's projects."""
        with read_only(self._folder) as rows:
            return [project.name for project in sweep_store.projects(rows, entity)]

    def sweeps(self, entity: str, project: str) -> list[SweepInfo]:
        """List the sweeps of a project, newest first."""
        with read_only(self._folder) as rows:
            found = sweep_store.find_project(rows, entity, project)
            if found is None:
                return []
            return [
                _sweep_info(rows, found, sweep)
                for sweep in sweep_store.sweeps(rows, found.pk, TRUE)
            ]

    def sweep(self, entity: str, project: str, sweep_id: str) -> SweepInfo:
        """Give one sweep; an unknown one is an error that names it."""
        with read_only(self._folder) as rows:
            owner = sweep_store.find_project(rows, entity, project)
            sweep = sweep_store.find_sweep(rows, id=sweep_id, project=owner.pk) if owner else None
            if owner is None or sweep is None:
                raise SweepctlError(
                    f"no sweep {entity}/{project}/{sweep_id} in {self.where}",
                    "the form is ENTITY/PROJECT/SWEEP_ID",
                )
            return _sweep_info(rows, owner, sweep)

    def runs(self, sweep: SweepInfo) -> list[RunInfo]:
        """List the runs of a sweep, oldest first."""
        with read_only(self._folder) as rows:
            owner = sweep_store.find_sweep(rows, id=sweep.id)
            if owner is None:
                return []
            documents = run_store.run_documents(rows, owner.pk)
            found = run_store.runs(rows, sweep=owner.pk)
            return [_run_info(run, sweep.id, *documents[run.pk]) for run in found]

    def run_log(self, sweep: SweepInfo, run_id: str) -> list[str]:
        """Give the lines that a run has printed; none when nothing was uploaded."""
        with read_only(self._folder) as rows:
            run = run_store.find_run_by_path(rows, sweep.entity, sweep.project, run_id)
            if run is None:
                return []
            whole = self._file_text(rows, run, lines.CONSOLE)
            if whole is not None:
                return whole.splitlines()
            streamed = lines.line_page(rows, run.pk, lines.CONSOLE, -1, -1)
            return [lines.console_line(text)["line"] for _, text in streamed]

    def run_record(self, sweep: str, run_id: str) -> RunRecord | None:
        """Give the agent's record of how it started a run of ENTITY/PROJECT/SWEEP."""
        entity, project, _ = sweep.split("/")
        with read_only(self._folder) as rows:
            run = run_store.find_run_by_path(rows, entity, project, run_id)
            text = self._file_text(rows, run, RECORD_FILE) if run else None
        return None if text is None else read_record(text)

    def run_records(self, sweep: str) -> dict[str, RunRecord] | None:
        """Give the records of all runs of ENTITY/PROJECT/SWEEP that have one."""
        with read_only(self._folder) as rows:
            owner = sweep_store.find_sweep(rows, id=sweep.rpartition("/")[2])
            return record_store.named_records(rows, self._folder, owner.pk) if owner else {}

    def histories(
        self, sweep: SweepInfo, runs: Sequence[str], keys: Sequence[str], samples: int
    ) -> dict[str, list[dict[str, Any]]]:
        """Give rows of each run's history that have all of the keys, an even choice of them.

        Of a long history some lines are read first; where few of them have the keys, all are.
        """
        found = {}
        with read_only(self._folder) as rows:
            for name in runs:
                run = run_store.find_run_by_path(rows, sweep.entity, sweep.project, name)
                if run is None:
                    continue
                texts = lines.spread_history(rows, run.pk, samples)
                chosen = lines.rows_with(texts, keys)
                if len(texts) == samples and len(chosen) < samples // 2:
                    spec = {"keys": list(keys), "samples": samples}
                    chosen = lines.sampled_history(rows, run.pk, spec)
                found[name] = chosen
        return found

    def _file_text(self, rows: Rows, run: Run, name: str) -> str | None:
        file = file_store.find_file(rows, run.pk, name)
        if file is None:
            return None
        try:
            return (self._folder / "files" / file.stored).read_text("utf-8", "replace")
        except OSError as error:
            words = f"cannot read {name} of run {run.id}: {error.strerror}"
            raise SweepctlError(words) from error


def _sweep_info(rows: Rows, project: Project, sweep: Sweep) -> SweepInfo:
    return SweepInfo(
        entity=project.entity,
        project=project.name,
        id=sweep.id,
        node_id=node_id("Sweep", sweep.pk),
        state=sweep.state.value,
        method=sweep.method,
        config_text=sweep_store.sweep_text(rows, sweep.pk),
        description=sweep_store.sweep_description(rows, sweep),
        display_name=sweep.display_name,
        created_at=iso_time(sweep.created),
        run_count=run_store.count_runs(rows, sweep=sweep.pk),
        run_count_expected=sweep.run_count_expected,
    )


def _run_info(run: Run, sweep_id: str, config: str, summary: str) -> RunInfo:
    return run_info(
        {
            "id": node_id("Run", run.pk),
            "name": run.id,
            "displayName": run.display_name,
            "sweepName": sweep_id,
            "state": run.state.value,
            "config": config,
            "createdAt": iso_time(run.created),
            "heartbeatAt": iso_time(run.heartbeat),
            "summaryMetrics": summary,
            "host": run.host,
            "exitcode": run.exit_code,
        }
    )
