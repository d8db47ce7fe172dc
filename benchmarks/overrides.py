"""Random typed values and joint tables, written as overrides and read back by the real parsers.

Prints how many come back equal in type and every bit, how many were refused and why, and beside
that what the ancestor's formatting makes of the same values. Exit code 1 if any value came back
different. Usage: benchmarks/overrides.py [COUNT] [SEED]
"""

from __future__ import annotations

import collections
import concurrent.futures
import os
import random
import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from sweepctl_pod.overrides import Grammar, InexpressibleError, Override
from tests.contract.isaaclab_parsers import ISAACLAB_3, Parser
from tests.contract.override_values import (
    ancestor_text,
    chunks,
    hydra_value,
    random_scaled,
    random_value,
    same,
)
from tests.contract.wheels import unpacked

BATCH = 500


@dataclass
class Tally:
    """Counts of one formatting, read back by one parser."""

    equal: int = 0
    different: int = 0
    refused: collections.Counter[str] = field(default_factory=collections.Counter)
    mismatches: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.equal += other.equal
        self.different += other.different
        self.refused += other.refused
        self.mismatches += other.mismatches

    def judge(self, override: Override, text: str, got: Any, tuples_are_lists: bool) -> None:
        if same(override.value, got, tuples_are_lists=tuples_are_lists):
            self.equal += 1
        else:
            self.different += 1
            self.mismatches.append(f"{override.value!r:.100} -> {text:.100} -> {got!r:.100}")


def draw(rng: random.Random, count: int) -> list[tuple[Override, bool]]:
    """Draw overrides, a third of them scaled dictionaries; tell which."""
    drawn = []
    for index in range(count):
        if index % 3 == 0:
            override, product = random_scaled(rng)
            assert same(override.value, product), "factor times table is not exact"
            drawn.append((override, True))
        else:
            drawn.append((Override("env.slots.value", random_value(rng), "value"), False))
    return drawn


def measure(seed: int, count: int) -> dict[str, Any]:
    """Write and read back `count` overrides; one process's share."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    hydra = OverridesParser.create()
    isaaclab = Parser(ISAACLAB_3)
    tallies = {name: Tally() for name in ("hydra", "literal", "old hydra", "old literal")}
    drawn = draw(random.Random(seed), count)
    seconds = dict.fromkeys(("write", "hydra", "literal"), 0.0)
    for batch in chunks(drawn, BATCH):
        for grammar in Grammar:
            start = time.perf_counter()
            written = [(override, write(override, grammar)) for override, _ in batch]
            seconds["write"] += time.perf_counter() - start
            tally = tallies[grammar.value]
            for _, refusal in written:
                if isinstance(refusal, InexpressibleError):
                    tally.refused[reason(refusal)] += 1
            kept = [(o, text) for o, text in written if isinstance(text, str)]
            start = time.perf_counter()
            if grammar is Grammar.HYDRA:
                for override, text in kept:
                    tally.judge(override, text, hydra_or_error(hydra, OmegaConf, text), True)
            else:
                judge_literal(isaaclab, tally, kept)
            seconds[grammar.value] += time.perf_counter() - start
        for override, is_scaled in batch:
            text = ancestor_text(override.path, override.value, is_scaled)
            tallies["old hydra"].judge(override, text, hydra_or_error(hydra, OmegaConf, text), True)
        texts = [ancestor_text(o.path, o.value, is_scaled) for o, is_scaled in batch]
        values = isaaclab.parse_values([text.partition("=")[2] for text in texts])
        for (override, _), text, got in zip(batch, texts, values, strict=True):
            tallies["old literal"].judge(override, text, got, False)
    isaaclab.close()
    return {"tallies": tallies, "seconds": seconds}


def judge_literal(isaaclab: Parser, tally: Tally, kept: list[tuple[Override, str]]) -> None:
    """Read back by Isaac Lab's own functions: the value alone, then through the whole task."""
    values = isaaclab.parse_values([text.partition("=")[2] for _, text in kept])
    renamed = [f"env.slots.s{i}={text.partition('=')[2]}" for i, (_, text) in enumerate(kept)]
    slots = isaaclab.resolve(renamed, {f"s{i}": None for i in range(len(kept))})
    for index, ((override, text), got) in enumerate(zip(kept, values, strict=True)):
        resolved = slots[f"s{index}"] if isinstance(slots, dict) else slots
        tally.judge(override, text, got if same(got, resolved) else resolved, False)


def write(override: Override, grammar: Grammar) -> str | InexpressibleError:
    try:
        return override.text(grammar)
    except InexpressibleError as refusal:
        return refusal


def hydra_or_error(hydra: Any, omega_conf: Any, text: str) -> Any:
    try:
        return hydra_value(hydra, omega_conf, text)
    except Exception as error:  # whatever the parser raises is "came back different"
        return error


def reason(refusal: InexpressibleError) -> str:
    """Give the reason of a refusal without its values, to count by."""
    said = refusal.message.partition("grammar: ")[2] or refusal.message
    return re.sub(r"to write .* in a key", "to write some character in a key", said)


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    shares = os.cpu_count() or 1
    unpacked(ISAACLAB_3)
    start = time.perf_counter()
    with concurrent.futures.ProcessPoolExecutor(shares) as pool:
        seeds = [seed * 1000 + share for share in range(shares)]
        results = list(pool.map(measure, seeds, [-(-count // shares)] * shares))
    tallies = {name: Tally() for name in results[0]["tallies"]}
    for result in results:
        for name, tally in result["tallies"].items():
            tallies[name].add(tally)
    show(tallies, time.perf_counter() - start, results)
    return 1 if tallies["hydra"].mismatches or tallies["literal"].mismatches else 0


def show(tallies: dict[str, Tally], wall_s: float, results: list[dict[str, Any]]) -> None:
    print(f"{'':34} {'written':>9} {'equal':>9} {'different':>9} {'refused':>9}")
    rows = {
        "sweepctl, hydra (Hydra 1.3)": "hydra",
        "sweepctl, literal (Isaac Lab 3.0.0)": "literal",
        "WBC-AGILE's text, Hydra 1.3": "old hydra",
        "WBC-AGILE's text, Isaac Lab 3.0.0": "old literal",
    }
    for title, name in rows.items():
        tally = tallies[name]
        written = tally.equal + tally.different
        share = f"{100 * tally.equal / max(written, 1):.2f} % of what is written"
        print(
            f"{title:34} {written:>9} {tally.equal:>9} {tally.different:>9} "
            f"{sum(tally.refused.values()):>9}   {share}"
        )
    for name in ("hydra", "literal"):
        for said, number in tallies[name].refused.most_common():
            print(f"  refused in {name}: {number:>7}  {said}")
        for mismatch in tallies[name].mismatches[:20]:
            print(f"  MISMATCH in {name}: {mismatch}")
    write_s = sum(result["seconds"]["write"] for result in results)
    count = sum(tallies["hydra"].refused.values()) + tallies["hydra"].equal
    print(f"{2 * count / write_s:,.0f} overrides written a second; all in {wall_s:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
