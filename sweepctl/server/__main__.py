"""The server by itself: `python -m sweepctl.server --data DIR --listen HOST:PORT`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sweepctl.search.engine_name import EngineName
from sweepctl.server.access.keyless import KeyRule
from sweepctl.server.app import serve
from sweepctl_pod.errors import SweepctlError


def main() -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="sweepctl.server", description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--agent-timeout-s", type=float, default=60.0)
    parser.add_argument("--run-timeout-s", type=float, default=300.0)
    parser.add_argument("--api-keys", type=Path)
    # For tests and measurements; people have `sweepctl server`.
    parser.add_argument("--keyless", action="store_true")
    parser.add_argument("--allowed-host", action="append", default=[])
    parser.add_argument("--search-engine", type=EngineName, default=EngineName.OPTUNA)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--metrics-keys", type=Path)
    parser.add_argument("--open-metrics", action="store_true")
    given = parser.parse_args()
    host, _, port = given.listen.rpartition(":")
    keys = given.api_keys.read_text().split() if given.api_keys else ()
    try:
        serve(
            given.data,
            host.strip("[]"),
            int(port),
            key_rule=KeyRule.NONE if given.keyless else KeyRule.ASKED,
            api_keys=keys,
            allowed_hosts=given.allowed_host,
            agent_timeout_s=given.agent_timeout_s,
            run_timeout_s=given.run_timeout_s,
            search_engine=given.search_engine,
            seed=given.seed,
            metrics_keys=given.metrics_keys.read_text().split() if given.metrics_keys else (),
            are_metrics_open=given.open_metrics,
            on_listening=lambda url: print(f"listening on {url}", flush=True),
        )
    except SweepctlError as error:
        print(
            f"error: {error.message}",
            *([f"hint: {error.hint}"] if error.hint else []),
            sep="\n",
            file=sys.stderr,
        )
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
