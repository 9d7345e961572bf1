"""``leasehold table-schema``: the CreateTable request of a lease table, for those who may not let a worker make it."""

from __future__ import annotations

import argparse
import json

from consumer.config import find_problems
from consumer.errors import ConfigError
from lease_store.dynamodb_expressions import create_table_request

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The one argument: the table's name."""
    parser.description = (
        "Print the lease table's schema as JSON, for `aws dynamodb create-table --cli-input-json` or a template."
    )
    parser.add_argument("table", metavar="TABLE", help="the lease table's name: --lease-table, else the app")


def run(parsed: argparse.Namespace) -> int:
    """Print it; returns the exit code. Raises ConfigError for what is no table's name."""
    problems = find_problems({"lease_table": parsed.table})
    if problems:
        raise ConfigError([f"TABLE {each.value}: {each.sentence}" for each in problems])
    print(json.dumps(create_table_request(parsed.table), indent=2))
    return 0
