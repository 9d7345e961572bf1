"""What is done with records that fail, and what fails, in one seed of the world of policies."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any, Final

from consumer.delivery.attempts import Retry
from tests.simulation.fleet.policy import PoisonKind, PolicyDraw

__all__ = ["drawn_policy"]

_KINDS: Final[tuple[tuple[PoisonKind, ...], ...]] = (
    ("raise",),
    ("raise",),
    ("named", "fail", "returned"),
    ("wrong",),
    ("raise", "named", "fail", "busy"),
)


def drawn_policy(seed: int, *, writes_per_second: float, code_raises: float) -> PolicyDraw:
    """The policy of ``seed`` in the world of policies."""
    found = _first(random.Random(f"{seed}:policy"), writes_per_second, code_raises)
    return _with_more(found, random.Random(f"{seed}:more of the policy"), writes_per_second)


def _first(draw: random.Random, writes_per_second: float, code_raises: float) -> PolicyDraw:
    outcome = draw.choice(("store", "store", "store", "drop", "never", "never"))
    settings: dict[str, Any] = {
        "lanes": draw.choice((1, 1, 2, 5)),
        "batch_size": draw.choice((1, 7, 30, 1000)),
        "batch_bytes": draw.choice((None, None, 500)),
        "batch_window_seconds": draw.choice((0.0, 0.0, 0.0, 0.7, 2.0)),
        "bisect": draw.random() < 0.4,
        "breaker_batches": draw.choice((0, 3, 3)),
        "lone_failure_seconds": draw.choice((20.0, 40.0)),
        "max_parked_keys": draw.choice((0, 1, 100, 100)),
        "max_parked_bytes": draw.choice((3_000, 16 * 1024 * 1024, 16 * 1024 * 1024)),
        "max_ahead_records": draw.choice((20, 200, 10_000)),
        "max_ahead_seconds": draw.choice((2.0, 300.0, 300.0)),
        "batch_timeout_seconds": draw.choice((None, None, 3.0)),
    }
    attempts, age = draw.choice((None, 1, 2, 3)), draw.choice((None, None, None, 60.0, 3600.0))
    filter: Any = draw.choice((None, None, "predicate", "broken", "pattern"))
    coarse_lanes = draw.random() < 0.2
    if outcome == "store":
        settings |= {"dead_letters": "file:in memory", "max_attempts": attempts, "max_record_age_seconds": age}
        if filter == "broken" and draw.random() < 0.5:
            settings["on_undecodable"] = "dead_letter"
        if not coarse_lanes and draw.random() < 0.5:  # a held key is the item's
            settings["after_dead_letter"] = "hold_key"
    elif outcome == "drop":
        settings |= {"on_give_up": "drop", "max_attempts": attempts or 5, "max_record_age_seconds": age}
    # A poison record costs its key some seconds, or, where nothing else is tried, as long as a lone failure waits: more
    # of them than one in half a minute, or in that time, would never be worked off.
    apart = max(draw.choice((30.0, 60.0)), settings["lone_failure_seconds"] + 10.0)
    every = max(12, round(writes_per_second * apart))
    return PolicyDraw(
        settings=settings,
        store=outcome == "store",
        filter=filter,
        coarse_lanes=coarse_lanes,
        poison_every=every if draw.random() < 0.8 else None,
        kinds=draw.choice(_KINDS),
        heals_after=draw.choice((2.0, 10.0)) if outcome == "never" else draw.choice((None, None, 1.0)),
        sink_down=(draw.uniform(2.0, 30.0), draw.choice((3.0, 8.0, 15.0))) if draw.random() < 0.4 else None,
        refused=draw.choice((0.0, 0.0, 0.3)),
        lost_reply=draw.choice((0.0, 0.2)),
        raises=draw.choice((0.0, 0.0, code_raises)),
    )


def _with_more(found: PolicyDraw, draw: random.Random, writes_per_second: float) -> PolicyDraw:
    """What the rest of the pipeline does, each by a draw of its own."""
    settings = dict(found.settings)
    more: dict[str, Any] = {}
    if draw.random() < 0.3:
        settings["empty_batches"] = True
    if draw.random() < 0.3:
        raised, down = Retry(max_attempts=draw.choice((1, 4)), limit_seconds=2.0), Retry(first_seconds=0.1)
        more["retries"] = {ValueError: raised, OSError: down}
    pace = max(10.0, 4.0 * writes_per_second)
    settings["max_records_per_second"] = draw.choice((None, None, pace))
    settings["max_bytes_per_second"] = draw.choice((None, None, 200.0 * pace))
    if draw.random() < 0.25:
        more["hangs"] = True
        settings |= {"batch_timeout_seconds": 3.0, "on_timeout": draw.choice(("wait", "restart", "restart"))}
    if draw.random() < 0.2:
        more["retention"] = draw.choice((60.0, 100.0))
        more["heals_after"] = None
        settings["lone_failure_seconds"] = 10.0
        if found.gives_up:
            settings["max_attempts"] = 1_000
    elif not found.gives_up and found.poison_every is not None and draw.random() < 0.7:
        more["stays_from"] = draw.choice((0, 0, 1))
        settings |= {"max_ahead_seconds": draw.choice((2.0, 86_400.0)), "max_ahead_records": 10_000}
    if found.store and draw.random() < 0.5:
        more |= {"operator": draw.choice(("redrive", "redrive", "drop")), "even_if_newer": draw.random() < 0.5}
    if found.setting("on_give_up") == "drop" and found.filter == "broken" and draw.random() < 0.5:
        settings |= {"dead_letters": "file:in memory", "on_undecodable": "dead_letter"}
        more["store"] = True
    return replace(found, settings=settings, **more)
