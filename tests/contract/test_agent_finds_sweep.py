"""Agents that are told no sweep agree on one, on the real embedded server, whatever happens."""

import json
import re
import sys
import time

import pytest

from sweepctl.sweepfile.load import load_sweep
from sweepctl_pod.errors import ExitCode
from sweepctl_pod.find_sweep import jobs_of, sweep_key, with_job
from sweepctl_pod.wandb.client import SweepInfo
from tests.contract.agents import Agent, World
from tests.contract.faulty_proxy import FaultyProxy
from tests.serving import wait_for

PROJECT = "legs"


class Release:
    """A release of the chart: its sweep file, and the pods of its Jobs."""

    def __init__(self, world: World, *words: str, run_cap: int = 1) -> None:
        self.world = world
        self.file = world.folder / "sweep.yaml"
        self.file.write_text(
            f"""name: gains
project: {PROJECT}
method: random
run_cap: {run_cap}
metric: {{name: loss, goal: minimize}}
command: {json.dumps(world.trainer("note:start", *(words or ["log"])))}
parameters:
  p_gain:
    min: 0.5
    max: 2.0
    p_gain_cli_path: {{value: env.scene.legs.stiffness}}
    p_gain_base_dict: {{value: {{".*_knee": 200.0, hip: 100}}}}
  env.gain: {{min: 0.5, max: 2.0}}
"""
        )
        self.key = sweep_key("robots", "legs", self.file.read_bytes())

    def start(self, index: int, job: str = "job-1", **environ: str) -> Agent:
        """Start the pod of one index of a Job."""
        return self.world.start_command(
            [sys.executable, "-S", "-m", "sweepctl_pod"],
            SWEEPCTL_SWEEP_FILE=str(self.file),
            SWEEPCTL_NAMESPACE="robots",
            SWEEPCTL_NAME="legs",
            SWEEPCTL_JOB_UID=job,
            JOB_COMPLETION_INDEX=str(index),
            SWEEPCTL_HOST=f"legs-{job}-{index}",
            **environ,
        )

    def create(self, job: str) -> SweepInfo:
        """Create the sweep, as an agent of a Job does that dies of it."""
        config = load_sweep(str(self.file)).to_wandb_config()
        description = with_job(None, self.key, job)
        made = self.world.client.create_sweep("local", PROJECT, json.dumps(config), description)
        # W&B dates sweeps by whole seconds: what is created from now on is the younger.
        second = int(time.time())
        wait_for("the next second", lambda: int(time.time()) > second)
        return made

    def sweeps(self) -> list[SweepInfo]:
        return sorted(
            self.world.client.sweeps("local", PROJECT),
            key=lambda sweep: (sweep.created_at or "", sweep.id),
        )

    def sweep(self) -> SweepInfo:
        (sweep,) = self.sweeps()
        return sweep


def test_one_agent_creates_the_sweep_of_its_file_and_trains(world: World) -> None:
    release = Release(world)
    agent = release.start(0)
    assert agent.wait() == ExitCode.DONE
    sweep = release.sweep()
    assert (sweep.state, sweep.display_name) == ("FINISHED", "gains")
    assert jobs_of(sweep, release.key) == frozenset({"job-1"})
    stored = json.loads(sweep.config_text)
    # The server adds the seed that it has drawn.
    assert (sweep.description or "").startswith(stored.pop("description") + "\nsweepctl-seed: ")
    assert stored == load_sweep(str(release.file)).to_wandb_config()
    assert [run.state for run in world.runs(sweep)] == ["finished"]


