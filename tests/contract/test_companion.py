"""The companion in the process of the real rsl_rl, in all the versions that Isaac Lab had.

The environment is one of a few numbers (small_training.py): what is at stake is the loop. The
trainings of Isaac Lab itself are in test_companion_isaaclab.py.
"""

import json
import re
import signal
from collections.abc import Callable

import pytest

from tests.contract.small_runs import PACED, RSL_RL, Small
from tests.serving import wait_for

pytestmark = pytest.mark.trainer


@pytest.fixture
def small(make_small: Callable[..., Small]) -> Small:
    return make_small()


@pytest.mark.parametrize("generation", RSL_RL)
def test_training_that_sigterm_ends_goes_on_at_the_next_iteration(
    generation: str, make_small: Callable[..., Small]
) -> None:
    small = make_small(generation)
    first = small.start("--iterations", "23", *PACED)
    small.reaches(6)
    first.send_signal(signal.SIGTERM)
    small.ends(143)
    (last,) = re.findall(r"^SIGTERM: checkpoint (\d+) is kept, leaving$", "\n".join(small.lines()))
    assert small.iterations() == list(range(int(last) + 1)), "the iteration came to its end"
    assert small.progress["iteration"] == int(last)
    assert max(small.manifests) == int(last)
    small.start("--iterations", "23", resume=small.newest)
    end = small.end()
    assert small.lines() == [f"going on from checkpoint {last}, at iteration {int(last) + 1} of 23"]
    assert small.iterations() == list(range(int(last) + 1, 23))
    assert "Learning iteration 22/23" in small.said(), "the total is the whole training's"
    assert end["at"] == 22
    assert small.models == sorted(f"model_{number}.pt" for number in (0, 5, 10, 15, 20, 22))
    assert small.progress == {
        **small.progress,
        **{"iteration": 22, "of": 23, "first": int(last) + 1, "library": "rsl_rl"},
        **{"is_listening": False, "note": None},
    }
    assert len(small.manifests) == 2
    assert small.manifests[-1] == 22


@pytest.mark.parametrize("generation", ["5", "3"])
def test_undisturbed_training_is_the_same_to_the_last_bit(
    generation: str, make_small: Callable[..., Small]
) -> None:
    runs = [make_small(generation), make_small(generation)]
    # Saves of its own between all of the trainer's, in the one of the two that has the companion.
    runs[0].orders["every_s"] = 0.001
    for small, companion in zip(runs, (True, False), strict=True):
        small.start("--iterations", "12", companion=companion)
    ends = [small.end() for small in runs]
    assert ends[0] == ends[1]
    assert runs[0].models == runs[1].models
    assert runs[0].lines() == []
    assert runs[0].manifests
    plain = [re.sub(r"[\d.:]+ ?(s|steps)?\b", "", small.said()) for small in runs]
    assert plain[0].splitlines()[:-1] == plain[1].splitlines()[:-1]


def test_killed_training_goes_on_from_the_newest_good_checkpoint(small: Small) -> None:
    small.orders["every_s"] = 0.2
    first = small.start("--iterations", "1000", "--interval", "1000", *PACED)
    wait_for("checkpoints", lambda: small.own.is_dir() and len(small.manifests) >= 2)
    first.kill()
    small.ends(-signal.SIGKILL)
    older, newest = small.manifests
    assert newest - older < 20
    model = small.own / "checkpoints" / f"{newest}.pt"
    model.write_bytes(model.read_bytes()[:-100])
    broken = small.own / "checkpoints" / f"{newest}.json"
    left_over = small.own / "checkpoints" / f"{newest + 1}.pt.part"
    left_over.write_bytes(b"half a mod")
    small.start("--iterations", str(older + 4), "--interval", "1000", resume=broken)
    small.end()
    size = model.stat().st_size if model.exists() else 0
    assert small.lines() == [
        small.lines()[0],
        f"going on from checkpoint {older}, at iteration {older + 1} of {older + 4}",
    ]
    assert small.lines()[0].startswith(f"checkpoint {newest} is not good: {newest}.pt has ")
    assert small.iterations() == [older + 1, older + 2, older + 3]
    assert not left_over.exists()
    assert small.manifests[-1] == older + 3
    assert newest <= older + 3 or not size, "what is newer than the newest save was given up"
    assert small.models == ["model_0.pt", f"model_{older + 3}.pt"]


def test_checkpoint_that_does_not_fit_is_one_line_and_the_training_begins_anew(
    make_small: Callable[..., Small],
) -> None:
    small, other = make_small(), make_small()
    small.start("--iterations", "3")
    small.end()
    for each in (small, other):
        resume = small.newest if each is small else None
        each.start("--iterations", "4", "--width", "9", resume=resume)
    assert small.end() == other.end()
    (line,) = small.lines()
    assert line.startswith("checkpoint 2 cannot be loaded: RuntimeError: Error(s) in loading")
    assert line.endswith("; from the start")
    assert small.progress["note"] == line
    assert small.iterations() == [0, 1, 2, 3]


