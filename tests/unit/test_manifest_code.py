"""The pod code as a ConfigMap brings it: complete, and started by the container's own command."""

import ast
import compileall
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import sweepctl_pod
from sweepctl.manifest.pod_code import MAX_CONFIG_MAP_BYTES, PodCode, check_size, pod_code, script
from sweepctl_pod.errors import SweepctlError

NOTHING: Mapping[str, str] = {}
PACKAGE = Path(sweepctl_pod.__file__).parent
VERSIONS = ("3.10", "3.11", "3.12", "3.13")


def pythons() -> list[str]:
    """List the Pythons of this machine, one of each version; pyenv's shims are none."""
    found = [sys.executable]
    for version in VERSIONS:
        installed = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
        on_path = shutil.which(f"python{version}")
        if on_path and "shims" not in on_path:
            installed.append(Path(on_path))
        found += map(str, installed[:1])
    return found


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """Lay the files out as the ConfigMap's volume does, where nothing else of ours is."""
    folder = tmp_path / "code"
    code = pod_code()
    for key, path in code.paths():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(code.files[key])
    return folder


def run(*command: str, environ: Mapping[str, str] = NOTHING) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_files_are_the_package_whole_and_nothing_of_it_is_carried_for_nothing() -> None:
    carried = {key.removesuffix(".py") for key in pod_code().files}
    needed, todo = set(), ["__main__", "wrapper", "helm_test", "__init__"]
    todo += ["pythonpath.sitecustomize"]  # Python itself imports it, in the trainer's process
    while todo:
        module = todo.pop()
        needed.add(module)
        for node in ast.walk(ast.parse(pod_code().files[f"{module}.py"])):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif module == "companion.hook" and isinstance(node, ast.Constant):  # by their names
                names = [f"companion.{node.value!s}"]
            for name in (name.removeprefix("sweepctl_pod.") for name in names):
                todo += {name, f"{name}.__init__"} & carried - needed
    run_by_path = {"run.guardian", "trainer.in_trainer", "trainer.register_tasks"}
    assert {name for name in carried - needed if not name.endswith("__init__")} <= run_by_path


def test_bytecode_beside_the_sources_is_not_carried() -> None:
    compileall.compile_dir(PACKAGE, quiet=2)
    assert list(PACKAGE.rglob("*.pyc"))
    assert [key for key in pod_code().files if not key.endswith(".py") or "pycache" in key] == []


