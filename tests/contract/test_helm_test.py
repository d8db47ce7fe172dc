"""What `helm test` says of a release, asked of the real embedded server."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.find_sweep import choose, sweep_key, with_job
from sweepctl_pod.helm_test import check_release, main
from sweepctl_pod.wandb.client import ApiError
from tests.contract.agents import World
from tests.serving import API_KEY, ServerProcess

SWEEP = "method: grid\nproject: legs\nparameters: {env.a: {values: [1, 2]}}\n"


@pytest.fixture
def world(start_server: Callable[..., ServerProcess], tmp_path: Path) -> World:
    keys = tmp_path / "keys"
    keys.write_text(API_KEY)
    return World(start_server("--api-keys", str(keys)), tmp_path)


@pytest.fixture
def environ(world: World) -> dict[str, str]:
    file = world.folder / "sweep.yaml"
    file.write_text(SWEEP)
    return {
        **world.environ,
        "SWEEPCTL_SWEEP_FILE": str(file),
        "SWEEPCTL_NAMESPACE": "robots",
        "SWEEPCTL_NAME": "legs",
    }


def test_a_release_without_a_sweep_yet_is_well(world: World, environ: dict[str, str]) -> None:
    assert check_release(environ) == [
        f"{world.server.url} answers and takes the key of local",
        "no sweep yet: the first agent creates it",
    ]


def test_the_sweep_that_agents_made_is_named_with_its_state(
    world: World, environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    description = with_job(None, sweep_key("robots", "legs", SWEEP.encode()), "job-1")
    made = world.client.create_sweep("local", "legs", SWEEP, description)
    world.client.create_sweep("local", "legs", SWEEP, "another's")
    assert main(environ) == 0
    assert f"sweepctl: sweep local/legs/{made.id} is {made.state}\n" in capsys.readouterr().out


def test_of_sweeps_created_at_once_the_one_that_agents_go_on_with_is_named(
    world: World, environ: dict[str, str]
) -> None:
    key = sweep_key("robots", "legs", SWEEP.encode())
    for _ in range(8):  # in one second, so that their ids tell which is the oldest
        world.client.create_sweep("local", "legs", SWEEP, with_job(None, key, "job-1"))
    sweeps = world.client.sweeps("local", "legs")
    chosen = choose(sweeps, key, "job-1")
    for loser in chosen.superfluous:
        world.client.set_sweep_state(loser, "FINISHED")
    assert chosen.sweep is not None
    assert check_release(environ)[1] == f"sweep local/legs/{chosen.sweep.id} is PENDING"


def test_a_sweep_that_is_named_is_looked_for(world: World, environ: dict[str, str]) -> None:
    made = world.client.create_sweep("local", "legs", SWEEP)
    named = {**environ, "SWEEPCTL_SWEEP": f"local/legs/{made.id}"}
    assert check_release(named)[1] == f"sweep local/legs/{made.id} is {made.state}"
    with pytest.raises(ApiError, match="no sweep local/legs/other"):
        check_release({**environ, "SWEEPCTL_SWEEP": "local/legs/other"})


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"WANDB_API_KEY": "x" * 40}, "401"),
        ({"WANDB_BASE_URL": "http://127.0.0.1:9"}, "127.0.0.1:9"),
        ({"SWEEPCTL_SWEEP_FILE": "/nowhere/sweep.yaml"}, "cannot read the sweep file /nowhere"),
        ({"SWEEPCTL_SWEEP_FILE": "/etc/passwd"}, "the sweep file /etc/passwd: "),
    ],
    ids=["a wrong key", "no server", "no sweep file", "no sweep in it"],
)
def test_what_is_wrong_fails_the_test_and_is_said(
    environ: dict[str, str],
    changes: dict[str, str],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(SweepctlError, match=complaint):
        check_release({**environ, **changes}, patience_s=0)
    monkeypatch.setattr(check_release, "__kwdefaults__", {"patience_s": 0.0})
    assert main({**environ, **changes}) > 0
    said = capsys.readouterr().out
    assert complaint in said
    assert "x" * 40 not in said