def test_training_that_began_at_a_checkpoint_of_the_user_keeps_its_total(small: Small) -> None:
    small.start("--iterations", "3")
    small.end()
    start = ("--iterations", "10", "--start", "log/model_2.pt", *PACED)
    second = small.start(*start)
    small.reaches(5)
    second.send_signal(signal.SIGTERM)
    small.ends(143)
    last = small.iterations()[-1]
    small.start(*start, resume=small.newest)
    assert small.end()["at"] == 11
    assert small.iterations() == list(range(last + 1, 12))


def test_training_that_was_over_when_it_was_killed_closes_at_once(small: Small) -> None:
    small.start("--iterations", "7")
    done = small.end()
    (small.folder / "log" / "model_6.pt").unlink()
    small.start("--iterations", "7", resume=small.newest)
    again = small.end()
    assert (again["at"], again["steps"]) == (6, done["steps"]), "not a step more"
    assert again["weights"] == done["weights"]
    assert small.models == ["model_0.pt", "model_5.pt", "model_6.pt"]


def test_long_iteration_is_broken_off_when_it_would_not_end_in_time(small: Small) -> None:
    small.orders["leave_within_s"] = 6
    first = small.start("--iterations", "9", "--pace", "1.5")
    small.reaches(0)
    wait_for("the next iteration", lambda: small.iterations() == [0])
    first.send_signal(signal.SIGTERM)
    small.ends(143)
    assert small.iterations() == [0]
    assert small.lines() == ["SIGTERM: checkpoint 0 is kept, leaving"]
    assert small.manifests == [0]


def test_sigterm_before_anything_is_trained_ends_it_without_a_checkpoint(small: Small) -> None:
    first = small.start("--iterations", "9", "--pace", "1.5")
    wait_for("listening", lambda: small.progress.get("is_listening"))
    first.send_signal(signal.SIGTERM)
    small.ends(143)
    assert small.lines() == []
    assert small.manifests == []
    assert small.progress["iteration"] == -1


@pytest.mark.parametrize(
    ("first", "said"),
    [
        pytest.param(
            "import os; os.makedirs('.sweepctl/checkpoints/0.pt.part/x')",
            r"this training is not followed: .*0\.pt\.part.*",
            id="at-its-begin",
        ),
        pytest.param(
            "from sweepctl_pod.companion import states; states.capture = lambda r: 1 / 0",
            r"the state of the trainer is not kept: ZeroDivisionError: division by zero",
            id="of-the-state",
        ),
        pytest.param(
            "import shutil; from sweepctl_pod.companion import training;"
            "training.Training.between = lambda *a: shutil.no_such_thing",
            r"between two iterations: AttributeError: .*",
            id="between",
        ),
    ],
)
def test_error_of_its_own_is_one_line_and_the_training_goes_on(
    first: str, said: str, small: Small
) -> None:
    small.start("--iterations", "4", "--interval", "2", "--first", first)
    assert small.end()["at"] == 3
    assert small.iterations() == [0, 1, 2, 3]
    assert small.lines()
    assert all(re.fullmatch(said, line) for line in small.lines())


def test_training_outside_the_main_thread_is_saved_and_told_and_not_ended(small: Small) -> None:
    small.start("--iterations", "6", "--thread")
    assert small.end()["at"] == 5
    assert small.lines() == ["the training is not in the main thread: SIGTERM is not handled"]
    assert small.progress["iteration"] == 5
    assert small.manifests[-1] == 5


def test_two_processes_leave_at_the_same_iteration_and_go_on(small: Small) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--tee=3")
    words = ("--iterations", "30", "--gloo", *PACED)
    first = small.start(*words, launcher=launcher)
    small.reaches(4)
    first.send_signal(signal.SIGTERM)
    assert first.wait(120) != 0, small.said()
    (last,) = re.findall(r"SIGTERM: checkpoint (\d+) is kept, leaving", "\n".join(small.lines()))
    assert small.manifests[-1] == int(last)
    assert sorted(small.own.glob(f"checkpoints/{last}.*state")) == [
        small.own / "checkpoints" / f"{last}.rank1.state",
        small.own / "checkpoints" / f"{last}.state",
    ]
    small.start(*words[:2], "--gloo", resume=small.newest, launcher=launcher)
    small.ends()
    going_on = f"going on from checkpoint {last}, at iteration {int(last) + 1} of 30"
    assert small.lines() == [going_on, going_on]
    assert small.iterations() == list(range(int(last) + 1, 30))
    ends = [json.loads(text) for text in re.findall(r"\]:(\{.*\})", small.said())]
    assert len(ends) == 2
    assert ends[0]["weights"] == ends[1]["weights"]
