"""A trainer that does what its words say, in their order, with the standard library alone.

plain_trainer.py LEDGER WORD… [path=value…]; the ledger gets one line per `note`.
"""

import base64
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
import zipfile

LEDGER, *WORDS = sys.argv[1:]
OVERRIDES = [word for word in WORDS if "=" in word]
ENVIRON = os.environ


def note(what: str) -> None:
    line = f"{what} {ENVIRON['WANDB_RUN_ID']} {' '.join(OVERRIDES)}\n"
    file = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line.encode())
    os.close(file)


def save_and_end(*_: object) -> None:
    note("saved")
    os._exit(143)


def stream(body: "dict[str, object]") -> None:
    path = "/".join(ENVIRON[name] for name in ("WANDB_ENTITY", "WANDB_PROJECT", "WANDB_RUN_ID"))
    key = base64.b64encode(f"api:{ENVIRON['WANDB_API_KEY']}".encode()).decode()
    headers = {"Content-Type": "application/json", "Authorization": f"Basic {key}"}
    headers |= json.loads(ENVIRON.get("WANDB_X_EXTRA_HTTP_HEADERS", "{}"))
    url = f"{ENVIRON['WANDB_BASE_URL']}/files/{path}/file_stream"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).close()
    except OSError:
        if "bear-all" not in WORDS:
            raise


def log(name: str = "loss") -> None:
    line = json.dumps({name: 1.5, "_step": 0})
    files = {
        "wandb-history.jsonl": {"offset": 0, "content": [line]},
        "wandb-summary.json": {"offset": 0, "content": [line]},
    }
    stream({"files": files})


def progress(first: int, iteration: int) -> None:
    """Tell the agent how far it has come, as the companion does, and W&B, as a trainer does."""
    folder = json.loads(ENVIRON["SWEEPCTL_COMPANION"])["folder"]
    os.makedirs(folder, exist_ok=True)
    told = {"iteration": iteration, "first": first, "of": 100, "at": time.time(), "pid": 1}
    if iteration >= first:
        told["first_at"] = time.monotonic()
    with open(f"{folder}/progress.part", "w") as file:
        json.dump(told, file)
    os.replace(f"{folder}/progress.part", f"{folder}/progress.json")
    line = json.dumps({"loss": 1.5, "_step": iteration})
    stream({"files": {"wandb-history.jsonl": {"offset": iteration, "content": [line]}}})


def escape() -> None:
    """Leave a process behind in a session of its own, whose parent is gone."""
    code = "import os, time\nif os.fork() == 0:\n os.setsid()\n time.sleep(1000)"
    subprocess.run([sys.executable, "-S", "-c", code], stdout=subprocess.DEVNULL, check=True)


def fill(path: str) -> None:
    with open(path, "wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))


def count(of: int, pause_s: float, every: int = 1, size_bytes: int = 0) -> None:
    """Train: go on from the checkpoint, and save in one file that is written again and again.

    On SIGTERM it ends with the iteration that it is in, saves and leaves.
    """
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda signum, frame: asked.append(signum))
    first = 0
    if found := ENVIRON["SWEEPCTL_CHECKPOINT"]:
        with zipfile.ZipFile(found) as file:
            first = int(file.read("iteration")) + 1
    note(f"from:{first}")
    for iteration in range(first, of):
        time.sleep(pause_s)
        note(f"step:{iteration}")
        if asked or iteration % every == every - 1:
            os.makedirs("kept", exist_ok=True)
            # A ZIP, as torch's files are.
            with zipfile.ZipFile(f"kept/{ENVIRON['WANDB_RUN_ID']}.ckpt", "w") as file:
                file.writestr("weights", os.urandom(size_bytes))
                file.writestr("iteration", str(iteration))
        if asked:
            save_and_end()


def is_first_try() -> bool:
    with open(LEDGER) as file:
        return sum(ENVIRON["WANDB_RUN_ID"] in line for line in file) <= 1


def do(word: str) -> None:
    what, _, value = word.partition(":")
    if what == "bear-all":
        pass
    elif what == "note":
        note(value)
    elif what == "note-and-exit":
        note(value)
        os._exit(0)
    elif what == "log":
        log(value or "loss")
    elif what == "argv":
        with open("/proc/self/cmdline", "rb") as words:
            argv = [word.decode() for word in words.read().split(b"\0")[:-1]]
        with open(f"{value}-{ENVIRON['WANDB_RUN_ID']}", "w") as file:
            json.dump(argv, file)
    elif what == "count":
        of, pause_s, *more = value.split(":")
        count(int(of), float(pause_s), *map(int, more))
    elif what == "exit":
        sys.exit(int(value))
    elif what == "signal":
        os.kill(os.getpid(), int(value))
    elif what == "signal-once":
        if is_first_try():
            os.kill(os.getpid(), int(value))
    elif what == "sleep":
        time.sleep(float(value))
    elif what == "hang":
        while True:
            time.sleep(1000)
    elif what == "hang-once":
        if is_first_try():
            do("hang")
    elif what == "progress":
        progress(*map(int, value.split("-")))
    elif what == "beat":
        until = time.monotonic() + float(value)
        while time.monotonic() < until:
            stream({})
            time.sleep(0.2)
    elif what == "beat-once":
        is_first = is_first_try()
        while is_first:
            stream({})
            time.sleep(0.2)
    elif what == "beat-until":
        while not os.path.exists(value):
            stream({})
            time.sleep(0.2)
    elif what == "wait":
        while not os.path.exists(value):
            time.sleep(0.02)
    elif what == "say":
        print(value.encode().decode("unicode_escape"))
    elif what == "bytes":
        os.write(1, bytes.fromhex(value))
    elif what == "flood":
        for number in range(int(value)):
            print(f"line {number}")
    elif what == "ignore-sigterm":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif what == "exit-0-on-sigterm":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    elif what == "save-on-sigterm":
        signal.signal(signal.SIGTERM, save_and_end)
    elif what == "escape":
        escape()
    elif what == "fill":
        fill(value)
    elif what == "write":
        path, _, text = value.partition(">")
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
    elif "=" not in word:
        raise SystemExit(f"unknown word: {word}")


for word in WORDS:
    do(word)
