"""Remembering the sweeps that were created."""

import errno
import json
from pathlib import Path

import pytest

from sweepctl.sweeps.create import agent_sweep_name, remember_sweep, remembered_sweep
from sweepctl.sweeps.names import SweepName
from sweepctl_pod.errors import SweepctlError, UsageError


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
