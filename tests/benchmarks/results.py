"""What a run leaves behind: one JSON file a measure, with where and by which command it was made."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

__all__ = ["FOLDER", "command_line", "goal_row", "made", "store", "stored", "stored_names"]

FOLDER: Final = Path(__file__).parent / "results"
_ROOT: Final = Path(__file__).parents[2]


def goal_row(figure: str, value: float | None, goal: float, unit: str, *, at_least: bool) -> dict[str, Any]:
    """One line of the table of goals; a value of None was not measured, and met is None with it."""
    met = None if value is None else (value >= goal if at_least else value <= goal)
    return {"figure": figure, "value": value, "goal": goal, "unit": unit, "at_least": at_least, "met": met}


def made(command: str) -> dict[str, Any]:
    """When, where, from which state of the tree and by which command."""
    return {
        "at": datetime.fromtimestamp(int(time.time()), UTC).isoformat(),
        "commit": _commit(),
        "command": command,
        "machine": {
            "cpus": os.cpu_count(),
            "model": _processor(),
            "python": platform.python_version(),
            "system": platform.system(),
            "load_average": round(os.getloadavg()[0], 1),
        },
    }


def _commit() -> str:
    def git(*words: str) -> str:
        asked = subprocess.run(["git", *words], cwd=_ROOT, capture_output=True, text=True, check=False)
        return asked.stdout.strip() if asked.returncode == 0 else ""

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "consumer", "lease_store")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with changes" if changed else "")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def store(name: str, content: dict[str, Any]) -> None:
    """Write the measure's file anew."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


def stored(name: str) -> dict[str, Any] | None:
    """What the measure's last run left; None where there was none."""
    path = FOLDER / f"{name}.json"
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def stored_names() -> list[str]:
    """Measures that have left something."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def command_line() -> str:
    """As it was typed."""
    arguments = " ".join(sys.argv[1:])
    return f'make bench ARGS="{arguments}"' if arguments else "make bench"
