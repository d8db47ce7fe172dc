"""Fills the templates of the pages; what every page has is here: its style, how times are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jinja2
import markupsafe

from sweepctl.figures.colours import STYLE
from sweepctl.server.web import wording
from sweepctl.server.web.run_table import address
from sweepctl.server.web.static_files import address as static_address

_REFRESH_S = 5


class PageWriter:
    """Writes a page from its template; safe to use from any thread."""

    def __init__(self, now: Callable[[], float], *, has_logins: bool = False) -> None:
        self._now = now
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("sweepctl.server.web"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {
            **{"ago": self.ago, "path": address, "number": _number, "static": static_address},
            "duration": wording.duration,
        }
        self._templates.globals["has_logins"] = has_logins
        self._templates.globals["figure_style"] = markupsafe.Markup(STYLE)

    def write(
        self,
        template: str,
        *,
        is_live: bool,
        is_held: bool = False,
        events: str = "",
        **values: Any,
    ) -> str:
        """Fill a template.

        A live page reloads itself, unless its reader holds it; with scripts only what has no stream
        of `events`. What a stream is compared with is `shows`.
        """
        refresh_s = _REFRESH_S if is_live and not is_held else None
        page = self._templates.get_template(template)
        return page.render(
            refresh_s=refresh_s,
            has_scripts=True,
            is_held=is_live and is_held,
            events=events,
            **values,
        )

    def forward(self, template: str, place: str) -> str:
        """Fill a template that goes on to a place by itself."""
        page = self._templates.get_template(template)
        return page.render(refresh_s=f"0; url={place}", has_scripts=False, events="", place=place)

    def ago(self, time: float) -> str:
        """Tell how long ago a time was."""
        seconds = max(0, int(self._now() - time))
        for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
            if seconds >= 2 * size:
                return f"{seconds // size} {unit} ago"
        return f"{seconds} s ago"


def _number(value: float | None) -> str:
    return "" if value is None else wording.short(value)
