"""Looks into a built wheel: both packages, their py.typed, the command, and no dependency held down from above.

Used by ``make wheel`` on the real build and by the house tests on one made without network.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

PACKAGES = ("consumer", "lease_store")
COMMAND = "leasehold_command.py"


def problems(wheel: Path) -> list[str]:
    """Every way in which ``wheel`` is not what users should get, one sentence each."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = Parser().parsestr(_read(archive, "METADATA"))
        entry_points = _read(archive, "entry_points.txt")
    found = [f"{package}/py.typed is missing" for package in PACKAGES if f"{package}/py.typed" not in names]
    tops = {name.partition("/")[0] for name in names}
    found += [f"{top} does not belong into the wheel" for top in sorted(tops) if not _belongs(top)]
    if COMMAND not in names:
        found.append(f"{COMMAND}, the command's entry, is missing")
    if not any(name.endswith("licenses/LICENSE") for name in names):
        found.append("the licence is missing")
    if "leasehold = leasehold_command:main" not in entry_points:
        found.append("the command `leasehold` is missing")
    found += [
        f"the requirement {requirement!r} has an upper bound or a pin"
        for requirement in metadata.get_all("Requires-Dist", [])
        if re.search(r"<|==|~=|!=", requirement.partition(";")[0])
    ]
    return found


def _read(archive: zipfile.ZipFile, ending: str) -> str:
    name = next(name for name in archive.namelist() if name.endswith(f".dist-info/{ending}"))
    return archive.read(name).decode()


def _belongs(top: str) -> bool:
    return top in (*PACKAGES, COMMAND) or top.endswith(".dist-info")


def installed_version(wheel: Path) -> str:
    """What ``leasehold --version`` says where nothing but the wheel is installed: it must need no dependency.

    A foreign package that hides ours must be refused by the same installation. Raises RuntimeError where it is not.
    """
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        binaries = Path(folder, "bin")
        install = [binaries / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel.resolve()]
        subprocess.run(install, check=True, timeout=120)
        run = subprocess.run(
            [binaries / "leasehold", "--version"], check=True, timeout=30, capture_output=True, text=True, cwd=folder
        )
        Path(folder, "consumer.py").touch()
        hidden = subprocess.run(
            [binaries / "leasehold"],
            check=False,
            timeout=30,
            capture_output=True,
            text=True,
            env={"PYTHONPATH": folder},
        )
        if hidden.returncode != 3 or "foreign package" not in hidden.stderr:
            raise RuntimeError(f"a foreign package named consumer was not refused: {hidden}")
        return run.stdout.strip()


def main() -> int:
    wheel = Path(sys.argv[1])
    found = problems(wheel)
    for problem in found:
        print(f"{wheel.name}: {problem}", file=sys.stderr)
    if found:
        return 1
    print(f"{wheel.name}: {installed_version(wheel)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
