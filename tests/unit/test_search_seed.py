"""The seed of a search: where it is written, and what it is kept with."""

import json
from pathlib import Path

import pytest

from sweepctl.server.stored_sweeps import StoredSweeps
from sweepctl.sweepfile.load import load_sweep
from sweepctl.sweepfile.preview import preview_runs
from sweepctl.sweeps.create import tell_seed
from sweepctl_pod.errors import SpecError
from sweepctl_pod.search_seed import SeedError, read_seed, with_seed
from sweepctl_pod.wandb.client import SweepInfo
from tests.unit.server_in_process import GRID, InProcessServer, served

RANDOM = {"method": "random", "parameters": {"x": {"min": 0.0, "max": 1.0}}}
FILE = b"""\
method: random
description: %s
command: [isaaclab, train]
parameters: {env.x: {min: 0.5, max: 1.0}}
"""


@pytest.fixture
def server(tmp_path: Path) -> InProcessServer:
    return InProcessServer(tmp_path)


@pytest.mark.parametrize(
    ("description", "seed"),
    [
        (None, None),
        ("", None),
        ("a seed: 7", None),
        ("sweepctl-seed: 7", 7),
        ("as published (sweepctl-seed: 0).", 0),
        ("first line\nsweepctl-seed:12, then more", 12),
        ("sweepctl-seed: 9223372036854775807 sweepctl:robots/legs/abc(uid)", 2**63 - 1),
    ],
)
def test_the_words_are_found_in_any_text(description: str | None, seed: int | None) -> None:
    assert read_seed(description) == seed


@pytest.mark.parametrize("word", ["x7", "-1", "1.5", "9223372036854775808", "", "1e3", "٣"])
def test_what_is_no_seed_is_refused_with_what_to_write(word: str) -> None:
    with pytest.raises(SeedError) as caught:
        read_seed(f"sweepctl-seed: {word}")
    assert f"found {word!r}" in caught.value.message
    assert "write sweepctl-seed: 7" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        (None, "sweepctl-seed: 9"),
        ("legs", "legs\nsweepctl-seed: 9"),
        ("legs sweepctl-seed: 7 of May", "legs sweepctl-seed: 9 of May"),
        ("sweepctl-seed: x", "sweepctl-seed: 9"),
    ],
)
def test_a_seed_takes_the_place_of_another(description: str | None, expected: str) -> None:
    assert with_seed(description, 9) == expected


def test_a_sweep_file_names_one_and_the_command_line_another() -> None:
    spec = load_sweep("sweep.yaml", FILE % b'"legs, sweepctl-seed: 7"')
    assert spec.seeded(8).to_wandb_config()["description"] == "legs, sweepctl-seed: 8"
    with pytest.raises(SpecError, match="sweepctl-seed: expected a whole number"):
        load_sweep("sweep.yaml", FILE % b'"sweepctl-seed: x"')


def drawn(server: InProcessServer, seed: int, count: int = 3) -> list[float]:
    sweep = server.sweep({**RANDOM, "description": f"sweepctl-seed: {seed}"})
    agent = server.agent(sweep)
    for _ in range(count):
        server.end(server.take(agent)["run_id"], 0)
    return [params["x"] for params in server.params(sweep)]


def test_equal_seeds_draw_equal_runs_and_others_do_not(server: InProcessServer) -> None:
    assert drawn(server, 7) == drawn(server, 7) != drawn(server, 8)


@pytest.mark.parametrize("is_old", [False, True])
def test_after_a_run_was_deleted_none_has_the_parameters_of_another(
    server: InProcessServer, is_old: bool
) -> None:
    sweep = server.sweep(RANDOM)
    if is_old:  # from before the server kept how a sweep is searched
        with server.database.write() as tx:
            tx.execute("UPDATE sweeps SET spec = json_remove(spec, '$.sweepctl')")
    agent = server.agent(sweep)
    seen = set()
    for number in range(6):
        command = server.take(agent)
        server.end(command["run_id"], 0)
        seen.add(command["args"]["x"]["value"])
        if number % 2:
            server.delete(command["run_id"])
    assert len(seen) == 6


def test_a_changed_sweep_keeps_its_seed_and_goes_on_drawing(server: InProcessServer) -> None:
    sweep = server.sweep({**RANDOM, "description": "sweepctl-seed: 7"})
    agent = server.agent(sweep)
    server.end(server.take(agent)["run_id"], 0)
    server.sweeps.upsert({"id": sweep.id, "config": json.dumps({**RANDOM, "run_cap": 9})})
    for _ in range(2):
        server.end(server.take(agent)["run_id"], 0)
    assert [params["x"] for params in server.params(sweep)] == drawn(server, 7)


def test_every_answer_names_the_seed_also_one_that_was_drawn_by_chance(
    server: InProcessServer,
) -> None:
    ask = '{ project(name: "p") { sweeps { edges { node { name description } } } } }'
    named = {**RANDOM, "description": "legs sweepctl-seed: 7"}
    grid = {**GRID, "description": "all"}
    for spec in (RANDOM, {**RANDOM, "description": "legs"}, named, grid):
        server.sweep(spec)
    answer = served(server).post("/graphql", json={"query": ask}).json()
    edges = answer["data"]["project"]["sweeps"]["edges"]
    told = {edge["node"]["name"]: edge["node"]["description"] for edge in edges}
    chance, legs, seven, all_ = (told[name] for name in reversed(told))
    assert (seven, all_) == ("legs sweepctl-seed: 7", "all")
    assert legs.startswith("legs\nsweepctl-seed: ")
    log = "\n".join(server.log)
    for text in (chance, legs):
        assert f"seed {read_seed(text)}" in log
    everything = {
        info.id: info.description for info in StoredSweeps(server.folder).sweeps("local", "p")
    }
    assert everything == told


def test_a_new_sweeps_seed_is_told_where_its_file_names_none() -> None:
    made = SweepInfo("e", "p", "s", "n", "RUNNING", "random", "", "sweepctl-seed: 7", *[None] * 4)
    for file, lines in (
        (b"legs", ["seed 7: --seed 7 repeats the search"]),
        (b"'sweepctl-seed: 7'", []),
    ):
        said: list[str] = []
        tell_seed(load_sweep("sweep.yaml", FILE % file), made, said.append)
        assert said == lines


@pytest.mark.parametrize("method", ["random", "bayes", "grid"])
def test_the_preview_shows_what_the_server_draws(server: InProcessServer, method: str) -> None:
    text = FILE.replace(b"random", method.encode()).replace(
        b"{min: 0.5, max: 1.0}", b"{values: [1, 2, 3, 4]}"
    )
    text += b"metric: {name: loss}\nrun_cap: 3\n"
    spec = load_sweep("sweep.yaml", text % b"'sweepctl-seed: 7'")
    seen = [run.parameters for run in preview_runs(spec, count=3, grammar=None, environ={})]
    sweep = server.sweep(spec.to_wandb_config())
    agent = server.agent(sweep)
    try:
        for _ in range(3):
            server.end(server.take(agent)["run_id"], 0)
    finally:
        server.engines.close()
    assert server.params(sweep) == seen
