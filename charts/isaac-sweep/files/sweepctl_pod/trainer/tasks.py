"""The user's own tasks without an installation: how Isaac Lab 3 finds them in a plain folder.

Isaac Lab 3 imports the entry points `isaaclab.tasks` of installed packages (isaaclab/cli), and a
clone has none. So the agent writes a folder with the metadata of a distribution that has one
(register_tasks.py), and puts it and the project's own import folders before the trainer's
PYTHONPATH. Isaac Lab 2.x reads no entry points: there a project's own train.py imports its tasks,
from the same PYTHONPATH. A setting names modules, or folders of projects in which the modules are
found.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweepctl_pod.errors import ExitCode, SweepctlError
from sweepctl_pod.trainer.launchers import TrainerKind

SETTING = "SWEEPCTL_TASKS"
"""The variable that holds the setting: modules and folders, joined by colons."""
NAMES_OF_SETTING = "code.tasks of submit and the chart, --tasks of local and agent"

_MODULES = "SWEEPCTL_TASK_MODULES"
"""What register_tasks.py reads in the trainer's process: modules, joined by colons."""
_REGISTRATION = Path(__file__).with_name("register_tasks.py")
_CALL = f"\n\nimport os\n\nregister(os.environ.get({_MODULES!r}, ''))\n"
_FOLDER = ".sweepctl-tasks"
_DISTRIBUTION = "sweepctl_tasks"
_GROUP = "isaaclab.tasks"
_PROJECT_FILES = ("setup.py", "setup.cfg", "pyproject.toml", "config/extension.toml")
_SOURCE_FOLDERS = ("source", "exts")
"""Where Isaac Lab's template puts a project's packages: 2.x, and before."""
_NO_PACKAGES = ("test", "tests", "docs", "scripts", "tools")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


class TasksError(SweepctlError):
    """The setting names no tasks that can be found: another try changes nothing."""

    exit_code = ExitCode.CONFIGURATION


class UnwritableError(SweepctlError):
    """The work folder cannot be written to."""

    exit_code = ExitCode.NODE_UNFIT


@dataclass(frozen=True, slots=True)
class Tasks:
    """The modules that register the user's tasks, and the folders they are imported from."""

    modules: tuple[str, ...]
    folders: tuple[Path, ...]


def with_tasks(environ: Mapping[str, str], work: Path) -> dict[str, str]:
    """Give the environment in which the trainer finds the tasks that the setting names."""
    setting = environ.get(SETTING, "")
    if not setting.strip(":"):
        return dict(environ)
    tasks = find_tasks([entry for entry in setting.split(":") if entry])
    path = [str(_write(work)), *map(str, tasks.folders), environ.get("PYTHONPATH", "")]
    return {
        **environ,
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        _MODULES: ":".join(tasks.modules),
    }


def find_tasks(entries: Sequence[str]) -> Tasks:
    """Find the modules that register tasks; an entry is a module's name or a project's folder."""
    modules: list[str] = []
    folders: list[Path] = []
    for entry in entries:
        if _MODULE.fullmatch(entry):
            modules.append(entry)
        elif "/" in entry or entry in (".", ".."):
            found = _of_project(Path(entry).absolute())
            modules += found.modules
            folders += found.folders
        else:
            raise TasksError(
                f"tasks: '{entry}' is neither a module's name nor a folder",
                "write a module such as my_robot.tasks, or a folder such as /code",
            )
    return Tasks(tuple(dict.fromkeys(modules)), tuple(dict.fromkeys(folders)))


def unknown_task_hint(environ: Mapping[str, str], trainer: TrainerKind) -> str:
    """Say what to set when a trainer does not know its task."""
    if modules := environ.get(_MODULES):
        return f"{modules} of {NAMES_OF_SETTING} registers no such task"
    if trainer is TrainerKind.ISAACLAB2:
        return (
            "if the task is your own, let the command start your project's own train.py, which"
            f" imports it, and name the project's folder in {NAMES_OF_SETTING}"
        )
    return (
        "if the task is your own, name the module that registers it, or its project's folder,"
        f" in {NAMES_OF_SETTING}"
    )


