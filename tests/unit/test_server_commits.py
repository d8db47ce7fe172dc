"""Commits: what waits together shares one, what is acknowledged is on the disk, no more waits."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from benchmarks.slow_disk import on_disk
from sweepctl.server.errors import StoreUnavailableError
from sweepctl.server.store import group_commit
from sweepctl.server.store.api_forms import row_of
from sweepctl.server.store.database import Database
from sweepctl.server.store.group_commit import GroupWriter
from tests import needs
from tests.serving import ServerProcess, wait_for
from tests.unit.server_in_process import GRID, InProcessServer

REGISTER = 'mutation R($s: String!) { createAgent(input: {host: "h", sweep: $s}) { agent { id } } }'


class Disk(sqlite3.Connection):
    """A connection whose commits the test holds back, or has fail."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.commits = 0
        self.is_ready = threading.Event()
        self.is_ready.set()
        self.is_asked = threading.Event()
        self.failures: list[str] = []

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if sql == "COMMIT":
            self.is_asked.set()
            assert self.is_ready.wait(60)
            if self.failures:
                raise sqlite3.OperationalError(self.failures.pop())
            self.commits += 1
        return super().execute(sql, *parameters)


class Table:
    """A table of numbers, each once, that many threads write."""

    def __init__(self, folder: Path) -> None:
        path = folder / "numbers.sqlite"
        self.disk = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, factory=Disk
        )
        self.disk.execute("PRAGMA journal_mode = WAL")
        self.disk.execute("CREATE TABLE numbers (number INTEGER PRIMARY KEY CHECK (number < 1000))")
        self.writer = GroupWriter(self.disk)
        self.reader = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.threads = ThreadPoolExecutor(32)

    def add(self, *numbers: int, then: Callable[[], None] = lambda: None) -> None:
        with self.writer.write() as tx:
            for number in numbers:
                tx.execute("INSERT INTO numbers VALUES (?)", (number,))
            then()

    def held_back(self, *writes: Callable[[], None]) -> list[Future[None]]:
        """Have writes wait for one that is at the disk already; its number is 0."""
        self.disk.is_asked.clear()
        self.disk.is_ready.clear()
        first = self.threads.submit(self.add, 0)
        assert self.disk.is_asked.wait(60)
        others = [self.threads.submit(write) for write in writes]
        wait_for("all wait", lambda: self.writer._waiting == len(writes), pause_s=0.001)
        return [first, *others]

    def stored(self) -> set[int]:
        return {number for (number,) in self.reader.execute("SELECT number FROM numbers")}


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    made = Table(tmp_path)
    yield made
    made.disk.is_ready.set()
    made.threads.shutdown()
    made.writer.close()
    made.reader.close()


