"""An agent in this process: the one that `sweepctl agent` runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from sweepctl.sweeps.names import SweepName
from sweepctl.sweeps.place import Place, find_sweep, open_api, want_login
from sweepctl_pod.errors import UsageError


def run_agent(
    name: SweepName,
    *,
    server: str | None,
    count: int,
    grammar: str,
    max_initial_failures: str | None,
    tasks: Sequence[str],
    say: Callable[[str], None],
) -> int:
    """Take `count` runs from a sweep on this machine; give the agent's exit code."""
    from sweepctl_pod.agent import main as run_pod_agent  # only here: no other verb trains

    failures = failure_options(max_initial_failures)
    place = Place(server=server)
    want_login(place, name)
    with open_api(place, name, say) as api:
        sweep = find_sweep(api, name)
        environ = {**os.environ, **tasks_environ(tasks), "WANDB_BASE_URL": api.base_url}
        if api.connection.api_key:
            environ["WANDB_API_KEY"] = api.connection.api_key
        return run_pod_agent(
            [
                *("--sweep", sweep.full_name),
                *("--count", str(count), "--grammar", grammar, "--preflight-gpu", "off"),
                *("--refused-limit-s", "10", "--asker", "person"),  # who is waiting
                *failures,
            ],
            environ,
        )


def failure_options(limit: str | None) -> list[str]:
    """Give an agent's options that say after how many first failures it gives up."""
    from sweepctl_pod.first_runs import limit_of  # only here: the other verbs train nothing

    if limit is None:
        return []
    try:
        limit_of(limit)
    except ValueError:
        raise UsageError(
            f"--max-initial-failures {limit}: expected a number of runs", "write 3, or 0 for never"
        ) from None
    return ["--max-initial-failures", limit]


def tasks_environ(tasks: Sequence[str]) -> dict[str, str]:
    """Give the variable that tells agents what registers the tasks; without any, nothing."""
    from sweepctl_pod.trainer.tasks import SETTING  # only here: the other verbs train nothing

    return {SETTING: ":".join(tasks)} if tasks else {}
