"""Which records of a batch are delivered: patterns as Lambda has them, a short form of them, or a Python predicate."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

from consumer.errors import ConfigError
from consumer.failures import Failure
from consumer.filters.forms import Service, forms_of
from consumer.filters.matching import Judge, judge_of
from consumer.filters.mistakes import Mistakes
from consumer.filters.patterns import PatternReader
from consumer.filters.predicate import judged, name_of, refuse_unusable
from consumer.filters.shapes import patterns_in
from consumer.record import Record, ViewType

__all__ = ["Filter", "OnUndecodable", "Verdicts", "compile_filter"]

OnUndecodable = Literal["deliver", "dead_letter"]
_NONE: Final[Mapping[int, Failure]] = MappingProxyType({})
UNDECODABLE: Final = Failure(
    "Undecodable",
    "The record's data is no JSON (or an image is none), and the filter asks for a field of it.",
    "filter",
)


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What becomes of the records of one batch, by their positions in it, ascending.

    ``accepted``: to be delivered; a range where that is all of them. ``filtered``: done, to be counted.
    ``undecodable``: nothing can be said about them; with ``on_undecodable="deliver"`` they are in ``accepted``, too,
    with ``"dead_letter"`` in no other. ``failed``: the predicate failed, which is worth another try. Every position is
    in exactly one of them, but for that overlap.
    """

    accepted: Sequence[int]
    filtered: Sequence[int] = ()
    undecodable: Mapping[int, Failure] = field(default_factory=lambda: _NONE)
    failed: Mapping[int, Failure] = field(default_factory=lambda: _NONE)

    @property
    def all_accepted(self) -> bool:
        """Whether every record is to be delivered."""
        return type(self.accepted) is range


class Filter:
    """Judges records; made by ``compile_filter``. It keeps nothing of them and may be used from any thread.

    ``text`` describes it in one line: the patterns as JSON, or the predicate's name.
    """

    __slots__ = ("_delivers_undecodable", "_judge", "text")

    def __init__(self, judge: Judge, text: str, on_undecodable: OnUndecodable) -> None:
        self._judge = judge
        self._delivers_undecodable = on_undecodable == "deliver"
        self.text = text

    def split(self, records: Sequence[Record]) -> Verdicts:
        """What becomes of each of these records. Never raises for anything that a record holds."""
        answers = list(map(self._judge, records))
        accepted = answers.count(True)
        if accepted == len(answers):
            return Verdicts(range(accepted))
        filtered = [position for position, answer in enumerate(answers) if answer is False]
        if accepted + len(filtered) == len(answers):
            return Verdicts([position for position, answer in enumerate(answers) if answer], filtered)
        undecodable = {position: UNDECODABLE for position, answer in enumerate(answers) if answer is None}
        failed = {position: answer for position, answer in enumerate(answers) if isinstance(answer, Failure)}
        kept = (True, None) if self._delivers_undecodable else (True,)
        delivered = [position for position, answer in enumerate(answers) if answer in kept]
        everything = len(delivered) == len(answers)
        return Verdicts(range(len(answers)) if everything else delivered, filtered, undecodable, failed)

    def __repr__(self) -> str:
        return f"<Filter {self.text}>"


def compile_filter(
    told: object,
    *,
    service: Service,
    view_type: ViewType | None = None,
    stream_arn: str | None = None,
    on_undecodable: OnUndecodable = "deliver",
) -> Filter:
    """A filter for the records of one stream, from whatever its user has in hand.

    ``told``: a pattern, a list of patterns of which any must match, or Lambda's FilterCriteria, each as JSON text or as
    Python values; or a function that takes a record and returns True (deliver) or False. ``view_type``: which images
    the stream carries, None where that is not known; ``stream_arn``: what ``eventSourceARN`` is compared with.

    Raises ConfigError with every mistake and its place, for what can't match anything, too.
    """
    if on_undecodable not in ("deliver", "dead_letter"):
        raise ConfigError(f'on_undecodable: {on_undecodable!r} is unknown; it is "deliver" or "dead_letter".')
    if callable(told):
        return _of_predicate(told, on_undecodable)
    mistakes = Mistakes()
    patterns = patterns_in(told, mistakes)
    reader = PatternReader(forms_of(service, stream_arn), view_type, mistakes)
    conjunctions = [each for label, pattern in patterns for each in reader.read(label, pattern)]
    mistakes.raise_if_any()
    text = " or ".join(json.dumps(pattern, default=float, ensure_ascii=False) for _, pattern in patterns)
    return Filter(judge_of(conjunctions), text, on_undecodable)


def _of_predicate(predicate: Callable[[Any], object], on_undecodable: OnUndecodable) -> Filter:
    refuse_unusable(predicate)
    return Filter(lambda record: judged(predicate, record), name_of(predicate), on_undecodable)
