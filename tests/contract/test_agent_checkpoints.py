"""A run goes on from its checkpoint, whatever took its agent, its trainer or its volume away."""

import json
import os
import re
import signal
import time
from contextlib import closing
from pathlib import Path

import pytest

from sweepctl_pod.checkpoint import REMOTE_FOLDER, local_manifests
from sweepctl_pod.run_record import RECORD_FILE, read_record
from sweepctl_pod.wandb.client import SweepInfo
from sweepctl_pod.wandb.outputs import file_text, upload_file
from sweepctl_pod.wandb.run_files import list_folder
from tests.contract.agents import Agent, World
from tests.contract.faulty_proxy import HANG, FaultyProxy, Instead, operation
from tests.serving import wait_for

HANDED_BACK = 75
PATTERN = "kept/$WANDB_RUN_ID.ckpt"
IMPATIENT = pytest.mark.parametrize(
    "world", [["--agent-timeout-s", "4"]], indirect=True, ids=["impatient-server"]
)


def start(world: World, sweep: SweepInfo, *options: str, **environ: str) -> Agent:
    return world.start(sweep, "--checkpoint-pattern", PATTERN, *options, **environ)


def steps(world: World) -> list[int]:
    """Give the iterations that were trained, in their order."""
    lines = world.ledger.read_text().splitlines() if world.ledger.exists() else []
    found = [re.match(r"step:(\d+) ", line) for line in lines]
    return [int(match[1]) for match in found if match]


def wait_trained(world: World, count: int) -> None:
    said = "\n".join(agent.said for agent in world.agents)
    wait_for(f"{count} iterations\n{said}", lambda: len(steps(world)) >= count, 60)


def stored(world: World, sweep: SweepInfo) -> list[str]:
    """Name the files of checkpoints at the server."""
    return sorted(
        file.name
        for run in world.runs(sweep)
        for file in list_folder(world.client, (sweep.entity, sweep.project, run.id), REMOTE_FOLDER)
    )


def here(work: Path) -> Path:
    found = list(work.glob("*/.sweepctl/checkpoints"))
    return found[0] if found else work


def test_after_sigterm_another_node_goes_on_with_the_next_iteration(world: World) -> None:
    sweep = world.sweep(world.trainer("count:40:0.05:1000", "log", "note:end"))
    first = start(world, sweep, "--grace-s", "20")
    wait_trained(world, 5)
    first.send(signal.SIGTERM)
    assert first.wait() == HANDED_BACK, first.said
    reached = steps(world)[-1]
    assert "is in the run's files at W&B" in first.said
    assert [name.partition(".")[2] for name in stored(world, sweep)] == ["ckpt", "json"]

    other_node = world.folder / "another volume"
    second = start(world, sweep, SWEEPCTL_WORK=str(other_node))
    assert second.wait() == 0, second.said
    assert f"from:{reached + 1} " in world.ledger.read_text()
    assert steps(world) == list(range(40))
    assert "goes on from checkpoint 0, from the run's files at W&B" in second.said
    assert world.run(sweep).state == "finished"
    world.nothing_is_left()


def test_a_killed_trainer_goes_on_from_the_runs_folder(world: World) -> None:
    # It saves every other time, and dies once, right after the step that was not saved.
    sweep = world.sweep(world.trainer("count:30:0.1:2", "log", "note:end"))
    agent = start(world, sweep)
    wait_trained(world, 9)
    wait_for("a checkpoint", lambda: bool(local_manifests(here(world.work))))
    pids = [int(line.split()[0]) for line in world.left_behind() if "plain_trainer" in line]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert agent.wait() == 0, agent.said
    assert "killed from outside" in agent.said
    assert "from the run's folder" in agent.said
    trained = steps(world)
    assert sorted(set(trained)) == list(range(30))
    # One that was not saved, and those of a second, as the file is looked at once in a second.
    assert len(trained) - 30 <= 1 + 10
    assert trained.count(0) == 1
    assert world.run(sweep).state == "finished"


def test_a_checkpoint_that_is_not_what_its_manifest_says_is_passed_over(world: World) -> None:
    sweep = world.sweep(world.trainer("count:60:0.1:1", "log"))
    first = start(world, sweep, "--grace-s", "20")
    wait_for("two at the server", lambda: len(stored(world, sweep)) >= 4, 60)
    first.send(signal.SIGTERM)
    assert first.wait() == HANDED_BACK, first.said
    numbers = sorted(local_manifests(here(world.work)))
    assert len(numbers) == 2
    newest = here(world.work) / f"{numbers[-1]}.ckpt"
    newest.write_bytes(b"half of i")
    place = (sweep.entity, sweep.project, world.run(sweep).id)
    upload_file(world.client, place, f"{REMOTE_FOLDER}/{newest.name}", b"another one")
    second = start(world, sweep, "--count", "1")
    wait_trained(world, 60)
    assert second.wait() == 0, second.said
    assert f"passed over checkpoint {numbers[-1]}: {newest.name} has 9 bytes of " in second.said
    assert f"{newest.name} has 11 bytes of " in second.said
    assert f"goes on from checkpoint {numbers[0]}, from the run's folder" in second.said
    assert sorted(set(steps(world))) == list(range(60))


