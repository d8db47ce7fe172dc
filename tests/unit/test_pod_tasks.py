"""Which modules register the user's tasks, by projects as Isaac Lab's templates lay them out."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sweepctl_pod.errors import ExitCode, SweepctlError
from sweepctl_pod.trainer.launchers import TrainerKind
from sweepctl_pod.trainer.tasks import SETTING, find_tasks, unknown_task_hint, with_tasks

TOML_3 = """
[project]
name = "hexapod"
[project.entry-points."isaaclab.tasks"]
x = "hexapod.tasks"
"""
POETRY = '[tool.poetry.plugins."isaaclab.tasks"]\nx = "hexapod.envs:register"\n'


def make(folder: Path, *files: str, **texts: str) -> Path:
    """Make empty files, and the texts of pyproject.toml and the like (_ for the dot)."""
    for name in files:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    for name, text in texts.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "toml", "modules", "folders"),
    [
        pytest.param(
            ["src/hexapod/__init__.py", "src/hexapod/tasks/__init__.py", "scripts/list_envs.py"],
            TOML_3,
            ["hexapod.tasks"],
            ["src"],
            id="template-of-3",
        ),
        pytest.param(
            [
                "source/hexapod/setup.py",
                "source/hexapod/config/extension.toml",
                "source/hexapod/hexapod/__init__.py",
                "source/hexapod/hexapod/tasks/__init__.py",
                "scripts/rsl_rl/train.py",
            ],
            "[tool.isort]\n",
            ["hexapod.tasks"],
            ["source/hexapod"],
            id="template-of-2",
        ),
        pytest.param(
            [
                "exts/hexapod/config/extension.toml",
                "exts/hexapod/hexapod/__init__.py",
                "exts/hexapod/hexapod/tasks/__init__.py",
            ],
            "",
            ["hexapod.tasks"],
            ["exts/hexapod"],
            id="template-of-1",
        ),
        pytest.param(
            [
                "source/legs/pyproject.toml",
                "source/legs/legs/__init__.py",
                "source/legs/legs/tasks.py",
                "source/legs_assets/setup.py",
                "source/legs_assets/legs_assets/__init__.py",
            ],
            "",
            ["legs.tasks"],
            ["source/legs", "source/legs_assets"],
            id="one-of-two-extensions-has-tasks",
        ),
        pytest.param(
            ["hexapod/__init__.py", "tests/__init__.py"], "", ["hexapod"], ["."], id="one-package"
        ),
        pytest.param(
            ["hexapod/__init__.py", "hexapod/tasks/__init__.py", "other/__init__.py"],
            "",
            ["hexapod.tasks"],
            ["."],
            id="no-project-file",
        ),
        pytest.param(
            ["hexapod/__init__.py"], POETRY, ["hexapod.envs"], ["."], id="declared-with-poetry"
        ),
    ],
)
def test_task_modules_of_a_project_are_found(
    files: list[str], toml: str, modules: list[str], folders: list[str], tmp_path: Path
) -> None:
    make(tmp_path, *files, pyproject_toml=toml)
    found = find_tasks([str(tmp_path)])
    if sys.version_info < (3, 11) and "entry" not in toml and "poetry" in toml:
        pytest.skip("Python 3.10 reads no TOML")
    assert list(found.modules) == modules
    assert list(found.folders) == [tmp_path / folder for folder in folders]


def test_modules_are_taken_as_they_are_named_and_folders_may_be_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(make(tmp_path, "walker/__init__.py"))
    assert find_tasks(["legs.tasks", "./"]).modules == ("legs.tasks", "walker")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        pytest.param("/no/where", "there is no folder /no/where", id="no-folder"),
        pytest.param("legs-2.tasks", "neither a module's name nor a folder", id="no-name"),
        pytest.param("1legs", "neither a module's name nor a folder", id="no-name-either"),
        pytest.param("{}/empty", "has no package", id="no-package"),
        pytest.param("{}/two", "has the packages arms, legs, none", id="which-of-two"),
    ],
)
def test_tasks_that_cannot_be_found_are_a_matter_of_configuration(
    entry: str, said: str, tmp_path: Path
) -> None:
    make(tmp_path, "empty/README.md", "two/legs/__init__.py", "two/arms/__init__.py")
    with pytest.raises(SweepctlError) as caught:
        find_tasks([entry.format(tmp_path)])
    assert said in caught.value.message
    assert caught.value.exit_code is ExitCode.CONFIGURATION


def test_a_work_folder_that_takes_no_file_makes_the_node_unfit(tmp_path: Path) -> None:
    make(tmp_path, "work")
    with pytest.raises(SweepctlError) as caught:
        with_tasks({SETTING: "legs"}, tmp_path / "work")
    assert caught.value.exit_code is ExitCode.NODE_UNFIT


@pytest.mark.parametrize("setting", ["", ":"])
def test_without_the_setting_the_environment_stays_as_it_is(setting: str, tmp_path: Path) -> None:
    environ = {SETTING: setting, "PYTHONPATH": "/a"}
    assert with_tasks(environ, tmp_path) == environ
    assert not list(tmp_path.iterdir())


LOAD = """
import importlib.metadata, sys
for point in importlib.metadata.entry_points(group="isaaclab.tasks"):
    point.load()
