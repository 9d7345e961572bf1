"""``leasehold dlq``: what lies in a store of dead letters, and what is done about it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from consumer.errors import ConfigError
from consumer.exit_codes import ERROR

if TYPE_CHECKING:
    from consumer.cli.dlq_work import Chosen
    from consumer.dead_letters.letter import Identity
    from consumer.dead_letters.store import DeadLetterStore
    from consumer.processor import ProcessorFactory
    from consumer.redrive.redrive import RedriveRules

__all__ = ["add_arguments", "run"]

_VARIABLE: Final = "LEASEHOLD_DEAD_LETTERS"
_CALLS: Final = 5  # a call is made, by botocore, before a command ends for its failure
# Settings of `leasehold run` that mean the same here; flags, or its variables.
_SHARED: Final = ("batch_size", "max_attempts", "batch_timeout_seconds")
_EXIT_CODES: Final = (
    "exit codes: 0 done, 1 something is left that was to be redriven or dropped (or the store failed, or it was "
    "interrupted), 3 bad flags, 5 a call did not end in --batch-timeout-seconds."
)
_SQS_NOTE: Final = (
    "A queue can't be looked into without taking: letters of sqs: are kept from others while the command runs, and "
    "given back when it ends."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The commands on dead letters, and their flags."""
    parser.description = "List, show, redrive or drop records that were given up on."
    commands = parser.add_subparsers(dest="dlq_command", metavar="COMMAND", required=True)
    listing = commands.add_parser("list", help="how many letters there are, of which shards, and why")
    listing.description = f"Count letters by stream, shard and reason. {_SQS_NOTE}"
    listing.add_argument("--by", choices=("key",), help="count by key, too, and show the keys (they are payload)")
    listing.add_argument("--each", action="store_true", help="a line for each letter, with its name and its failure")
    listing.add_argument("--json", action="store_true", help="a JSON object a line")
    show = commands.add_parser("show", help="one letter whole, its payload included")
    show.description = "Print one letter as JSON, payload and all."
    show.add_argument("letter", metavar="LETTER", help="its name, as `leasehold dlq list --each` prints it")
    redrive = commands.add_parser("redrive", help="run letters through a processor again")
    redrive.description = (
        "Run letters through a RecordProcessor, key by key, those of one key in the order of the stream, and remove "
        "each once process_records has returned. record.redriven is True. What fails is tried again as `leasehold run` "
        "would, by the processor's retries, and then stays, and with it what follows under its key. Ten keys failing "
        "in a row end the command. The stream is not asked: it may have lost the records since."
    )
    redrive.add_argument(
        "processor", metavar="MODULE:CLASS", nargs="?", help="the processor, as `leasehold run` has it"
    )
    redrive.add_argument("--to", choices=("stdout",), help="print letters, a JSON object a line, and leave them there")
    redrive.add_argument("--dry-run", action="store_true", help="say what would be run; nothing is called or removed")
    redrive.add_argument(
        "--even-if-newer",
        action="store_true",
        help="also letters of keys that were not held (after_dead_letter=continue): later records of such a key may "
        "have been delivered since, and an older one would come after them",
    )
    redrive.add_argument("--batch-size", metavar="N", help="most letters of one key in a call (default: 1000)")
    redrive.add_argument("--max-attempts", metavar="N", help="tries before a letter that fails stays (default: 5)")
    redrive.add_argument(
        "--batch-timeout-seconds",
        metavar="SECONDS",
        help="cancel an `async def` process_records that takes longer, which counts as a failed try; after a `def` one "
        "the command ends (default: no limit)",
    )
    drop = commands.add_parser("drop", help="delete letters for good")
    drop.description = "Delete letters: those named, or those that the filters select, or --all."
    drop.add_argument("letters", metavar="LETTER", nargs="*", help="names, as `leasehold dlq list --each` prints them")
    drop.add_argument("--all", action="store_true", help="every letter in the store")
    drop.add_argument("--yes", action="store_true", help="don't ask")
    for each in (listing, show, redrive, drop):
        each.epilog = _EXIT_CODES
        each.add_argument(
            "--dead-letters",
            metavar="STORE",
            help="s3://BUCKET/PREFIX, dynamodb:TABLE, file:PATH or sqs:QUEUE, as `leasehold run` has it; or "
            f"{_VARIABLE}",
        )
        if each is not show:
            _add_filters(each)


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stream", metavar="LABEL", help="only letters of this stream, spelled as `list` prints it")
    parser.add_argument("--shard", metavar="ID", help="only letters of this shard")
    parser.add_argument("--key", metavar="KEY", help="only letters of this key, spelled as `list --by key` prints it")
    parser.add_argument("--reason", metavar="WORD", help="only letters that were given up for this reason")


def run(arguments: argparse.Namespace) -> int:
    """Do what is asked; returns the exit code. Raises ConfigError, DeadLetterError."""
    from consumer.cli.dlq_work import within

    chosen, work = _checked(arguments)
    try:
        return within(chosen.store, work)
    except KeyboardInterrupt:
        print("leasehold: interrupted; what was counted is done, the rest is where it was.", file=sys.stderr)
        return ERROR


