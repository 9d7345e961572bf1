"""``leasehold``: parses the subcommand and hands over to its module, which is imported only then."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from importlib import metadata
from typing import Final, NoReturn

from consumer.cli import doctor, settings, table, table_schema
from consumer.cli.output import until_unread
from consumer.errors import ConfigError, LeaseTableConflict, NotALeaseTable, ViewTypeMismatch
from lease_store.errors import LeaseholdError

__all__ = ["BAD_CONFIGURATION", "CLEAN", "DRAIN_TIMED_OUT", "ERROR", "main"]

CLEAN: Final = 0
ERROR: Final = 1
BAD_CONFIGURATION: Final = 3
DRAIN_TIMED_OUT: Final = 4

# What no restart mends and no waiting: exit code 3 tells a supervisor so. Everything else may pass by itself.
_MENDED_BY_HAND: Final = (ConfigError, LeaseTableConflict, NotALeaseTable, ViewTypeMismatch)
_EXIT_CODES = "exit codes: 0 clean, 1 error, 3 bad configuration, 4 drain timed out"


class _Parser(argparse.ArgumentParser):
    """Argparse's own complaints in the form of ours, with our exit code."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_CONFIGURATION, f"leasehold: {message}; see `{self.prog} --help`.\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``leasehold`` with ``argv`` (default: the process's) and return its exit code."""
    return until_unread(partial(_main, sys.argv[1:] if argv is None else list(argv)))


def _main(arguments: Sequence[str]) -> int:
    parser = _Parser(prog="leasehold", description="A consumer for DynamoDB Streams and Kinesis.", epilog=_EXIT_CODES)
    parser.add_argument("--version", action="version", version=f"leasehold {metadata.version('leasehold')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    _add_run(
        commands.add_parser("run", help="read a stream with a RecordProcessor", epilog=_EXIT_CODES, allow_abbrev=False)
    )
    demo = commands.add_parser("demo", help="three workers on a real table and a rotating stream, two of them stopped")
    if arguments[:1] == ["demo"]:
        from consumer.cli import demo as demo_command

        demo_command.add_arguments(demo)
    examined = commands.add_parser(
        "doctor",
        help="who works a lease table (a Java KCL's, too), and what joining it would do",
        epilog=doctor.EXIT_CODES,
    )
    doctor.add_arguments(examined)
    table.add_arguments(commands.add_parser("table", help="change how a lease table is shared, between two ways"))
    schema = commands.add_parser("table-schema", help="print the lease table's CreateTable request as JSON")
    table_schema.add_arguments(schema)
    parsed = parser.parse_args(arguments)
    if parsed.command is None:
        parser.print_help()
        return CLEAN
    try:
        if parsed.command == "table-schema":
            return table_schema.run(parsed)
        if parsed.command == "table":
            return table.run(parsed)
        if parsed.command == "doctor":
            return doctor.run(parsed)
        if parsed.command == "demo":
            return int(demo_command.run(parsed))
        from consumer.cli import run as run_command

        return run_command.run(parsed)
    except KeyboardInterrupt:
        print("leasehold: interrupted before anything was begun.", file=sys.stderr)
        return ERROR
    except LeaseholdError as error:
        report(error)
        return BAD_CONFIGURATION if isinstance(error, _MENDED_BY_HAND) else ERROR


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Read a stream with a RecordProcessor until told to stop. Every flag may also be given as a variable: "
        "--failover-seconds is LEASEHOLD_FAILOVER_SECONDS; a flag wins."
    )
    parser.add_argument(
        "processor",
        nargs="?",
        metavar="MODULE:CLASS",
        help="the RecordProcessor class, or a callable that makes one; looked for in the "
        "installed packages, then in the working directory",
    )
    settings.add_flags(parser)
    parser.add_argument(
        "--show-config",
        action="store_true",
        help="print every value, where it came from and what it costs, and run nothing",
    )
    parser.add_argument("--version", action="version", version=f"leasehold {metadata.version('leasehold')}")


def report(error: LeaseholdError) -> None:
    """The error's sentences on stderr, a line each; no traceback."""
    for line in str(error).splitlines():
        print(f"leasehold: {line}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
