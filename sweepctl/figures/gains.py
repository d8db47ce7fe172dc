"""The gains that the best run gave each joint, beside the task's own."""

from __future__ import annotations

import json
from collections.abc import Mapping

from sweepctl.figures.axes import axis_over, category_axis, short
from sweepctl.figures.drawing import BOTTOM, LETTER, RIGHT, TOP, WIDTH, Panel, picture
from sweepctl.figures.facts import SweepFacts, counted, is_number, number
from sweepctl.figures.figure import Figure
from sweepctl_pod.overrides import PATH_SUFFIX, TABLE_SUFFIX

_MOST_JOINTS = 40


def gains_of_the_best(facts: SweepFacts) -> Figure:
    """Draw each scaled dictionary of the best run, joint by joint, beside the base dictionary."""
    name, title = "gains", "Gains of the best run"
    if why := facts.why_nothing_ranked():
        return Figure(name, title, why)
    best = facts.ranked[0]
    tables = {}
    for each in facts.searched:
        factor, table = best.parameters.get(each), _table(facts, best.parameters, each)
        if table and is_number(factor):
            tables[each] = (number(factor), table)
    if not tables:
        return Figure(name, title, "The sweep scales no gains: it has no scaled dictionary.")
    left = min(max(len(key) for _, table in tables.values() for key in table) * LETTER + 24, 240)
    panels, rows, notes, top = [], [], [], TOP + 22.0
    for each, (factor, table) in tables.items():
        path = str(_part(facts, best.parameters, each + PATH_SUFFIX) or "path not recorded")
        joints = list(table)[:_MOST_JOINTS]
        if len(joints) < len(table):
            notes.append(f"{each}: {len(joints)} of {len(table)} joints are drawn.")
        height = 22.0 * len(joints) + 10
        values = [value for joint in joints for value in (table[joint], table[joint] * factor)]
        plot = Panel(
            axis_over([value for value in values if is_number(value)], path, from_zero=True),
            category_axis(joints[::-1], ""),
            left=left,
            top=top,
            width=WIDTH - left - RIGHT,
            height=height,
        )
        plot.frame(y_ticks=len(joints))
        for at, joint in enumerate(reversed(joints)):
            default, tuned = table[joint], table[joint] * factor
            if is_number(tuned):
                words = f"{joint}: {short(default)} to {short(tuned)}"
                plot.line([(default, at), (tuned, at)], "default", words)
                plot.mark(default, at, "default", words)
                plot.mark(tuned, at, "best", words)
        panels.append(plot)
        rows += [
            (each, joint, default, factor, default * factor if is_number(default * factor) else "")
            for joint, default in table.items()
        ]
        top += height + BOTTOM + 14
    factors = ", ".join(f"{each} × {short(factor)}" for each, (factor, _) in tables.items())
    return Figure(
        name,
        title,
        f"The best run, {best.label}, scales {counted(len(rows), 'gain')}: {factors}.",
        picture(panels, title, ["best", ("default mark-only", "the task's default")]),
        [*notes, "The default is the base dictionary of the sweep file."],
        ("parameter", "joint", "default", "factor", "best run"),
        rows,
    )


def _part(facts: SweepFacts, parameters: Mapping[str, object], name: str) -> object:
    """Find a constant of the sweep: in the run's parameters, or in the sweep's config."""
    form = facts.forms.get(name)
    found = form.get("value") if isinstance(form, Mapping) else None
    return parameters.get(name, found)


def _table(facts: SweepFacts, parameters: Mapping[str, object], name: str) -> dict[str, float]:
    """Read a base dictionary; empty where the parameter is no scaled dictionary."""
    found = _part(facts, parameters, name + TABLE_SUFFIX)
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except ValueError:
            return {}
    if not isinstance(found, Mapping):
        return {}
    return {str(key): number(value) for key, value in found.items() if is_number(value)}
