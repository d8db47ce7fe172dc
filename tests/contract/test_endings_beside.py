"""The endings that W&B's own agent can have, too: what each agent makes of the same trainer.

The trainer uses the real SDK. Under the stock agent W&B has the word of the trainer's exit alone;
ours adds the evidence. `pytest -s` prints the two side by side.
"""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tests.contract.agents import World

TRAINER = """
import os, signal, sys, wandb
word = sys.argv[1]
run = wandb.init()
if word == "nan":
    run.log({"loss": float("nan")})
elif word != "silent":
    run.log({"loss": 1.5})
if word == "raises":
    raise RuntimeError("boom")
run.finish()
if word == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if word == "late-exit-3":
    os._exit(3)
"""


@dataclass(frozen=True)
class Pair:
    """A trainer's behaviour, and the run's state at W&B after each agent."""

    word: str
    ours: str
    stock: str


PAIRS = [
    Pair("good", "finished", "finished"),
    Pair("raises", "failed", "failed"),
    Pair("silent", "failed", "finished"),
    Pair("nan", "failed", "finished"),
    Pair("late-exit-3", "failed", "finished"),
]


def test_each_agents_word_on_the_same_endings(world: World, make_sdk: Callable[[str], Any]) -> None:
    script = world.folder / "train.py"
    script.write_text(TRAINER)
    sdk = make_sdk(world.server.url)

    def states(pair: Pair) -> tuple[str, str]:
        found = []
        for start in (
            lambda sweep: world.start(sweep).wait(),
            lambda sweep: sdk.end(sdk.start_agent(f"local/agents/{sweep.id}", "--count", "1")),
        ):
            # What the two do with a parameter without a dot is the same.
            sweep = world.sweep(
                [sys.executable, str(script), pair.word], parameters={"lr": {"value": 1.0}}
            )
            start(sweep)
            found.append(world.run(sweep).state)
        return found[0], found[1]

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(states, PAIRS))
    print(f"\n{'TRAINER':14}{'SWEEPCTL':12}WANDB AGENT")
    for pair, (ours, stock) in zip(PAIRS, results, strict=True):
        print(f"{pair.word:14}{ours:12}{stock}")
    assert results == [(pair.ours, pair.stock) for pair in PAIRS]
