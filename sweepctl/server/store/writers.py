"""The writers of a shared run: processes that write into one run at once, each counting from 0.

W&B's client names its process in shared mode. What a writer calls its line N gets a line of the
run once, so no writer changes a line of another, and a post that comes twice changes nothing.
https://docs.wandb.ai/guides/track/log/distributed-training
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from sweepctl.server.json_texts import parsed
from sweepctl.server.store import lines
from sweepctl.server.store.sweep_store import Rows

_SEVERAL = "\n"
"""The name of a mark: several processes that give none write to the run at once."""
_SEGMENT = ""
"""The name of the writer that gives none: its client knows nothing of the lines before."""

WRITER_TABLES = (
    "CREATE TABLE writers (pk INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL,"
    " name TEXT NOT NULL, summary TEXT NOT NULL DEFAULT '{}', UNIQUE (run, name));",
    "CREATE TABLE written (writer INTEGER NOT NULL, stream TEXT NOT NULL,"
    " number INTEGER NOT NULL, line INTEGER NOT NULL, PRIMARY KEY (writer, stream, number))"
    " WITHOUT ROWID;",
)


def writer_of(tx: Rows, run: int, name: str) -> int:
    """Give the key of a run's writer, which is new when it was not seen before."""
    tx.execute("INSERT OR IGNORE INTO writers (run, name) VALUES (?, ?)", (run, name))
    query = "SELECT pk FROM writers WHERE run = ? AND name = ?"
    return int(tx.execute(query, (run, name)).fetchone()[0])


def segment_of(tx: Rows, run: int) -> int | None:
    """Give the writer of a run's nameless posts, which count from 0; None if they do not."""
    row = tx.execute(
        "SELECT pk FROM writers WHERE run = ? AND name = ?", (run, _SEGMENT)
    ).fetchone()
    return int(row[0]) if row else None


def begin_segment(tx: Rows, run: int) -> None:
    """Have the nameless posts of a run counted anew, after all lines that are there."""
    writer_of(tx, run, _SEGMENT)


def end_segment(tx: Rows, run: int) -> None:
    """Have the nameless posts of a run counted as the run's lines are."""
    writer = segment_of(tx, run)
    if writer is not None:
        tx.execute("DELETE FROM written WHERE writer = ?", (writer,))
        tx.execute("DELETE FROM writers WHERE pk = ?", (writer,))


def has_segment_of(tx: Rows, run: int, stream: str) -> bool:
    """Say whether the nameless posts of a run have begun to count a stream anew."""
    query = "SELECT 1 FROM written WHERE writer = ? AND stream = ? LIMIT 1"
    return tx.execute(query, (segment_of(tx, run), stream)).fetchone() is not None


def keep_segment_alone(tx: Rows, run: int) -> None:
    """Delete all lines of a run but those of its segment, which become its first ones."""
    writer = segment_of(tx, run)
    kept = tx.execute(
        "SELECT run, lines.stream, number, text FROM written JOIN lines"
        " ON lines.run = ? AND lines.stream = written.stream AND lines.line = written.line"
        " WHERE writer = ?",
        (run, writer),
    ).fetchall()
    lines.clear(tx, run)
    tx.executemany("INSERT INTO lines VALUES (?, ?, ?, ?)", kept)
    forget(tx, run)


def mark_several(tx: Rows, run: int) -> None:
    """Note that several processes that give no name write to a run at once."""
    writer_of(tx, run, _SEVERAL)


def are_several(tx: Rows, run: int) -> bool:
    """Say whether several processes that give no name write to a run at once."""
    query = "SELECT 1 FROM writers WHERE run = ? AND name = ?"
    return tx.execute(query, (run, _SEVERAL)).fetchone() is not None


def apart(tx: Rows, run: int, stream: str, offset: int, content: Sequence[str]) -> dict[int, str]:
    """Give which line of the run each line of a nameless block is: none takes that of another.

    Processes that know nothing of each other give their lines the same numbers. History and system
    events are never changed once they are sent, so another text is another process's. A line of the
    console may change, and is another's if its time is another.
    """
    block = dict(enumerate(content, offset))
    there = lines.texts_at(tx, run, stream, range(offset, offset + len(content)))
    others = [number for number, text in there.items() if _is_another(stream, text, block[number])]
    if not others or (stream == lines.CONSOLE and not are_several(tx, run)):
        return block
    mark_several(tx, run)
    free = max(lines.count(tx, run, stream), offset + len(content))
    for number in others:
        text = block.pop(number)
        known = lines.number_of(tx, run, stream, text)
        if known is None:
            known, free = free, free + 1
        block[known] = text
    return block


def _is_another(stream: str, stored: str, sent: str) -> bool:
    if stream == lines.CONSOLE:
        return lines.console_stamp(stored) != lines.console_stamp(sent)
    return stored != sent


def placed(
    tx: Rows, writer: int, stream: str, offset: int, content: Sequence[str], free: int
) -> dict[int, str]:
    """Give which line of the run each line of a block is; new ones come from line `free` on."""
    numbers = range(offset, offset + len(content))
    query = "SELECT number, line FROM written WHERE writer = ? AND stream = ? AND number"
    known = dict(
        tx.execute(f"{query} BETWEEN ? AND ?", (writer, stream, offset, numbers[-1])).fetchall()
    )
    new = [number for number in numbers if number not in known]
    known |= {number: line for line, number in enumerate(new, free)}
    rows = [(writer, stream, number, known[number]) for number in new]
    tx.executemany("INSERT INTO written VALUES (?, ?, ?, ?)", rows)
    return {known[number]: text for number, text in zip(numbers, content, strict=True)}


def merged_summary(tx: Rows, run: int, writer: int, text: str, last_step: int) -> str:
    """Lay what a writer changed in its summary over the run's; give the text of the whole.

    Each writer sends all that it knows: what it has not changed itself may be newer in the run. Its
    steps are its own, and those of the run the server's.
    """
    row = tx.execute("SELECT summary FROM writers WHERE pk = ?", (writer,)).fetchone()
    before, sent = json.loads(row[0]), parsed(text)
    tx.execute("UPDATE writers SET summary = ? WHERE pk = ?", (text, writer))
    found = tx.execute("SELECT summary FROM runs WHERE pk = ?", (run,)).fetchone()
    removed = before.keys() - sent.keys()
    whole = {name: value for name, value in json.loads(found[0]).items() if name not in removed}
    changed = {name: value for name, value in sent.items() if before.get(name) != value}
    step = {"_step": last_step} if last_step >= 0 else {}
    return json.dumps({**whole, **changed, **step})


def laid_over(tx: Rows, run: int, text: str) -> str:
    """Lay a summary over the run's, where several processes send each its own."""
    found = tx.execute("SELECT summary FROM runs WHERE pk = ?", (run,)).fetchone()
    return json.dumps({**json.loads(found[0]), **parsed(text)})


def forget(tx: Rows, run: int) -> None:
    """Forget the writers of a run whose lines are gone."""
    tx.execute("DELETE FROM written WHERE writer IN (SELECT pk FROM writers WHERE run = ?)", (run,))
    tx.execute("DELETE FROM writers WHERE run = ?", (run,))
