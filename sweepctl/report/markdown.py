"""A report as Markdown, for a repository or a merge request: the same content as the page.

Each figure is its sentences and its numbers, and a link to its picture where that lies beside the
file. Text from runs is never markup: what Markdown or HTML would read is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sweepctl.figures import Figure
from sweepctl.figures.figure import MOST_ROWS, written
from sweepctl.report.content import Report, Table

_CELLS = 10_000
_MARKS = re.compile(r"([\\`*_{}\[\]<>#|~&])")
_UNSEEN = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def markdown(report: Report, pictures: str = "") -> str:
    """Write a report as Markdown; `pictures` is the folder of the figures' pictures, if any."""
    parts = [
        f"# {plain(report.title)}",
        f"{plain(report.status.sweep)} · {report.status.state.lower()} · {report.made_at}",
        *map(plain, report.words),
        "## Figures",
        *(part for figure in report.figures for part in _figure(figure, pictures)),
        "## Repeat the best runs",
        *(part for part in _commands(report)),
        "## All runs",
        *_table(report.ranking(_CELLS), "There are no runs yet."),
        "## Runs that did not finish",
        *_table(report.failures(), "No run has ended badly."),
        "## Sweep file",
        "As the sweep's server keeps it; JSON is written as YAML.",
        fenced(report.file_text(), "yaml"),
        "## Versions and provenance",
        *_table(Table(("what", "value"), report.about), ""),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def plain(text: str) -> str:
    """Escape a text so that it stands as it is, on one line."""
    return _MARKS.sub(r"\\\1", " ".join(_UNSEEN.sub(" ", text).split()))


def fenced(text: str, language: str = "") -> str:
    """Write a text as it is, in a fence longer than any within it."""
    lines = "\n".join(_UNSEEN.sub(" ", line) for line in text.splitlines())
    longest = max(map(len, re.findall(r"`+", lines)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{lines}\n{fence}"


def picture_name(figure: Figure) -> str:
    """Name the file of a figure's picture."""
    return f"{figure.name}.svg"


def _figure(figure: Figure, pictures: str) -> list[str]:
    drawn = f"![{plain(figure.title)}](<{pictures}/{picture_name(figure)}>)"
    rows = [[written(cell) for cell in row] for row in figure.rows[:MOST_ROWS]]
    left = len(figure.rows) - len(rows)
    note = f"The first {len(rows)} of {len(figure.rows):,} rows." if left else ""
    return [
        f"### {plain(figure.title)}",
        plain(figure.says),
        drawn if pictures and figure.svg else "",
        *map(plain, figure.notes),
        *(_table(Table(figure.columns, rows, note), "") if rows else []),
    ]


def _commands(report: Report) -> list[str]:
    found = report.commands()
    parts = [plain(report.without_commands)] if not found else []
    for each in found:
        parts += [f"### {each.rank}. {plain(each.run)}: {plain(each.metric)}", plain(each.note)]
        parts.append(fenced(each.text, "sh"))
    return parts


def _table(table: Table, without: str) -> list[str]:
    if not table.rows:
        return [without]
    lines = [_row(table.columns), "|" + " --- |" * len(table.columns), *map(_row, table.rows)]
    return [plain(table.note), "\n".join(lines)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(plain, cells)) + " |"
