"""Checkpoints in a bucket (`checkpoint.uri`): real agents, real fsspec in the trainer's Python."""

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweepctl_pod.checkpoint import REMOTE_FOLDER, newest_good
from sweepctl_pod.run_record import RECORD_FILE, read_record
from sweepctl_pod.wandb.client import SweepInfo
from sweepctl_pod.wandb.outputs import file_text
from sweepctl_pod.wandb.run_files import list_folder
from tests.contract.agents import TRAINER, Agent, World
from tests.contract.locked_python import locked_python
from tests.serving import ServerProcess, wait_for

HANDED_BACK = 75
CONFIGURATION = 78
PATTERN = "kept/$WANDB_RUN_ID.ckpt"
IMPATIENT = pytest.mark.parametrize(
    "world", [["--agent-timeout-s", "4"]], indirect=True, ids=["impatient-server"]
)


class Buckets(World):
    """A world with a folder that is a bucket."""

    def __init__(self, server: ServerProcess, folder: Path) -> None:
        super().__init__(server, folder)
        self.bucket = folder / "bucket"

    def trainer(self, *words: str) -> list[str]:
        return [str(locked_python("fsspec")), str(TRAINER), str(self.ledger), *words]

    def begin(self, sweep: SweepInfo, *options: str, **environ: str) -> Agent:
        """Start an agent that keeps checkpoints in the bucket."""
        address = ("--checkpoint-uri", f"file://{self.bucket}")
        return self.start(sweep, "--checkpoint-pattern", PATTERN, *address, *options, **environ)

    def folder_of(self, sweep: SweepInfo) -> Path:
        """Give the folder of the only run."""
        return self.bucket / sweep.entity / sweep.project / self.run(sweep).id

    def kept(self, sweep: SweepInfo) -> list[int]:
        """List the whole checkpoints in the bucket."""
        return sorted(int(file.stem) for file in self.folder_of(sweep).glob("*.json"))

    def wait_kept(self, sweep: SweepInfo, count: int) -> None:
        wait_for("the run", lambda: self.runs(sweep))
        wait_for(f"{count} in the bucket", lambda: len(self.kept(sweep)) >= count, 60)

    def steps(self) -> list[int]:
        """Give the iterations that were trained, in their order."""
        lines = self.ledger.read_text().splitlines() if self.ledger.exists() else []
        found = [re.match(r"step:(\d+) ", line) for line in lines]
        return [int(match[1]) for match in found if match]

    def wait_trained(self, count: int) -> None:
        wait_for(f"{count} iterations", lambda: len(self.steps()) >= count, 60)

    def kill_trainer(self) -> None:
        """Kill the trainer, as the kernel does that has no memory left."""
        for line in self.left_behind():
            if TRAINER.name in line:
                os.kill(int(line.split()[0]), signal.SIGKILL)


@pytest.fixture
def buckets(world: World) -> Iterator[Buckets]:
    buckets = Buckets(world.server, world.folder)
    yield buckets
    buckets.end()


@IMPATIENT
def test_a_killed_agent_whose_volume_is_lost_too_goes_on_from_the_bucket(buckets: Buckets) -> None:
    sweep = buckets.sweep(buckets.trainer("count:80:0.1:1:100000", "log"))
    first = buckets.begin(sweep, SWEEPCTL_CHECKPOINT_KEEP="3")
    buckets.wait_kept(sweep, 3)
    first.send(signal.SIGKILL)
    first.wait()
    reached = buckets.steps()[-1]
    whole = newest_good(buckets.folder_of(sweep))
    assert whole is not None
    lost = buckets.folder / "another volume"
    second = buckets.begin(sweep, SWEEPCTL_WORK=str(lost), SWEEPCTL_CHECKPOINT_KEEP="3")
    assert second.wait() == 0, second.said
    found = re.search(r"goes on from checkpoint (\d+), from file://(\S+)", second.said)
    assert found, second.said
    assert found[2] == str(buckets.bucket)
    assert int(found[1]) == whole.manifest.iteration
    trained = buckets.steps()
    assert sorted(set(trained)) == list(range(80))
    assert len(trained) - 80 < reached + 1
    kept = buckets.kept(sweep)
    assert len(kept) == 3
    assert kept[-1] > whole.manifest.iteration, "the newest"
    names = {file.name.partition(".")[0] for file in buckets.folder_of(sweep).iterdir()}
    assert names == {str(number) for number in kept}
    place = (sweep.entity, sweep.project, buckets.run(sweep).id)
    assert list_folder(buckets.client, place, REMOTE_FOLDER) == [], "the bucket is the one place"
    assert buckets.run(sweep).state == "finished"
    buckets.nothing_is_left()


