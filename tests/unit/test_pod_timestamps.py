"""Times of APIs: with and without a zone, with any fraction of a second, on every Python."""

from datetime import datetime, timedelta, timezone

import pytest

from sweepctl_pod.timestamps import read_time

NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01T12:00:00", NOON),
        ("2026-03-01T12:00:00Z", NOON),
        ("2026-03-01T14:00:00+02:00", NOON),
        ("2026-03-01T12:00:00.5Z", NOON + timedelta(seconds=0.5)),
        ("2026-03-01T12:00:00.123456789Z", NOON + timedelta(microseconds=123456)),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_time_is_read_in_utc(text: str | None, expected: datetime | None) -> None:
    assert read_time(text) == expected
