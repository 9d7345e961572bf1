"""``python -m consumer`` is ``leasehold``."""

import sys

from consumer.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
