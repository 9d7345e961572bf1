"""``python -m consumer`` is ``leasehold``."""

import sys
from importlib import import_module

if __name__ == "__main__":
    # The installed copy of cli/entry.py, which a wheel carries only there.
    sys.exit(import_module("leasehold_command").main())
