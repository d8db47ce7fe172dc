"""Trouble that lasts: one line when it begins and one when it is over."""

from sweepctl.server.store.troubles import Troubles

FULL = "the data file d is not usable now: database or disk is full"
UPLOAD = "the data folder is not usable now: No space left on device"
ENGINE = "the search engine does not answer"


class Told:
    """Troubles whose clock and writes the test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.writes = 0
        self.lines: list[str] = []
        self.troubles = Troubles(lambda: self.seconds, lambda: self.writes)

    def after(self, seconds: float, *messages: str, writes: int = 0) -> list[str]:
        self.lines = []
        self.seconds += seconds
        self.writes += writes
        for message in messages:
            self.troubles.note(message, self.lines.append)
        self.troubles.look(self.lines.append)
        return self.lines


def test_a_full_disk_is_told_once_in_whatever_words_and_its_end_when_writing_works() -> None:
    told = Told()
    assert told.after(0, FULL, FULL, UPLOAD) == [FULL]
    assert told.after(3600, FULL) == [], "it lasts"
    assert told.after(60) == [], "nobody has written since"
    assert told.after(1, UPLOAD, writes=5) == [], "small writes find room, uploads do not"
    assert told.after(5, writes=1) == [], "it may come again"
    assert told.after(5) == [f"over, after 5 refused requests: {FULL}"]
    assert told.after(60, writes=1) == []
    assert told.after(0, UPLOAD) == [UPLOAD], "a new one is told again"


def test_troubles_of_different_kinds_are_told_apart() -> None:
    told = Told()
    assert told.after(0, FULL, ENGINE, FULL, ENGINE) == [FULL, ENGINE]
    told.after(9, ENGINE)
    assert told.after(1, writes=1) == [f"over, after 2 refused requests: {FULL}"]
