"""``python -m tests.benchmarks.canned``: prints its port, then answers until it is ended or its input closes."""

from __future__ import annotations

import os
import sys
import threading

from tests.benchmarks.canned.serving import CannedServer


def main() -> None:
    """Serve for as long as whoever started it holds the other end of standard input."""
    server = CannedServer()

    def end_with_input() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=end_with_input, daemon=True).start()
    print(server.port, flush=True)
    server.run()


main()
