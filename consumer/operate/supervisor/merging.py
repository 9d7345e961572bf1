"""The metrics of several processes as if they were one's: pure functions over what prometheus-client parses.

Counters and the buckets, counts and sums of histograms add up. Each gauge has a rule, told where it is made
(``operate/prometheus.py``); one without a rule is the maximum.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from consumer.operate.meters import Together
from consumer.operate.prometheus import PrometheusHook

__all__ = ["Tally", "merged", "parsed", "rules"]

# What prometheus-client itself tells of a process.
_OF_A_PROCESS: Final[Mapping[str, Together]] = {
    "process_max_fds": "min",
    "process_open_fds": "sum",
    "process_resident_memory_bytes": "sum",
    "process_start_time_seconds": "min",
    "process_virtual_memory_bytes": "sum",
}
_COUNTED: Final = ("counter", "histogram")


def rules() -> dict[str, Together]:
    """How each gauge is merged, by its name."""
    return {**_OF_A_PROCESS, **{each.name: each.together for each in PrometheusHook().described}}


def parsed(text: str) -> list[Metric]:
    """The families of an OpenMetrics page. Raises ValueError where it is none."""
    return list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]  # it is without types


def merged(pages: Iterable[Sequence[Metric]], together: Mapping[str, Together]) -> list[Metric]:
    """One family for each that is in any of ``pages``, one sample for each name and set of labels."""
    families: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, frozenset[tuple[str, str]]], float]] = {}
    for family in (family for page in pages for family in page):
        families.setdefault(family.name, family)
        found = values.setdefault(family.name, {})
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            rule = _rule(family, sample, together)
            found[key] = _together(rule, found[key], sample.value) if key in found else sample.value
    return [_family(families[name], found) for name, found in values.items()]


def _rule(family: Metric, sample: Sample, together: Mapping[str, Together]) -> Together:
    if sample.name.endswith("_created") and family.type in _COUNTED:
        return "min"
    return "sum" if family.type in _COUNTED else together.get(family.name, "max")


def _together(rule: Together, one: float, other: float) -> float:
    """NaN is what nobody knows: whoever knows more decides."""
    if math.isnan(one) or math.isnan(other):
        return other if math.isnan(one) else one
    match rule:
        case "sum":
            return one + other
        case "max":
            return max(one, other)
        case "min":
            return min(one, other)
        case "min_above_zero":
            return min((each for each in (one, other) if each > 0), default=0.0)


def _family(like: Metric, values: Mapping[tuple[str, frozenset[tuple[str, str]]], float]) -> Metric:
    family = Metric(like.name, like.documentation, like.type, like.unit)
    for (name, labels), value in values.items():
        family.add_sample(name, dict(sorted(labels)), value)
    return family


def _counted(page: Sequence[Metric]) -> list[Metric]:
    return [family for family in page if family.type in _COUNTED]


class Tally:
    """What processes told, place by place, so that no counter ever goes back.

    A process that is restarted counts from 0, one that does not answer tells nothing: were their counts simply left
    out, the sum would fall and Prometheus, which takes that for a reset, would count everything a second time. So what
    an ended process had counted stays, and so does what a silent one told last.
    """

    def __init__(self, together: Mapping[str, Together]) -> None:
        self._together = together
        self._past: list[Metric] = []
        self._last: dict[int, tuple[int, list[Metric]]] = {}

    def merged(self, told: Mapping[int, tuple[int, list[Metric]]], own: Sequence[Metric] = ()) -> list[Metric]:
        """The page of all.

        ``told``: for each process that answered just now, by its number, the count of its starts and its families;
        ``own`` are the supervisor's.
        """
        for number, (start, families) in told.items():
            known_start, known = self._last.get(number, (start, []))
            if known_start != start:
                self._past = merged([self._past, _counted(known)], self._together)
            self._last[number] = (start, families)
        silent = [_counted(known) for number, (_, known) in self._last.items() if number not in told]
        present = [families for _, families in told.values()]
        return merged([own, *present, *silent, self._past], self._together)