import legs.tasks, legs
print(legs.tasks.NAME, "omni" in sys.modules, legs.__dict__.get("tasks") is legs.tasks)
"""


def load(setting: str, work: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Load the tasks as Isaac Lab 3 does, in another process."""
    prepared = with_tasks({"PATH": os.environ["PATH"], SETTING: setting, **environ}, work)
    command = [sys.executable, "-c", LOAD]
    return subprocess.run(command, env=prepared, capture_output=True, text=True, cwd="/")


def legs(folder: Path, package: str = "", tasks: str = "NAME = 'stilts'\n") -> Path:
    make(folder, "legs/tasks/__init__.py", "legs/__init__.py")
    (folder / "legs" / "__init__.py").write_text(package)
    (folder / "legs" / "tasks" / "__init__.py").write_text(tasks)
    return folder


def test_a_plain_folder_is_found_by_entry_points(tmp_path: Path) -> None:
    done = load(str(legs(tmp_path / "project")), tmp_path / "work")
    assert done.stdout == "stilts False True\n", done.stderr


def test_a_module_is_found_in_the_python_path_of_the_image(tmp_path: Path) -> None:
    path = f"/nothing:{legs(tmp_path / 'project')}"
    done = load("legs.tasks", tmp_path / "work", PYTHONPATH=path)
    assert done.stdout == "stilts False True\n", done.stderr


@pytest.mark.parametrize("where", ["package", "tasks"])
def test_a_window_of_the_2_x_template_does_not_keep_its_tasks_from_being_found(
    where: str, tmp_path: Path
) -> None:
    window = "import omni.ext\nimport omni.ui as ui\nclass Example(omni.ext.IExt):\n    pass\n"
    parts = {"package": "from .tasks import *\n"}
    parts[where] = parts.get(where, "NAME = 'stilts'\n") + window
    done = load(str(legs(tmp_path / "project", **parts)), tmp_path / "work")
    assert done.stdout == "stilts False True\n", done.stderr


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        pytest.param("import omni.usd\n", "No module named 'omni.usd'", id="kit-itself"),
        pytest.param("1 / 0\n", "ZeroDivisionError: division by zero", id="a-bug"),
    ],
)
def test_tasks_that_cannot_be_imported_end_the_trainer_with_the_reason_last(
    tasks: str, said: str, tmp_path: Path
) -> None:
    done = load(str(legs(tmp_path / "project", tasks=tasks)), tmp_path / "work")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("sweepctl: the task module legs.tasks cannot be imported: ")
    assert said in last
    assert "PYTHONPATH" not in last


def test_a_module_that_is_nowhere_is_told_with_what_to_do(tmp_path: Path) -> None:
    done = load("legs.tasks", tmp_path / "work")
    last = done.stderr.strip().splitlines()[-1]
    assert "No module named 'legs'; put the folder that holds it into PYTHONPATH" in last


@pytest.mark.parametrize(
    ("environ", "trainer", "said"),
    [
        (
            {},
            TrainerKind.ISAACLAB3,
            "name the module that registers it, or its project's folder, in",
        ),
        ({}, TrainerKind.ISAACLAB2, "let the command start your project's own train.py"),
        (
            {"SWEEPCTL_TASK_MODULES": "legs.tasks"},
            TrainerKind.ISAACLAB3,
            "legs.tasks of code.tasks",
        ),
    ],
)
def test_what_to_set_is_told_when_a_task_is_not_registered(
    environ: dict[str, str], trainer: TrainerKind, said: str
) -> None:
    hint = unknown_task_hint(environ, trainer)
    assert said in hint
    assert "code.tasks of submit and the chart, --tasks of local and agent" in hint


def test_several_agents_may_write_the_same_folder_again(tmp_path: Path) -> None:
    project = legs(tmp_path / "project")
    first = with_tasks({SETTING: str(project)}, tmp_path / "work")
    assert with_tasks({SETTING: str(project)}, tmp_path / "work") == first
    assert {path.name for path in (tmp_path / "work" / ".sweepctl-tasks").iterdir()} == {
        "sweepctl_tasks.py",
        "sweepctl_tasks-1.dist-info",
    }
