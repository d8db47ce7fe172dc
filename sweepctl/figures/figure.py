"""A figure: its picture, what it says in a sentence, and the same numbers as a table.

It shows itself in a notebook, as HTML for a page and as one SVG for a file. Every text in it comes
from outside and is escaped here or in `drawing`, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sweepctl.figures.axes import short
from sweepctl.figures.colours import STYLE
from sweepctl.figures.drawing import safe
from sweepctl.figures.facts import counted

MOST_ROWS = 50
"""So many rows a figure's table has; the note says where there are more."""

Cell = str | float | int | None


@dataclass(frozen=True, slots=True)
class Figure:
    """`svg` is empty where there is nothing to draw, and `says` then tells why."""

    name: str
    """Its place in a page: `importance`."""
    title: str
    says: str
    svg: str = ""
    notes: Sequence[str] = ()
    """What is not shown, what was thinned out, what is not recorded."""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Cell]] = ()
    data: Mapping[str, object] = field(default_factory=dict)
    """What a page's script needs to answer a hand on the figure."""

    def html(self) -> str:
        """Give the figure for a page that has `STYLE`: no script, no style of its own."""
        says = f"<p>{safe(self.says)}</p>"
        notes = "".join(f'<p class="note">{safe(note)}</p>' for note in self._all_notes())
        return (
            f'<figure class="sf" id="figure-{safe(self.name)}">'
            f"<figcaption>{safe(self.title)}</figcaption>{says}{self.svg}{notes}{self._table()}"
            "</figure>"
        )

    def picture(self) -> str:
        """Give the picture as an SVG file that stands alone; empty where there is none."""
        opened, mark, rest = self.svg.partition(">")
        return f"{opened}{mark}<style>{STYLE}</style>{rest}" if mark else ""

    def _repr_html_(self) -> str:
        """Show the figure in a notebook."""
        return f"<style>{STYLE}</style>{self.html()}"

    def _all_notes(self) -> list[str]:
        hidden = len(self.rows) - MOST_ROWS
        more = [f"The table has the first {MOST_ROWS} of {len(self.rows):,} rows."]
        return [*self.notes, *(more if hidden > 0 else [])]

    def _table(self) -> str:
        if not self.rows:
            return ""
        head = "".join(f"<th>{safe(name)}</th>" for name in self.columns)
        body = "".join(
            f"<tr>{''.join(f'<td>{safe(written(cell))}</td>' for cell in row)}</tr>"
            for row in self.rows[:MOST_ROWS]
        )
        return (
            f"<details><summary>The numbers: {counted(len(self.rows), 'row')}</summary>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></details>"
        )


def written(cell: Cell) -> str:
    """Write a number or text of a table; what is not there says so."""
    if cell is None:
        return "not recorded"
    if isinstance(cell, float):
        return short(cell)
    return f"{cell:,}" if isinstance(cell, int) and not isinstance(cell, bool) else str(cell)
