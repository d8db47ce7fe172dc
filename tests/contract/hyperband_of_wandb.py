"""Asks W&B's real `sweeps` which runs hyperband stops: cases as JSON in, names as JSON out.

Run by the Python that has the package.
"""

import json
import sys


def main() -> None:
    import sweeps

    answers = []
    for case in json.load(sys.stdin):
        spec = {"method": "random", "parameters": {"x": {"value": 1}}, **case["spec"]}
        runs = [
            sweeps.SweepRun(
                name=run["name"],
                state="running" if run["is_running"] else "finished",
                history=[{"loss": value} for value in run["values"]],
            )
            for run in case["runs"]
        ]
        answers.append([run.name for run in sweeps.stop_runs(spec, runs)])
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
