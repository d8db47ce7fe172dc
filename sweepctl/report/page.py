"""A report as one HTML file that needs nothing else: no script, no request, no font.

Its Content-Security-Policy forbids every request and every script, and allows the one style sheet
by its hash. Every text is escaped here or by the figures.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from sweepctl.figures import STYLE
from sweepctl.figures.drawing import safe
from sweepctl.report.content import Report, Table

MOST_BYTES = 3_000_000
_CELLS = (75_000, 30_000, 10_000, 1_000)
"""How many cells the ranking may have: the first number with which the file is small enough."""
_ROWS_AT_ONCE = 25
"""So many rows of the ranking are open; the others are below a fold, which keeps the page quick."""

_STYLE = (
    STYLE
    + """
:root{color-scheme:light dark;--ink:#1b1b1b;--quiet:#595959;--line:#d9d9d9;--paper:#fff;
--panel:#f5f5f5;--link:#0059a6}
@media(prefers-color-scheme:dark){:root{--ink:#ececec;--quiet:#b0b0b0;--line:#444;--paper:#161616;
--panel:#222;--link:#8ec5ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main,header,footer{max-width:64rem;margin:0 auto;padding:0 1rem}
h1{font-size:1.5rem;margin:1rem 0 .25rem;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:2.5rem 0 .75rem;padding-top:.75rem;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:1.25rem 0 .25rem;overflow-wrap:anywhere}
p{max-width:46rem;margin:.25rem 0;overflow-wrap:anywhere}
p.quiet{color:var(--quiet);font-size:.875rem}
a{color:var(--link)}nav{display:flex;flex-wrap:wrap;gap:.1rem 1rem;margin:.75rem 0}
.wide{overflow-x:auto}
.wide table{border-collapse:collapse;font-size:.8125rem;font-variant-numeric:tabular-nums}
.wide th,.wide td{text-align:left;padding:.15rem .9rem .15rem 0;vertical-align:top;
border-bottom:1px solid var(--line)}
.wide th{color:var(--quiet);font-weight:600;white-space:nowrap}
.wide td{white-space:nowrap}.wide .words td{white-space:normal;overflow-wrap:break-word}
pre{background:var(--panel);border:1px solid var(--line);border-radius:4px;padding:.6rem .8rem;
font:12.5px/1.45 ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere;margin:.25rem 0}
summary{cursor:pointer;color:var(--quiet)}
:focus-visible{outline:2px solid var(--link);outline-offset:2px}
@media print{body{font-size:11px}nav,figure summary{display:none}h2{break-after:avoid}
figure.sf,tr{break-inside:avoid}.wide{overflow:visible}.wide td,.wide th{white-space:normal;
overflow-wrap:anywhere}svg.sf{min-width:0}}
"""
)
_SHA = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none';style-src 'sha256-{_SHA}';img-src data:;base-uri 'none';form-action 'none'"
)


def html_page(report: Report) -> str:
    """Write a report as one HTML file of less than `MOST_BYTES`."""
    page = ""
    for cells in _CELLS:
        page = _page(report, cells)
        if len(page.encode()) < MOST_BYTES:
            break
    return page


def _page(report: Report, cells: int) -> str:
    title = safe(report.title)
    sections = [
        ("figures", "Figures", "".join(figure.html() for figure in report.figures)),
        ("repeat", "Repeat the best runs", _commands(report)),
        ("ranking", "All runs", _ranking(report.ranking(cells))),
        ("failed", "Runs that did not finish", _failures(report.failures())),
        ("file", "Sweep file", _sweep_file(report)),
        ("about", "Versions and provenance", _table(_about(report), "words")),
    ]
    links = "".join(f'<a href="#{name}">{words}</a>' for name, words, _ in sections)
    body = "".join(f'<h2 id="{name}">{words}</h2>{text}' for name, words, text in sections)
    sweep = safe(report.status.sweep)
    if report.page:
        sweep = f'<a href="{safe(report.page)}" rel="noreferrer">{sweep}</a>'
    lead = "".join(f"<p>{safe(words)}</p>" for words in report.words)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n<link rel="icon" href="data:,">\n'
        f"<title>{title} · sweepctl report</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<header><h1>{title}</h1><p class="quiet">{sweep} · {safe(report.status.state.lower())} · '
        f"{safe(report.made_at)}</p>{lead}<nav>{links}</nav></header>\n"
        f"<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _about(report: Report) -> Table:
    return Table(("what", "value"), list(report.about))


def _commands(report: Report) -> str:
    found = report.commands()
    if not found:
        return f"<p>{safe(report.without_commands)}</p>"
    parts = []
    for each in found:
        note = f'<p class="quiet">{safe(each.note)}</p>' if each.note else ""
        head = f"{each.rank}. {safe(each.run)}: {safe(each.metric)}"
        parts.append(f"<h3>{head}</h3>{note}<pre>{_lines(each.text)}</pre>")
    return "".join(parts)


def _ranking(table: Table) -> str:
    if not table.rows:
        return "<p>There are no runs yet.</p>"
    first = _table(Table(table.columns, table.rows[:_ROWS_AT_ONCE], table.note))
    rest = table.rows[_ROWS_AT_ONCE:]
    if not rest:
        return first
    more = _table(Table(table.columns, rest))
    return f"{first}<details><summary>{len(rest):,} more runs</summary>{more}</details>"


def _failures(table: Table) -> str:
    return _table(table, "words") if table.rows else "<p>No run has ended badly.</p>"


def _sweep_file(report: Report) -> str:
    words = '<p class="quiet">As the sweep\'s server keeps it; JSON is written as YAML.</p>'
    return f"{words}<pre>{_lines(report.file_text())}</pre>"


def _table(table: Table, kind: str = "") -> str:
    """Write a table; its cells need no end tags, which makes 5,000 rows a third smaller."""
    head = "".join(f"<th>{safe(name)}" for name in table.columns)
    body = "".join(f"<tr>{_cells(row)}\n" for row in table.rows)
    note = f'<p class="quiet">{safe(table.note)}</p>' if table.note else ""
    laid = f'<table class="{kind}"><thead><tr>{head}<tbody>{body}</table>'
    # A region that scrolls must be reached by the keyboard.
    return f'{note}<div class="wide" tabindex="0" role="region" aria-label="table">{laid}</div>'


def _cells(row: Sequence[str]) -> str:
    return "".join(f"<td>{safe(cell)}" for cell in row)


def _lines(text: str) -> str:
    return "\n".join(safe(line) for line in text.splitlines())