def _checked(arguments: argparse.Namespace) -> tuple[Chosen, Callable[[], Coroutine[Any, Any, int]]]:
    """What the flags mean, and the work to do. Raises ConfigError with everything that is wrong."""
    from consumer.cli.dlq_redrive import redrive, to_stdout
    from consumer.cli.dlq_work import Chosen, drop, list_letters, show
    from consumer.dead_letters.store import Selection

    given = vars(arguments)
    problems = _at_odds(arguments)
    store = _store(given["dead_letters"] or os.environ.get(_VARIABLE), problems)
    names = _names([given["letter"]] if "letter" in given else given.get("letters", []), problems)
    factory = _processor(given.get("processor"), problems)
    rules = _rules(given, problems)
    if problems or store is None:
        raise ConfigError(problems)
    selection = Selection(given.get("stream"), given.get("shard"), _key(given.get("key")))
    chosen = Chosen(store, selection, given.get("reason"))
    match arguments.dlq_command:
        case "list":
            kind = "each" if given["each"] else given["by"]
            return chosen, lambda: list_letters(chosen, kind=kind, as_json=given["json"])
        case "show":
            return chosen, lambda: show(chosen, names[0])
        case "drop":
            return chosen, lambda: drop(chosen, names, ask=not given["yes"])
        case _ if factory is None:
            return chosen, lambda: to_stdout(chosen)
        case _:
            return chosen, lambda: redrive(chosen, factory, rules, dry_run=given["dry_run"])


def _store(address: str | None, problems: list[str]) -> DeadLetterStore | None:
    from consumer.dead_letters.opening import open_store
    from consumer.store_address import parse_store

    if address is None:
        problems.append(f"--dead-letters is missing: which store? It may also be given as {_VARIABLE}.")
        return None
    try:
        store, named = open_store(address, attempts=_CALLS), parse_store(address)
        if named.kind == "file" and not os.path.exists(named.place):
            where = "" if os.path.isabs(named.place) else f" in {os.getcwd()}"
            problems.append(f"--dead-letters: {store.name} is not there{where}; workers make it when they start.")
        return store
    except ConfigError as error:
        problems += [f"--dead-letters: {problem}" for problem in error.problems]
        return None


def _rules(given: Mapping[str, Any], problems: list[str]) -> RedriveRules:
    """How letters are redriven; the defaults, with what is wrong added to ``problems``, where flags make no sense."""
    from consumer.cli.settings import resolve
    from consumer.redrive.redrive import RedriveRules

    if given["dlq_command"] != "redrive":
        return RedriveRules()
    settings = resolve(given, os.environ, only=_SHARED)
    problems += settings.problems
    told = {name: value for name in _SHARED if (value := settings.get(name)) is not None}
    return RedriveRules(even_if_newer=given["even_if_newer"], **told)


def _names(texts: Sequence[str], problems: list[str]) -> list[Identity]:
    from consumer.dead_letters.letter import Identity

    names = []
    for text in texts:
        try:
            names.append(Identity.parse(text))
        except ValueError as error:
            problems.append(str(error))
    return names


def _processor(path: str | None, problems: list[str]) -> ProcessorFactory | None:
    from consumer.cli.processor_path import load_processor
    from consumer.delivery.policy import retries_of

    try:
        factory = None if path is None else load_processor(path)
        retries_of(factory)
        return factory
    except ConfigError as error:
        problems += error.problems
        return None


def _key(text: str | None) -> str | None:
    """What ``list --by key`` printed: a key, or JSON of one that can't be printed."""
    if text is None or not text.startswith('"'):
        return text
    try:
        key: str = json.loads(text)
    except ValueError:
        return text
    return key


def _at_odds(arguments: argparse.Namespace) -> list[str]:
    from consumer.dead_letters.letter import Reason

    problems = []
    given = vars(arguments)
    if given.get("reason") is not None and given["reason"] not in set(Reason):
        problems.append(f"--reason {given['reason']}: is one of {', '.join(Reason)}.")
    filters = [name for name in ("stream", "shard", "key", "reason") if given.get(name) is not None]
    match arguments.dlq_command:
        case "redrive" if arguments.to and (arguments.processor or arguments.dry_run or arguments.even_if_newer):
            problems.append("--to stdout calls nothing and removes nothing: leave out processor, --dry-run and so on.")
        case "redrive" if not arguments.to and not arguments.processor:
            problems.append("the processor is missing; name its class as module:Class, or say --to stdout.")
        case "drop":
            ways = bool(arguments.letters) + bool(filters) + bool(arguments.all)
            if ways != 1:
                problems.append("say which letters to drop: by their names, or by filters, or --all; one of these.")
            if not arguments.yes and not sys.stdin.isatty():
                problems.append("nobody is there to be asked; say --yes to delete letters for good.")
    return problems
