"""What a run has printed, from the files of this machine's agents."""

from pathlib import Path

import pytest

from sweepctl.sweeps.run_output import kept_lines

AGENT = """sweepctl: agent laptop-0 of http://…
sweepctl: run r1 starts: train
of r1
sweepctl: run r1 failed: exit code 3
sweepctl: run r2 failed: the command names no program
sweepctl: run r3 starts: train
of r3
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name, text in {
        "logs/s1/agent-10.log": "sweepctl: run r3 starts: again\nlate\n",
        "logs/s1/agent-2.log": AGENT,
        "logs/s1/server.log": "sweepctl: run r1 starts: no\n",
        "work/s1/r1/trainer.log.1": "older\n",
        "work/s1/r1/trainer.log": "newer\r\n\xff no end",
        "work/s1/a_b/trainer.log": "strange id\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="latin-1" if "ÿ" in text else "utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("run", "lines"),
    [
        ("r1", ["older", "newer", "\ufffd no end"]),
        ("r2", ["sweepctl: run r2 failed: the command names no program"]),
        (
            "r3",
            ["sweepctl: run r3 starts: train", "of r3", "sweepctl: run r3 starts: again", "late"],
        ),
        ("a/b", ["strange id"]),
        ("r4", []),
    ],
)
def test_runs_lines_are_its_trainers_else_its_agents(
    run: str, lines: list[str], data: Path
) -> None:
    assert list(kept_lines(data, "s1", run)) == lines
    assert list(kept_lines(data, "s2", run)) == []
