"""Each write that a real KCL sent against ours for the same row: the condition, the row afterwards, what refuses both.

On a real server the recorded request itself is sent, so that what is believed of its parameters is tried, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from lease_store import Applied, InvalidRow, Refused, Write
from tests.contract.bench import Bench, Item, same
from tests.contract.counterparts import (
    LOOSER,
    NOT_OURS,
    REPEATED,
    STRICTER,
    TIDIER,
    condition,
    counterparts,
    kind_of,
    seed,
)
from tests.golden.recordings import Recorded, writes

WRITES = writes()
OURS = {name: recorded for name, recorded in WRITES.items() if kind_of(recorded) not in NOT_OURS}
# By kind, so that a server is set up once for each: every version of the KCL sends each of them.
BY_KIND = {
    kind: [each for each in OURS.values() if kind_of(each) == kind] for kind in sorted(map(kind_of, OURS.values()))
}


def sent_by_java(bench: Bench, recorded: Recorded, before: Item | None) -> Item | None:
    """The row after the recorded request, which the condition let through."""
    bench.reset(recorded.key, before, recorded.place)
    if not bench.send(recorded.operation, recorded.request, recorded.place):
        return recorded.after(before)
    return bench.get(recorded.key, recorded.place)


@pytest.mark.parametrize("recorded", WRITES.values(), ids=WRITES.keys())
def test_every_recorded_write_has_a_counterpart_or_a_reason_to_have_none(recorded: Recorded) -> None:
    if kind_of(recorded) in NOT_OURS:
        assert recorded not in OURS.values()
    else:
        assert list(counterparts(recorded))


@pytest.mark.parametrize("recorded", OURS.values(), ids=OURS.keys())
def test_our_condition_is_the_kcls_and_stricter_only_where_it_is_said(recorded: Recorded) -> None:
    for ours in counterparts(recorded):
        mine = condition(ours.write)
        assert {name: mine[name] for name in mine.keys() & recorded.expects.keys()} == {
            name: recorded.expects[name] for name in mine.keys() & recorded.expects.keys()
        }
        assert mine.keys() - recorded.expects.keys() == STRICTER.get(ours.write.verb, frozenset())
        assert recorded.expects.keys() - mine.keys() <= LOOSER.get(ours.write.verb, frozenset())


@pytest.mark.parametrize("kind", BY_KIND)
async def test_the_row_after_our_write_is_the_row_after_the_kcls(bench: Bench, kind: str) -> None:
    bench.make_legacy()
    for recorded in BY_KIND[kind]:
        for ours in counterparts(recorded):
            after = sent_by_java(bench, recorded, ours.before)
            assert same(after, recorded.after(ours.before)), f"{recorded.name} does not do what was believed of it"
            bench.reset(recorded.key, ours.before, recorded.place)
            assert isinstance(await bench.write(ours.write), Applied), recorded.name
            tidied = TIDIER.get(kind, frozenset())
            expected = None if after is None else {name: after[name] for name in after if name not in tidied}
            assert same(bench.get(recorded.key, recorded.place), expected), recorded.name


def violations(recorded: Recorded, before: Item | None) -> dict[str, Item | None]:
    """Rows that the recorded condition refuses, each by one attribute, and no row at all."""
    if recorded.key_attribute in recorded.expects:
        return {"the row is there": {**(before or {}), **(recorded.after(before) or {})}}
    spoilt: dict[str, Item | None] = {"there is no row": None}
    for name, value in recorded.expects.items():
        row: dict[str, Mapping[str, Any]] = dict(before or {})
        other = {"N": "4711"} if value is not None and "N" in value else {"S": "somebody-else"}
        spoilt[f"{name} is another"] = row | {name: other}
        if value is not None:
            spoilt[f"{name} is absent"] = {each: content for each, content in row.items() if each != name}
    return spoilt


async def refused(bench: Bench, write: Write) -> bool:
    try:
        return isinstance(await bench.write(write), Refused)
    except InvalidRow:
        return True  # refused, and the row in the way named as one that can't be read


# A KCL puts its metric row whatever stands there, and deletes a finished lease without a condition.
@pytest.mark.parametrize("kind", [kind for kind in BY_KIND if kind not in ("put_worker", "delete")])
async def test_what_the_kcls_condition_refuses_ours_refuses(bench: Bench, kind: str) -> None:
    bench.make_legacy()
    for recorded in BY_KIND[kind]:
        for ours in counterparts(recorded):
            for what, row in violations(recorded, ours.before).items():
                case = f"{recorded.name}: {what}"
                bench.reset(recorded.key, row, recorded.place)
                bench.send(recorded.operation, recorded.request, recorded.place)
                assert same(bench.get(recorded.key, recorded.place), row), f"{case}, and the KCL's own is not refused"
                assert await refused(bench, ours.write), case
                assert same(bench.get(recorded.key, recorded.place), row), case


def test_a_seed_shows_each_change() -> None:
    """A seed that had already what a write changes would let a verb that forgets it pass."""
    for name, recorded in OURS.items():
        before = seed(recorded)
        if before is None or recorded.row_before is not None:
            continue
        after = recorded.after(before) or {}
        for attribute in recorded.changes.keys() - REPEATED.get(kind_of(recorded), frozenset()):
            assert before.get(attribute) != after.get(attribute), f"{name}: {attribute}"
