"""Runs that W&B gives back to nobody, taken up by agents themselves: real agents, light trainers.

The server is the embedded one, shown as W&B proper by a proxy; all limits are a hundredth.
"""

import signal
from collections.abc import Iterator

import pytest

from sweepctl_pod.run_record import RECORD_FILE, RunRecord, read_record
from sweepctl_pod.wandb.client import RunInfo, SweepInfo
from sweepctl_pod.wandb.outputs import file_text
from tests.contract.agents import Agent, World
from tests.contract.wandb_proper import ProperProxy
from tests.serving import wait_for

NEVER = ["--agent-timeout-s", "100000", "--run-timeout-s", "100000"]
"""W&B hands nothing out again that died without a word."""


class Proper(World):
    """A world around W&B proper."""

    def __init__(self, world: World, proxy: ProperProxy) -> None:
        super().__init__(world.server, world.folder)
        self.proxy = proxy
        self.environ |= {"WANDB_BASE_URL": proxy.url, "SWEEPCTL_ADOPT_AFTER_S": "6"}

    def pod(self, sweep: SweepInfo, host: str, **environ: str) -> Agent:
        """Start an agent as a pod of a Job would."""
        index = host.rpartition("-")[2]
        work = {"SWEEPCTL_WORK": str(self.folder / f"work-{len(self.agents)}")}
        words = {"SWEEPCTL_HOST": host, "JOB_COMPLETION_INDEX": index, **work}
        return self.start(sweep, **words, **environ)

    def record(self, run: RunInfo) -> RunRecord | None:
        text = file_text(self.client, ("local", "agents", run.id), RECORD_FILE)
        return None if text is None else read_record(text)

    def claimed(self, sweep: SweepInfo, count: int = 1) -> RunRecord:
        """Wait until the record of the only run has so many attempts and a claim."""

        def look() -> RunRecord | None:
            record = self.record(self.run(sweep))
            is_there = record is not None and len(record.attempts) >= count and record.claims
            return record if is_there else None

        return wait_for("a claim in the record", look)

    def went_well(self, sweep: SweepInfo) -> None:
        """Check that the only run was trained to its end once, with its first parameters."""
        run = self.run(sweep)
        assert run.state == "finished"
        assert len(self.noted("ended")) == 1
        assert [code for code in self.proxy.exits(run.id) if code == 0] == [0]
        assert len({tuple(words) for words in self.noted("began")}) == 1, "other parameters"
        assert not any("sweepctl" in name for name in [*run.config, *run.summary])
        self.nothing_is_left()


@pytest.fixture
def proper(world: World, request: pytest.FixtureRequest) -> Iterator[Proper]:
    proxy = ProperProxy(world.server.url)
    proper = Proper(world, proxy)
    yield proper
    proper.end()
    proxy.close()


def once(proper: Proper, *words: str) -> list[str]:
    """Give a trainer that dies with its agent the first time, and comes to its end the second."""
    return proper.trainer(
        "note:began", "beat-once", *words, "log", "note:ended", "${args_no_hyphens}"
    )


@pytest.mark.parametrize("world", [NEVER], indirect=True)
def test_replaced_pod_takes_up_at_once_what_the_pod_before_it_had(proper: Proper) -> None:
    sweep = proper.sweep(once(proper))
    first = proper.pod(sweep, "job-a-0", SWEEPCTL_ADOPT_AFTER_S="600")
    proper.wait_noted("began")
    proper.claimed(sweep)
    first.send(signal.SIGKILL)
    first.wait()
    second = proper.pod(sweep, "job-a-0", SWEEPCTL_ADOPT_AFTER_S="600")
    second.says("claiming it", 20)
    proper.proxy.is_over = True
    assert second.wait() == 0
    proper.went_well(sweep)
    record = proper.claimed(sweep)
    assert [(each.number, each.ended_by) for each in record.attempts] == [
        (1, "silence"),
        (2, "finished"),
    ]
    assert [claim.fence for claim in record.claims] == [2]
