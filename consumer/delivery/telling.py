"""What a reader at 3 a.m. is told of user code that failed: which, where, and what becomes of the records.

The log names the exception's type and where it was raised, never its message: ``KeyError: 'alice@example.com'`` is
payload. Messages of Leasehold's own errors carry none and are shown.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from consumer.errors import LeaseholdError
from consumer.failures import Failure
from consumer.hooks import BatchFailed, Fact

__all__ = ["failure_of", "tell_failed"]

_log = logging.getLogger("leasehold.delivery")
_OWN_FRAMES: Final = frozenset({"consumer.delivery.callbacks", "consumer.delivery.outcome"})


def failure_of(error: BaseException) -> Failure:
    """What user code raised, without the frames in which we called it."""
    return Failure.of(error, leave_out=_OWN_FRAMES)


def _described(error: BaseException | None, failure: Failure) -> str:
    """An error's class, and the message where it is one of ours."""
    kind = type(error)
    own = isinstance(error, LeaseholdError) and kind.__module__.partition(".")[0] in ("consumer", "lease_store")
    return f"{kind.__name__} ({error})" if own else failure.kind


def tell_failed(
    hooks: Callable[[Fact], None],
    shard_id: str,
    callback: str,
    *,
    about: str | None,
    error: BaseException | None,
    failure: Failure,
    attempt: int,
    pause_seconds: float,
    what_next: str,
    level: int = logging.WARNING,
) -> None:
    """Log one failed call, and make a fact of it."""
    _log.log(
        level,
        "Shard %s: %s%s raised %s (attempt %d); %s. Raised at: %s",
        shard_id,
        callback,
        "" if about is None else f" for {about}",
        _described(error, failure),
        attempt,
        what_next,
        failure.where or "no traceback",
    )
    kind = failure.kind if error is None else type(error).__name__
    hooks(BatchFailed(shard_id, callback, kind, attempt, pause_seconds))
