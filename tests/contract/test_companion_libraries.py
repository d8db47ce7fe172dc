"""The companion in the process of the real sb3, skrl and rl_games, with their own save and load.

The environment is one of a few numbers (small_libraries.py): what is at stake is the loop.
"""

import re
import signal
from collections.abc import Callable

import pytest

from tests.contract.small_runs import OTHER_LIBRARIES, PACED, Small
from tests.contract.test_companion_wandb import Seen, on_wandb
from tests.serving import ServerProcess, wait_for

pytestmark = pytest.mark.trainer

TOTALS = {
    "sb3": {"total": 448, "updates": 28},
    "skrl": {"total": 112, "updates": 28},
    "rl_games": {"total": 14, "frame": 448},
}
"""What an undisturbed training of 14 iterations has done."""
LEFT = re.compile(r"SIGTERM: checkpoint (\d+) is kept, leaving")


@pytest.fixture(params=list(OTHER_LIBRARIES))
def small(request: pytest.FixtureRequest, make_small: Callable[..., Small]) -> Small:
    return make_small(str(request.param))


def library_of(small: Small) -> str:
    return small.generation.partition("-")[0]


def test_training_of_another_library_that_sigterm_ends_goes_on_at_the_next_iteration(
    small: Small,
) -> None:
    first = small.start("--iterations", "14", *PACED)
    small.reaches(4)
    first.send_signal(signal.SIGTERM)
    small.ends(143)
    (line,) = small.lines()
    (last,) = map(int, LEFT.findall(line))
    assert small.iterations() == list(range(last + 1)), "the iteration came to its end"
    assert (small.progress["iteration"], small.progress["of"]) == (last, 14)
    assert small.manifests[-1] == last
    small.start("--iterations", "14", resume=small.newest)
    end = small.end()
    assert small.lines() == [f"going on from checkpoint {last}, at iteration {last + 1} of 14"]
    assert small.iterations() == list(range(last + 1, 14))
    assert {name: end[name] for name in TOTALS[library_of(small)]} == TOTALS[library_of(small)]
    assert small.progress == {
        **small.progress,
        **{"iteration": 13, "of": 14, "first": last + 1, "library": library_of(small)},
        **{"is_listening": False, "note": None},
    }
    assert small.manifests[-1] == 13, "what was over when it is killed in closing stays so"


@pytest.mark.parametrize("generation", ["sb3", "skrl", "rl_games"])
def test_undisturbed_training_of_another_library_is_the_same_to_the_last_bit(
    generation: str, make_small: Callable[..., Small]
) -> None:
    small = make_small(generation)
    small.orders["every_s"] = 0.001
    plain = make_small(small.generation)
    small.start("--iterations", "9", "--log")
    plain.start("--iterations", "9", "--log", companion=False)
    end = small.end()
    assert end == plain.end()
    assert small.iterations() == plain.iterations() == list(range(9))
    assert small.lines() == []
    assert small.manifests[-1] == 8
    models = [
        sorted(path.suffix for path in (each.folder / "log").rglob("*") if path.is_file())
        for each in (small, plain)
    ]
    assert models[0] == models[1]


@pytest.mark.parametrize("generation", ["sb3", "skrl", "rl_games"])
def test_training_of_another_library_goes_on_from_an_older_checkpoint_where_the_newest_is_broken(
    generation: str, make_small: Callable[..., Small]
) -> None:
    small = make_small(generation)
    small.orders["every_s"] = 0.2
    first = small.start("--iterations", "1000", *PACED)
    wait_for("checkpoints", lambda: small.own.is_dir() and len(small.manifests) >= 2, 120)
    first.kill()
    small.ends(-signal.SIGKILL)
    older, newest = small.manifests
    model = small.own / "checkpoints" / f"{newest}.pt"
    model.write_bytes(model.read_bytes()[:-100])
    second = small.start(
        "--iterations", "1000", *PACED, resume=small.own / "checkpoints" / f"{newest}.json"
    )
    small.reaches(older + 2)
    second.send_signal(signal.SIGTERM)
    small.ends(143)
    lines = small.lines()
    assert lines[0].startswith(f"checkpoint {newest} is not good: {newest}.pt has ")
    assert lines[1] == f"going on from checkpoint {older}, at iteration {older + 1} of 1000"
    (last,) = map(int, LEFT.findall("\n".join(lines)))
    assert small.iterations() == list(range(older + 1, last + 1))


