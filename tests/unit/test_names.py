"""What people call a sweep, and the names that a new one may get."""

import pytest

from sweepctl.sweepfile.load import load_sweep
from sweepctl.sweeps.names import SweepName, entity_of, parse_sweep_name, project_of
from sweepctl_pod.errors import UsageError


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (None, SweepName(None, None, None)),
        ("abc", SweepName(None, None, "abc")),
        ("legs/abc", SweepName(None, "legs", "abc")),
        ("team/legs/abc", SweepName("team", "legs", "abc")),
        ("https://wandb.ai/team/legs/sweeps/abc", SweepName("team", "legs", "abc")),
        ("http://127.0.0.1:8080/local/legs/sweeps/abc?x=1", SweepName("local", "legs", "abc")),
        ("a/b/c/d", None),
        ("team//abc", None),
    ],
    ids=str,
)
def test_a_sweep_is_named_by_path_or_page(text: str | None, name: SweepName | None) -> None:
    if name is None:
        with pytest.raises(UsageError, match="does not name a sweep"):
            parse_sweep_name(text)
    else:
        assert parse_sweep_name(text) == name


@pytest.mark.parametrize("project", ["a/b", "a%b", "a\nb", " a", "x" * 129, "a:b", "c#"])
def test_a_place_that_wandb_refuses_is_refused_before_anything_is_created(project: str) -> None:
    text = (
        b"method: grid\nmetric: {name: m, goal: minimize}\ncommand: [train]\n"
        b"parameters: {a.x: {values: [1]}}\n"
    )
    with pytest.raises(UsageError, match="no name of a project"):
        project_of(load_sweep("sweep.yaml", text), project)
    with pytest.raises(UsageError, match="no name of an entity"):
        entity_of(load_sweep("sweep.yaml", text), project)
