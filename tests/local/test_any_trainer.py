"""The example of docs/checkpoints.md, word for word, with real torch and W&B's real client."""

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from sweepctl_pod.checkpoint import (
    Manifest,
    digest_of,
    local_manifests,
    trouble_with,
    write_manifest,
)
from sweepctl_pod.run.bucket_folder import BucketFolder, uri_trouble
from sweepctl_pod.trainer.interpreter import TrainerPython
from sweepctl_pod.waiting import GivenUpError
from sweepctl_pod.wandb.outputs import last_step
from tests.contract.agents import World
from tests.serving import ServerProcess, wait_for

PAGE = Path(__file__).resolve().parents[2] / "docs" / "checkpoints.md"
STEPS = 8000
"""More than the page has: the agent looks for files once a second, and must find it training."""


def blocks(language: str) -> list[str]:
    """Give the page's blocks of code of one language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


@pytest.fixture
def world(tmp_path: Path, trainer_bin: str) -> Iterator[World]:
    server = ServerProcess(tmp_path / "data")
    (tmp_path / "here").mkdir()
    world = World(server, tmp_path / "here")
    world.environ["PATH"] = f"{trainer_bin}:{world.environ['PATH']}"
    world.environ["SWEEPCTL_CHECKPOINT_PATTERN"] = "$WANDB_RUN_ID.pt"
    yield world
    world.end()
    server.stop()


def newest(work: Path) -> int:
    return max((max(local_manifests(each), default=-1) for each in folders(work)), default=-1)


def folders(work: Path) -> list[Path]:
    return list(work.glob("*/.sweepctl/checkpoints"))


def test_ten_lines_of_torch_survive_sigterm_and_sigkill(world: World) -> None:
    (program,) = blocks("python")
    assert len([line for line in program.splitlines() if line and line[0] not in " "]) <= 10
    assert "1000):" in program
    (world.folder / "train.py").write_text(program.replace("1000):", f"{STEPS}):"))
    config = yaml.safe_load(blocks("yaml")[0])
    sweep = world.client.create_sweep("local", "agents", json.dumps(config))

    first = world.start(sweep, "--grace-s", "20")
    wait_for("a checkpoint", lambda: newest(world.work) >= 0, 120)
    lr = world.run(sweep).config["lr"]
    first.send(signal.SIGTERM)
    assert first.wait() == 75, first.said

    other = world.folder / "another volume"
    second = world.start(sweep, "--grace-s", "20", SWEEPCTL_WORK=str(other))
    second.says("goes on from checkpoint")
    begun_at = newest(other)
    wait_for("a newer checkpoint", lambda: newest(other) > begun_at, 120)
    for line in world.left_behind():
        if "train.py" in line:
            os.kill(int(line.split()[0]), signal.SIGKILL)
    assert second.wait(300) == 0, second.said
    assert "from the run's files at W&B" in second.said
    assert "from the run's folder" in second.said
    assert "Traceback" not in second.said
    run = world.run(sweep)
    assert run.state == "finished"
    assert run.config["lr"] == lr
    assert last_step(world.client, (sweep.entity, sweep.project, run.id)) == STEPS - 1
    world.nothing_is_left()


def test_a_bucket_is_reached_by_the_trainers_python(trainer_bin: str, tmp_path: Path) -> None:
    python = TrainerPython({**os.environ, "PATH": f"{trainer_bin}:{os.environ['PATH']}"})
    bucket = python.bucket(["${env}", "${interpreter}", "train.py"])
    uri = f"file://{tmp_path}/bucket"
    assert uri_trouble(bucket, uri) is None
    place = BucketFolder(bucket, uri, ("e", "p", "r"))
    assert place.numbers() == []
    folder, fetched = tmp_path / "here", tmp_path / "there"
    folder.mkdir()
    (folder / "7.pt").write_bytes(os.urandom(3 << 20))
    manifest = Manifest(7, {"7.pt": digest_of(folder / "7.pt")}, model="7.pt")
    write_manifest(manifest, folder)
    sent: list[int] = []
    place.store(manifest, folder, sent.append)
    assert sum(sent) > 3 << 20
    assert (tmp_path / "bucket" / "e" / "p" / "r" / "7.json").is_file()
    assert (place.numbers(), place.manifest(7)) == ([7], manifest)
    place.fetch(manifest, fetched, lambda size_bytes: None)
    assert trouble_with(manifest, fetched) is None

    def give_up(size_bytes: int) -> None:
        raise GivenUpError("the time for it was over")

    with pytest.raises(GivenUpError):
        place.store(manifest, folder, give_up)
    place.tidy([], [7])
    assert place.numbers() == []


@pytest.mark.parametrize(
    ("uri", "message", "hint"),
    [
        ("s3://bucket/x", "s3://bucket/x: the trainer's Python lacks", "fsspec s3fs"),
        ("s3://KEY:SEC/RET@bucket/x", "s3://bucket/x: credentials are no part", "YOUR_SECRET"),
        ("nope://x/y", "teaches fsspec nope://", "pip install fsspec"),
        ("memory://x", "can be kept at an address of memory://", "s3://YOUR_BUCKET"),
    ],
)
def test_an_address_that_cannot_be_reached_is_refused_with_what_to_install(
    uri: str, message: str, hint: str, trainer_bin: str
) -> None:
    python = TrainerPython({"PATH": f"{trainer_bin}:{os.environ['PATH']}"})
    trouble = uri_trouble(python.bucket(["python"]), uri)
    assert trouble is not None
    assert message in trouble.message
    assert hint in (trouble.hint or "")
    assert "RET@" not in trouble.line
