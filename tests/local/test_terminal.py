"""The live table on a real terminal: what fits, what comes first, what stays still."""

import json
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sweepctl_pod.wandb.client import Connection, WandbClient
from sweepctl_pod.wandb.outputs import end_body
from tests.local.local_sweeps import SWEEPCTL, environment
from tests.local.terminal import PROMPT, Terminal
from tests.serving import API_KEY, ServerProcess

AGENTS, ENDED, FAILED = 16, 84, 9
STATES = ("running", "finished", "failed")
SWEEP = {
    "method": "grid",
    "name": "legs",
    "metric": {"name": "Train/mean_reward", "goal": "maximize"},
    "command": ["isaaclab", "train", "--max_iterations", "1500", "${overrides}"],
    "parameters": {"env.gain": {"values": list(range(130))}},
}

OpenTerminal = Callable[..., Terminal]


@pytest.fixture
def open_terminal(tmux: str, tmp_path: Path) -> Iterator[OpenTerminal]:
    """Give the function that opens terminals; they are closed with the test."""
    opened: list[Terminal] = []

    def open_one(columns: int, lines: int, **environ: str) -> Terminal:
        opened.append(Terminal(tmp_path, columns, lines, {**environment(tmp_path), **environ}))
        return opened[-1]

    yield open_one
    for terminal in opened:
        terminal.close()


class BusySweep:
    """A sweep of 130 runs at a real server: 16 are trained, 84 have ended, 9 of them badly."""

    def __init__(self, url: str) -> None:
        self.client = WandbClient(Connection(base_url=url, api_key=API_KEY, entity="local"))
        sweep = self.client.create_sweep("local", "legs", json.dumps(SWEEP))
        self.name = f"local/legs/{sweep.id}"
        self.agents = [
            self.client.register_agent("local", "legs", sweep.id, f"legs-1a2b3c4d-{index}")
            for index in range(AGENTS)
        ]
        self.held: list[str] = []
        for number in range(ENDED):
            run = self.take(0)
            self.log(run, step=1499, reward=float(number))
            ended = end_body(1 if number < FAILED else 0)
            self.client.post_file_stream("local", "legs", run, ended)
        for index in range(AGENTS):
            self.held.append(self.take(index))
            self.log(self.held[-1], step=339, reward=0.5)

    def take(self, index: int) -> str:
        (command,) = self.client.heartbeat(self.agents[index], [])
        return str(command["run_id"])

    def log(self, run: str, step: int, reward: float) -> None:
        summary = json.dumps({"_step": step, "Train/mean_reward": reward})
        files = {"wandb-summary.json": {"offset": 0, "content": [summary]}}
        self.client.post_file_stream("local", "legs", run, {"files": files})

    def stay(self) -> None:
        """Say for every agent that it trains its run."""
        for agent, run in zip(self.agents, self.held, strict=True):
            self.client.heartbeat(agent, [run])


@pytest.fixture
def busy(start_server: Callable[..., ServerProcess]) -> BusySweep:
    return BusySweep(start_server("--agent-timeout", "3600").url)


def rows_of(screen: str) -> list[list[str]]:
    """Give the words of the lines that name a run."""
    return [line.split() for line in screen.splitlines() if re.match(r"[a-z0-9]{8}  ", line)]


