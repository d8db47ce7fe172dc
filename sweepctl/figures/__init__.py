"""Figures of a sweep, as pure functions: its facts in, a figure out.

Pages, reports and notebooks use the same ones. This face is all that they need: fill in
`SweepFacts`, call a function, and show `Figure.html()` on a page that has `STYLE` (a notebook shows
it by itself). A figure without a picture says in words why there is none.
"""

from sweepctl.figures.colours import STYLE as STYLE
from sweepctl.figures.curves import best_so_far as best_so_far
from sweepctl.figures.curves import improvements as improvements
from sweepctl.figures.curves import metric_over_steps as metric_over_steps
from sweepctl.figures.facts import Curve as Curve
from sweepctl.figures.facts import RunFacts as RunFacts
from sweepctl.figures.facts import SweepFacts as SweepFacts
from sweepctl.figures.figure import Figure as Figure
from sweepctl.figures.gains import gains_of_the_best as gains_of_the_best
from sweepctl.figures.importance import Importance as Importance
from sweepctl.figures.importance import importance as importance
from sweepctl.figures.importance import importance_of as importance_of
from sweepctl.figures.logged import logged as logged
from sweepctl.figures.logged import side_by_side as side_by_side
from sweepctl.figures.parameters import metric_by_parameter as metric_by_parameter
from sweepctl.figures.parameters import parallel_coordinates as parallel_coordinates
from sweepctl.figures.phases import Span as Span
from sweepctl.figures.phases import tries_of as tries_of
from sweepctl.figures.time_spent import fleet_timeline as fleet_timeline
from sweepctl.figures.time_spent import gpu_hours as gpu_hours
