"""Imports the user's task modules in the trainer's process, as Isaac Lab 3's entry point.

tasks.py writes this file, with a call of `register` at its end, into a folder of PYTHONPATH, beside
the metadata of a distribution that names it as an entry point. It imports nothing of sweepctl.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import traceback
import types
import warnings
from collections.abc import Iterator
from typing import Any

CANNOT_IMPORT = "sweepctl: the task module"
"""What the line begins with that says why a module could not be imported."""

_KIT_UI = ("omni", "omni.ext", "omni.ui")


def register(names: str) -> None:
    """Import each module; end the process with the reason when one cannot be imported."""
    for name in filter(None, names.split(":")):
        try:
            _import(name)
        except Exception as error:  # whatever the user's code raises, in one line
            traceback.print_exc()
            why = " ".join(f"{type(error).__name__}: {error}".split())
            missing = getattr(error, "name", None)
            is_itself = missing is not None and f"{name}.".startswith(f"{missing}.")
            hint = "; put the folder that holds it into PYTHONPATH" if is_itself else ""
            sys.exit(f"{CANNOT_IMPORT} {name} cannot be imported: {why}{hint}")


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
        return
    except ModuleNotFoundError as error:
        if error.name not in _KIT_UI:
            raise
    # Projects made from Isaac Lab 2.x's template import their example of a window with their tasks;
    # Kit is not there yet, or never. What was imported half is imported again.
    package = name.partition(".")[0]
    for half in [key for key in sys.modules if key == package or key.startswith(f"{package}.")]:
        del sys.modules[half]
    with _no_window(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # gymnasium's, of tasks that are registered again
        importlib.import_module(name)


class _Nothing(types.ModuleType):
    """A module of Kit's user interface that has every class, each empty."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


@contextlib.contextmanager
def _no_window() -> Iterator[None]:
    """Put empty modules in the place of Kit's user interface; modules that exist stay."""
    added: list[str] = []
    for name in _KIT_UI:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            sys.modules[name] = _Nothing(name)
            added.append(name)
            parent, _, child = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], child, sys.modules[name])
    try:
        yield
    finally:
        for name in added:
            module = sys.modules.pop(name)
            parent, _, child = name.rpartition(".")
            if parent in sys.modules and vars(sys.modules[parent]).get(child) is module:
                delattr(sys.modules[parent], child)
