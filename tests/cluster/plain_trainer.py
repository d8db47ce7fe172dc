"""A trainer of one number: reports a loss in steps to W&B's file stream, and ends.

Runs in the pods of the tests, on the standard library. Its loss is the gain at the end, exactly.
"""

import base64
import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid

settings = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
steps, pause_s = int(settings["steps"]), float(settings["pause_s"])
gain = float(settings["task.gain"])
place = "/".join(os.environ[f"WANDB_{key}"] for key in ("ENTITY", "PROJECT", "RUN_ID"))
url = f"{os.environ['WANDB_BASE_URL']}/files/{place}/file_stream"
token = base64.b64encode(f"api:{os.environ['WANDB_API_KEY']}".encode()).decode()
headers = {
    "Authorization": f"Basic {token}",
    "Content-Type": "application/json",
    # As the wandb client does: by them the server tells this attempt from an earlier one.
    **json.loads(os.environ.get("WANDB_X_EXTRA_HTTP_HEADERS") or "{}"),
}


def post(message: "dict[str, object]") -> None:
    """Send until it is taken."""
    while True:
        request = urllib.request.Request(url, json.dumps(message).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=10):
                return
        except (urllib.error.URLError, OSError) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code < 500:
                raise
            time.sleep(0.5)


process = uuid.uuid4().hex[:8]
for step in range(steps):
    loss = gain + (steps - 1 - step)
    line = json.dumps({"_step": step, "loss": loss})
    post(
        {
            "files": {
                "wandb-history.jsonl": {"offset": step, "content": [line]},
                "wandb-summary.json": {"offset": 0, "content": [line]},
            }
        }
    )
    print(f"process {process} line {step} gain {gain!r} loss {loss!r}", flush=True)
    time.sleep(pause_s)
post({"complete": True, "exitcode": 0})
