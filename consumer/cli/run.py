"""``leasehold run``: its flags, and what they say checked as a whole before anything is begun."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Final

from consumer.cli.settings import Settings, add_flags, resolve
from consumer.cli.version import add_version
from consumer.config import find_problems
from consumer.errors import ConfigError, LeaseholdError
from consumer.exit_codes import CLEAN, ERROR, EXIT_CODES, code_of

if TYPE_CHECKING:
    from consumer.cli.processes import ProcessCount
    from consumer.clock import Clock
    from consumer.operate.supervisor.lifeline import Lifeline
    from consumer.processor import ProcessorFactory
    from consumer.streams.address import Address

__all__ = ["add_arguments", "run"]

_SHOW_CONFIG: Final = "LEASEHOLD_SHOW_CONFIG"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The processor, and a flag for each setting."""
    parser.allow_abbrev = False
    parser.epilog = EXIT_CODES
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
    add_flags(parser)
    parser.add_argument(
        "--show-config",
        action="store_true",
        help="print every value, where it came from and what it costs, and run nothing",
    )
    add_version(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run a worker, or several, until told to stop; the exit code. Raises ConfigError with all its problems at once."""
    from consumer.cli import logs
    from consumer.operate.supervisor.lifeline import Failed, Lifeline

    lifeline = Lifeline.inherited()
    settings = resolve(vars(arguments), os.environ)
    logs.set_up(
        settings.get("log_level") or "info",
        settings.get("log_format") or "text",
        process=lifeline.number if lifeline else None,
    )
    if lifeline is None:
        return _run(arguments, settings, None)
    code = ERROR
    try:
        lifeline.begin()
        code = _run(arguments, settings, lifeline)
    except KeyboardInterrupt:  # the supervisor heard it as well, where it came from a terminal
        lifeline.tell(Failed(("interrupted before anything was begun.",)))
    except LeaseholdError as error:
        # The supervisor tells it once for all of its processes, which mostly fail alike.
        code = code_of(error)
        if not lifeline.tell(Failed(tuple(str(error).splitlines()))):
            raise
    finally:
        lifeline.end_with(code)
    return code


def _run(arguments: argparse.Namespace, settings: Settings, lifeline: Lifeline | None) -> int:
    address, problems = _checked(settings)
    processes = None if settings.get("processes") in (None, 1) else _processes(settings)
    shows = arguments.show_config or os.environ.get(_SHOW_CONFIG, "").lower() not in ("", "0", "false", "no")
    if processes and processes.count > 1 and arguments.processor and not (problems or shows):
        from consumer.cli.processes import supervise

        # What user code does when it is imported is for the worker processes alone; they say what is wrong with it.
        return supervise(arguments.processor, vars(arguments), settings, processes)
    factory = _loaded(arguments.processor, problems)
    if problems or address is None or factory is None:
        raise ConfigError(problems)
    if shows:
        from consumer.cli.show_config import report

        for line in report(arguments.processor, settings, processes):
            print(line)
        return CLEAN
    # Only here, when the input is known to be good: it takes most of a second to import.
    from consumer.cli.work import work

    return work(settings, address, factory, lifeline)


def _processes(settings: Settings) -> ProcessCount:
    from consumer.cli.processes import process_count

    return process_count(settings)


def _loaded(processor: str | None, problems: list[str]) -> ProcessorFactory | None:
    """What makes processors; None with what is wrong added to ``problems``."""
    from consumer.cli.processor_path import load_processor

    try:
        return load_processor(processor or "")
    except ConfigError as error:
        problems += error.problems
        return None


def _checked(settings: Settings) -> tuple[Address | None, list[str]]:
    """The source's address, and what is wrong with the settings, each by itself and with one another."""
    from consumer.clock import SystemClock
    from consumer.streams.address import parse_address

    problems = list(settings.problems)
    source = settings.get("source")
    address = None
    try:
        address = parse_address(source) if source is not None else None
    except ConfigError as error:
        origin = settings.values["source"].origin
        problems += [f"{origin}: {problem.removeprefix('--source: ')}" for problem in error.problems]
    return address, problems + _at_odds(settings, address, SystemClock())


def _at_odds(settings: Settings, address: Address | None, clock: Clock) -> list[str]:
    """What only the whole command can see: settings that contradict the source or the present."""
    found = []
    table = settings.get("lease_table") or settings.get("app")
    if address is not None and address.service == "dynamodb" and address.region is None and address.name == table:
        found.append(
            f"{settings.values['lease_table'].origin if settings.get('lease_table') else '--app'} {table}: the lease "
            "table would be the table whose stream is read; give the leases a table of their own with --lease-table."
        )
    position = settings.get("initial_position")
    if position is not None and position.timestamp is not None and position.timestamp > clock.wall():
        found.append(
            f"{settings.values['initial_position'].origin} {position}: lies in the future; a stream can be read "
            "from the past, or from now on with LATEST."
        )
    return found + _filter_mistakes(settings, address)


def _filter_mistakes(settings: Settings, address: Address | None) -> list[str]:
    """What is wrong with a pattern, which hangs on whose records it is for.

    The stream's ARN is not known yet, nor is it looked at while nothing is compared with it.
    """
    told = settings.get("filter")
    if told is None or address is None or find_problems({"filter": told}):
        return []
    from consumer.delivery_settings import filter_text
    from consumer.filters import compile_filter

    try:
        compile_filter(filter_text(told), service=address.service, stream_arn="")
    except ConfigError as error:
        return [f"{settings.values['filter'].origin}: {problem}" for problem in error.problems]
    return []
