"""However the chart reaches helm, it renders what `sweepctl render` renders of the same settings.

Each way starts from a Git checkout whose pod code was imported, so that bytecode lies beside it.
"""

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.conftest import Helm

ROOT = Path(__file__).parents[2]
SETTINGS = ("agents=2", "server.enabled=true", "server.image.tag=v1")
SWEEP = """\
method: grid
metric: {name: loss, goal: minimize}
command: [isaaclab, train, --task, Isaac-Humanoid]
parameters: {agent.seed: {values: [1, 2]}}
"""
NOT_PACKED = (".gitignore", ".gitattributes", ".gitmodules", ".tar.gz", ".zip", ".png", ".jpg")
"""What Flux's source-controller leaves out unless a .sourceignore says otherwise, in short."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clone what Git would hold of this checkout, and import the pod code there."""
    folder = tmp_path_factory.mktemp("ways")
    bare, clone = folder / "origin.git", folder / "clone"
    git = ("git", f"--git-dir={bare}", "-c", "core.bare=false")
    author = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    for command in (
        ("git", "init", "-q", "--bare", str(bare)),
        (*git, f"--work-tree={ROOT}", "add", ".gitignore", "charts"),
        (*git, *author, f"--work-tree={ROOT}", "commit", "-q", "-m", "The chart"),
        ("git", "clone", "-q", str(bare), str(clone)),
    ):
        own = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"}
        subprocess.run(command, env=own, check=True, capture_output=True)
    assert not list(clone.rglob("*.pyc"))
    files = clone / "charts" / "isaac-sweep" / "files"
    environ = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    code = "import sweepctl_pod.agent, sweepctl_pod.wrapper; print(sweepctl_pod.__file__)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={**environ, "PYTHONPATH": str(files)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(files / "sweepctl_pod" / "__init__.py")
    assert list(files.rglob("*.pyc")), "nothing lies beside the sources: the test shows nothing"
    return clone


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("sweep") / "sweep.yaml"
    file.write_text(SWEEP)
    return file


def flags(sweep: Path) -> list[str]:
    sets = [word for setting in SETTINGS for word in ("--set", setting)]
    return ["-n", "robots", *sets, "--set-file", f"sweep={sweep}"]


def git_checkout(helm: Helm, checkout: Path, sweep: Path, work: Path) -> str:
    chart = str(checkout / "charts" / "isaac-sweep")
    return text(helm("template", "legs", chart, *flags(sweep)))


def helm_install(helm: Helm, checkout: Path, sweep: Path, work: Path) -> str:
    chart = str(checkout / "charts" / "isaac-sweep")
    done = text(helm("install", "legs", chart, "--dry-run=client", *flags(sweep)))
    return done.partition("\nMANIFEST:\n")[2].partition("\nNOTES:\n")[0]


def helm_package(helm: Helm, checkout: Path, sweep: Path, work: Path) -> str:
    return text(helm("template", "legs", packed(helm, checkout, work), *flags(sweep)))


def argo_cd(helm: Helm, checkout: Path, sweep: Path, work: Path) -> str:
    """Render as its repo-server does: in the chart's folder, by values and capabilities alone."""
    values = work / "values.yaml"
    values.write_text(yaml.safe_dump({"sweep": sweep.read_text()}))
    sets = [word for setting in SETTINGS for word in ("--set", setting)]
    known = [word for kind in ("v1/Pod", "batch/v1/Job") for word in ("--api-versions", kind)]
    return text(
        helm(
            *("template", ".", "--name-template", "legs", "--namespace", "robots"),
            *("--kube-version", "1.34", *sets, "--values", str(values), *known, "--include-crds"),
            cwd=checkout / "charts" / "isaac-sweep",
        )
    )


def flux(helm: Helm, checkout: Path, sweep: Path, work: Path) -> str:
    """Pack the repository without links, then the chart, and install from that, as Flux does."""
    artifact = work / "artifact.tar.gz"
    with tarfile.open(artifact, "w:gz") as tar:
        for file in sorted((checkout / "charts").rglob("*")):
            if file.is_file() and not file.is_symlink() and not file.name.endswith(NOT_PACKED):
                tar.add(file, file.relative_to(checkout))
    with tarfile.open(artifact) as tar:
        tar.extractall(work / "source", filter="data")
    chart = packed(helm, work / "source", work)
    done = text(helm("install", "legs", chart, "--dry-run=client", *flags(sweep)))
    return done.partition("\nMANIFEST:\n")[2].partition("\nNOTES:\n")[0]


def packed(helm: Helm, checkout: Path, work: Path) -> str:
    text(helm("package", str(checkout / "charts" / "isaac-sweep"), "-d", str(work / "dist")))
    (archive,) = (work / "dist").glob("*.tgz")
    with tarfile.open(archive) as tar:
        names = [entry.name for entry in tar]
    assert "isaac-sweep/files/sweepctl_pod/run/training.py" in names
    assert [name for name in names if name.endswith(".pyc") or "/ci/" in name] == []
    return str(archive)


def text(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def decided(rendered: str) -> dict[str, Any]:
    """Give the Job by its name, and the pod code by its ConfigMap's."""
    objects = [thing for thing in yaml.safe_load_all(rendered) if thing]
    named = {(thing["kind"], thing["metadata"]["name"]): thing for thing in objects}
    (job,) = (name for kind, name in named if kind == "Job")
    ((code, data),) = (
        (name, thing["data"])
        for (kind, name), thing in named.items()
        if kind == "ConfigMap" and "-code-" in name
    )
    pod = named["Job", job]["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    return {"job": job, "code": code, "files": data, "volume": volumes["pod-code"]}


@pytest.fixture(scope="module")
def ours(sweep: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "sweepctl", "render", str(sweep), "--name", "legs"]
    sets = [word for setting in SETTINGS for word in ("--set", setting)]
    done = subprocess.run([*command, "-n", "robots", *sets], capture_output=True, text=True)
    return decided(text(done))


@pytest.mark.parametrize(
    "way", [git_checkout, helm_install, helm_package, argo_cd, flux], ids=lambda way: way.__name__
)
def test_the_chart_renders_what_sweepctl_renders(
    helm: Helm,
    checkout: Path,
    sweep: Path,
    tmp_path: Path,
    ours: dict[str, Any],
    way: Callable[[Helm, Path, Path, Path], str],
) -> None:
    assert decided(way(helm, checkout, sweep, tmp_path)) == ours


def test_no_link_lies_in_the_chart(checkout: Path) -> None:
    """Flux drops links, Argo CD and Rancher refuse those that lead out of the folder."""
    chart = checkout / "charts" / "isaac-sweep"
    assert [file for file in chart.rglob("*") if file.is_symlink()] == []


def test_bytecode_never_gets_into_a_release(helm: Helm, checkout: Path, tmp_path: Path) -> None:
    """A release keeps the chart whole in a Secret, which holds no more than 1 MiB."""
    chart = Path(shutil.copytree(checkout / "charts" / "isaac-sweep", tmp_path / "isaac-sweep"))
    for source in (chart / "files").rglob("*.py"):
        source.with_suffix(".pyc").write_bytes(b"left by a packager")
    text(helm("package", str(chart), "-d", str(tmp_path)))
    (archive,) = tmp_path.glob("*.tgz")
    with tarfile.open(archive) as tar:
        assert [entry.name for entry in tar if entry.name.endswith(".pyc")] == []
