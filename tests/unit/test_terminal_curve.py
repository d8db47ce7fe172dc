"""The best so far as a curve on the terminal, in whatever room and characters there are."""

import math
from dataclasses import replace

import pytest

from sweepctl.cli import output, views
from sweepctl.cli.screen import Room
from sweepctl.cli.terminal_curve import HEIGHT, curve, has_braille
from sweepctl.search.metric import Metric
from sweepctl.sweeps.status import RunRow, SweepStatus
from tests.unit.test_views import row

LOSS = Metric("loss", "minimize")


def sweep(*values: float | None, metric: Metric | None = LOSS) -> SweepStatus:
    rows: list[RunRow] = [
        row(f"run{number:04}", 1.0, value, "running" if value is None else "finished")
        for number, value in enumerate(values)
    ]
    return SweepStatus("local/legs/s1", None, "RUNNING", "random", metric, 30, tuple(rows))


def drawn(status: SweepStatus, columns: int = 80, lines: int = 40, rows: int = 0) -> list[str]:
    return [line.plain for line in views.curve_lines(status, Room(columns, lines), rows)]


def test_it_steps_down_from_the_first_to_the_best_in_ascii() -> None:
    assert curve([(1, 4.0), (10, 2.0), (19, 1.0)], 20, 24, is_braille=False) == [
        "  4 **********",
        "             *",
        "             **********",
        "  1                   **",
    ]


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
@pytest.mark.parametrize("columns", [40, 80, 250])
def test_it_fits_the_width_and_says_its_range(goal: str, columns: int) -> None:
    values = [float(9 - n) if goal == "minimize" else float(n) for n in range(9)]
    _, *lines = drawn(sweep(*values, None, metric=Metric("reward", goal)), columns)
    assert len(lines) == HEIGHT
    assert max(map(len, lines)) <= columns
    first, last = sorted((values[0], values[-1]))
    assert lines[0].split()[0] == f"{last:g}"
    assert lines[-1].split()[0] == f"{first:g}"


def test_values_far_apart_and_huge_ones_stand_on_a_scale_of_their_own() -> None:
    lines = curve([(1, 1e6), (2, 10.0), (3, 0.1)], 4, 40, is_braille=True)
    assert lines[1].lstrip().startswith("log")
    assert len(curve([(1, 1.7e308), (2, -1.7e308)], 2, 40, is_braille=False)) == HEIGHT


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((None, None), "No run has finished yet; the sweep has 2 runs."),
        ((math.nan, math.inf), "No finished run has logged loss as a number."),
        ((2.5, None), "One run has finished, with loss 2.5: a curve begins with two."),
        ((2.5, 2.5, 2.5), "None of 3 finished runs is better than the first: loss 2.5."),
        ((2.5, 3.5), "None of 2 finished runs is better than the first: loss 2.5."),
    ],
)
def test_where_there_is_no_curve_one_sentence_says_why(
    values: tuple[float | None, ...], words: str
) -> None:
    assert drawn(sweep(*values)) == [words]


def test_without_a_metric_or_much_room_nothing_is_in_the_way() -> None:
    assert drawn(sweep(1.0, metric=None)) == ["The sweep names no metric."]
    assert drawn(sweep(3.0, 2.0), lines=19) == []
    assert drawn(sweep(3.0, 2.0), columns=10) == []
    assert "⠤" not in str(views.status_view(sweep(3.0, 2.0)))


def test_runs_under_way_are_shown_before_the_curve() -> None:
    status = sweep(3.0, 2.0, 1.0)
    height = len(drawn(status))
    room = 30 - 1 - views._HEAD_LINES - 1
    assert len(drawn(status, lines=30, rows=room - height)) == height
    assert drawn(status, lines=30, rows=room - height + 1) == []
    assert drawn(sweep(None, None), lines=30, rows=room) == []


@pytest.mark.parametrize(
    ("environ", "is_braille"),
    [
        ({"LANG": "en_US.UTF-8", "TERM": "xterm"}, True),
        ({"LANG": "C.utf8", "TERM": "screen"}, True),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "C", "TERM": "xterm"}, False),
        ({"LANG": "en_US.UTF-8", "TERM": "linux"}, False),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8", "TERM": "xterm"}, False),
        ({"LC_CTYPE": "en_US.UTF-8", "TERM": "xterm"}, True),
        ({"TERM": "xterm"}, False),
        ({"LANG": "de_DE.ISO-8859-1"}, False),
    ],
)
def test_a_terminal_that_has_no_braille_gets_ascii(
    environ: dict[str, str], is_braille: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert has_braille(environ) == is_braille
    for name in ("LC_ALL", "LC_CTYPE", "LANG", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert "".join(drawn(sweep(3.0, 2.0, 1.0))).isascii() != is_braille


def test_no_color_is_honoured_and_the_whole_view_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("LANG", "C.UTF-8")
    status = sweep(*(float(50 - n) for n in range(50)))
    for lines in (20, 24, 60):
        console = output.console(width=80)
        with console.capture() as laid:
            console.print(views.status_view(status, Room(80, lines)))
        assert "\x1b[32m" not in laid.get()
        assert len(laid.get().splitlines()) <= lines - 1
        assert "⣀" in laid.get() or "⠒" in laid.get() or "⠉" in laid.get()
    named = replace(status, runs=status.runs[:2])
    assert views.status_view(named, Room(80, 24))
