"""W&B's states: each word has one meaning, for texts and for enums alike."""

import pytest

from sweepctl_pod.wandb.states import (
    ENDED_BADLY,
    ENDED_SWEEPS,
    ENDED_WELL,
    HELD_RUNS,
    OPEN_RUNS,
    TRAINING_RUNS,
    RunState,
    SweepState,
)


@pytest.mark.parametrize("state", RunState)
def test_run_is_open_or_ended_well_or_ended_badly(state: RunState) -> None:
    assert sum(state in words for words in (OPEN_RUNS, ENDED_WELL, ENDED_BADLY)) == 1


@pytest.mark.parametrize("words", [TRAINING_RUNS, HELD_RUNS, OPEN_RUNS, ENDED_WELL, ENDED_BADLY])
def test_state_is_found_by_its_word_and_by_its_name(words: frozenset[str]) -> None:
    for state in RunState:
        assert (state in words) == (state.value in words)


def test_held_runs_are_open_and_those_that_train_are_held() -> None:
    assert TRAINING_RUNS < HELD_RUNS < OPEN_RUNS


@pytest.mark.parametrize("state", SweepState)
def test_sweep_has_ended_when_it_is_finished_or_canceled(state: SweepState) -> None:
    assert (state in ENDED_SWEEPS) == (state in (SweepState.FINISHED, SweepState.CANCELED))
    assert (state.value in ENDED_SWEEPS) == (state in ENDED_SWEEPS)
