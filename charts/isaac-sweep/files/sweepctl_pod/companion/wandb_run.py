"""One W&B run over several attempts, in the trainer's own client (0.16 to 0.31).

In a first training the rows that are logged are remembered for a while, and nothing is changed.
In one that was resumed the run is resumed too and may say its settings anew; a step that W&B has
is not sent again, and one that it lacks (it died in the client's buffer) is sent from the state.
"""

from __future__ import annotations

import functools
import time
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sweepctl_pod.companion.speech import never_breaking, say

_KEPT_S = 900.0
"""Rows that were logged longer ago are with W&B, unless the network was gone for as long."""
_KEPT_ROWS = (20, 1000)
"""The fewest that are kept however old they are, and the most."""

Row = tuple[int, dict[str, Any]]


class History:
    """The rows of this process's run, by their steps."""

    def __init__(self) -> None:
        self.is_resumed = False
        self._lost: list[Row] = []
        """Rows of earlier attempts, of which W&B may lack the newest."""
        self._rows: dict[int, tuple[float, dict[str, Any]]] = {}
        self._floor = 0
        """W&B has every step before."""
        self._dropped: set[int] = set()
        self._will_resume: Callable[[], bool] = lambda: False
        self._run: Any = None
        """The client's run: the first of this process; what else is opened here is another's."""

    def resume(self, rows: Iterable[Row]) -> None:
        """Have the run go on: this training has loaded a checkpoint, which holds these rows."""
        self.is_resumed, self._lost = True, list(rows)
        if self._run is not None and not self._rows:
            self._send_lost()

    def expect(self, will_resume: Callable[[], bool]) -> None:
        """Ask, when the run is opened, whether a training will go on: most open it before."""
        self._will_resume = will_resume

    def opening(self) -> None:
        """Have the run go on that is opened now, where its training is going to."""
        self.is_resumed = self.is_resumed or self._will_resume()

    def recent(self) -> list[Row]:
        """Give the rows that W&B may not have yet, oldest first."""
        self._forget()
        rows = [(step, values) for step, (_, values) in sorted(self._rows.items())]
        oldest = rows[0][0] if rows else None
        before = [row for row in self._lost if oldest is None or row[0] < oldest]
        return [*before, *rows][-_KEPT_ROWS[1] :]

    def opened(self, run: Any) -> None:
        """Send what W&B lacks, before the training sends anything."""
        if self._run is not None:
            return
        self._run = run
        self._send_lost()

    def _send_lost(self) -> None:
        run = self._run
        if not self.is_resumed or getattr(run, "offline", False) or getattr(run, "disabled", False):
            return
        self._floor = int(getattr(run, "starting_step", 0) or 0)
        lacking = [row for row in self._lost if row[0] >= self._floor]
        for step, values in lacking:
            run.log(dict(values), step=step)
        if lacking:
            say(f"W&B lacked the steps {lacking[0][0]} to {lacking[-1][0]}: sent again")

    def takes(self, run: Any, step: int, values: Mapping[str, Any]) -> bool:
        """Say whether a row is to be sent, and remember it."""
        if run is not self._run:
            return True
        if step < self._floor:
            self._dropped.add(step)
            return False
        if self._dropped:
            first, last = min(self._dropped), max(self._dropped)
            self._dropped.clear()
            say(f"W&B has the steps {first} to {last} of an earlier attempt: not sent again")
        found = self._rows.get(step)
        if found is None:
            self._rows[step] = found = (time.monotonic(), {})
            if len(self._rows) > 2 * _KEPT_ROWS[1]:
                self._forget()
        for name, value in values.items():
            plain = _plain(value)
            if plain is not None:
                found[1][name] = plain
        return True

    def _forget(self) -> None:
        oldest = time.monotonic() - _KEPT_S
        steps = sorted(self._rows)
        fewest, most = _KEPT_ROWS
        for step in steps[:-fewest]:
            if self._rows[step][0] < oldest or step < steps[-most:][0]:
                del self._rows[step]


def _plain(value: Any) -> Any:
    """Give a value as text or a number; None for what a row of a checkpoint cannot hold."""
    if isinstance(value, bool | int | float | str):
        return value
    if getattr(value, "shape", None) in ((), (1,)) and hasattr(value, "item"):
        return value.item()
    return None


HISTORY = History()
"""This process's: W&B's client has one run at a time as well."""


def patch(module: types.ModuleType) -> None:
    """Patch a module of the client that was just imported."""
    if module.__name__ == "wandb":
        _patch_init(module)
    elif module.__name__ == "wandb.sdk.wandb_config":
        _patch_config(module)
    elif module.__name__ == "wandb.sdk.wandb_run":
        _patch_run(module)


def _patch_init(module: Any) -> None:
    init = module.init

    @functools.wraps(init)
    def resuming(*args: Any, **kwargs: Any) -> Any:
        with never_breaking("W&B's run does not go on"):
            HISTORY.opening()
        if HISTORY.is_resumed and kwargs.get("resume") is None:
            kwargs["resume"] = "allow"
        run = init(*args, **kwargs)
        with never_breaking("W&B is not sent what it lacks"):
            HISTORY.opened(run)
        return run

    module.init = resuming


def _patch_config(module: Any) -> None:
    update = module.Config.update

    @functools.wraps(update)
    def updating(self: Any, d: Any, allow_val_change: Any = None) -> Any:
        # Without it every second attempt of stock rsl_rl dies: "Attempted to change value of key".
        if allow_val_change is None and HISTORY.is_resumed:
            allow_val_change = True
        return update(self, d, allow_val_change)

    module.Config.update = updating


def _patch_run(module: Any) -> None:
    log = module.Run.log

    @functools.wraps(log)
    def logging(self: Any, data: Any, step: Any = None, *args: Any, **kwargs: Any) -> Any:
        if isinstance(step, int) and isinstance(data, Mapping):
            is_taken = True
            with never_breaking("a row of W&B's history is not remembered"):
                is_taken = HISTORY.takes(self, step, data)
            if not is_taken:
                return None
        return log(self, data, step, *args, **kwargs)

    module.Run.log = logging