def watch(busy: BusySweep, terminal: Terminal) -> str:
    terminal.type(*SWEEPCTL, "status", busy.name, "-w", "--server", busy.client.connection.base_url)
    return terminal.wait_for(lambda screen: "84/130" in screen)


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (60, 24), (132, 50), (60, 12)])
def test_the_live_table_shows_running_runs_then_the_best_then_how_many_more(
    busy: BusySweep, open_terminal: OpenTerminal, columns: int, lines: int
) -> None:
    terminal = open_terminal(columns, lines)
    screen = watch(busy, terminal)
    rows = rows_of(screen)
    states = [row[1] for row in rows]
    running = min(AGENTS, lines - 1 - 4 - 1 - 1)
    assert states[:running] == ["running"] * running
    assert set(states[running:]) == {"finished"}
    assert {row[0] for row in rows[:running]} <= set(busy.held)
    assert all(row[2:4] == ["training", "340/1500"] for row in rows[:running])
    best = [float(row[3]) for row in rows[running:]]
    assert best == [float(ENDED - 1 - place) for place in range(len(best))]
    hidden = ENDED + AGENTS - len(rows)
    (rest,) = [line for line in screen.splitlines() if line.startswith("… ")]
    assert rest.startswith(f"… {hidden} more: {FAILED} failed, ")
    assert len(screen.rstrip("\n").splitlines()) <= lines - 1
    assert "SWEEP" in screen.splitlines()[0]
    # The id of a run may begin so too: it has digits.
    for word in re.findall(r"(?<![\w/])(?:run|fin|fail)[a-z]*(?!\w)…?", screen):
        assert word in STATES, f"{word!r} is no whole state"


def contains(text: str, screen: str) -> bool:
    return text in screen


def test_the_picture_changes_in_place(busy: BusySweep, open_terminal: OpenTerminal) -> None:
    terminal = open_terminal(80, 24)
    watch(busy, terminal)
    gone = terminal.scrolled_away()
    for place, step, seen in ((0, 700, "701/1500"), (1, 1499, "closing")):
        busy.log(busy.held[place], step=step, reward=200.0 + step)
        busy.stay()
        screen = terminal.wait_for(partial(contains, seen))
    assert ["running", "closing", "1500/1500"] in [row[1:4] for row in rows_of(screen)]
    busy.client.post_file_stream("local", "legs", busy.held[1], end_body(0))
    screen = terminal.wait_for(
        lambda screen: f"(best {busy.held[1]})" in screen or "85/130" in screen
    )
    assert f"1699 ({busy.held[1]})" in screen
    assert terminal.scrolled_away() == gone
    drawn = terminal.stream().partition("SWEEP")[2]
    assert not re.search(r"\x1b\[[0-3]?J|\x1b\[2?K\r?\x1b\[1A", drawn), "wiped before it was drawn"
    # A picture comes several times a second; the header changes only with a column's width.
    assert drawn.count("SWEEP") <= 3, "what did not change was written again"


def test_another_size_gives_another_picture_and_ctrl_c_the_shell(
    busy: BusySweep, open_terminal: OpenTerminal
) -> None:
    terminal = open_terminal(80, 24)
    watch(busy, terminal)
    terminal.resize(60, 15)
    screen = terminal.wait_for(lambda screen: len(rows_of(screen)) == 9)
    assert "AGENT" not in screen
    assert screen.splitlines()[0].startswith("SWEEP")
    assert {row[1] for row in rows_of(screen)} == {"running", "finished"}
    terminal.press("C-c")
    terminal.wait_for(
        lambda screen: screen.rstrip("\n").splitlines()[-1].startswith(PROMPT.strip())
    )
    assert "\x1b[?25h" in terminal.stream()


def test_local_draws_the_same_table_and_leaves_the_whole_of_it(
    open_terminal: OpenTerminal, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    sweep: dict[str, Any] = {
        "method": "grid",
        "metric": {"name": "score", "goal": "maximize"},
        "command": [
            *(sys.executable, str(Path(__file__).with_name("quick_trainer.py"))),
            *(str(ledger), "40", "${overrides}"),
        ],
        "parameters": {"env.gain": {"values": [0.1, 0.2, 0.3, 0.4]}},
    }
    file, data = tmp_path / "s.yaml", tmp_path / "data"
    file.write_text(json.dumps(sweep))
    terminal = open_terminal(60, 14)
    terminal.type(*SWEEPCTL, "local", str(file), "--agents", "2", "--data", str(data))
    screen = terminal.wait_for(lambda screen: re.search(r"\w{8}  running +\w+ing", screen), 120)
    assert "/4" in screen
    screen = terminal.wait_for(lambda screen: screen.rstrip().endswith(PROMPT), 240)
    assert "see it again" in screen
