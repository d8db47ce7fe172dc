"""The handle of a sweep: both kinds take the same, ask before a change, and refuse alike."""

from __future__ import annotations

import inspect
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from sweepctl.jobs.cluster_sweep import ClusterSweep
from sweepctl.sweeps.handle import PAUSE, STOP, ServerSweep, StateChange, SweepHandle
from sweepctl.sweeps.log_lines import LogOptions
from sweepctl.sweeps.names import SweepName
from sweepctl.sweeps.place import Place
from sweepctl_pod.errors import UsageError

VERBS = [name for name, _ in inspect.getmembers(SweepHandle, inspect.isfunction) if name[0] != "_"]


@pytest.mark.parametrize("verb", VERBS)
def test_a_handle_takes_the_same_wherever_the_sweep_lives(verb: str) -> None:
    wanted = list(inspect.signature(getattr(SweepHandle, verb)).parameters.items())
    for kind in (ClusterSweep, ServerSweep):
        found = list(inspect.signature(getattr(kind, verb)).parameters.items())
        assert [name for name, _ in found[: len(wanted)]] == [name for name, _ in wanted]
        further = [parameter for _, parameter in found[len(wanted) :]]
        assert all(parameter.default is not parameter.empty for parameter in further)


@pytest.mark.parametrize("change", [PAUSE, STOP], ids=["pause", "stop"])
def test_what_is_asked_names_the_sweep_and_its_place_so_that_it_can_be_pasted(
    monkeypatch: pytest.MonkeyPatch, change: StateChange
) -> None:
    sweep = SimpleNamespace(
        entity="me", project="legs", id="s1", state="FINISHED", full_name="me/legs/s1"
    )
    monkeypatch.setattr("sweepctl.sweeps.handle.open_api", lambda *_: nullcontext(None))
    monkeypatch.setattr("sweepctl.sweeps.handle.find_sweep", lambda *_: sweep)
    place = Place(data=Path("my data"))
    asked: list[str] = []
    handle = ServerSweep(SweepName(None, None, None), place, say=print)
    done = handle.set_state(change, ask=asked.append, is_dry=True)
    assert asked == ["me/legs/s1 --data 'my data'"]
    assert (done.object, done.verb) == (
        "sweep/me/legs/s1",
        "unchanged" if change is STOP else "paused",
    )


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        (LogOptions(agent=0), "--agent"),
        (LogOptions(previous=True), "--previous"),
        (LogOptions(since_s=1.0), "--since"),
        (LogOptions(follows=True), "--follow"),
        (LogOptions(timestamps=True), "--timestamps"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_only_pods_can_tell_is_refused_for_a_sweep_in_no_cluster(
    options: LogOptions, refused: str
) -> None:
    handle = ServerSweep(SweepName("local", "legs", "s1"), Place(), say=print)
    with pytest.raises(UsageError, match=f"{refused} is for the logs of pods"):
        next(handle.logs(options))


@pytest.mark.parametrize(
    ("follows", "is_on_terminal", "previous", "expected"),
    [
        (None, True, False, True),
        (None, False, False, False),
        (True, False, False, True),
        (False, True, False, False),
        (True, True, True, False),
    ],
    ids=["a terminal", "none", "asked for", "not wanted", "pods that are gone"],
)
def test_logs_are_followed_on_a_terminal_unless_told_otherwise(
    follows: bool | None, is_on_terminal: bool, previous: bool, expected: bool
) -> None:
    options = LogOptions(follows=follows, is_on_terminal=is_on_terminal, previous=previous)
    assert options.is_followed is expected
    assert LogOptions(is_on_terminal=is_on_terminal).for_pods == []
