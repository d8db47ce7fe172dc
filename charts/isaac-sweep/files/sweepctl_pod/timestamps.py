"""Times as the APIs of W&B and Kubernetes write them: ISO 8601, in UTC where no zone is named."""

from __future__ import annotations

import re
from datetime import datetime, timezone

_FRACTION = re.compile(r"\.(\d+)")


def read_time(text: str | None) -> datetime | None:
    """Read a time of an API; None where there is none, or where it is no time."""
    if not text:
        return None
    # Python 3.10 reads neither Z nor a fraction of other than 3 or 6 digits.
    text = _FRACTION.sub(lambda found: f".{found[1][:6]:0<6}", text.replace("Z", "+00:00"))
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)
