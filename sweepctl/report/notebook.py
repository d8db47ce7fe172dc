"""A sweep's facts for figures in a notebook, from wherever the sweep is kept."""

from __future__ import annotations

from pathlib import Path

from sweepctl.figures import SweepFacts
from sweepctl.jobs.targets import resolve
from sweepctl.report.read import ReportReader
from sweepctl.sweeps.place import Place


def read_facts(
    name: str | None = None,
    *,
    namespace: str | None = None,
    context: str | None = None,
    server: str | None = None,
    data: str | Path | None = None,
) -> SweepFacts:
    """Read a sweep as `sweepctl report` does; name and options mean what they mean there.

    All runs are in it, and the curves of 120: of the best, and of an even choice of the others.
    """
    place = Place(namespace, context, server, Path(data) if data is not None else None)
    with resolve(name, place, print).source() as (source, found):
        return ReportReader(top=10).facts(source, found)
