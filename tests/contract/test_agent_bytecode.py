"""Bytecode between pods: the image's is kept, the user's code is always the one that is there.

A "pod" is an agent that has a cache volume in common with others. The user's module is edited
without a change of its size and time, by which alone Python would know.
"""

import marshal
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from sweepctl_pod.trainer.bytecode import mount_points
from tests.contract.agents import World

DIGEST = "sha256:" + "c" * 64
SECOND = 1_700_000_000
TRAIN = """
import os, sys
import gains, physics
print(f"trained with gain {gains.GAIN}, physics {physics.NAME}")
if edit := os.environ.get("EDIT"):
    then = os.stat(gains.__file__)
    text = open(gains.__file__).read()
    with open(gains.__file__, "w") as file:
        file.write(text.replace("1.5", edit))
    os.utime(gains.__file__, ns=(then.st_atime_ns, then.st_mtime_ns))
"""

NOTHING: Mapping[str, str] = {}


class Pods:
    """Agents on one cache volume, of an image whose Python has one package without bytecode."""

    def __init__(self, world: World, image: Path, cache: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", image], check=True)
        (packages,) = image.glob("lib/python3*/site-packages")
        (packages / "physics").mkdir()
        (packages / "physics" / "__init__.py").write_text("NAME = 'exact'\n")
        self.physics = packages / "physics" / "__init__.py"
        self.world = world
        self.python = str(image / "bin" / "python")
        self.cache = cache

    def train(
        self, script: Path, *, runs: int = 1, environ: Mapping[str, str] = NOTHING
    ) -> list[str]:
        """Run an agent as a pod does; give the gain of each run, with what physics is."""
        sweep = self.world.sweep([self.python, str(script)], run_cap=runs, metric=None)
        agent = self.world.start(
            sweep,
            **{
                "SWEEPCTL_CACHE": str(self.cache),
                "SWEEPCTL_IMAGE": DIGEST,
                "PYTHONDONTWRITEBYTECODE": "1",
                **environ,
            },
        )
        assert agent.wait() == 0, agent.said
        assert [run.state for run in self.world.runs(sweep)] == ["finished"] * runs, agent.said
        return re.findall(r"trained with gain (.+)", agent.said)

    def kept(self) -> list[Path]:
        """List the bytecode on the cache volume."""
        return sorted(self.cache.rglob("*.pyc"))


@pytest.fixture
def pods(world: World, tmp_path_factory: pytest.TempPathFactory) -> Pods:
    image = tmp_path_factory.mktemp("image")
    volumes = mount_points(Path("/proc/self/mountinfo").read_text())
    if any(path != Path("/") and path in image.parents for path in volumes):
        pytest.skip(f"{image} is on a file system of its own, as no image's folder is")
    return Pods(world, image, tmp_path_factory.mktemp("cache"))


def write_code(folder: Path, gain: str) -> Path:
    """Write the user's code with normalised times, as images and archives have them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("gains.py", f"GAIN = {gain}\n"), ("train.py", TRAIN)):
        (folder / name).write_text(text)
        os.utime(folder / name, (SECOND, SECOND))
    return folder / "train.py"


def test_the_images_bytecode_is_kept_on_the_volume_and_served_to_the_next_pod(pods: Pods) -> None:
    code = pods.world.folder / "code"
    script = write_code(code, "1.5")
    revision = {"SWEEPCTL_CODE": str(code), "SWEEPCTL_CODE_REVISION": f"legs@{DIGEST}"}
    assert pods.train(script, environ=revision) == ["1.5, physics exact"]
    (physics,) = [path for path in pods.kept() if "physics" in str(path)]
    assert not [path for path in pods.kept() if path.name.startswith(("gains", "train"))]
    # Only bytecode says this: that it is printed shows that it was served.
    header = physics.read_bytes()[:16]
    physics.write_bytes(header + marshal.dumps(compile("NAME = 'kept'", "physics", "exec")))
    assert pods.train(script, environ=revision) == ["1.5, physics kept"]
    # Another image, another store.
    other = {**revision, "SWEEPCTL_IMAGE": DIGEST.replace("c", "d")}
    assert pods.train(script, environ=other) == ["1.5, physics exact"]


@pytest.mark.parametrize("way", ["claim", "image", "git", "python-path", "work", "not-told"])
def test_changed_code_of_the_same_size_and_time_is_what_is_trained(way: str, pods: Pods) -> None:
    code = pods.world.folder / "code"
    environ = {
        "claim": {"SWEEPCTL_CODE": str(code)},
        "image": {"SWEEPCTL_CODE": str(code), "SWEEPCTL_CODE_REVISION": f"legs@{DIGEST}"},
        "git": {"SWEEPCTL_CODE": str(code), "SWEEPCTL_CODE_REVISION": "git"},
        "python-path": {"SWEEPCTL_PYTHONPATH": str(code), "PYTHONPATH": str(code)},
        "work": {},
        "not-told": {"PYTHONPATH": str(code)},
    }[way]
    if "PYTHONPATH" in environ:
        environ["PYTHONPATH"] += f":{pods.world.environ['PYTHONPATH']}"
    trained = []
    for gain in ("1.5", "2.5"):
        script = write_code(code, gain)
        if way == "git":
            (code / ".git").mkdir(exist_ok=True)
            (code / ".git" / "HEAD").write_text("0123456789" * 4 + "\n")
        if way == "python-path":
            script = pods.world.folder / "train.py"
            script.write_text(TRAIN)
        trained += pods.train(script, environ=environ)
    assert trained == ["1.5, physics exact", "2.5, physics exact"]


def test_code_that_changes_under_a_pod_is_trained_by_its_next_run(pods: Pods) -> None:
    code = pods.world.folder / "code"
    script = write_code(code, "1.5")
    trained = pods.train(script, runs=2, environ={"SWEEPCTL_CODE": str(code), "EDIT": "2.5"})
    assert trained == ["1.5, physics exact", "2.5, physics exact"]


def test_a_prefix_that_pods_share_as_it_is_would_train_the_old_code(pods: Pods) -> None:
    """The danger is real: this is what is kept from happening."""
    code = pods.world.folder / "code"
    trained = []
    for gain in ("1.5", "2.5"):
        environ = {"PATH": os.environ["PATH"], "PYTHONPYCACHEPREFIX": str(pods.cache)}
        command = [pods.python, str(write_code(code, gain))]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
        trained += re.findall(r"trained with gain (.+)", done.stdout)
    assert trained == ["1.5, physics exact", "1.5, physics exact"]


def test_broken_bytecode_on_the_volume_costs_a_start_and_no_run(pods: Pods) -> None:
    code = pods.world.folder / "code"
    script = write_code(code, "1.5")
    revision = {"SWEEPCTL_CODE": str(code), "SWEEPCTL_CODE_REVISION": f"legs@{DIGEST}"}
    assert pods.train(script, environ=revision) == ["1.5, physics exact"]
    (physics,) = [path for path in pods.kept() if "physics" in str(path)]
    physics.write_bytes(physics.read_bytes()[:20])
    assert pods.train(script, environ=revision) == ["1.5, physics exact"]
    assert "bytecode in the cache was broken; trying once more" in pods.world.agents[-1].said
    assert pods.train(script, environ=revision) == ["1.5, physics exact"]
    assert "trying once more" not in pods.world.agents[-1].said


@pytest.mark.parametrize("is_told", [True, False], ids=["told to leave", "at the sweep's end"])
def test_an_agent_tidies_what_is_its_own_unless_its_time_is_short(
    is_told: bool, pods: Pods
) -> None:
    folder = pods.world.folder / "tmp"
    folder.mkdir()
    waits = "import time\nprint('trained with gain 1')\ntime.sleep(60 * 60)\n"
    script = write_code(pods.world.folder / "code", "1.5")
    script.write_text(waits if is_told else TRAIN)
    sweep = pods.world.sweep([pods.python, str(script)], run_cap=1, metric=None)
    agent = pods.world.start(
        sweep, SWEEPCTL_CACHE=str(pods.cache), PYTHONDONTWRITEBYTECODE="1", TMPDIR=str(folder)
    )
    agent.says("trained with gain")
    if is_told:
        agent.send(signal.SIGTERM)
    assert agent.wait() == (75 if is_told else 0), agent.said
    # A pod's folder goes with the pod: thousands of files, while the kernel counts its seconds.
    assert len(list(folder.glob("sweepctl-bytecode-*"))) == is_told
