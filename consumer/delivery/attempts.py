"""How often and for how long a failing unit of records is tried: values, and pure decisions over them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from types import MappingProxyType
from typing import Final

from consumer.failures import Failure
from consumer.retry import Backoff

__all__ = ["DEFAULT_ATTEMPTS", "Attempts", "Proof", "Retry", "RetryRules"]

DEFAULT_ATTEMPTS: Final = 5
_FIRST_SECONDS: Final = 0.5
_LEAST_PAUSE_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How failures of one kind are tried again; what is None is as the configuration has it.

    ``max_attempts``: tries in all, the first one included (AWS: MaximumRetryAttempts + 1). ``first_seconds`` and
    ``limit_seconds``: the ceilings of the first pause and of the longest; each pause lies anywhere below its ceiling.
    Raises ValueError for what is out of range.
    """

    max_attempts: int | None = None
    first_seconds: float = _FIRST_SECONDS
    limit_seconds: float | None = None

    def __post_init__(self) -> None:
        if self.max_attempts is not None and not 1 <= self.max_attempts <= 10_000:
            raise ValueError(f"max_attempts={self.max_attempts}: it lies between 1 and 10,000, or is None.")
        if not 0 < self.first_seconds <= 3600:
            raise ValueError(f"first_seconds={self.first_seconds}: it lies between 0 and 3,600 s.")
        if self.limit_seconds is not None and not self.first_seconds <= self.limit_seconds <= 86_400:
            raise ValueError(
                f"limit_seconds={self.limit_seconds}: it lies between first_seconds and 86,400 s, or is None."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRules:
    """What a worker knows of retries. ``gives_up``: there is a store for dead letters, or dropping is said by name."""

    gives_up: bool
    max_attempts: int | None
    limit_seconds: float
    max_age_seconds: float | None = None
    by_class: Mapping[type[BaseException], Retry] = field(default_factory=lambda: MappingProxyType({}))

    def rule_for(self, failure: Failure) -> Retry:
        """The rule of the nearest class in the order in which Python looks for methods; else the configuration's."""
        for kind in () if failure.raised is None else failure.raised.__mro__:
            if kind in self.by_class:
                return self.by_class[kind]
        return _PLAIN

    def most_attempts(self, rule: Retry) -> float:
        """Tries in all, infinite where nothing may be given up."""
        if not self.gives_up:
            return math.inf
        return rule.max_attempts or self.max_attempts or math.inf

    def is_too_old(self, timestamp: float | None, now_wall: float) -> bool:
        """Whether a record of ``timestamp`` (epoch seconds) is past its age; a record without one has none."""
        return (
            self.max_age_seconds is not None and timestamp is not None and now_wall - timestamp > self.max_age_seconds
        )


_PLAIN: Final = Retry()


class Proof(Enum):
    """What is known of whose fault a unit's failures are. How many of them count is another thing: ``Attempts.own``.

    A success that comes after a failure does not prove that the sink was up *at* it, but what fails once more after it
    has failed while the sink was up.
    """

    NONE = "nobody has succeeded since it failed first"
    OTHERS_SUCCEEDED = "others have succeeded since it failed first"
    OWN = "it failed in a call that did others, or once more, and it alone, after others had succeeded"


class Attempts:
    """The failures of one unit of records so far, and when it may be tried again (monotonic seconds)."""

    __slots__ = (
        "_backoff",
        "_proven_by",
        "_unsettled",
        "alone_since",
        "count",
        "due_at",
        "failure",
        "first_failed_at",
        "made",
        "own",
        "proof",
        "rule",
    )

    def __init__(self) -> None:
        self.count = 0
        """Failures but for those while the sink was known to be down: what a unit is tried as a whole by."""
        self.made = 0
        """Tries that failed, whoever's fault it was."""
        self.own = 0
        """Failures that are the unit's own, as far as it is one record: what it may be given up by."""
        self.proof = Proof.NONE
        self.first_failed_at: float | None = None
        self.alone_since: float | None = None
        """The first failure that may be the unit's own: an outage does not make it a record that fails by itself."""
        self.due_at = -math.inf
        self.failure = Failure("")
        self.rule = _PLAIN
        self._backoff: Backoff | None = None
        self._proven_by: Failure | None = None
        self._unsettled = 0

    def failed(self, failure: Failure, rules: RetryRules, random: Random, now: float) -> None:
        """One more failure, counted; the next try follows after a pause."""
        rule = rules.rule_for(failure)
        if self._backoff is None or rule is not self.rule:
            limit = rule.limit_seconds or max(rules.limit_seconds, rule.first_seconds)
            self._backoff = Backoff(random, min(rule.first_seconds, limit), limit)
            self.rule = rule
        self.count += 1
        self.alone_since = now if self.alone_since is None else self.alone_since
        self._note(failure, now, self._backoff.next_seconds())

    def busy(self, failure: Failure, seconds: float, now: float) -> None:
        """User code asks for a pause: nothing is counted. One of no time at all would keep a core busy."""
        self._note(failure, now, max(seconds, _LEAST_PAUSE_SECONDS))

    def is_used_up(self, rules: RetryRules) -> bool:
        """Whether the unit has had all its tries."""
        return self.count >= rules.most_attempts(self.rule)

    def inherit(self, other: Attempts) -> None:
        """This unit is a part of the other's: it was tried as often, and nothing is known yet of whose fault it was."""
        self.count, self.made = other.count, other.made
        self.first_failed_at, self.alone_since = other.first_failed_at, other.alone_since
        self.failure, self.rule = other.failure, other.rule

    def failed_beside_others(self) -> None:
        """The call that it failed in has done others: that failure was its own."""
        self.own += 1
        self._unsettled, self._proven_by = 0, self.failure
        self.proof = Proof.OWN

    def failed_in_doubt(self, *, alone: bool, presumed: bool) -> None:
        """A call in which nothing was done failed: is that counted as its own?

        ``alone``: nothing else has failed since somebody succeeded last. Then it is, where the record fails as it did
        when others succeeded, until something else fails before somebody succeeds: a sink that goes down fails in a way
        of its own. ``presumed``: every failure is the record's own. The first one counts whatever is known, as the
        first of as many as are allowed.
        """
        if alone and self._fails_as_before():
            self.proof = Proof.OWN
            self.own += 1
            self._unsettled += 1
        elif presumed or self.own == 0:
            self.own += 1

    def others_succeeded(self) -> None:
        """A call of others, begun after the last failure, has succeeded."""
        self._unsettled, self._proven_by = 0, self.failure
        if self.proof is Proof.NONE:
            self.proof = Proof.OTHERS_SUCCEEDED

    def others_failed(self) -> None:
        """So has a call of others since, and none has succeeded between: the sink may go up and down."""
        self.own -= self._unsettled
        self._unsettled = 0

    def step_aside(self) -> None:
        """The unit holds up nobody any more: its next pauses are short again."""
        self._backoff = None

    def start_anew(self) -> None:
        """What it has failed for lately was not its own fault; what was proven before that stays so."""
        self.others_failed()
        self.count, self.alone_since = 0, None
        if self.own <= 1:
            self.own, self.proof, self._proven_by = 0, Proof.NONE, None

    def _fails_as_before(self) -> bool:
        before, now = self._proven_by, self.failure
        return before is not None and (before.kind, before.where) == (now.kind, now.where)

    def _note(self, failure: Failure, now: float, pause_seconds: float) -> None:
        self.made += 1
        self.failure = failure
        self.first_failed_at = now if self.first_failed_at is None else self.first_failed_at
        self.due_at = now + pause_seconds
