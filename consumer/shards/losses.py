"""What is said of records that a shard's reader did not get and never will: to whoever reads logs, and as a fact."""

from __future__ import annotations

import logging

from consumer.hooks import GapFound
from consumer.shards.scope import Scope

__all__ = ["tell_end_of_gap", "tell_gone", "tell_silent_gap", "tell_trimmed"]

_log = logging.getLogger("leasehold.shards")


def tell_trimmed(scope: Scope, place: str, *, stopped: bool) -> None:
    """The service refuses ``place``: what came after it is gone. ``stopped``: the shard is left unread for that."""
    scope.shared.hooks(GapFound(scope.shard_id, place, "TRIM_HORIZON", stopped))
    _log.error(
        "Shard %s: the records after %s were trimmed from the stream before they were read, they are lost to this "
        "group. %s",
        scope.shard_id,
        place,
        "on_trimmed is stop: the shard is left unread and its lease is kept. To go on at the oldest record there is, "
        "restart with --on-trimmed skip."
        if stopped
        else "Reading goes on at the oldest record there is (--on-trimmed skip).",
    )


def tell_end_of_gap(scope: Scope, place: str, first: str) -> None:
    """The ``first`` record that was there after the one that was told as trimmed behind ``place``."""
    _log.warning("Shard %s: after the gap from %s, reading goes on at %s.", scope.shard_id, place, first)


def tell_silent_gap(scope: Scope, place: str, first: str | None) -> None:
    """The service may have gone on at its oldest record, ``first``, without a word; None where there was no record."""
    _log.error(
        "Shard %s: reading goes on at %s; the records between %s and it, if there were any, were trimmed from the "
        "stream before they were read, they are lost to this group.",
        scope.shard_id,
        first or "its end",
        place,
    )
    scope.shared.hooks(GapFound(scope.shard_id, place, first or "SHARD_END", stopped=False))


def tell_gone(scope: Scope, place: str, *, stopped: bool) -> None:
    """The service does not know the shard any more, and what came after ``place`` was not read."""
    scope.shared.hooks(GapFound(scope.shard_id, place, "SHARD_END", stopped))
    _log.error(
        "Shard %s is gone from the stream, and its end had not been read: records after %s, if there were any, are "
        "lost to this group. %s",
        scope.shard_id,
        place,
        "on_trimmed is stop: its lease is kept; to go on with its children, restart with --on-trimmed skip."
        if stopped
        else "The shard counts as ended, its children go on.",
    )
