"""Drawing by hand: a picture of panels, each with two axes and marks in it, as SVG text.

The marks say what they mean by their class (`colours.MEANINGS`), so that a style sheet colours
them. Figures are drawn here and not by a library, because no library was quick enough:
docs/figures.md has what was measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from sweepctl.figures.axes import Axis
from sweepctl.figures.colours import MEANINGS

WIDTH = 760
SMALL = 380
"""The width of a picture that stands beside others of its kind."""
LETTER = 6.6
"""About the width of a letter."""
LEFT, RIGHT, TOP, BOTTOM = 66, 14, 12, 40

Place = tuple[float, float]


class Panel:
    """A rectangle of the picture with two axes; values outside them are drawn at the rim."""

    def __init__(
        self, x_axis: Axis, y_axis: Axis, *, left: float, top: float, width: float, height: float
    ) -> None:
        self.x_axis, self.y_axis = x_axis, y_axis
        self.left, self.top, self.width, self.height = left, top, width, height
        self.parts: list[str] = []

    def x(self, value: float) -> float:
        """Give the place of a value from the left."""
        return round(self.left + self.x_axis.place(value) * self.width, 1)

    def y(self, value: float) -> float:
        """Give the place of a value from the top."""
        return round(self.top + (1 - self.y_axis.place(value)) * self.height, 1)

    def frame(self, *, x_ticks: int = 7, y_ticks: int = 5, y_labels: bool = True) -> None:
        """Draw the axes with names and ticks."""
        bottom, right = self.top + self.height, self.left + self.width
        for at, label in self.y_axis.ticks(y_ticks):
            y = round(self.top + (1 - at) * self.height, 1)
            self.parts.append(f'<path class="grid" d="M{self.left:g} {y:g}H{right:g}"/>')
            room = int((self.left - 8) / LETTER) if self.y_axis.names else 99
            if y_labels:
                self.parts.append(text(self.left - 6, y + 4, label, "end", most=room, tail=True))
        every = self.width / max(len(self.x_axis.names), 1)
        most = max(int(every / LETTER), 4) if self.x_axis.names else 99
        for at, label in self.x_axis.ticks(x_ticks):
            x = round(self.left + at * self.width, 1)
            self.parts.append(f'<path class="axis" d="M{x:g} {bottom:g}v4"/>')
            self.parts.append(text(x, bottom + 17, label, "middle", most=most))
        self.parts.append(
            f'<path class="axis" d="M{self.left:g} {self.top:g}V{bottom:g}H{right:g}"/>'
        )
        if self.x_axis.label:
            middle = self.left + self.width / 2
            room = int(self.width / LETTER)
            self.parts.append(
                text(
                    middle, bottom + 34, self.x_axis.label, "middle", "quiet", most=room, tail=True
                )
            )
        if self.y_axis.label:
            room = max(int(self.height / LETTER), 8)
            turned = f'transform="translate(13 {self.top + self.height / 2:g}) rotate(-90)"'
            self.parts.append(
                text(0, 0, self.y_axis.label, "middle", "quiet", more=turned, most=room, tail=True)
            )

    def line(self, points: Iterable[Place], kind: str, title: str = "", more: str = "") -> None:
        """Draw a line through values."""
        corners = [f"{self.x(x):g} {self.y(y):g}" for x, y in points]
        if corners:
            path = "M" + "L".join(corners) + ("h.1" if len(corners) == 1 else "")
            self.parts.append(f'<path class="{kind} line {more}" d="{path}">{titled(title)}</path>')

    def band(self, low: Sequence[Place], high: Sequence[Place], kind: str) -> None:
        """Fill between two lines."""
        around = [f"{self.x(x):g} {self.y(y):g}" for x, y in (*low, *reversed(high))]
        self.parts.append(f'<path class="{kind} band" d="M{"L".join(around)}z"/>')

    def mark(self, x: float, y: float, kind: str, title: str = "", link: str = "") -> None:
        """Draw a run at its values: a dot, the best a diamond, a failed one a cross."""
        at_x, at_y = self.x(x), self.y(y)
        if kind == "best":
            shape = f'<path class="best mark" d="M{at_x:g} {at_y - 7:g}l7 7l-7 7l-7-7z">'
        elif kind == "failed":
            shape = f'<path class="failed mark" d="M{at_x - 4:g} {at_y - 3:g}{_CROSS}">'
        else:
            shape = f'<circle class="{kind} mark" cx="{at_x:g}" cy="{at_y:g}" r="3.5">'
        ended = "</circle>" if shape.startswith("<circle") else "</path>"
        drawn = f"{shape}{titled(title)}{ended}"
        # Hundreds of marks are no way for the Tab key: the table of runs has the same links.
        linked = f'<a href="{safe(link)}" tabindex="-1">{drawn}</a>'
        self.parts.append(linked if link else drawn)

    def bar(
        self,
        x: float,
        until: float,
        y: float,
        height: float,
        kind: str,
        title: str,
        least: float = 1.0,
    ) -> None:
        """Draw a bar from one value of x to another, around a value of y.

        `height` and the width that it has at `least` are those of the picture; a bar that is wider
        than its values ends where they do.
        """
        low, high = sorted((self.x(x), self.x(until)))
        wide = max(round(high - low, 1), least)
        self.parts.append(
            f'<rect class="{kind} bar" x="{high - wide:g}" y="{self.y(y) - height / 2:g}" '
            f'width="{wide:g}" height="{height:g}">{titled(title)}</rect>'
        )


_CROSS = "l1-1l3 3l3-3l1 1l-3 3l3 3l-1 1l-3-3l-3 3l-1-1l3-3z"


def panel(
    x_axis: Axis, y_axis: Axis, height: float = 240, *, left: float = LEFT, right: float = RIGHT
) -> Panel:
    """Make the only panel of a picture, below its legend."""
    width = WIDTH - left - right
    return Panel(x_axis, y_axis, left=left, top=TOP + 22, width=width, height=height)


def small_panel(x_axis: Axis, y_axis: Axis) -> Panel:
    """Make the only panel of a small picture, which has no legend."""
    width = SMALL - LEFT - RIGHT
    return Panel(x_axis, y_axis, left=LEFT, top=TOP, width=width, height=130)


def picture(
    panels: Sequence[Panel],
    title: str,
    legend: Sequence[str | tuple[str, str]] = (),
    *,
    more: Sequence[str] = (),
    width: float = WIDTH,
) -> str:
    """Put panels into one picture; `legend` has meanings, or meanings with words of their own."""
    height = max(each.top + each.height for each in panels) + BOTTOM
    body = "".join("".join(each.parts) for each in panels)
    # The parts of an image are nothing for themselves to who hears the page; links are.
    role = "group" if "<a " in body else "img"
    return (
        f'<svg class="sf" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'role="{role}" aria-label="{safe(title)}">{_legend(legend)}{body}{"".join(more)}</svg>'
    )


def text(
    x: float,
    y: float,
    words: str,
    anchor: str = "start",
    kind: str = "",
    *,
    more: str = "",
    most: int = 99,
    tail: bool = False,
) -> str:
    """Write words at a place; what is longer than `most` letters is cut, whole in its title.

    With `tail` the end stays, which tells names apart that share their path.
    """
    kept = max(most - 1, 1)
    cut = words if len(words) <= most else "…" + words[-kept:] if tail else words[:kept] + "…"
    whole = titled(words) if cut != words else ""
    place = more or f'x="{x:g}" y="{y:g}"'
    return f'<text {place} text-anchor="{anchor}" class="{kind}">{safe(cut)}{whole}</text>'


def titled(words: str) -> str:
    """Give what is shown when a mark is pointed at."""
    return f"<title>{safe(words)}</title>" if words else ""


def safe(words: str) -> str:
    """Escape a text for HTML and SVG alike, also for an attribute.

    What no XML may hold becomes a space: a picture must open whatever a name has.
    """
    return escape(
        "".join(
            letter if letter >= " " and not "\ud800" <= letter <= "\udfff" else " "
            for letter in words
        )
    )


def _legend(entries: Sequence[str | tuple[str, str]]) -> str:
    """Write a legend in one line, from the left."""
    drawn, x = [], float(LEFT)
    for entry in entries:
        kind, words = entry if isinstance(entry, tuple) else (entry, MEANINGS[entry])
        if kind in ("trend", "default"):
            dash = " dash" if kind == "default" else ""
            sign = f'<path class="{kind} line bold{dash}" d="M{x:g} 13h16"/>'
        elif "mark-only" in kind:
            sign = f'<circle class="{kind} mark" cx="{x + 8:g}" cy="13" r="4"/>'
        elif kind == "best":
            sign = f'<path class="best mark" d="M{x + 8:g} 7l6 6l-6 6l-6-6z"/>'
        else:
            sign = f'<rect class="{kind} bar" x="{x + 2:g}" y="8" width="12" height="10"/>'
        drawn.append(sign + text(x + 20, 17, words))
        x += 34 + len(words) * LETTER
    return "".join(drawn)
