"""What of W&B this server does not have, in words for those who ask for it."""

from __future__ import annotations

_WITHOUT = (
    ("reports and saved views", ("view", "report")),
    ("launch queues", ("runqueue", "launchagent", "launchjob")),
    ("registries", ("registry",)),
    ("automations", ("trigger", "integration", "automation")),
    ("custom charts", ("customchart",)),
    (
        "accounts, teams or organizations",
        ("team", "invite", "user", "apikey", "serviceaccount", "organization", "member"),
    ),
)


def unknown_mutation(name: str) -> str:
    """Say what a mutation of W&B's that this server does not have would need."""
    lower = name.lower()
    for what, parts in _WITHOUT:
        if any(part in lower for part in parts):
            return f"no mutation {name[:100]!r}: this server has no {what}"
    return f"no mutation {name[:100]!r}: this server does not know what it is to do"
