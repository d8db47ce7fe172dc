"""A stand-in for `isaaclab train` that prints and writes what the real one does, and misbehaves.

What it does is in $FAKE, steps in their order, by default all of a good training:
`folder iterate record log end`. Copied to `isaaclab` on the PATH by the tests.
"""

import os
import runpy
import signal
import sys
import time

WORDS = sys.argv[1:]
ASKED = dict(word.split("=", 1) for word in WORDS if word.startswith(("env.", "agent.")))
RUN = WORDS[WORDS.index("--run_timestamp") + 1] if "--run_timestamp" in WORDS else "run"
ROOT = os.path.abspath("logs/rsl_rl/legs")
FOLDER = os.path.join(ROOT, RUN)


def write(name: str, text: str) -> None:
    path = os.path.join(FOLDER, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def record(kind: str) -> None:
    gain = ASKED.get("env.gain", "1.0")
    env = {
        "": f"gain: {gain}\nsize: !!python/tuple\n- 1\n- 2.5\n",
        "other": "gain: 3.5\n",
        "without": "size: 3\n",
        "garbage": "gain: [1.0\n  - }{",
        "empty": "",
        "huge": "".join(f"k{n}: {n}.5\n" for n in range(20_000)) + f"gain: {gain}\n",
    }[kind]
    write("params/env.yaml", env)
    write("params/agent.yaml", "seed: 42\n")


def plain(*words: str) -> None:
    """Do what the plain trainer does."""
    trainer = os.environ["FAKE_PLAIN"]
    sys.argv = [trainer, os.environ["FAKE_LEDGER"], *words]
    runpy.run_path(trainer, run_name="__main__")


def do(step: str) -> None:
    what, _, value = step.partition(":")
    if what == "folder":
        print("[INFO] Logging experiment in directory:", ROOT)
        print("Exact experiment name requested from command line:", RUN, flush=True)
    elif what == "iterate":
        print("\x1b[1m Learning iteration 0/3 \x1b[0m", flush=True)
    elif what == "record":
        record(value)
    elif what == "model":
        write("model_2.pt", "")
    elif what == "end":
        print("Training time: 1.25 seconds", flush=True)
    elif what == "hang":
        while True:
            time.sleep(1000)
    elif what == "signal":
        sys.stdout.flush()
        os.kill(os.getpid(), int(value))
    elif what == "exit-0-on":
        signal.signal(int(value), lambda *_: os._exit(0))
    else:
        plain(step)


for step in os.environ.get("FAKE", "folder iterate record log end").split():
    do(step)
sys.stdout.flush()
