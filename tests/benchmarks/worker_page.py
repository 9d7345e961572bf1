"""A worker's own page of metrics: what it says of itself must show that it did all of its work in its turn."""

from __future__ import annotations

import re
import urllib.request
from typing import Final

__all__ = ["WorkerPage", "value_of"]

_TIMEOUT_SECONDS: Final = 10.0


def value_of(page: str, metric: str) -> float:
    """The sum over the metric's labels, or with the labels given; 0 where it is not there."""
    found = re.findall(rf"^{re.escape(metric)}(?:\{{[^}}]*\}})? (\S+)$", page, re.MULTILINE)
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

    def check(self, data_path: str) -> None:
        """Raises RuntimeError where it reads in another way, or no lease write came through since it was asked last.

        A worker that does not keep its leases, or takes another way than it should, is not what is measured.
        """
        page = self.text()
        if value_of(page, f'leasehold_data_path{{path="{data_path}"}}') != 1:
            raise RuntimeError(f"A worker does not read by the data path {data_path}; its log says why.")
        writes = value_of(page, "leasehold_lease_renewals_total")
        if writes <= self._lease_writes:
            raise RuntimeError("A worker wrote no lease in its turn: it is not the whole consumer that was measured.")
        self._lease_writes = writes
