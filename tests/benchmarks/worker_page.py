"""A worker's own page of metrics: what it says of itself must show that it did all of its work in its turn."""

from __future__ import annotations

import re
import urllib.request
from typing import Final

__all__ = ["WorkerPage", "value_of"]

_TIMEOUT_SECONDS: Final = 10.0


def value_of(page: str, metric: str) -> float:
    """The sum over the metric's labels; 0 where it is not there."""
    found = re.findall(rf"^{metric}(?:\{{[^}}]*\}})? (\S+)$", page, re.MULTILINE)
    return sum(map(float, found))


class WorkerPage:
    """``/metrics`` of one worker."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/metrics"
        self._lease_writes = 0.0

    def text(self) -> str:
        """The page as it is now."""
        with urllib.request.urlopen(self._url, timeout=_TIMEOUT_SECONDS) as reply:
            text: str = reply.read().decode()
            return text

    def data_path(self) -> str:
        """By which way its records came: the label of ``leasehold_data_path`` that is not 0."""
        found = re.findall(r'^leasehold_data_path\{path="([a-z]+)"\} (\S+)$', self.text(), re.MULTILINE)
        return "+".join(sorted(name for name, value in found if float(value))) or "plain"

    def check_lease_writes(self) -> None:
        """Raises RuntimeError where no lease write came through since this was asked last."""
        writes = value_of(self.text(), "leasehold_lease_renewals_total")
        if writes <= self._lease_writes:
            raise RuntimeError("A worker wrote no lease in its turn: it is not the whole consumer that was measured.")
        self._lease_writes = writes
