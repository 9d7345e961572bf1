"""Metrics of one registry, each made with what the documentation's table says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

__all__ = ["Meters", "MetricDoc", "Together"]

Together = Literal["sum", "max", "min", "min_above_zero"]
"""What a gauge of several processes is (``--processes``), made of each one's; counters and histograms add up."""


@dataclass(frozen=True, slots=True)
class MetricDoc:
    """One metric as it is scraped: ``kind`` is counter, gauge or histogram; ``together``, what several are as one."""

    name: str
    kind: str
    labels: tuple[str, ...]
    doc: str
    together: Together = "sum"


class Meters:
    """Makes Leasehold's metrics in ``registry``, in base units; a name that it has already is a ValueError."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.described: list[MetricDoc] = []
        """Every metric made, in that order."""

    def counter(self, name: str, doc: str, *labels: str) -> Counter:
        """``leasehold_<name>_total``."""
        self.described.append(MetricDoc(f"leasehold_{name}_total", "counter", labels, doc))
        return Counter(f"leasehold_{name}", doc, labels, registry=self.registry)

    def histogram(self, name: str, doc: str, buckets: tuple[float, ...]) -> Histogram:
        """``leasehold_<name>_seconds``."""
        self.described.append(MetricDoc(f"leasehold_{name}_seconds", "histogram", (), doc))
        return Histogram(f"leasehold_{name}_seconds", doc, registry=self.registry, buckets=buckets)

    def gauge(self, name: str, doc: str, read: Callable[[], float], *, together: Together = "max") -> None:
        """``leasehold_<name>``, whose value is asked for at each scrape."""
        self.described.append(MetricDoc(f"leasehold_{name}", "gauge", (), doc, together))
        Gauge(f"leasehold_{name}", doc, registry=self.registry).set_function(read)

    def gauge_by(self, name: str, doc: str, label: str, *, together: Together) -> Gauge:
        """``leasehold_<name>`` with a value for each ``label``; who makes it says what they are."""
        self.described.append(MetricDoc(f"leasehold_{name}", "gauge", (label,), doc, together))
        return Gauge(f"leasehold_{name}", doc, (label,), registry=self.registry)
