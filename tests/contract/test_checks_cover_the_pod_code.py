"""`make check` lints and types the pod code in the chart: a fault planted there fails it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = Path("charts/isaac-sweep/files/sweepctl_pod")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Copy what the two checks go by: their settings, and a little of each package."""
    for name in ("Makefile", "pyproject.toml", "sweepctl/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / CODE / "run").mkdir(parents=True)
    for name in ("__init__.py", "errors.py", "run/__init__.py"):
        shutil.copy(ROOT / CODE / name, tmp_path / CODE / name)
    for name in ("tests", "tools", "benchmarks"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "empty.py").write_text('"""Nothing."""\n')
    return tmp_path


def make(target: str, tree: Path) -> subprocess.CompletedProcess[str]:
    """Run a target of the Makefile as it is, by the programs of this environment."""
    bin = Path(sys.executable).parent
    environ = {name: text for name, text in os.environ.items() if "MAKE" not in name}
    command = ["make", "--no-print-directory", "-o", "setup", target, f"BIN={bin}"]
    return subprocess.run(command, cwd=tree, env=environ, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("target", "fault", "said"),
    [
        ("lint", "import os\n", "F401"),
        ("lint", "x = {  'a':1 }\n", "planted.py"),
        ("type", 'def planted() -> int:\n    """Lie."""\n    return "text"\n', "return-value"),
        ("type", 'def planted(x):\n    """Say nothing."""\n    return x\n', "no-untyped-def"),
    ],
    ids=["unused import", "unformatted", "wrong type", "no type at all"],
)
@pytest.mark.parametrize("folder", [CODE, CODE / "run"], ids=lambda folder: folder.name)
def test_a_fault_in_the_pod_code_fails_make_check(
    tree: Path, folder: Path, target: str, fault: str, said: str
) -> None:
    sound = make(target, tree)
    assert sound.returncode == 0, sound.stdout + sound.stderr
    (tree / folder / "planted.py").write_text(f'"""A fault."""\n\n{fault}')
    done = make(target, tree)
    assert done.returncode != 0
    assert "planted.py" in done.stdout
    assert said in done.stdout


def test_make_check_runs_both(tree: Path) -> None:
    command = ["make", "-n", "-o", "setup", "check"]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True)
    assert [word for word in ("ruff check", "ruff format", "mypy") if word not in done.stdout] == []
