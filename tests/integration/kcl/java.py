"""The Java peer: built by Maven once for each edition, and the command line that starts one.

An edition is a pinned version of the KCL, and for ``adapter`` the DynamoDB Streams adapter on top. What is built lies
in ``target/<edition>`` beside this file; it is built anew when its sources are newer.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.integration.ledger import CLOCK

__all__ = [
    "EDITIONS",
    "NO_JAVA",
    "JavaMissing",
    "JavaOptions",
    "NotBuilt",
    "build",
    "check_tools",
    "command",
    "error_lines",
    "java",
    "main",
]

_HERE: Final = Path(__file__).parent
_PROJECT: Final = _HERE / "peer"
_TARGET: Final = _HERE / "target"
_BUILD_SECONDS: Final = 600.0
_LEAST_JAVA: Final = 17
NO_JAVA: Final = f"This machine has no Java {_LEAST_JAVA} with Maven"
EDITIONS: Final = ("kcl-3.5.1", "kcl-3.3.0", "adapter", "kcl-2.7.2")
# Small, quick to start, and JSON on the wire: the stream server speaks no CBOR.
_JVM: Final = (
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Xmx400m",
    "-Daws.cborEnabled=false",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=info",
    "-Dorg.slf4j.simpleLogger.log.software.amazon.awssdk=warn",
    "-Dorg.slf4j.simpleLogger.log.io.netty=warn",
)


class JavaMissing(Exception):
    """There is no Java 17, or no Maven; on Debian `apt install openjdk-17-jdk-headless maven`."""


class NotBuilt(Exception):
    """Maven could not build the peer, with what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JavaOptions:
    """What a peer is told; ``settings`` are the KCL's own, ``lease.failoverTimeMillis`` and the like, by name."""

    app: str
    worker: str
    stream: str
    table_endpoint: str
    stream_endpoint: str
    region: str = "us-east-1"
    position: str = "TRIM_HORIZON"
    checkpoint: str = "batch"
    cpu_percent: float | None = None
    settings: Mapping[str, object] | None = None


def build(edition: str) -> None:
    """Compile the peer for ``edition`` unless that was done since its sources changed. Raises JavaMissing, NotBuilt."""
    check_tools()
    made = _TARGET / edition / "classpath.txt"
    if _is_current(made):
        return
    print(f"Building the Java peer {edition} (Maven fetches some 70 MB the first time) ...", file=sys.stderr)
    done = subprocess.run(
        ["mvn", "--batch-mode", "--quiet", f"-P{edition}", "compile"],
        cwd=_PROJECT,
        capture_output=True,
        text=True,
        timeout=_BUILD_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise NotBuilt(f"Maven could not build the peer {edition}:\n{(done.stdout + done.stderr)[-3000:]}")
    made.touch()


def command(edition: str, options: JavaOptions) -> list[str]:
    """The command line of a peer that was built."""
    flags = {
        "--app": options.app,
        "--worker": options.worker,
        "--stream": options.stream,
        "--table-endpoint": options.table_endpoint,
        "--stream-endpoint": options.stream_endpoint,
        "--region": options.region,
        "--position": options.position,
        "--checkpoint": options.checkpoint,
        "--clock-ahead": f"{CLOCK.monotonic() - CLOCK.wall():.6f}",
    }
    if options.cpu_percent is not None:
        flags["--cpu"] = f"{options.cpu_percent:g}"
    told = [word for name, value in flags.items() for word in (name, value)]
    for name, value in (options.settings or {}).items():
        told += ["--set", f"{name}={value}"]
    return java(edition, _JVM, "leasehold.peer.Peer", told)


def java(edition: str, machine: Sequence[str], main_class: str, told: Sequence[str]) -> list[str]:
    """The command line of any program among what was built, with the options of its virtual machine."""
    class_path = [str(_TARGET / edition / "classes"), (_TARGET / edition / "classpath.txt").read_text().strip()]
    return [_found("java"), *machine, "-cp", os.pathsep.join(class_path), main_class, *told]


def _is_current(class_path: Path) -> bool:
    """Whether it was made after the newest source, and all that it names is still there."""
    newest = max(path.stat().st_mtime for path in _PROJECT.rglob("*") if path.is_file())
    if not class_path.exists() or class_path.stat().st_mtime <= newest:
        return False
    return all(Path(jar).exists() for jar in class_path.read_text().split(os.pathsep))


def error_lines(log: str) -> list[str]:
    """The lines that a peer logged as errors, without time and thread."""
    return [line.split(" ERROR ", 1)[1] for line in log.splitlines() if " ERROR " in line]


def check_tools() -> None:
    """Raises JavaMissing where the peer can be neither built nor run."""
    _found("mvn")
    said = _output([_found("java"), "-version"])
    version = said.partition('version "')[2].partition(".")[0].strip('"')
    if not version.isdigit() or int(version) < _LEAST_JAVA:
        raise JavaMissing(f"{NO_JAVA}: `java -version` says {said[:200]}")


def _output(words: Sequence[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


def _found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise JavaMissing(f"{NO_JAVA}: {program} is missing; on Debian `apt install openjdk-17-jdk-headless maven`.")
    return path


def main() -> int:
    """Build every edition."""
    try:
        for edition in EDITIONS:
            build(edition)
    except (JavaMissing, NotBuilt) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