@IMPATIENT
def test_what_an_agent_has_sent_while_it_trained_outlives_it_and_its_volume(world: World) -> None:
    sweep = world.sweep(world.trainer("count:80:0.1:1:100000", "log"))
    first = start(world, sweep)
    wait_for("one at the server", lambda: len(stored(world, sweep)) >= 2, 60)
    first.send(signal.SIGKILL)
    first.wait()
    reached = steps(world)[-1]
    second = start(world, sweep, SWEEPCTL_WORK=str(world.folder / "another volume"))
    assert second.wait() == 0, second.said
    assert "from the run's files at W&B" in second.said
    trained = steps(world)
    assert sorted(set(trained)) == list(range(80))
    assert len(trained) - 80 < reached + 1  # less than all that the first one did


@pytest.mark.parametrize("fault", ["none", "slow to delete", "takes no third manifest"])
def test_the_server_keeps_the_last_two_and_nothing_else_is_ever_deleted(
    fault: str, world: World
) -> None:
    def before(path: str, body: bytes) -> Instead | None:
        if fault == "slow to delete" and operation(body) == "DeleteFiles":
            wait_for("the end", lambda: "end" in world.ledger.read_text(), 60)
            time.sleep(1)  # longer than an agent takes that waits for nothing
        is_manifest = "checkpoints" in path and ".json" in path and bool(body)
        if fault == "takes no third manifest" and is_manifest and len(manifests()) == 2:
            return Instead(502, b"<html>away</html>")
        return None

    def manifests() -> list[str]:
        return [name for name in stored(world, sweep) if name.endswith(".json")]

    with closing(FaultyProxy(world.server.url, before=before)) as proxy:
        sweep = world.sweep(world.trainer("count:60:0.1:1", "log", "note:end"))
        agent = start(world, sweep, WANDB_BASE_URL=proxy.url)
        wait_trained(world, 2)
        place = (sweep.entity, sweep.project, world.run(sweep).id)
        own = ["model_0.pt", "sweepctl/model_1.pt", f"{REMOTE_FOLDER}-of-mine/0.json"]
        for name in own:
            upload_file(world.client, place, name, b"the user's")
        assert agent.wait() == 0, agent.said
    found = stored(world, sweep)
    assert found, agent.said
    numbers = {int(name.rpartition("/")[2].partition(".")[0]) for name in found}
    assert len(numbers) <= 2
    assert min(numbers) > 0 or fault == "takes no third manifest"
    names = {file.name for file in list_folder(world.client, place, "sweepctl")}
    assert set(own[1:]) <= names
    assert len(local_manifests(here(world.work))) == 2


@pytest.mark.parametrize("fault", ["hangs", "answers 502"])
def test_a_server_that_takes_no_file_does_not_keep_an_agent(fault: str, world: World) -> None:
    answer = HANG if fault == "hangs" else Instead(502, b"<html>away</html>")

    def before(path: str, body: bytes) -> Instead | None:
        return answer if path.startswith("/storage/") and "checkpoints" in path else None

    proxy = FaultyProxy(world.server.url, before=before)
    try:
        sweep = world.sweep(world.trainer("count:400:0.05:1000:1000", "log"))
        agent = start(world, sweep, "--grace-s", "10", WANDB_BASE_URL=proxy.url)
        wait_trained(world, 5)
        agent.send(signal.SIGTERM)
        began = time.monotonic()
        assert agent.wait() == HANDED_BACK, agent.said
        assert time.monotonic() - began < 10
        assert world.run(sweep).state == "preempted"
        assert stored(world, sweep) == []
        assert re.search(r"checkpoint 0 is not there|the time for the run's files", agent.said)
        # Signed addresses of files open them without a key.
        assert "/storage/" not in agent.said
    finally:
        proxy.close()


def test_without_a_pattern_the_trainer_begins_anew_and_is_told_so(world: World) -> None:
    sweep = world.sweep(world.trainer("count:40:0.05:1", "log"))
    first = world.start(sweep, "--grace-s", "10")
    wait_trained(world, 3)
    first.send(signal.SIGTERM)
    assert first.wait() == HANDED_BACK
    second = world.start(sweep)
    assert second.wait() == 0, second.said
    assert "there is no checkpoint to go on from: it begins anew" in second.said
    assert steps(world).count(0) == 2


def test_the_macro_is_the_checkpoint_and_the_record_shows_how_to_train_from_the_start(
    world: World,
) -> None:
    words = ["argv:argv", "count:40:0.05:1000", "log"]
    sweep = world.sweep([*world.trainer(*words), "${checkpoint}=x"])
    first = start(world, sweep, "--grace-s", "20")
    wait_trained(world, 3)
    first.send(signal.SIGTERM)
    assert first.wait() == HANDED_BACK, first.said
    second = start(world, sweep)
    assert second.wait() == 0, second.said
    run_id = world.run(sweep).id
    argv = json.loads((world.folder / f"argv-{run_id}").read_text())
    assert f"{here(world.work)}/0.ckpt=x" in argv
    place = (sweep.entity, sweep.project, run_id)
    record = read_record(file_text(world.client, place, RECORD_FILE) or "")
    assert record is not None
    assert "=x" in record.argv
    assert "${checkpoint}=x" in second.said
