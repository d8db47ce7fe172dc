"""The supervisor of a local sweep: what it makes of an agent's end and of an agent's log."""

import sys
import time
from pathlib import Path

import pytest

from sweepctl.local import AgentProcess, AgentState, LocalSweep

FAILED = b"sweepctl: run a1 failed: exit code 3\n"


def test_an_agents_log_is_read_on_from_where_it_was_read_to(tmp_path: Path) -> None:
    agent = AgentProcess(0, tmp_path / "agent-0.log")
    agent.read_on()
    agent.log.write_bytes(b"a trainer's line \xff\n" + FAILED + b"sweepctl: run b2 fai")
    agent.read_on()
    assert agent.reasons == {"a1": "exit code 3"}
    with agent.log.open("ab") as log:
        log.write(b"led: no metric\nsweepctl: exit 0: no more work for this agent\n")
    agent.read_on()
    assert agent.reasons == {"a1": "exit code 3", "b2": "no metric"}
    assert agent.last_word == "run b2 failed: no metric"
    assert agent.read_bytes == agent.log.stat().st_size


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (0, "done"),
        (1, "waiting"),
        (75, "waiting"),
        (2, "gave up"),
        (76, "gave up"),
        (78, "gave up"),
    ],
)
def test_an_agent_is_started_again_unless_it_would_end_the_same(
    tmp_path: Path, code: int, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "python"
    fake.write_text(f"#!/bin/sh\necho 'sweepctl: the reason'\nexit {code}\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    sweep = LocalSweep("local/p/s", None, "http://127.0.0.1:9", tmp_path, tmp_path, [], {})
    sweep.start_agents(1)
    (agent,) = sweep.agents
    deadline = time.monotonic() + 30
    lines: list[str] = []
    while agent.state is AgentState.RUNNING and time.monotonic() < deadline:
        lines += sweep.tick(0.0)
    assert agent.state.value == state
    assert any("the reason" in line for line in lines) == (state == "gave up")
