"""Which files some process writes at this moment, as Linux tells in /proc.

Only processes of the same user can be asked; in a pod all are. Where nothing can be asked, nothing
is held open.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

_WRITES = os.O_WRONLY | os.O_RDWR


def held_for_writing(paths: Collection[str], proc: str = "/proc") -> frozenset[str]:
    """Give those of some paths that a process has open to write into."""
    wanted = {os.path.realpath(path): path for path in paths}
    if not wanted:
        return frozenset()
    return frozenset(
        wanted[target]
        for folder, number, target in _open_files(proc)
        if target in wanted and _flags(f"{folder}/fdinfo/{number}") & _WRITES
    )


def _open_files(proc: str) -> Iterator[tuple[str, str, str]]:
    for name in _names(proc):
        if name.isdigit():
            for number in _names(f"{proc}/{name}/fd"):
                try:
                    yield f"{proc}/{name}", number, os.readlink(f"{proc}/{name}/fd/{number}")
                except OSError:  # closed meanwhile
                    continue


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:  # another user's process, or one that has ended
        return []


def _flags(file: str) -> int:
    """Give the flags with which a file was opened; 0 where nobody can say."""
    try:
        with open(file, encoding="ascii") as lines:
            found = [line.split()[1] for line in lines if line.startswith("flags:")]
        return int(found[0], 8) if found else 0
    except (OSError, ValueError, IndexError):
        return 0
