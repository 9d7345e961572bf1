"""``--version``, of the command and of ``run``."""

from __future__ import annotations

import argparse
from typing import NoReturn

__all__ = ["add_version"]


def add_version(parser: argparse.ArgumentParser) -> None:
    """Add the flag."""
    help_text = "show program's version number and exit"
    parser.add_argument("--version", action=_Version, nargs=0, dest=argparse.SUPPRESS, help=help_text)


class _Version(argparse.Action):
    """Looks the version up when it is asked for: to import what reads it takes longer than all of ``--help``."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib import metadata

        print(f"leasehold {metadata.version('leasehold')}")
        parser.exit()
