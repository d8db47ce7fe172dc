"""What `status` shows of a sweep: a snapshot in the form that was asked for, once or until its end.

It chooses the view that belongs to what was read; nothing is fetched here.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from sweepctl.cli import output
from sweepctl.cli.options import print_lines
from sweepctl.cli.output import Form

if TYPE_CHECKING:
    from rich.console import RenderableType

    from sweepctl.cli.screen import Room
    from sweepctl.jobs.state import SubmittedState
    from sweepctl.sweeps.seen import SeenSweep

_WATCH_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a sweep is at one moment, ready to be shown in any form, in any room or all of it."""

    view: Callable[[Room | None], RenderableType]
    data: Callable[[], Any]
    name: str | None
    form: Form
    is_last: bool

    def print(self) -> None:
        """Print it in its form."""
        if self.form.is_data:
            output.data(self.data(), self.form)
        elif self.form is Form.NAME:
            print_lines(filter(None, [self.name]))
        else:
            output.console().print(self.view(None))


def snapshot_of(seen: SeenSweep | SubmittedState, form: Form) -> Snapshot:
    """Give what there is to show of a sweep as it was read."""
    from sweepctl.sweeps.seen import SeenSweep

    if isinstance(seen, SeenSweep):
        from sweepctl.cli import views

        return Snapshot(
            view=partial(views.status_view, seen.status, wide=form is Form.WIDE),
            data=partial(views.status_data, seen.status),
            name=f"sweep/{seen.status.sweep}",
            form=form,
            is_last=seen.status.has_ended,
        )
    from sweepctl.cli import job_views

    job = seen.job
    return Snapshot(
        view=partial(job_views.state_view, seen, wide=form is Form.WIDE),
        data=partial(job_views.state_data, seen),
        name=f"job/{job.job}" if job else None,
        form=form,
        is_last=job is None or job.end is not None,
    )


def show_snapshots(snapshots: Iterator[Snapshot], watch: bool) -> None:
    """Print a snapshot, or with -w one after the other until the sweep has ended.

    On a terminal each takes the place of the one before it.
    """
    from sweepctl.cli.screen import Screen, is_drawable

    first = next(snapshots)
    if not watch:
        first.print()
        return
    if not is_drawable(sys.stdout) or not first.form.is_for_people:
        for snapshot in chain([first], snapshots):
            if first.form is Form.YAML:
                output.answer("---")
            snapshot.print()
            sys.stdout.flush()
            if snapshot.is_last:
                return
            time.sleep(_WATCH_EVERY_S)
        return
    with Screen() as screen:
        for snapshot in chain([first], snapshots):
            screen.draw(snapshot.view)
            if snapshot.is_last:
                return
            screen.rest(_WATCH_EVERY_S)
