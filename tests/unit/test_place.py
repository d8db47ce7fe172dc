"""Where a sweep is looked for: at a server, or on this machine."""

from pathlib import Path

import pytest

from sweepctl.sweeps.names import SweepName
from sweepctl.sweeps.place import Place, knows_sweeps, server_of
from sweepctl_pod.wandb.client import WandbClient

NOWHERE = Place()


@pytest.mark.parametrize(
    ("place", "entity", "environ", "server"),
    [
        (Place(server="http://other:1"), None, {}, "http://other:1"),
        (Place(data=Path("data")), None, {"WANDB_API_KEY": "k"}, None),
        (NOWHERE, None, {"WANDB_API_KEY": "k"}, "https://api.wandb.ai"),
        (NOWHERE, "team", {}, None),
        (NOWHERE, "local", {"WANDB_API_KEY": "k"}, None),
        (NOWHERE, None, {"WANDB_BASE_URL": "http://127.0.0.1:9"}, "http://127.0.0.1:9"),
        (NOWHERE, "local", {"WANDB_BASE_URL": "http://127.0.0.1:9"}, "http://127.0.0.1:9"),
    ],
    ids=["server", "data", "login", "no login", "local", "named, no key", "named, away, local"],
)
def test_a_sweep_is_looked_for_where_options_and_environment_say(
    place: Place,
    entity: str | None,
    environ: dict[str, str],
    server: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    found = server_of(place, SweepName(entity, "legs", "abc"), environ)
    assert (found and found.base_url) == server


@pytest.mark.parametrize(
    ("environ", "has_data", "expected"),
    [
        ({}, False, False),
        ({}, True, True),
        ({"WANDB_API_KEY": "k"}, False, True),
        ({"WANDB_BASE_URL": "http://127.0.0.1:9"}, False, True),
    ],
    ids=["nothing", "data", "login", "a server without a key"],
)
def test_a_verb_without_a_name_has_a_sweep_to_find_where_there_is_a_server(
    environ: dict[str, str],
    has_data: bool,
    expected: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SWEEPCTL_DATA", str(tmp_path))
    if has_data:
        (tmp_path / "sweepctl.sqlite").touch()
    assert knows_sweeps(environ) is expected


@pytest.mark.parametrize(("viewer", "is_embedded"), [("team", True), ("local", False)])
def test_the_entity_local_is_this_machines_unless_the_named_server_is_a_sweepctl_one(
    viewer: str, is_embedded: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(WandbClient, "viewer_entity", lambda self: viewer)
    environ = {"WANDB_BASE_URL": "http://wandb.example", "WANDB_API_KEY": "k"}
    found = server_of(NOWHERE, SweepName("local", "legs", "abc"), environ)
    assert (found is None) == is_embedded