@pytest.mark.parametrize("generation", ["sb3", "skrl", "rl_games"])
def test_checkpoint_that_does_not_fit_another_library_is_one_line_and_it_begins_anew(
    generation: str, make_small: Callable[..., Small]
) -> None:
    small, other = make_small(generation), make_small(generation)
    small.start("--iterations", "4")
    done = small.end()
    small.start("--iterations", "4", resume=small.newest)
    again = small.end()
    assert small.iterations() == [], "it was over when its process was killed"
    assert (again["total"], again["weights"]) == (done["total"], done["weights"])
    for words, why in (
        (("--iterations", "4", "--width", "9"), "cannot be loaded: "),
        (("--iterations", "3"), "is of a training of 4 iterations, this one has 3; "),
    ):
        small.start(*words, resume=small.own / "checkpoints" / "3.json")
        end = small.end()
        (line,) = small.lines()
        assert line.startswith(f"checkpoint 3 {why}")
        assert line.endswith("; from the start")
        assert small.progress["note"] == line
        assert small.iterations() == list(range(int(words[1])))
        if "--width" in words:
            other.start(*words)
            assert end == other.end(), "nothing of it is left"


@pytest.mark.parametrize("generation", ["sb3", "skrl", "rl_games"])
@pytest.mark.parametrize(
    ("first", "said"),
    [
        pytest.param(
            "import os; os.makedirs('.sweepctl/checkpoints/0.pt.part/x')",
            r"this training is not followed: .*0\.pt\.part.*",
            id="at-its-begin",
        ),
        pytest.param(
            "from sweepctl_pod.companion import training;"
            "training.Training.between = lambda *a, **b: 1 / 0",
            r"between two iterations: ZeroDivisionError: division by zero",
            id="between",
        ),
        pytest.param(
            "import inspect; before = inspect.signature;"
            "inspect.signature = lambda f, **b:"
            " before(open if f.__name__ in ('learn', 'train') else f, **b)",
            r"\S+ stays as it is: TypeError: \S+ takes file, .*",
            id="of-another-shape",
        ),
    ],
)
def test_error_of_its_own_in_another_library_is_one_line_and_the_training_goes_on(
    generation: str, first: str, said: str, make_small: Callable[..., Small]
) -> None:
    small = make_small(generation)
    small.start("--iterations", "3", "--first", first)
    assert small.end()["total"] in (3, 24, 96)
    assert small.iterations() == [0, 1, 2]
    (line,) = small.lines()
    assert re.fullmatch(said, line), line


@pytest.mark.parametrize("generation", ["sb3", "skrl", "rl_games"])
def test_long_iteration_of_another_library_is_broken_off_when_it_would_not_end_in_time(
    generation: str, make_small: Callable[..., Small]
) -> None:
    small = make_small(generation)
    small.orders["leave_within_s"] = 6
    first = small.start("--iterations", "4", "--pace", "0.8")
    small.reaches(0)
    first.send_signal(signal.SIGTERM)
    small.ends(143)
    assert small.iterations() == [0]
    assert small.lines() == ["SIGTERM: checkpoint 0 is kept, leaving"]
    small.start("--iterations", "4", resume=small.newest)
    assert small.end()["total"] in (4, 32, 128)
    assert small.iterations() == [1, 2, 3]


@pytest.mark.parametrize("generation", ["sb3", "rl_games", "skrl-1"])
def test_history_of_another_library_goes_on_in_one_run_without_a_step_twice(
    generation: str, make_small: Callable[..., Small], start_server: Callable[..., ServerProcess]
) -> None:
    server = start_server()
    small = on_wandb(make_small(generation), server)
    words = ("--iterations", "12", "--log", "--wandb")
    first = small.start(*words, *PACED)
    small.reaches(4)
    first.send_signal(signal.SIGTERM)
    small.ends(143)
    before = Seen(server).rows
    small.start(*words, resume=small.newest)
    small.ends()
    seen = Seen(server)
    assert seen.state == "finished"
    assert seen.rows[: len(before)] == before
    assert seen.steps == sorted(set(seen.steps))
    name = {"sb3": "time/fps", "rl_games": "info/epochs", "skrl-1": "Loss / Policy loss"}[
        generation
    ]
    logged = [row["global_step"] for row in seen.rows if name in row]
    assert logged == sorted(set(logged)), "a step twice"
    assert len(logged) == 12