def failing(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def test_writers_that_wait_at_the_same_time_share_one_commit(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "_MAX_AGE_S", 60)  # a busy machine lets none of them wait
    writes = table.held_back(*(lambda n=n: table.add(n) for n in range(1, 21)))
    assert not any(write.done() for write in writes)
    assert table.stored() == set(), "what is not on the disk is seen by nobody"
    table.disk.is_ready.set()
    for write in writes:
        write.result(60)
    assert table.stored() == set(range(21))
    assert table.disk.commits <= 4, "one, and few for the twenty others"


NEIGHBOURS = {
    "an exception of the caller": lambda table: table.add(50, then=failing(KeyError("x"))),
    "a number that is there": lambda table: table.add(50, 7, 7),
    "a value that a check refuses": lambda table: table.add(50, 5000),
    "a statement that is none": lambda table: table.add(
        50,
        then=lambda: table.disk.execute("no SQL"),
    ),
}


@pytest.mark.parametrize("bad", NEIGHBOURS.values(), ids=NEIGHBOURS)
def test_an_error_of_one_undoes_what_it_did_and_nothing_of_its_neighbours(
    table: Table, bad: Callable[[Table], None]
) -> None:
    writes = table.held_back(
        lambda: table.add(1), lambda: bad(table), lambda: table.add(2), lambda: table.add(3)
    )
    table.disk.is_ready.set()
    outcomes = [write.exception(60) for write in writes]
    assert [outcome is None for outcome in outcomes] == [True, True, False, True, True]
    assert table.stored() == {0, 1, 2, 3}


def test_what_the_disk_refuses_is_refused_to_all_who_shared_it_and_can_be_written_again(
    table: Table,
) -> None:
    forgotten: list[bool] = []
    table.writer.on_undone.append(lambda: forgotten.append(True))
    writes = table.held_back(*(lambda n=n: table.add(n) for n in range(1, 6)))
    table.disk.failures = ["disk I/O error"] * 20
    table.disk.is_ready.set()
    for write in writes:
        with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
            write.result(60)
    assert table.stored() == set()
    assert forgotten, "whoever remembers rows that were never stored is told"
    table.disk.failures = []
    table.add(*range(6))
    assert table.stored() == set(range(6))


def test_an_error_that_takes_back_the_whole_transaction_is_an_error_of_its_neighbours_too(
    table: Table,
) -> None:
    def roll_back() -> None:
        table.disk.execute("INSERT OR ROLLBACK INTO numbers VALUES (7)")

    writes = table.held_back(
        lambda: table.add(7), lambda: table.add(8, then=roll_back), lambda: table.add(9)
    )
    table.disk.is_ready.set()
    outcomes = [write.exception(60) for write in writes]
    is_there = [number in table.stored() for number in (0, 7, 8, 9)]
    assert is_there == [outcome is None for outcome in outcomes], "all is as it was told"
    assert all(
        isinstance(outcome, StoreUnavailableError | sqlite3.IntegrityError)
        for outcome in outcomes
        if outcome is not None
    )


def test_a_writer_that_was_interrupted_before_its_turn_leaves_nobody_waiting(table: Table) -> None:
    writes = table.held_back(lambda: table.add(1))
    # As by a signal in the main thread: it was counted as waiting, and never came.
    table.writer._waiting += 1
    table.disk.is_ready.set()
    for write in writes:
        write.result(60)
    assert table.stored() == {0, 1}


def test_heartbeats_that_change_nothing_are_answered_while_the_disk_works(tmp_path: Path) -> None:
    server = InProcessServer(tmp_path)
    sweep, other = server.sweep(), server.sweep()
    training, told, waiting, paused = (
        *(server.agent(sweep) for _ in range(3)),
        server.agent(other),
    )
    run, asked = server.take(training)["run_id"], server.take(told)["run_id"]
    last = server.take(waiting)["run_id"]
    server.wait(1, beating=(training, told, waiting))
    server.seconds += 1
    idle = server.agent(sweep)
    assert server.beat(idle) == []
    server.set_state(other, "PAUSED")
    server.intake.ask_stop(server.run(asked))
    server.wait(1, beating=(training, told))
    beats: dict[str, tuple[Any, list[str], list[dict[str, Any]]]] = {
        "waits for a run": (idle, [], []),
        "training": (training, [run], []),
        "trains the last run": (waiting, [last], []),
        "is told to stop": (told, [asked], [{"type": "stop", "run_id": asked}]),
        "waits for its sweep": (paused, [], []),
    }
    with ThreadPoolExecutor(1) as threads, server.database.write():
        for what, (agent, reported, answer) in beats.items():
            given = threads.submit(server.beat, agent, *reported)
            assert given.result(60) == answer, what
    server.database.close()


def test_a_heartbeat_after_the_end_says_so_again_without_the_disk(tmp_path: Path) -> None:
    server = InProcessServer(tmp_path)
    sweep = server.sweep({"method": "grid", "parameters": {"a": {"value": 1}}})
    agent = server.agent(sweep)
    server.end(server.take(agent)["run_id"], 0)
    assert server.beat(agent) == [{"type": "exit"}]
    with ThreadPoolExecutor(1) as threads, server.database.write():
        assert threads.submit(server.beat, agent).result(60) == [{"type": "exit"}]
    server.database.close()


def test_a_grid_forgets_the_runs_of_a_commit_that_failed(tmp_path: Path) -> None:
    server = InProcessServer(tmp_path)
    sweep = server.sweep(GRID)
    agents = [server.agent(sweep) for _ in range(3)]
    server.take(agents[0])

    def hand_out_and_undo() -> None:
        with server.database.write() as tx:
            for agent in agents[1:]:
                server.dispatcher._commands(tx, agent, (), was_delivered=False)
            tx.execute("ROLLBACK")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        hand_out_and_undo()
    for agent in agents[1:]:
        server.take(agent)
    assert sorted(params["a"] for params in server.params(sweep)) == [1, 2, 3]
    server.database.close()


def joins(server: ServerProcess, sweep: str, count: int) -> list[str]:
    """Have agents join all at once; give the ids of those that were acknowledged."""

    def join(_: int) -> str | None:
        try:
            status, answer = server.post("/graphql", {"query": REGISTER, "variables": {"s": sweep}})
        except OSError:
            return None
        return str(answer["data"]["createAgent"]["agent"]["id"]) if status == 200 else None

    with ThreadPoolExecutor(count) as threads:
        return [id for id in threads.map(join, range(count)) if id is not None]


def new_sweep(server: ServerProcess) -> str:
    mutation = (
        'mutation S($c: String) { upsertSweep(input: {config: $c, projectName: "p"})'
        " { sweep { name } } }"
    )
    config = "{method: random, parameters: {x: {min: 0.0, max: 1.0}}}"
    return str(server.graphql(mutation, {"c": config})["upsertSweep"]["sweep"]["name"])


@pytest.fixture(scope="module")
def _compiler() -> None:
    needs.program("cc", "gcc")


@pytest.mark.slow
@pytest.mark.usefixtures("_compiler")
def test_what_a_slow_disk_acknowledged_is_there_after_a_kill_and_took_few_fsyncs(
    tmp_path: Path,
) -> None:
    count = tmp_path / "fsyncs"
    fails = tmp_path / "fails"
    disk = on_disk(tmp_path, slow_ms=30, log=count, fails=fails)
    server = ServerProcess(tmp_path / "data", wrapper=disk)
    sweep = new_sweep(server)
    before = count.stat().st_size
    acknowledged = joins(server, sweep, 40)
    assert len(acknowledged) == 40
    assert count.stat().st_size - before <= 20, "they share them"
    fails.touch()
    assert joins(server, sweep, 8) == [], "nothing is acknowledged that the disk does not have"
    fails.unlink()
    acknowledged += joins(server, sweep, 8)
    with ThreadPoolExecutor(1) as threads:
        under_way = threads.submit(joins, server, sweep, 40)
        wait_for("some wait", lambda: count.stat().st_size > before + 2, pause_s=0.001)
        server.kill()
        acknowledged += under_way.result(60)
    database = Database(tmp_path / "data")
    with database.read() as rows:
        stored = {row[0] for row in rows.execute("SELECT pk FROM agents")}
    database.close()
    assert len(set(acknowledged)) == len(acknowledged) >= 48
    assert {row_of("Agent", id) for id in acknowledged} <= stored


@pytest.mark.slow
@pytest.mark.usefixtures("_compiler")
def test_who_only_reads_is_answered_while_more_wait_for_the_disk_than_there_are_threads(
    tmp_path: Path,
) -> None:
    disk = on_disk(tmp_path, slow_ms=500)
    server = ServerProcess(tmp_path / "data", wrapper=disk)
    try:
        sweep = new_sweep(server)
        with ThreadPoolExecutor(1) as threads:
            under_way = threads.submit(joins, server, sweep, 150)
            wait_for("the first", lambda: "joined" in server.log, pause_s=0.001)
            assert server.request("GET", "/")[0] == 200
            assert server.graphql("{ viewer { username } }")
            assert not under_way.done(), "before all of them had joined"
            assert len(under_way.result(120)) == 150
    finally:
        server.stop()
