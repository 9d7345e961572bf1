"""``leasehold``: finds the subcommand and hands over to its module, which is imported only then.

Nothing is imported here that ``--help`` can do without: the module of a command brings its flags along when its parser
is about to parse, and then runs it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import Any, Final, NoReturn

from consumer.cli.output import until_unread
from consumer.cli.version import add_version
from consumer.exit_codes import BAD_CONFIGURATION, CLEAN, ERROR, EXIT_CODES, code_of

__all__ = ["main"]

# Each has a module of its name, with ``add_arguments`` and ``run``.
_COMMANDS: Final = {
    "run": "read a stream with a RecordProcessor",
    "demo": "three workers on a real table and a rotating stream, two of them stopped",
    "doctor": "who works a lease table (a Java KCL's, too), and what joining it would do",
    "dlq": "list, show, redrive or drop records that were given up on",
    "table": "change how a lease table is shared, between two ways",
    "table-schema": "print the lease table's CreateTable request as JSON",
}


class _Parser(argparse.ArgumentParser):
    """Argparse's own complaints in the form of ours, with our exit code.

    The parser of a command, whose ``module`` is set, gets its flags when there is something to parse.
    """

    module = ""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self.module:
            import_module(self.module).add_arguments(self)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_CONFIGURATION, f"leasehold: {message}; see `{self.prog} --help`.\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``leasehold`` with ``argv`` (default: the process's) and return its exit code."""
    return until_unread(partial(_main, sys.argv[1:] if argv is None else list(argv)))


def _main(arguments: Sequence[str]) -> int:
    parser = _Parser(prog="leasehold", description="A consumer for DynamoDB Streams and Kinesis.", epilog=EXIT_CODES)
    add_version(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, told in _COMMANDS.items():
        commands.add_parser(name, help=told).module = _module_of(name)
    parsed = parser.parse_args(arguments)
    if parsed.command is None:
        parser.print_help()
        return CLEAN
    return _run(parsed)


def _module_of(command: str) -> str:
    return f"consumer.cli.{command.replace('-', '_')}"


def _run(parsed: argparse.Namespace) -> int:
    from consumer.errors import LeaseholdError

    try:
        return int(import_module(_module_of(parsed.command)).run(parsed))
    except KeyboardInterrupt:
        print("leasehold: interrupted before anything was begun.", file=sys.stderr)
        return ERROR
    except LeaseholdError as error:
        _report(error)
        return code_of(error)


def _report(error: Exception) -> None:
    """The error's sentences on stderr, a line each; no traceback."""
    for line in str(error).splitlines():
        print(f"leasehold: {line}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
