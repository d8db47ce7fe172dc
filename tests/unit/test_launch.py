"""Naming sweeps and remembering them."""

import json
from pathlib import Path

import pytest

from sweepctl.errors import SweepctlError, UsageError
from sweepctl.launch import (
    SweepName,
    agent_sweep_name,
    parse_sweep_name,
    remember_sweep,
    remembered_sweep,
)


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
    ],
    ids=["missing", "empty", "other", "broken", "list", "number"],
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
