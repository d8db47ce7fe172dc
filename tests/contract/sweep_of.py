"""A sweep made by the stock command line, and what the server says of it."""

from pathlib import Path
from typing import Any

import yaml

from sweepctl_pod.wandb.client import Connection, WandbClient
from sweepctl_pod.wandb.outputs import end_body
from tests.contract.conftest import Sdk
from tests.serving import API_KEY, ServerProcess, wait_for


class SweepOf:
    """One sweep made by `wandb sweep`, and what the server says of it."""

    def __init__(self, server: ServerProcess, sdk: Sdk, said: str) -> None:
        self.server = server
        self.sdk = sdk
        self.said = said
        self.id = said.split("Creating sweep with ID: ")[1].split()[0]
        self.path = f"local/p/{self.id}"

    def ask(self) -> dict[str, Any]:
        query = (
            "query Q($s: String!) { project(name: $p0) { sweep(sweepName: $s) {"
            " state runCount runCountExpected bestLoss config"
            " agents { edges { node { state totalRuns } } }"
            " runs { edges { node { name state config summaryMetrics historyLineCount } } } } } }"
        ).replace("$p0", '"p"')
        sweep: dict[str, Any] = self.server.graphql(query, {"s": self.id})["project"]["sweep"]
        return sweep

    @property
    def state(self) -> str:
        return str(self.ask()["state"])

    @property
    def runs(self) -> list[dict[str, Any]]:
        return [edge["node"] for edge in self.ask()["runs"]["edges"]]

    @property
    def states(self) -> list[str]:
        return [run["state"] for run in self.runs]

    def set(self, flag: str) -> None:
        self.sdk.cli("sweep", flag, self.path)

    def train_one(self) -> dict[str, Any]:
        """Take one run and finish it at once, as an agent does; give its parameters."""
        client = WandbClient(Connection(base_url=self.server.url, api_key=API_KEY))
        agent = client.register_agent("local", "p", self.id, "quick")
        (command,) = client.heartbeat(agent, [])
        client.post_file_stream("local", "p", command["run_id"], end_body(0))
        assert client.heartbeat(agent, [command["run_id"]]) == []
        return {name: value["value"] for name, value in command["args"].items()}

    def wait_until_training(self) -> None:
        log = self.sdk.home / "seen.jsonl"
        wait_for("a trainer that trains", lambda: log.exists() and log.read_text(), limit_s=60)


def sweep_file(folder: Path, method: str, parameters: dict[str, Any], **more: Any) -> Path:
    document = {
        "method": method,
        "metric": {"name": "loss", "goal": "minimize"},
        "program": "train.py",
        "parameters": {
            name: value if isinstance(value, dict) else {"values": value}
            for name, value in parameters.items()
        },
        **more,
    }
    path = folder / f"{method}-{len(list(folder.glob('*.yaml')))}.yaml"
    path.write_text(yaml.safe_dump(document))
    return path
