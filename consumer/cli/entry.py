"""The first code that ``leasehold`` runs: makes sure that both packages are Leasehold's own, then hands over.

The wheel carries this file as the top-level module ``leasehold_command``, and not here: were the entry inside
``consumer``, a foreign package of that name earlier on the path would be imported in its stead, and the user would see
its ImportError. So this file imports nothing of ours before it has looked.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder

__all__ = ["foreign_packages", "main"]

# A file by which each of our packages is known; a foreign one of the same name has no reason to hold it.
_MARKS = {"consumer": "cli/main.py", "lease_store": "verbs.py"}
BAD_CONFIGURATION = 3
DRAIN_TIMED_OUT = 4
BATCH_TIMED_OUT = 5


def foreign_packages() -> list[str]:
    """A sentence for each of our two names that some other package answers to, naming its path; nothing is imported."""
    found = []
    for name, mark in _MARKS.items():
        spec = PathFinder.find_spec(name)
        if spec is None:
            found.append(
                f"the package {name!r} of Leasehold is not installed; install the distribution 'leasehold' again."
            )
            continue
        places = list(spec.submodule_search_locations or ())
        if not any(_holds(spec, os.path.join(place, mark)) for place in places):  # pathlib takes 5 ms to import
            where = spec.origin or ", ".join(places)
            found.append(
                f"{where} is a foreign package named {name!r}, which hides Leasehold's own; rename it, or take its "
                "folder off PYTHONPATH (Leasehold appends the working directory to the module path by itself)."
            )
    return found


def _holds(spec: ModuleSpec, path: str) -> bool:
    """Whether a package has the file, also where it lies in an archive."""
    try:
        spec.loader.get_data(path)  # type: ignore[union-attr]  # whatever has none holds nothing of ours
    except (AttributeError, OSError):
        return False
    return True


def main() -> int:
    """Run the command; where user code was left running, end the process even though its threads are still blocked."""
    foreign = foreign_packages()
    if foreign:
        for sentence in foreign:
            print(f"leasehold: {sentence}", file=sys.stderr)
        return BAD_CONFIGURATION
    try:
        code: int = import_module("consumer.cli.main").main()
    except KeyboardInterrupt:  # while modules were being imported: the command itself catches what comes later
        print("leasehold: interrupted before anything was begun.", file=sys.stderr)
        return 1
    if code in (DRAIN_TIMED_OUT, BATCH_TIMED_OUT):
        # Interpreter shutdown would join threads that user code has started and not marked as daemons.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
