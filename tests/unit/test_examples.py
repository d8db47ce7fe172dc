"""The sweep files that newcomers start from, and the script that makes their trainer."""

import importlib.util
import os
from collections import namedtuple
from pathlib import Path
from types import ModuleType

import pytest

from sweepctl.sweepfile.load import load_sweep
from sweepctl.sweepfile.preview import preview_runs

ROOT = Path(__file__).resolve().parents[2]
SWEEPS = ("sweep.yaml", "examples/toy_legs/sweep.yaml")


@pytest.mark.parametrize("file", SWEEPS)
def test_sweep_file_has_neither_error_nor_warning(file: str) -> None:
    spec = load_sweep(str(ROOT / file))
    assert spec.warnings == ()
    assert {scaled.name for scaled in spec.scaled} == {"p_gain_leg", "d_gain_leg"}
    assert spec.metric is not None
    assert spec.run_cap is not None


@pytest.mark.parametrize("file", SWEEPS)
@pytest.mark.parametrize("grammar", ["literal", "hydra"])
def test_sweep_file_can_be_written_in_both_grammars(file: str, grammar: str) -> None:
    from sweepctl_pod.overrides import Grammar

    spec = load_sweep(str(ROOT / file))
    (run,) = preview_runs(spec, count=1, grammar=Grammar(grammar), environ={})
    assert sum(word.startswith("env.scene.robot.actuators.legs.") for word in run.command) == 2


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """Load the set-up script, with its environment in a folder of the test's."""
    path = ROOT / "examples" / "toy_legs" / "setup_trainer.py"
    spec = importlib.util.spec_from_file_location("setup_trainer", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    environment = tmp_path / "environment"
    monkeypatch.setattr(module, "ENVIRONMENT", environment)
    monkeypatch.setattr(module, "STAMP", environment / "complete")
    monkeypatch.setattr(module, "PYTHON", "9.9")
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setattr(module.sys, "executable", str(tmp_path / "bin" / "python"))
    return module


def program(path: Path, script: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_python_that_is_on_the_path_but_does_not_run_is_passed_over(
    setup: ModuleType, tmp_path: Path
) -> None:
    program(tmp_path / "path" / "python9.9", "echo 'pyenv: command not found' >&2; exit 127")
    program(tmp_path / "path" / "python3", "echo 9.8")
    wanted = program(tmp_path / "pyenv" / "versions" / "9.9.1" / "bin" / "python9.9", "echo 9.9")
    assert setup.find_python() == wanted


def test_missing_python_is_named_with_what_to_install(setup: ModuleType) -> None:
    with pytest.raises(setup.SetupError, match=r"no Python 9\.9 found.*uv python install 9\.9"):
        setup.find_python()


Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(
    ("machine", "free_gb", "message"),
    [
        pytest.param("aarch64", 100, "locked for Linux on x86_64", id="other-cpu"),
        pytest.param("x86_64", 7.4, "7.4 GB free.*needs 8 GB", id="disk-nearly-full"),
        pytest.param("x86_64", 9, None, id="fit"),
    ],
)
def test_unfit_machine_is_refused_before_anything_is_fetched(
    setup: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    machine: str,
    free_gb: float,
    message: str | None,
) -> None:
    monkeypatch.setattr(setup.sys, "platform", "linux")
    monkeypatch.setattr(setup.platform, "machine", lambda: machine)
    usage = Usage(0, 0, free_gb * 1e9)
    monkeypatch.setattr(setup.shutil, "disk_usage", lambda path: usage)
    if message is None:
        setup.refuse_unfit_machine()
        return
    with pytest.raises(setup.SetupError, match=message):
        setup.refuse_unfit_machine()


@pytest.mark.parametrize(
    ("spoil", "complete"),
    [
        pytest.param(lambda setup: None, True, id="whole"),
        pytest.param(lambda setup: setup.STAMP.unlink(), False, id="cut-short"),
        pytest.param(lambda setup: setup.STAMP.write_text("other"), False, id="older-lock"),
        pytest.param(lambda setup: os.remove(setup.interpreter()), False, id="python-gone"),
    ],
)
def test_environment_counts_only_when_whole_and_of_this_lock(
    setup: ModuleType, spoil: object, complete: bool
) -> None:
    program(setup.interpreter(), "echo 9.9")
    setup.STAMP.write_text(setup.fingerprint())
    assert callable(spoil)
    spoil(setup)
    assert setup.is_complete() is complete
