"""Small trainings with the real rsl_rl and the companion, as processes that tests disturb."""

import json
import os
import re
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from sweepctl_pod.checkpoint import newest_good
from tests.contract.agents import ROOT
from tests.contract.wheels import Wheel, unpacked
from tests.serving import wait_for

HOOK = ROOT / "charts" / "isaac-sweep" / "files" / "sweepctl_pod" / "pythonpath"
SCRIPT = Path(__file__).with_name("small_training.py")
EXAMPLE = ROOT / "examples" / "toy_legs"
RSL_RL = {
    "5": None,  # the trainer's own
    "3": Wheel(
        "rsl-rl-lib", "3.1.2", "406867356b70920e99ed8fd12c5b3463a64895407cc3ed96c917fddb9bfae06d"
    ),
    "2": Wheel(
        "rsl-rl-lib", "2.3.3", "289761caf660e6f9eadc1f5b14224d7715c45e036c4dc00b2abf51d209f0d1a1"
    ),
}
_TQDM = Wheel("tqdm", "4.70.1", "c293e525e6fef9c20e8728fd4612df02a0aa31bb5fe91ecd93e123b1b7bffa73")
OTHER_LIBRARIES = {
    "sb3": (
        Wheel(
            "stable-baselines3",
            "2.9.2",
            "0b7db1789bea31d43b3e9be4f88abf639549b587f2bf2a2461ee9d3d77c68e96",
        ),
    ),
    "skrl": (
        _TQDM,
        Wheel("skrl", "2.1.1", "ef39a87ef2f34fc1c4963a0b2b56022add7c6b29937bcbc63d2f4c37a8c46c00"),
    ),
    "skrl-1": (
        _TQDM,
        Wheel("skrl", "1.4.3", "7f6396f626c8ecbef6dfcdaea0332e71d0c104149682b3bd9658c07315c4ea36"),
    ),
    "rl_games": (
        Wheel(
            "tensorboardX",
            "2.6.5",
            "c10b891d00af306537cb8b58a039b2ba41571f0da06f433a41c4ca8d6abe1373",
        ),
        Wheel(
            "rl-games", "1.6.5", "bedc7897d500e33253442ff91c6b7417c8dc74fb994242b011c7cde33a0db3a2"
        ),
    ),
}
"""What the trainer's own environment lacks of each: laid before it, nothing is installed."""
PACED = ("--pace", "0.03")
"""An iteration takes an eighth of a second."""


class Small:
    """A run of the small training: its folder, and the processes that train it."""

    script = SCRIPT

    def __init__(self, folder: Path, generation: str = "5") -> None:
        self.folder = folder
        self.generation = generation
        self.own = folder / ".sweepctl"
        self.children: list[subprocess.Popen[bytes]] = []
        self.orders: dict[str, Any] = {"every_s": 600, "leave_within_s": 20, "keep": 2}
        self.environ: dict[str, str] = {}
        self.started_at = 0.0
        folder.mkdir(parents=True, exist_ok=True)

    def start(
        self,
        *words: str,
        resume: Path | None = None,
        companion: bool = True,
        launcher: tuple[str, ...] = (),
    ) -> subprocess.Popen[bytes]:
        orders = {
            **self.orders,
            "folder": str(self.own),
            "attempt": len(self.children) + 1,
            "resume": None if resume is None else str(resume),
        }
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
            "RSL_RL": self.generation,
            "PYTHONPATH": os.pathsep.join([*([str(HOOK)] if companion else []), *self.libraries()]),
            **({"SWEEPCTL_COMPANION": json.dumps(orders)} if companion else {}),
            **self.environ,
        }
        python = str(EXAMPLE / ".venv" / "bin" / "python")
        self.started_at = time.time()
        with self.log.open("wb") as log:
            child = subprocess.Popen(
                [python, *launcher, str(self.script), *words],
                env=environ,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.children.append(child)
        return child

    def libraries(self) -> list[str]:
        """Give the folders of what the trainer's environment lacks."""
        wheel = RSL_RL[self.generation]
        return [] if wheel is None else [str(unpacked(wheel))]

    @property
    def log(self) -> Path:
        return self.folder / f"log-{len(self.children)}.txt"

    def said(self, attempt: int = 0) -> str:
        number = attempt or len(self.children)
        return (self.folder / f"log-{number - 1}.txt").read_text()

    def lines(self, attempt: int = 0) -> list[str]:
        """Give what the companion said."""
        prefix = "sweepctl: companion: "
        found = (line for line in self.said(attempt).splitlines() if prefix in line)
        return [line.partition(prefix)[2] for line in found]

    def ends(self, code: int = 0) -> None:
        found = self.children[-1].wait(180)
        assert found == code, f"{found}\n{self.said()}"

    def end(self) -> dict[str, Any]:
        """Wait for a training's good end, and give what it said there."""
        self.ends()
        found: dict[str, Any] = json.loads(self.said().splitlines()[-1])
        return found

    @property
    def progress(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.own / "progress.json").read_text())
        except FileNotFoundError:
            return {}
        return found

    def reaches(self, iteration: int) -> None:
        """Wait until the newest process has completed an iteration."""
        child = self.children[-1]

        def is_there() -> bool:
            assert child.poll() is None, self.said()
            done = self.progress
            is_far = int(done.get("iteration", -1)) >= iteration
            return is_far and float(done["at"]) > self.started_at

        wait_for(f"iteration {iteration}", is_there, 120)

    def iterations(self, attempt: int = 0) -> list[int]:
        found = re.findall(r"Learning iteration (\d+)/", self.said(attempt))
        return [int(number) for number in found]

    @property
    def manifests(self) -> list[int]:
        return sorted(int(path.stem) for path in (self.own / "checkpoints").glob("*.json"))

    @property
    def newest(self) -> Path:
        found = newest_good(self.own / "checkpoints")
        assert found is not None
        return found.folder / found.manifest.name

    @property
    def models(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "log").glob("*.pt"))


class SmallOther(Small):
    """A run of another library than rsl_rl, which is its generation."""

    script = SCRIPT.with_name("small_libraries.py")

    def start(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        return super().start(self.library, *words, **options)

    @property
    def library(self) -> str:
        return self.generation.partition("-")[0]

    def libraries(self) -> list[str]:
        return [str(unpacked(wheel)) for wheel in OTHER_LIBRARIES[self.generation]]

    def iterations(self, attempt: int = 0) -> list[int]:
        found = re.findall(r"^iteration (\d+)$", self.said(attempt), re.MULTILINE)
        return [int(number) for number in found]


def processes_of(folder: Path) -> list[int]:
    """List the processes whose home is a folder, or one in it."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            environ = (path / "environ").read_bytes()
        except OSError:
            continue
        if f"HOME={folder}".encode() in environ:
            found.append(int(path.name))
    return found


def end_all(small: Small) -> None:
    # torch's launcher gives each process that it starts a session of its own.
    for pid in processes_of(small.folder):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for child in small.children:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
