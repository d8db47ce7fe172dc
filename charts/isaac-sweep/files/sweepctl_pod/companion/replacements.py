"""Functions of a training's own objects that the companion stands in for, until it takes leave."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


class Replacements:
    """Functions of ours in place of an object's own, until they are taken back."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def replace(self, owner: Any, name: str, wrapped: Callable[..., Any]) -> None:
        """Put a function, which gets the one before it as its first argument, on one object."""
        before, had = getattr(owner, name), name in vars(owner)

        @functools.wraps(before)
        def ours(*args: Any, **kwargs: Any) -> Any:
            return wrapped(before, *args, **kwargs)

        def undo() -> None:
            if vars(owner).get(name) is ours:
                setattr(owner, name, before) if had else delattr(owner, name)

        setattr(owner, name, ours)
        self._undo.append(undo)

    def undo(self) -> None:
        """Leave all objects as they were."""
        while self._undo:
            self._undo.pop()()