@pytest.mark.parametrize("python", pythons())
def test_a_bare_python_runs_the_mounted_folder(python: str, mounted: Path) -> None:
    done = run(python, "-E", "-s", "-S", str(mounted), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Take runs from a W&B sweep" in done.stdout


def start(mounted: Path, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the container's command, with the folder where the test has it."""
    return run(
        "/bin/sh", "-c", script("start.sh").replace("/opt/sweepctl", str(mounted)), environ=environ
    )


@pytest.fixture
def spying(mounted: Path) -> Path:
    """Put a program in the agent's place that tells what it was given."""
    (mounted / "__main__.py").write_text(
        "import json, os, sys, sweepctl_pod.agent as agent\n"
        "print(json.dumps([sys.executable, agent.__file__, dict(os.environ), os.getpid()]))\n"
        "sys.exit(int(os.environ.get('CODE', '0')))\n"
    )
    return mounted


def test_the_agent_is_the_process_that_was_started_and_gives_its_exit_code(spying: Path) -> None:
    process = subprocess.Popen(
        ["/bin/sh", "-c", script("start.sh").replace("/opt/sweepctl", str(spying))],
        env={"PATH": os.environ["PATH"], "CODE": "75"},
        stdout=subprocess.PIPE,
        text=True,
    )
    output, _ = process.communicate(timeout=60)
    python, agent, _, pid = json.loads(output)
    assert (process.returncode, pid) == (75, process.pid)
    assert agent == str(spying / "sweepctl_pod/agent.py")
    assert os.path.basename(python).startswith("python3")


def test_the_named_python_is_taken_first(spying: Path) -> None:
    done = start(spying, {"SWEEPCTL_PYTHON": sys.executable})
    assert json.loads(done.stdout)[0] == sys.executable


@pytest.mark.parametrize("first", ["/nowhere/python", "false", "python2 -x"])
def test_a_python_that_is_none_or_too_old_is_passed_over(spying: Path, first: str) -> None:
    done = start(spying, {"SWEEPCTL_PYTHON": first})
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("settings", "image", "trainer"),
    [
        ("", "", None),
        ("/mine:/too", "", "/mine:/too"),
        ("", "/image", "/image"),
        ("/mine", "/image", "/mine:/image"),
    ],
)
def test_the_trainers_python_path_holds_what_was_set_and_nothing_of_ours(
    spying: Path, settings: str, image: str, trainer: str | None
) -> None:
    environ = {"SWEEPCTL_PYTHONPATH": settings, "PYTHONPATH": image}
    done = start(spying, {key: value for key, value in environ.items() if value})
    assert json.loads(done.stdout)[2].get("PYTHONPATH") == trainer


def test_what_the_user_calls_json_does_not_break_the_agent(spying: Path, tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')\n")
    done = start(spying, {"SWEEPCTL_PYTHONPATH": str(tmp_path)})
    assert done.returncode == 0, done.stderr


def test_an_image_without_python_gives_its_index_up_and_says_why(
    spying: Path, tmp_path: Path
) -> None:
    done = start(spying, {"PATH": str(tmp_path)})
    assert done.returncode == 78
    assert "no Python 3.10 or later in this image" in done.stderr
    assert "'interpreter'" in done.stderr


@pytest.fixture
def repository(tmp_path: Path) -> tuple[Path, str]:
    """Give a repository with two commits, a tag on the first, and the first's id."""
    folder = tmp_path / "upstream"
    git = ("git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b.c")
    run("git", "init", "-q", "-b", "main", str(folder))
    for number, text in enumerate(["one", "two"]):
        (folder / "task.py").write_text(text)
        run(*git, "add", ".")
        run(*git, "commit", "-q", "-m", text)
        if number == 0:
            run(*git, "tag", "v1")
    return folder, run(*git, "rev-parse", "v1").stdout.strip()


@pytest.mark.parametrize(
    ("ref", "text"), [("HEAD", "two"), ("main", "two"), ("v1", "one"), ("commit", "one")]
)
def test_code_of_a_branch_a_tag_or_a_commit_is_cloned(
    repository: tuple[Path, str], tmp_path: Path, ref: str, text: str
) -> None:
    upstream, commit = repository
    volume = tmp_path / "volume"
    volume.mkdir()
    done = run(
        "/bin/sh",
        "-c",
        script("fetch_code.sh").replace("/code-volume", str(volume)),
        environ={
            "CODE_REPOSITORY": upstream.as_uri(),
            "CODE_REF": commit if ref == "commit" else ref,
            "HOME": str(tmp_path),
        },
    )
    assert done.returncode == 0, done.stderr
    assert (volume / "repository" / "task.py").read_text() == text
    assert done.stdout.startswith(f"code: {upstream.as_uri()} at ")


def test_code_that_is_not_there_fails_the_pod(repository: tuple[Path, str], tmp_path: Path) -> None:
    done = run(
        "/bin/sh",
        "-c",
        script("fetch_code.sh").replace("/code-volume", str(tmp_path)),
        environ={"CODE_REPOSITORY": repository[0].as_uri(), "CODE_REF": "none"},
    )
    assert done.returncode != 0
    assert "couldn't find remote ref none" in done.stderr


def test_pod_code_fits_a_config_map_with_room() -> None:
    size = sum(len(text.encode()) for text in pod_code().files.values())
    assert size < MAX_CONFIG_MAP_BYTES * 2 / 3


def test_code_that_no_config_map_holds_is_refused_with_the_way_out() -> None:
    with pytest.raises(SweepctlError, match="a ConfigMap holds 1048576 at most") as refusal:
        check_size("the pod code", {"a.py": "#" * 2**20})
    assert "podCode: {mount: false}" in str(refusal.value.hint)


def test_the_hash_is_of_names_and_texts() -> None:
    code = PodCode({"a.py": "x", "b.py": "y"})
    assert code.hash == PodCode({"b.py": "y", "a.py": "x"}).hash
    assert len({code.hash, PodCode({"a.py": "y", "b.py": "x"}).hash}) == 2