@pytest.mark.parametrize("metric", ["", "metric: {name: loss}\n"], ids=["no metric", "no goal"])
def test_a_file_that_wandb_accepts_is_trained_as_it_stands(world: World, metric: str) -> None:
    release = Release(world)
    text = re.sub(r"metric: .*\n", metric, release.file.read_text()).replace(
        "run_cap: 1", "run_cap: 1.0"
    )
    release.file.write_text(text)
    agent = release.start(0)
    assert agent.wait() == ExitCode.DONE, agent.said
    (sweep,) = release.sweeps()
    stored = json.loads(sweep.config_text)
    assert stored.get("metric") == ({"name": "loss"} if metric else None)
    assert (sweep.state, stored["run_cap"]) == ("FINISHED", 1)
    assert [run.state for run in world.runs(sweep)] == ["finished"]


def test_eight_agents_at_once_come_to_one_sweep(world: World) -> None:
    release = Release(world, run_cap=12)
    agents = [release.start(0) for _ in range(8)]
    assert [agent.wait() for agent in agents] == [ExitCode.DONE] * 8
    first, *others = release.sweeps()
    assert [run.state for run in world.runs(first)] == ["finished"] * 12
    assert [world.runs(other) for other in others] == [[]] * len(others)
    assert {other.state for other in others} <= {"FINISHED"}


def test_nobody_waits_for_an_index_that_never_starts(world: World) -> None:
    release = Release(world, run_cap=3)
    agents = [release.start(index) for index in (1, 2, 3)]
    assert [agent.wait() for agent in agents] == [ExitCode.DONE] * 3
    assert len(world.runs(release.sweep())) == 3


def test_an_agent_killed_after_creating_leaves_its_sweep_to_the_next(world: World) -> None:
    release = Release(world)
    killed = release.start(0)
    wait_for("a sweep", lambda: release.sweeps())
    killed.send(9)
    killed.wait()
    assert "agent of" not in killed.said, "it was to die before it joined"
    replacement = release.start(0)
    assert replacement.wait() == ExitCode.DONE
    assert "created" not in replacement.said
    assert len(world.runs(release.sweep())) == 1


def test_a_new_job_goes_on_with_the_open_sweep_of_the_old_one(world: World) -> None:
    release = Release(world, "hang", run_cap=2)
    old = release.start(0)
    world.wait_noted("start")
    new = release.start(0, job="job-2")
    world.wait_noted("start", 2)
    sweep = release.sweep()
    assert jobs_of(sweep, release.key) == frozenset({"job-1", "job-2"})
    assert len(world.runs(sweep)) == 2
    for agent in (old, new):
        agent.send(15)
        assert agent.wait() == ExitCode.HANDED_BACK


def test_two_jobs_that_start_at_once_come_to_one_sweep(world: World) -> None:
    release = Release(world, run_cap=8)
    agents = [release.start(0, job=f"job-{number % 2}") for number in range(4)]
    assert [agent.wait() for agent in agents] == [ExitCode.DONE] * 4
    first, *others = release.sweeps()
    assert [run.state for run in world.runs(first)] == ["finished"] * 8
    assert [world.runs(other) for other in others] == [[]] * len(others)
    assert {other.state for other in others} <= {"FINISHED"}


@pytest.mark.parametrize("at", ["query GetSweeps", "mutation UpsertSweep"])
def test_an_upgrade_while_the_first_sweep_is_created_leaves_no_second_one_open(
    world: World, at: str
) -> None:
    release = Release(world)
    made: list[SweepInfo] = []

    def upgrade_meanwhile(path: str, body: bytes) -> str | None:
        if at.encode() in body and not made:
            made.append(release.create("job-1"))  # the old Job's agent, killed right after it
        return None

    proxy = FaultyProxy(world.server.url, upgrade_meanwhile)
    try:
        new = release.start(0, job="job-2", WANDB_BASE_URL=proxy.url)
        assert new.wait() == ExitCode.DONE
    finally:
        proxy.close()
    assert len(made) == 1
    first, second = release.sweeps()
    assert [len(world.runs(sweep)) for sweep in (first, second)] == [1, 0], new.said
    assert (first.state, second.state) == ("FINISHED", "FINISHED")
    assert "job-2" in (jobs_of(first, release.key) or ())


