"""What was written through the API server, by whom: the bed's audit log as data.

A test that claims "one patch, however many agents" counts requests here, not in the client tested.
The cluster's own parts are left out (`controlplane`'s audit policy).
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from tests.testbed.layout import Bed


@dataclass(frozen=True, slots=True)
class Write:
    """One request that changed, or tried to change, an object."""

    verb: str
    resource: str
    namespace: str
    name: str
    user_agent: str
    code: int
    is_dry_run: bool


def writes(bed: Bed, *, namespace: str | None = None, user_agent: str = "") -> list[Write]:
    """Every write so far, oldest first, of a namespace, by programs of that user agent."""
    found = []
    with open(bed.logs / "audit.log") as log:
        for line in log:
            event = json.loads(line)
            if event["stage"] == "ResponseComplete":
                found.append(_write(event))
    return [
        write
        for write in found
        if user_agent in write.user_agent and namespace in (None, write.namespace)
    ]


def _write(event: dict[str, dict[str, str]]) -> Write:
    target = event.get("objectRef", {})
    resource = target.get("resource", "")
    subresource = target.get("subresource")
    return Write(
        verb=str(event["verb"]),
        resource=f"{resource}/{subresource}" if subresource else resource,
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        user_agent=str(event.get("userAgent", "")),
        code=int(event.get("responseStatus", {}).get("code", 0)),
        is_dry_run="dryRun=" in str(event["requestURI"]),
    )
