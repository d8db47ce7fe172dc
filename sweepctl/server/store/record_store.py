"""The records of runs that their agents have uploaded: read at once for a whole sweep."""

from __future__ import annotations

from pathlib import Path

from sweepctl.server.store import file_store, run_store
from sweepctl.server.store.file_store import StoredFile
from sweepctl.server.store.sweep_store import Rows
from sweepctl_pod.run_record import RECORD_FILE, RunRecord, read_record

FILES = "files"
"""The folder of uploaded files, below that of the data."""


def records_of_sweep(rows: Rows, folder: Path, sweep: int) -> dict[int, RunRecord]:
    """Give the records of a sweep's runs, by run; a run without one that can be read is not in it.

    `folder` is that of the data.
    """
    files = file_store.files_of_sweep(rows, sweep, RECORD_FILE)
    read = {run: _read(folder, file) for run, file in files.items()}
    return {run: record for run, record in read.items() if record is not None}


def named_records(rows: Rows, folder: Path, sweep: int) -> dict[str, RunRecord]:
    """Give the records of a sweep's runs, by the run's id."""
    found = records_of_sweep(rows, folder, sweep)
    names = {run.pk: run.id for run in run_store.runs(rows, sweep=sweep)} if found else {}
    return {names[run]: record for run, record in found.items() if run in names}


def record_of_run(rows: Rows, folder: Path, run: int) -> RunRecord | None:
    """Give the record of one run."""
    file = file_store.find_file(rows, run, RECORD_FILE)
    return None if file is None else _read(folder, file)


def _read(folder: Path, file: StoredFile) -> RunRecord | None:
    try:
        text = (folder / FILES / file.stored).read_text("utf-8", "replace")
    except OSError:
        return None  # it was replaced in this moment
    return read_record(text)
