"""Brings the companion into the trainer's process; its folder, on PYTHONPATH, holds it alone.

Python imports it at its start. Nothing becomes importable but `sweepctl_pod`, and whatever goes
wrong is one line on stderr: the interpreter goes on as if it were not there. An interpreter may
have a sitecustomize of its own (Debian, Kit): it runs after this one, under its own name.
"""

import sys


def _start_companion() -> None:
    import os

    if not os.environ.get("SWEEPCTL_COMPANION"):
        return
    try:
        if "sweepctl_pod" not in sys.modules:
            import importlib.util

            package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
            spec = importlib.util.spec_from_file_location(
                "sweepctl_pod",
                os.path.join(package, "__init__.py"),
                submodule_search_locations=[package],
            )
            if spec is None or spec.loader is None:
                raise ImportError(f"no package in {package}")
            sys.modules["sweepctl_pod"] = module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        from sweepctl_pod.companion.hook import install

        install()
    except Exception as error:  # whatever it is, the interpreter is not ours
        why = " ".join(f"{type(error).__name__}: {error}".split())
        sys.stderr.write(f"sweepctl: companion: not started: {why}\n")


def _run_the_next() -> None:
    import importlib.machinery
    import importlib.util
    import os

    here = os.path.dirname(os.path.abspath(__file__))
    others = [path for path in sys.path if os.path.abspath(path or os.curdir) != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is None or spec.loader is None or spec.origin == __file__:
        return
    # As if this file were not there: `import sitecustomize` gives the other, and Python says what
    # it always says when that one fails.
    sys.modules["sitecustomize"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


if __name__ == "sitecustomize":
    _start_companion()
    _run_the_next()
