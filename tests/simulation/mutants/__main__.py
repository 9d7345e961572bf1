"""``python -m tests.simulation.mutants``: see ``campaign``."""

from __future__ import annotations

import sys

from consumer.cli.output import until_unread
from tests.simulation.mutants.campaign import main

if __name__ == "__main__":
    sys.exit(until_unread(main))
