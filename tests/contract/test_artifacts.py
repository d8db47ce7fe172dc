"""Artifacts, by W&B's real client against the real server: logged, used, downloaded."""

from pathlib import Path

from tests.contract.conftest import Sdk
from tests.serving import ServerProcess

LOG_AND_USE = """
import json, wandb
from pathlib import Path

Path("a.txt").write_text("alpha")
Path("b.txt").write_text("beta")
with wandb.init(project="p") as run:
    logged = wandb.Artifact("data", type="dataset", metadata={"k": 1}, description="two files")
    logged.add_file("a.txt")
    logged.add_file("b.txt", name="sub/b.txt")
    run.log_artifact(logged, aliases=["latest", "best"]).wait()
with wandb.init(project="p") as run:
    used = run.use_artifact("data:best")
    folder = Path(used.download(root="there"))
files = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.txt")}
is_same = used.digest == logged.digest
print(json.dumps([used.version, used.metadata, used.description, is_same, files]))
"""


def test_a_logged_artifact_is_used_and_downloaded_by_another_run(
    server: ServerProcess, sdk: Sdk
) -> None:
    version, metadata, description, is_same, files = sdk.ask(LOG_AND_USE)
    assert (version, metadata, description, is_same) == ("v0", {"k": 1}, "two files", True)
    assert files == {"a.txt": "alpha", "sub/b.txt": "beta"}
    assert "unknown" not in server.log, server.log


def contents(server: ServerProcess) -> list[Path]:
    """Give the contents that lie in the data folder."""
    return [path for path in (server.data / "artifacts").rglob("*") if path.is_file()]
