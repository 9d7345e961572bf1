"""Runs the steps of the Dockerfile as a script: each stage in a folder and a virtual environment of its own.

No container is built: this shows that the files the steps copy suffice, that what they install runs, and with which
entry. It knows the instructions that the Dockerfile beside it uses, and stops at any other. The machine's pip settings
stay in force.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_MOUNT = re.compile(r"^--mount=type=bind,from=(?P<stage>\w+),source=(?P<source>\S+),target=(?P<target>\S+)\s+")
_NOTED = ("USER", "ENV", "STOPSIGNAL", "CMD")


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """Word and rest of each instruction; comments dropped, continued lines joined."""
    lines = [line for line in dockerfile.splitlines() if line.strip() and not line.startswith("#")]
    return [
        (word, rest)
        for word, _, rest in (line.partition(" ") for line in "\n".join(lines).replace("\\\n", "").splitlines())
    ]


@dataclass
class Stage:
    """One FROM: the folder that stands for the image's root, with Python in it."""

    name: str
    root: Path
    directory: str = "/"
    entry: list[str] = field(default_factory=list)

    def path(self, inside: str) -> Path:
        """Where a path of the image lies on this machine."""
        return self.root / os.path.normpath(os.path.join(self.directory, inside)).lstrip("/")

    def run(self, command: str | list[str], **options: object) -> subprocess.CompletedProcess[str]:
        """A command with nothing but the stage's own Python before the system's programs."""
        kept = {
            name: value for name, value in os.environ.items() if name == "HOME" or name.startswith(("PIP_", "SSL_"))
        }
        environment = kept | {"PATH": f"{self.root}/python/bin:/usr/bin:/bin"}
        return subprocess.run(
            command,
            shell=isinstance(command, str),
            cwd=self.path("."),
            env=environment,
            check=True,
            text=True,
            timeout=600,
            **options,
        )  # type: ignore[call-overload, no-any-return]


def run_steps(dockerfile: str, folder: Path) -> Stage:
    """Run every step below ``folder``; the last stage. Raises ValueError for an instruction that it does not know."""
    stages: dict[str, Stage] = {}
    stage = Stage("none", folder)
    for word, rest in instructions(dockerfile):
        print(f"  {word} {rest}", flush=True)
        if word == "FROM":
            stage = _begin(rest, folder, len(stages))
            stages[stage.name] = stage
        elif word == "WORKDIR":
            stage.directory = rest
            stage.path(".").mkdir(parents=True, exist_ok=True)
        elif word == "COPY":
            *sources, target = rest.split()
            for source in sources:
                _copy(
                    ROOT / source,
                    stage.path(target) if len(sources) == 1 and target != "./" else stage.path(target) / source,
                )
        elif word == "RUN":
            _run(stage, rest, stages)
        elif word == "ENTRYPOINT":
            stage.entry = json.loads(rest)
        elif word not in _NOTED:
            raise ValueError(f"{word}: an instruction that this script can't stand in for")
    return stage


def _begin(rest: str, folder: Path, number: int) -> Stage:
    image, _, name = rest.partition(" AS ")
    wanted = image.partition(":")[2].partition("-")[0]
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    if wanted != running:
        print(f"    (this is Python {running}, the image has {wanted})")
    stage = Stage(name or f"stage{number}", folder / (name or f"stage{number}"))
    venv.create(stage.root / "python", with_pip=True)
    return stage


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def _run(stage: Stage, rest: str, stages: dict[str, Stage]) -> None:
    mount = _MOUNT.match(rest)
    if mount is None:
        stage.run(rest, stdout=subprocess.DEVNULL)
        return
    target = stage.path(mount["target"])
    target.symlink_to(stages[mount["stage"]].root / mount["source"].lstrip("/"))
    try:
        stage.run(rest[mount.end() :], stdout=subprocess.DEVNULL)
    finally:
        target.unlink()


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        last = run_steps(Path(__file__).with_name("Dockerfile").read_text(), Path(folder))
        print(f"$ {shlex.join([*last.entry, '--version'])}")
        last.run([str(last.root / "python/bin" / last.entry[0]), "--version"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