def test_after_the_end_a_replaced_pod_is_done_and_a_new_install_starts_anew(world: World) -> None:
    release = Release(world)
    assert release.start(0).wait() == ExitCode.DONE
    ended = release.sweep()
    replaced = release.start(3)
    assert replaced.wait() == ExitCode.DONE
    assert release.sweep().id == ended.id
    assert release.start(0, job="job-2").wait() == ExitCode.DONE
    first, second = release.sweeps()
    assert (first.id, jobs_of(second, release.key)) == (ended.id, frozenset({"job-2"}))
    assert [len(world.runs(sweep)) for sweep in (first, second)] == [1, 1]


@pytest.mark.parametrize("fault", ["drop", "502"])
def test_a_creation_whose_answer_is_lost_is_found_again(world: World, fault: str) -> None:
    lost: list[bytes] = []

    def spoil(path: str, body: bytes) -> str | None:
        is_creation = b"mutation UpsertSweep" in body and b"p_gain" in body
        if is_creation and len(lost) < 2:
            lost.append(body)
            return fault
        return None

    release = Release(world, run_cap=4)
    proxy = FaultyProxy(world.server.url, spoil)
    try:
        agents = [release.start(0, WANDB_BASE_URL=proxy.url) for _ in range(2)]
        assert [agent.wait() for agent in agents] == [ExitCode.DONE] * 2
    finally:
        proxy.close()
    assert lost
    first, *others = release.sweeps()
    assert len(world.runs(first)) == 4
    assert [world.runs(other) for other in others] == [[]] * len(others)
    assert {other.state for other in others} <= {"FINISHED"}


def test_another_sweep_file_is_another_sweep(world: World) -> None:
    release = Release(world)
    assert release.start(0).wait() == ExitCode.DONE
    other = Release(world, run_cap=2)
    assert other.start(0, job="job-2").wait() == ExitCode.DONE
    first, second = release.sweeps()
    assert jobs_of(first, other.key) is None
    assert jobs_of(second, other.key) == frozenset({"job-2"})


def test_an_image_without_pyyaml_ends_the_index_and_says_what_to_do(world: World) -> None:
    release = Release(world)
    broken = world.folder / "without-yaml"
    broken.mkdir()
    (broken / "yaml.py").write_text("raise ImportError('none here')")
    paths = f"{broken}:{world.environ['PYTHONPATH']}"
    agent = release.start(0, PYTHONPATH=paths)
    assert agent.wait() == ExitCode.CONFIGURATION
    assert "sweep.yaml: no Python here can read YAML (tried" in agent.said
    assert (
        "(set interpreter: a Python that has PyYAML; or create the sweep by `sweepctl init` and set"
        " sweepId: ENTITY/PROJECT/ID)"
    ) in agent.said
    assert "SWEEPCTL_" not in agent.said
    assert release.sweeps() == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"method: [", "this is no YAML: while parsing a flow node"),
        (b"- a list", "the sweep file is not a map"),
        (b"method: grid", "the sweep file has no map of parameters"),
        (b"parameters: {a: 5}", "parameters.a is not a map"),
        (b"parameters: {a: {a_cli_path: {value: env.x}, min: 1, max: 2}}", "has no value for a_b"),
        (b"\xff", "cannot read the sweep file"),
        (b"method: magic\nparameters: {a: {value: 1}}", "magic"),
    ],
    ids=["yaml", "list", "no parameters", "no map", "half a dictionary", "utf-8", "method"],
)
def test_a_sweep_file_that_cannot_be_ends_the_index(world: World, text: bytes, reason: str) -> None:
    release = Release(world)
    release.file.write_bytes(text)
    said_last = world.folder / "termination-log"
    said_last.touch()  # as the kubelet does
    agent = release.start(0)
    assert agent.wait() == ExitCode.CONFIGURATION
    assert reason in agent.said
    assert reason in said_last.read_text()
    assert release.sweeps() == []
