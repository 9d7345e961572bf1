"""Names of workers: a readable part and a nonce, for a name alone is no identity (in containers every process is 1).

Beside a KCL 2.x no worker has a row, and its name is all that a lease tells of its owner. Only costs are judged by it:
a KCL's own names end in the twelve digits of a UUID, but anybody may be called anything.
"""

from __future__ import annotations

import os
import re
import socket
from random import Random
from typing import Final

__all__ = ["made_name", "seems_ours", "worker_name"]

_NONCE_BITS: Final = 40
_OURS: Final = re.compile(r".+-[0-9a-f]{10}", re.DOTALL)


def worker_name(given: str | None) -> str:
    """The readable part of a worker's id: as given, else the ECS task's id, else the host's name."""
    if given:
        return given
    metadata = os.environ.get("ECS_CONTAINER_METADATA_URI_V4", "").rstrip("/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9_.-]", "-", metadata or socket.gethostname())[:64]


def made_name(readable: str, random: Random) -> str:
    """A name that no other worker has had."""
    return f"{readable}-{random.getrandbits(_NONCE_BITS):010x}"


def seems_ours(worker_id: str) -> bool:
    """Whether a worker is called as ours are."""
    return _OURS.fullmatch(worker_id) is not None
