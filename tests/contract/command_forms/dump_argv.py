"""Writes down what it was started with, and ends as a run whose metric was logged.

FORMS_OUT names the folder; the record is what the operating system knows of this process.
"""

import base64
import json
import os
import urllib.request

ENVIRON = os.environ


def text_of(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


with open("/proc/self/cmdline", "rb") as file:
    words = [os.fsdecode(word) for word in file.read().split(b"\0")[:-1]]
record = {
    "sweep": ENVIRON["WANDB_SWEEP_ID"],
    "argv": words,
    "files": {word: text_of(word) for word in words if word.endswith(".json")},
    "parameters": text_of(ENVIRON["WANDB_SWEEP_PARAM_PATH"]),
}
path = os.path.join(ENVIRON["FORMS_OUT"], ENVIRON["WANDB_RUN_ID"])
with open(path + ".part", "w", encoding="utf-8") as part:
    json.dump(record, part)
os.rename(path + ".part", path + ".json")

line = json.dumps({"loss": 1.5, "_step": 0})
body = {
    "files": {
        "wandb-history.jsonl": {"offset": 0, "content": [line]},
        "wandb-summary.json": {"offset": 0, "content": [line]},
    },
    "complete": True,
    "exitcode": 0,
}
run = "/".join(ENVIRON[name] for name in ("WANDB_ENTITY", "WANDB_PROJECT", "WANDB_RUN_ID"))
key = base64.b64encode(f"api:{ENVIRON['WANDB_API_KEY']}".encode()).decode()
headers = {"Content-Type": "application/json", "Authorization": f"Basic {key}"}
headers |= json.loads(ENVIRON.get("WANDB_X_EXTRA_HTTP_HEADERS", "{}"))
url = f"{ENVIRON['WANDB_BASE_URL']}/files/{run}/file_stream"
request = urllib.request.Request(url, json.dumps(body).encode(), headers)
urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).close()