def test_after_sigterm_another_node_finds_the_last_iteration_in_the_bucket(
    buckets: Buckets,
) -> None:
    sweep = buckets.sweep(buckets.trainer("count:40:0.05:1000:3000000", "log"))
    first = buckets.begin(sweep, "--grace-s", "20")
    buckets.wait_trained(5)
    first.send(signal.SIGTERM)
    assert first.wait() == HANDED_BACK, first.said
    assert f"checkpoint 0 is in file://{buckets.bucket}" in first.said
    second = buckets.begin(sweep, SWEEPCTL_WORK=str(buckets.folder / "another volume"))
    assert second.wait() == 0, second.said
    assert buckets.steps() == list(range(40))
    place = (sweep.entity, sweep.project, buckets.run(sweep).id)
    record = read_record(file_text(buckets.client, place, RECORD_FILE) or "")
    assert record is not None
    assert [attempt.resumed_from for attempt in record.attempts] == [None, 0]
    buckets.nothing_is_left()


def test_a_trainers_death_does_not_end_what_is_on_its_way_to_the_bucket(buckets: Buckets) -> None:
    # At 16 MiB a second it is on its way for seconds, and it is all that there will be.
    sweep = buckets.sweep(buckets.trainer("count:30:0.2:5:80000000", "log"))
    agent = buckets.begin(sweep)

    def is_on_its_way() -> bool:
        return any(file.stat().st_size > 1 << 20 for file in buckets.bucket.rglob("0.ckpt"))

    wait_for("a checkpoint on its way", is_on_its_way, 60)
    (sends,) = (
        int(line.split()[0]) for line in buckets.left_behind() if "in_bucket.py put" in line
    )
    buckets.kill_trainer()
    wait_for("its end", lambda: not os.path.exists(f"/proc/{sends}"), 60)
    assert (buckets.folder_of(sweep) / "0.json").exists(), "it was cut off"
    assert agent.wait() == 0, agent.said
    assert "killed from outside" in agent.said
    assert "is not there" not in agent.said
    assert buckets.run(sweep).state == "finished"


@pytest.mark.parametrize("trouble", ["refuses", "hangs"])
def test_a_bucket_that_fails_in_the_middle_costs_one_line_and_not_the_run(
    trouble: str, buckets: Buckets
) -> None:
    sweep = buckets.sweep(
        buckets.trainer("count:1000:0.1:1" if trouble == "hangs" else "count:120:0.1:1", "log")
    )
    agent = buckets.begin(sweep, "--grace-s", "10")
    buckets.wait_kept(sweep, 1)
    folder, away = buckets.folder_of(sweep), buckets.folder / "away"
    if trouble == "hangs":
        for number in range(200):
            path = folder / f"{number}.ckpt"
            if not path.exists():
                os.mkfifo(path)
        began = len(buckets.steps())
        buckets.wait_trained(began + 30)
        agent.send(signal.SIGTERM)
        asked_at = time.monotonic()
        assert agent.wait() == HANDED_BACK, agent.said
        assert time.monotonic() - asked_at < 10
        assert re.search(
            r"last checkpoint is not there: the time for file://\S+ was over", agent.said
        )
        assert buckets.run(sweep).state == "preempted"
    else:
        folder.rename(away)
        folder.write_text("no folder any more")
        agent.says("is not there")
        buckets.wait_trained(len(buckets.steps()) + 40)
        folder.unlink()
        away.rename(folder)
        newest = buckets.kept(sweep)[-1]
        wait_for("a newer one", lambda: buckets.kept(sweep)[-1] > newest, 60)
        assert agent.wait() == 0, agent.said
        assert buckets.run(sweep).state == "finished"
        assert len(buckets.kept(sweep)) in (2, 3)
    told = [line for line in agent.said.splitlines() if "is not there" in line]
    assert len(told) == 1, agent.said
    assert "Traceback" not in agent.said
    buckets.nothing_is_left()


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("s3://bucket/x", "lacks what fsspec needs for s3:// (Install s3fs"),
        ("nope://bucket/x", "lacks a package that teaches fsspec nope://"),
        ("s3://KEY:SEC/RET@bucket/x", "credentials are no part of an address"),
        ("bucket/x", "the address has no scheme, as s3:// is one"),
        ("memory://x", "no checkpoint can be kept at an address of memory://"),
    ],
)
def test_an_agent_that_cannot_keep_checkpoints_ends_at_once_and_says_what_to_type(
    uri: str, reason: str, buckets: Buckets
) -> None:
    sweep = buckets.sweep(buckets.trainer("note:began", "log"))
    Path(buckets.environ["TERMINATION_LOG"]).touch()
    agent = buckets.start(sweep, "--checkpoint-uri", uri)
    assert agent.wait() == CONFIGURATION, agent.said
    assert reason in agent.said
    assert "RET@" not in agent.said
    assert reason in Path(buckets.environ["TERMINATION_LOG"]).read_text()
    assert buckets.noted("began") == []
