"""Metrics of what failed in delivery: what waits, what was given up, and when the sink was down."""

from __future__ import annotations

import threading
from typing import ClassVar, Final

from consumer import hooks
from consumer.operate.by_fact import ByFact
from consumer.operate.meters import Meters

__all__ = ["FailureMetrics"]

_WAIT_SECONDS: Final = (0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0)


class FailureMetrics:
    """One worker's, fed with its facts; they may come from any thread."""

    def __init__(self, meters: Meters) -> None:
        self._lock = threading.Lock()
        self._parked: dict[str, int] = {}  # of shards that have any
        self._held_keys = 0
        self._is_down = False
        self._filtered = meters.counter("records_filtered", "Records that the filter left out; they count as done.")
        self._unjudged = meters.counter(
            "records_unjudged",
            "Records that filter or lane_key could say nothing of: no JSON, or a function that raised.",
        )
        self._timeouts = meters.counter(
            "batch_timeouts",
            "Calls that took longer than batch_timeout_seconds: cancelled, or running on in a thread (overdue).",
            "outcome",
        )
        self._parkings = meters.counter("keys_parked", "Keys that began to wait for a failed record of theirs.")
        meters.gauge("parked_keys", "Keys that wait for a failed record of theirs.", self._parked_keys, together="sum")
        self._waits = meters.histogram("key_parked_duration", "How long keys waited that go on again.", _WAIT_SECONDS)
        self._given_up = meters.counter(
            "records_given_up",
            "Records that are not tried again: in the store of dead letters (dead_letter) or lost (dropped), and why.",
            "fate",
            "reason",
        )
        meters.gauge(
            "held_keys",
            "Keys with dead letters whose later records follow them (after_dead_letter=hold_key), as far as is known.",
            lambda: self._held_keys,
        )
        self._refused = meters.counter(
            "dead_letters_refused", "Dead letters that their store did not take; they are tried again."
        )
        self._outages = meters.counter("sink_outages", "Times that the sink was found down, and shards paused.")
        meters.gauge("sink_down", "1 while shards pause for a sink that is down, else 0.", lambda: self._is_down)
        self._outage_seconds = meters.histogram(
            "sink_outage_duration", "From finding the sink down to the first success.", _WAIT_SECONDS
        )

    def __call__(self, fact: hooks.Fact) -> None:
        handle = self._on.handler(fact)
        if handle is not None:
            handle(self, fact)

    def _parked_keys(self) -> float:
        with self._lock:
            return sum(self._parked.values())

    def _set_parked(self, shard_id: str, keys: int) -> None:
        with self._lock:
            if keys:
                self._parked[shard_id] = keys
            else:
                self._parked.pop(shard_id, None)

    _on: ClassVar[ByFact] = ByFact()

    @_on.of(hooks.RecordsFiltered)
    def _(self, fact: hooks.RecordsFiltered) -> None:
        self._filtered.inc(fact.count)

    @_on.of(hooks.RecordsUnjudged)
    def _(self, fact: hooks.RecordsUnjudged) -> None:
        self._unjudged.inc(fact.count)

    @_on.of(hooks.KeysHeld)
    def _(self, fact: hooks.KeysHeld) -> None:
        self._held_keys = fact.keys

    @_on.of(hooks.BatchTimedOut)
    def _(self, fact: hooks.BatchTimedOut) -> None:
        self._timeouts.labels("cancelled" if fact.cancelled else "overdue").inc()

    @_on.of(hooks.KeyParked)
    def _(self, fact: hooks.KeyParked) -> None:
        self._set_parked(fact.shard_id, fact.parked)
        self._parkings.inc()

    @_on.of(hooks.KeyResumed)
    def _(self, fact: hooks.KeyResumed) -> None:
        self._set_parked(fact.shard_id, fact.parked)
        self._waits.observe(fact.seconds)

    @_on.of(hooks.TenureEnded)
    def _(self, fact: hooks.TenureEnded) -> None:
        self._set_parked(fact.shard_id, 0)

    @_on.of(hooks.RecordsGivenUp)
    def _(self, fact: hooks.RecordsGivenUp) -> None:
        self._given_up.labels(fact.fate, fact.reason).inc(fact.count)

    @_on.of(hooks.DeadLettersRefused)
    def _(self, fact: hooks.DeadLettersRefused) -> None:
        self._refused.inc(fact.count)

    @_on.of(hooks.SinkDown)
    def _(self, fact: hooks.SinkDown) -> None:
        self._is_down = True
        self._outages.inc()

    @_on.of(hooks.SinkUp)
    def _(self, fact: hooks.SinkUp) -> None:
        self._is_down = False
        self._outage_seconds.observe(fact.seconds)
