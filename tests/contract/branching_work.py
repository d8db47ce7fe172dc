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
        run.log({"loss": n / 2, "eval": {"hip": n}}, **({"step": n} if gap else {}))
    print("logged from", first)
    run.finish()
else:
    run = wandb.Api().run(f"local/p/{rest[0]}")
    keys = run.history_keys["keys"] if hasattr(run, "history_keys") else {}
    print(
        json.dumps(
            {
                "state": run.state,
                "steps": [row["_step"] for row in run.scan_history()],
                "losses": [row["loss"] for row in run.scan_history(keys=["loss"])],
                "hip": run.summary["eval"]["hip"],
                "last": keys.get("eval.hip", {}).get("previousValue"),
            }
        )
    )
