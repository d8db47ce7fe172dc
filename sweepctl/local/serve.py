"""The embedded server in this process: the one that `sweepctl server` runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sweepctl.server.access.allowed import ApiKeys
from sweepctl.server.access.keyless import KeyRule
from sweepctl.server.server_process import announce, default_data, stock_clients, withdraw
from sweepctl.sweeps.page import listen_address
from sweepctl_pod.errors import UsageError


def run_server(
    data: Path | None,
    listen: str,
    *,
    agent_timeout_s: float,
    is_keyless: bool,
    api_keys: Path | None,
    allowed_hosts: Sequence[str],
    search_engine: str | None,
    seed: int | None,
    metrics_keys: Path | None,
    are_metrics_open: bool,
    say: Callable[[str], None],
) -> None:
    """Run the embedded server until it is told to end."""
    from sweepctl.search.engine_name import EngineName
    from sweepctl.server.app import serve  # only here: the other verbs need no web framework

    host, port = listen_address(listen)
    folder = (data or default_data()).absolute()

    def on_listening(url: str) -> None:
        announce(folder, url)
        say(f"listening on {url}")
        for line in stock_clients(folder, url):
            say(line)

    try:
        serve(
            folder,
            host,
            port,
            key_rule=KeyRule.UNTIL_OLD_RUNS_END if is_keyless else KeyRule.ASKED,
            api_keys=_read_api_keys(api_keys),
            allowed_hosts=allowed_hosts,
            agent_timeout_s=agent_timeout_s,
            search_engine=EngineName(search_engine or EngineName.OPTUNA),
            seed=seed,
            metrics_keys=_read_api_keys(metrics_keys, "keys of /metrics"),
            are_metrics_open=are_metrics_open,
            on_listening=on_listening,
        )
    finally:
        withdraw(folder)


def _read_api_keys(path: Path | None, what: str = "API keys") -> list[str]:
    if path is None:
        return []
    try:
        keys = path.read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(
            f"cannot read the {what} in {path}: {why}",
            "name a file that has one of 40 characters a line",
        ) from error
    if not keys:
        raise UsageError(f"{path} holds none of the {what}", "write one of 40 characters a line")
    try:
        ApiKeys(keys)
    except UsageError as error:
        raise UsageError(f"the {what} in {path}: {error.message}", error.hint) from error
    return keys
