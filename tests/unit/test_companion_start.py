"""How the companion comes into an interpreter: by one folder of PYTHONPATH, and invisibly."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import sweepctl_pod

POD = Path(sweepctl_pod.__file__).parent
HOOK = POD / "pythonpath"
ORDERS = json.dumps({"folder": "/nowhere"})


def python(
    code: str, folder: Path, *options: str, path: str | None = None, orders: str | None = ORDERS
) -> tuple[str, str]:
    """Run a bare interpreter with the hook and give its output and its stderr."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    environ["PYTHONPATH"] = str(HOOK) if path is None else path
    if orders is not None:
        environ["SWEEPCTL_COMPANION"] = orders
    done = subprocess.run(
        [sys.executable, *options, "-c", code],
        env=environ,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr.strip()


FINDERS = "import sys; print([type(f).__module__ for f in sys.meta_path])"


def is_there(folder: Path, *options: str, path: str | None = None) -> bool:
    out, err = python(FINDERS, folder, *options, path=path)
    assert err == ""
    return "sweepctl_pod.companion.hook" in out


def test_the_folder_on_pythonpath_holds_one_file() -> None:
    assert [file.name for file in HOOK.iterdir() if file.name != "__pycache__"] == [
        "sitecustomize.py"
    ]


def test_it_watches_imports_where_it_is_asked_to_and_only_there(tmp_path: Path) -> None:
    assert is_there(tmp_path)
    out, err = python(FINDERS, tmp_path, orders=None)
    assert ("sweepctl" in out, err) == (False, "")


@pytest.mark.parametrize("option", ["-I", "-E", "-S"])
def test_an_interpreter_that_is_told_to_look_at_nothing_does_not_have_it(
    option: str, tmp_path: Path
) -> None:
    assert not is_there(tmp_path, option)


def test_nothing_is_importable_that_was_not_but_sweepctl_pod(tmp_path: Path) -> None:
    names = [file.stem for file in POD.rglob("*.py")] + ["wandb", "command", "errors", "trainer"]
    code = (
        "import importlib.util as u\n"
        "def origin(name):\n"
        "    found = u.find_spec(name)\n"
        "    return found and found.origin\n"
        f"print([(n, origin(n)) for n in {sorted({*names} - {'sitecustomize', '__main__'})!r}])\n"
    )
    with_it, _ = python(code, tmp_path)
    without, _ = python(code, tmp_path, path="")
    assert with_it == without
    out, _ = python("import sweepctl_pod; print(sweepctl_pod.__file__)", tmp_path, "-s")
    assert out == str(POD / "__init__.py")


def test_the_next_sitecustomize_runs_as_if_it_were_the_only_one(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "sitecustomize.py").write_text("print('ran as', __name__)\nMARK = 7\n")
    (other / "beside.py").write_text("")
    path = f"{HOOK}:{other}"
    code = "import sitecustomize as s, beside; print(s.MARK, s.__file__)"
    out, err = python(code, tmp_path, path=path)
    assert out.splitlines() == ["ran as sitecustomize", f"7 {other / 'sitecustomize.py'}"]
    assert err == ""
    for orders in (None, ORDERS):
        assert python(code, tmp_path, path=path, orders=orders)[0] == out
    assert is_there(tmp_path, path=f"{HOOK}:{other}") is True


def test_the_next_sitecustomize_fails_as_it_does_without_the_companion(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import no_such_module\n")
    both = python("print('goes on')", tmp_path, path=f"{HOOK}:{tmp_path}")
    alone = python("print('goes on')", tmp_path, path=str(tmp_path))
    assert both == alone
    assert "No module named 'no_such_module'" in both[1]


def test_a_copy_that_is_broken_is_one_line_and_the_interpreter_goes_on(tmp_path: Path) -> None:
    hook = tmp_path / "sweepctl_pod" / "pythonpath"
    hook.mkdir(parents=True)
    (hook / "sitecustomize.py").write_text((HOOK / "sitecustomize.py").read_text())
    (hook.parent / "__init__.py").write_text("raise RuntimeError('half\\na copy')\n")
    out, err = python("print('goes on')", tmp_path, path=str(hook))
    assert out == "goes on"
    assert err == "sweepctl: companion: not started: RuntimeError: half a copy"


@pytest.mark.parametrize(
    ("orders", "source", "said"),
    [
        ("{", "class OnPolicyRunner:\n    def learn(self): ...\n", "JSONDecodeError: "),
        (ORDERS, "class OffPolicyRunner: ...\n", "KeyError: 'OnPolicyRunner'"),
        (
            ORDERS,
            "class OnPolicyRunner:\n    def learn(self, steps): return steps\n",
            "TypeError: OnPolicyRunner.learn takes self, steps",
        ),
    ],
    ids=["orders", "class", "arguments"],
)
def test_a_library_that_it_does_not_know_stays_as_it_is(
    orders: str, source: str, said: str, tmp_path: Path
) -> None:
    module = tmp_path / "rsl_rl" / "runners" / "on_policy_runner.py"
    module.parent.mkdir(parents=True)
    module.write_text(source)
    name = "rsl_rl.runners.on_policy_runner"
    code = (
        f"import importlib.util as u\nfound = u.find_spec({name!r})\n"
        f"import {name} as m, inspect\nprint(inspect.getsource(m) == {source!r})\n"
    )
    out, err = python(code, tmp_path, orders=orders)
    assert out == "True"
    assert err.startswith(f"sweepctl: companion: {name} stays as it is: {said}")
    assert len(err.splitlines()) == 1


def test_what_the_trainer_never_imports_is_not_imported_for_it(tmp_path: Path) -> None:
    code = "import sys; print(sorted(n for n in sys.modules if n.startswith('sweepctl_pod')))"
    out, _ = python(code, tmp_path)
    assert out == (
        "['sweepctl_pod', 'sweepctl_pod.companion', 'sweepctl_pod.companion.hook', "
        "'sweepctl_pod.companion.speech']"
    )
