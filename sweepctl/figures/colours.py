"""One meaning for each colour, in every figure; the colours of Okabe and Ito, that the colour-blind
tell apart (https://jfly.uni-koeln.de/color/).

A mark names its meaning as its class, and `STYLE` has the colours: so a page may be dark, and a
legend cannot differ from the marks. Where colours meet, form tells too: the best is a diamond, a
failed run a cross.
"""

from __future__ import annotations

MEANINGS = {
    "finished": "finished run",
    "best": "best run",
    "failed": "failed",
    "training": "training",
    "starting": "starting",
    "closing": "closing",
    "back": "handed back",
    "waiting": "waiting",
    "other": "neither finished nor failed",
    "trend": "fitted trend",
    "default": "the task's default",
    "chosen": "chosen runs",
    **{f"run-{number}": f"run {number}" for number in range(1, 11)},
}
"""What each class of a mark means, in the words of a legend."""

_COLOURS = {
    "finished": "#0072B2",
    "best": "#E69F00",
    "failed": "#D55E00",
    "training": "#56B4E9",
    "starting": "#F0E442",
    "closing": "#009E73",
    "back": "#CC79A7",
    "waiting": "var(--sf-grey)",
    "other": "var(--sf-grey)",
    "trend": "var(--sf-ink)",
    "default": "var(--sf-ink)",
    "chosen": "var(--sf-ink)",
    # Of runs beside each other the number tells which one it is: five colours, then dashed again.
    **{f"run-{number}": f"var(--sf-run-{(number - 1) % 5 + 1})" for number in range(1, 11)},
}

_LIGHT = (
    "--sf-ink:#1b1b1b;--sf-quiet:#595959;--sf-line:#d9d9d9;--sf-grey:#a3a3a3;--sf-paper:#fff;"
    "--sf-thin:.45;--sf-faint:.22;--sf-mark:.65;"
    "--sf-run-1:#332288;--sf-run-2:#117733;--sf-run-3:#882255;--sf-run-4:#2a7f8e;--sf-run-5:#8a6d00"
)
_DARK = (
    "--sf-ink:#ececec;--sf-quiet:#b0b0b0;--sf-line:#444;--sf-grey:#858585;--sf-paper:#161616;"
    "--sf-thin:.8;--sf-faint:.5;--sf-mark:.95;"
    "--sf-run-1:#a9a1f0;--sf-run-2:#5fcf80;--sf-run-3:#e58fb8;--sf-run-4:#7fd3e0;--sf-run-5:#dcc36a"
)

STYLE = (
    f".sf{{{_LIGHT};font-family:system-ui,sans-serif;color:var(--sf-ink)}}"
    f"@media(prefers-color-scheme:dark){{.sf{{{_DARK}}}}}"
    f".sf[data-theme=light],[data-theme=light] .sf{{{_LIGHT}}}"
    f".sf[data-theme=dark],[data-theme=dark] .sf{{{_DARK}}}"
    "figure.sf{margin:0 0 1.5rem;overflow-x:auto}"
    ".sf figcaption{font-weight:600;margin-bottom:.25rem}"
    ".sf p{margin:.25rem 0;max-width:46rem}.sf .note{color:var(--sf-quiet);font-size:.875rem}"
    ".sf table{border-collapse:collapse;font-size:.8125rem;font-variant-numeric:tabular-nums}"
    ".sf th,.sf td{text-align:left;padding:.125rem .75rem .125rem 0;"
    "border-bottom:1px solid var(--sf-line)}"
    ".sf summary{color:var(--sf-quiet);cursor:pointer;font-size:.875rem}"
    "svg.sf{display:block;width:100%;min-width:29rem;max-width:60rem;height:auto;font-size:12px}"
    "svg.sf text{fill:var(--sf-ink)}svg.sf .quiet{fill:var(--sf-quiet)}"
    "svg.sf .head{font-weight:600}"
    "svg.sf .grid{stroke:var(--sf-line);fill:none}svg.sf .axis{stroke:var(--sf-quiet);fill:none}"
    "svg.sf .line{fill:none;stroke-width:1;stroke-opacity:var(--sf-thin);stroke-linejoin:round}"
    "svg.sf .bold{stroke-width:2.5;stroke-opacity:1}"
    "svg.sf .band{stroke:none;fill-opacity:.18}"
    "svg.sf .mark{fill-opacity:var(--sf-mark);stroke:none}"
    "svg.sf .mark.best{fill-opacity:1;stroke:var(--sf-ink)}"
    "svg.sf .mark.failed,svg.sf .cross{fill-opacity:1}"
    "svg.sf .strong{stroke-width:1.5;stroke-opacity:.9}"
    "svg.sf .faint{stroke-opacity:var(--sf-faint)}"
    "svg.sf .few{stroke-width:1.5;stroke-opacity:1}"
    "svg.sf .mark.trend,svg.sf .mark.default{fill-opacity:1}"
    "svg.sf .halo{paint-order:stroke;stroke:var(--sf-paper);stroke-width:3px}"
    "svg.sf .dash{stroke-dasharray:5 4}"
    + "".join(
        f"svg.sf .{name}.line{{stroke:{colour}}}"
        f"svg.sf .{name}.mark,svg.sf .{name}.band,svg.sf .{name}.bar{{fill:{colour}}}"
        for name, colour in _COLOURS.items()
    )
)
"""The style sheet of all figures: put it once into a page."""
