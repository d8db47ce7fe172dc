"""The wheel in an environment of its own: what it brings, and that it works without any extra."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRAINER = Path(__file__).with_name("plain_trainer.py")
UV = [sys.executable, "-m", "uv"]
EXTRAS = ("wandb", "pyarrow", "numpy", "pandas", "sweeps", "matplotlib")
"""What only an extra may bring."""


def locked() -> str:
    """Give the versions of requirements.lock, as constraints."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return "\n".join(line.removesuffix("\\") for line in lines if re.match(r"[a-z0-9-]+==", line))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [*UV, "build", "-q", "--wheel", "-o", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the `bin` of an environment with the wheel and what it demands, nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    versions = folder / "versions.txt"
    versions.write_text(locked())
    environment = folder / "venv"
    for command in (
        [*UV, "venv", "-q", "-p", sys.executable, str(environment)],
        [*UV, "pip", "install", "-q", "-p", str(environment), "-c", str(versions), str(wheel)],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return environment / "bin"


def run(bin: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the installed sweepctl with nothing but its own environment."""
    environ = {"PATH": f"{bin}:/usr/bin:/bin", "HOME": str(cwd), "SWEEPCTL_MIN_FREE_MB": "1"}
    command = [str(bin / "sweepctl"), *arguments]
    return subprocess.run(
        command, env=environ, cwd=cwd, capture_output=True, text=True, timeout=300
    )


def test_wheel_brings_no_package_of_an_extra(installed: Path) -> None:
    command = [*UV, "pip", "list", "-q", "-p", str(installed.parent), "--format", "json"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names = {package["name"] for package in json.loads(listed)}
    assert "sweepctl" in names
    assert not names & set(EXTRAS)


def test_every_module_is_imported_without_an_extra(installed: Path) -> None:
    code = (
        "import importlib, pkgutil, sweepctl, sweepctl_pod\n"
        "for package in (sweepctl, sweepctl_pod):\n"
        "    for found in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        if not found.name.endswith('__main__'): importlib.import_module(found.name)\n"
    )
    command = [str(installed / "python"), "-P", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--help"], 0, "validate"),
        (["validate", "sweep.yaml"], 0, ""),
        (["preview", "sweep.yaml", "-n", "1"], 0, "plain_trainer.py"),
        (["render", "sweep.yaml", "--agents", "2"], 0, "kind: Job"),
    ],
    ids=["help", "validate", "preview", "render"],
)
def test_verb_works_without_an_extra(
    installed: Path, sweep: Path, arguments: list[str], code: int, said: str
) -> None:
    done = run(installed, *arguments, cwd=sweep)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout


def test_sweep_is_trained_without_an_extra(installed: Path, sweep: Path) -> None:
    done = run(installed, "local", "sweep.yaml", "--agents", "2", cwd=sweep)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (sweep / "ledger").read_text().count("done") == 2


def test_verb_that_wants_an_extra_names_it(installed: Path, sweep: Path) -> None:
    done = run(installed, "report", "--to", "tables", cwd=sweep)
    assert (done.returncode, done.stdout) == (1, "")
    first, hint = done.stderr.splitlines()
    assert first == "error: report needs pyarrow and wandb, which are not installed"
    assert re.fullmatch(r"  run `uv pip install -p \S+ 'sweepctl\[report\] @ file://\S+'`", hint)
    assert not (sweep / "tables").exists()


def test_advice_to_log_in_names_no_program_that_is_not_there(installed: Path, sweep: Path) -> None:
    done = run(installed, "init", "sweep.yaml", "--project_name", "p", cwd=sweep)
    assert done.returncode == 2
    named = re.findall(r"`(\S+) [^`]*`", done.stderr)
    there = f"{installed}:/usr/bin:/bin".split(":")
    for program in set(named) - {"machine"}:
        assert any(os.access(Path(folder, program), os.X_OK) for folder in there), done.stderr
    assert "set WANDB_API_KEY" in done.stderr


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Give a folder with the sweep of a trainer that needs no package at all."""
    command = [sys.executable, "-S", str(TRAINER), str(tmp_path / "ledger"), "log", "note:done"]
    document = {
        "method": "grid",
        "metric": {"name": "loss", "goal": "minimize"},
        "command": [*command, "${overrides}"],
        "parameters": {"env.gain": {"values": [1.5, 2.5]}},
    }
    (tmp_path / "sweep.yaml").write_text(json.dumps(document))
    return tmp_path