def _of_project(folder: Path) -> Tasks:
    """Find a project's task modules: those it declares, else the `tasks` of its packages."""
    if not folder.is_dir():
        raise TasksError(
            f"tasks: there is no folder {folder}", f"it is named by {NAMES_OF_SETTING}"
        )
    declared: list[str] = []
    packages: dict[str, Path] = {}
    for part in _parts(folder):
        declared += _declared_in(part)
        for root in filter(Path.is_dir, (part, part / "src")):
            packages.update((name, root) for name in _packages(root) if name not in packages)
    folders = tuple(dict.fromkeys(packages.values()))
    with_tasks = [f"{name}.tasks" for name, root in packages.items() if _has_tasks(root / name)]
    alone = list(packages) if len(packages) == 1 else []
    modules = declared or with_tasks or alone
    if not modules:
        found = f"has the packages {', '.join(packages)}" if packages else "has no package"
        raise TasksError(
            f"tasks: {folder} {found}, none of them with a module `tasks`",
            "name the module that registers the tasks instead, such as my_robot.tasks, with its"
            " folder in PYTHONPATH (pythonPath of submit and the chart)",
        )
    return Tasks(tuple(modules), folders)


def _parts(folder: Path) -> Iterator[Path]:
    """Give the folder itself and the extensions in it, as Isaac Lab's template lays them out."""
    yield folder
    for name in _SOURCE_FOLDERS:
        if (folder / name).is_dir():
            below = sorted(path for path in (folder / name).iterdir() if path.is_dir())
            yield from (path for path in below if _is_project(path))


def _is_project(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _PROJECT_FILES)


def _packages(root: Path) -> list[str]:
    """Name the packages that can be imported from a folder."""
    return [
        path.parent.name
        for path in sorted(root.glob("*/__init__.py"))
        if _MODULE.fullmatch(path.parent.name) and path.parent.name not in _NO_PACKAGES
    ]


def _has_tasks(package: Path) -> bool:
    return (package / "tasks.py").is_file() or (package / "tasks").is_dir()


def _declared_in(part: Path) -> list[str]:
    """Read the entry points `isaaclab.tasks` of a pyproject.toml; none where it cannot be read."""
    with suppress(ImportError, OSError, ValueError):
        tomllib: Any = importlib.import_module("tomllib")  # from Python 3.11 on
        data: Any = tomllib.loads((part / "pyproject.toml").read_text(encoding="utf-8"))
        project = data.get("project", {}).get("entry-points", {})
        poetry = data.get("tool", {}).get("poetry", {}).get("plugins", {})
        points = {**poetry.get(_GROUP, {}), **project.get(_GROUP, {})}
        return [str(value).partition(":")[0].strip() for value in points.values()]
    return []


def _write(work: Path) -> Path:
    """Write the folder that makes Isaac Lab import register_tasks.py, the same for all tasks."""
    folder = work / _FOLDER
    files = {
        f"{_DISTRIBUTION}.py": _REGISTRATION.read_text(encoding="utf-8") + _CALL,
        f"{_DISTRIBUTION}-1.dist-info/METADATA": (
            f"Metadata-Version: 2.1\nName: {_DISTRIBUTION.replace('_', '-')}\nVersion: 1\n"
        ),
        f"{_DISTRIBUTION}-1.dist-info/entry_points.txt": (
            f"[{_GROUP}]\n{_DISTRIBUTION} = {_DISTRIBUTION}\n"
        ),
    }
    try:
        for name, text in files.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            # Several agents may share the work folder: each file appears whole.
            written = file.with_name(f".{file.name}.{os.getpid()}.{os.urandom(4).hex()}")
            written.write_text(text, encoding="utf-8")
            written.replace(file)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise UnwritableError(f"the work folder {work} cannot be written to: {why}") from None
    return folder
