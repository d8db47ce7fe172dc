"""The runs of a report as one table, for spreadsheets and programs: CSV, and Parquet.

A row is a run, in the order of creation. Numbers are written so that they read back as the same
ones. Text that a spreadsheet would take for a formula gets an apostrophe before it.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from sweepctl.report.content import Report
from sweepctl.sweeps.status import ranked
from sweepctl.sweeps.tables import parquet, run_rows

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_PARAMETER = "parameters/"


def runs_csv(report: Report) -> bytes:
    """Write the runs as CSV (RFC 4180, UTF-8); nested parameters get dotted names."""
    rows = report_rows(report)
    names = dict.fromkeys(name for row in rows for name in row)
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\r\n")
    writer.writerow([_cell(name) for name in names] or ["run"])
    writer.writerows([_cell(row.get(name)) for name in names] for row in rows)
    return written.getvalue().encode("utf-8", "replace")


def runs_parquet(report: Report) -> bytes:
    """Write the runs as Parquet; each column has one type."""
    return parquet(report_rows(report))


def report_rows(report: Report) -> list[dict[str, Any]]:
    """Give one row a run: rank, what became of it, metric, parameters by dotted names."""
    status = report.status
    rank = {row.id: at for at, row in enumerate(ranked(status.runs, status.metric), start=1)}
    rows = []
    for run, row in zip(status.runs, run_rows(status), strict=True):
        parameters = {f"{_PARAMETER}{name}": value for name, value in flat(run.parameters).items()}
        kept = {name: value for name, value in row.items() if not name.startswith(_PARAMETER)}
        if status.metric is not None and run.metric is None:
            kept[f"metric/{status.metric.name}"] = run.metric_instead
        rows.append({"run": run.id, "rank": rank.get(run.id), **kept, **parameters})
    return rows


def flat(parameters: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Give nested parameters one level: their names with dots between; a list is one value."""
    found: dict[str, Any] = {}
    for name, value in parameters.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = value
    return found


def _cell(value: object) -> str:
    """Write one value: what is not there is empty, a number its shortest form that is exact."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else _not_finite(value)
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        is_list = isinstance(value, (Mapping, Sequence))
        return _safe(json.dumps(value, ensure_ascii=False) if is_list else str(value))
    return _safe(value)


def _safe(text: str) -> str:
    text = text.replace("\x00", " ")
    is_number = text in ("-Infinity",)
    return f"'{text}" if text.startswith(_FORMULA) and not is_number else text


def _not_finite(value: float) -> str:
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
