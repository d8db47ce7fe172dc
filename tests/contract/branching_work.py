"""What the tests of branches have W&B's client do: log some steps of a run; read what is there."""

import json
import sys

import wandb

verb, *rest = sys.argv[1:]
if verb == "log":
    how = json.loads(rest[0])
    first, count, gap = how.pop("first"), how.pop("count"), how.pop("says_step", False)
    run = wandb.init(project="p", **how)
    for n in range(first, first + count):
        run.log({"loss": n / 2, "eval": {"hip": n}}, step=n if gap else None)
    print("logged from", first)
    run.finish()
else:
    found = wandb.Api().run(f"local/p/{rest[0]}")
    keys = found.history_keys["keys"] if hasattr(found, "history_keys") else {}
    print(
        json.dumps(
            {
                "state": found.state,
                "steps": [row["_step"] for row in found.scan_history()],
                "losses": [row["loss"] for row in found.scan_history(keys=["loss"])],
                "hip": found.summary["eval"]["hip"],
                "last": keys.get("eval.hip", {}).get("previousValue"),
            }
        )
    )
