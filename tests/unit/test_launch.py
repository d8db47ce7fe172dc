"""Naming sweeps and remembering them."""

import errno
import json
from pathlib import Path

import pytest

from sweepctl.sweepfile.load import load_sweep
from sweepctl.sweeps.place import (
    SweepName,
    Where,
    agent_sweep_name,
    entity_of,
    knows_sweeps,
    parse_sweep_name,
    project_of,
    remember_sweep,
    remembered_sweep,
    server_of,
)
from sweepctl_pod.errors import SweepctlError, UsageError
from sweepctl_pod.wandb.client import WandbClient

NOWHERE = Where(None, None)


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


def test_init_and_agent_share_sweep_ids_json_as_the_ancestor_did(tmp_path: Path) -> None:
    path = tmp_path / "sweep_ids.json"
    remember_sweep(path, "legs", "abc")
    remember_sweep(path, "arms", "xyz")
    assert json.loads(path.read_text()) == {"legs": "abc", "arms": "xyz"}
    assert remembered_sweep(path, "legs") == "abc"
    assert agent_sweep_name(None, "arms", "team", path) == SweepName("team", "arms", "xyz")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no .*sweep_ids.json"),
        ("{}", "knows no project 'legs' .it knows: none."),
        ('{"arms": "xyz"}', "it knows: arms"),
        ("not json", "cannot read"),
        ('["abc"]', "not a map"),
        ('{"legs": 3}', "not a map"),
        ('{"legs": ""}', "not a map"),
    ],
    ids=["missing", "empty", "other", "broken", "list", "number", "no id"],
)
def test_agent_says_what_is_wrong_with_sweep_ids_json(
    tmp_path: Path, content: str | None, message: str
) -> None:
    path = tmp_path / "sweep_ids.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SweepctlError, match=message) as caught:
        remembered_sweep(path, "legs")
    assert caught.value.exit_code == 2


def test_agent_without_a_sweep_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="which sweep"):
        agent_sweep_name(None, None, None, tmp_path / "sweep_ids.json")


@pytest.mark.parametrize(
    ("where", "entity", "environ", "server"),
    [
        (Where("http://other:1", None), None, {}, "http://other:1"),
        (Where(None, Path("data")), None, {"WANDB_API_KEY": "k"}, None),
        (NOWHERE, None, {"WANDB_API_KEY": "k"}, "https://api.wandb.ai"),
        (NOWHERE, "team", {}, None),
        (NOWHERE, "local", {"WANDB_API_KEY": "k"}, None),
        (NOWHERE, None, {"WANDB_BASE_URL": "http://127.0.0.1:9"}, "http://127.0.0.1:9"),
        (NOWHERE, "local", {"WANDB_BASE_URL": "http://127.0.0.1:9"}, "http://127.0.0.1:9"),
    ],
    ids=["server", "data", "login", "no login", "local", "named, no key", "named, away, local"],
)
def test_a_sweep_is_looked_for_where_options_and_environment_say(
    where: Where,
    entity: str | None,
    environ: dict[str, str],
    server: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    found = server_of(where, SweepName(entity, "legs", "abc"), environ)
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


def test_an_id_that_cannot_be_written_down_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sweep_ids.json"
    remember_sweep(path, "legs", "abc")

    def full(self: Path, text: str) -> int:
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        remember_sweep(path, "arms", "xyz")
    assert remembered_sweep(path, "legs") == "abc"
    assert [each.name for each in tmp_path.iterdir()] == ["sweep_ids.json"]
