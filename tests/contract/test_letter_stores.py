"""One suite for all stores of dead letters, the one in memory first: what goes in comes out, once, in key order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumer.dead_letters import s3, taken
from consumer.dead_letters.letter import DeadLetter, Identity, digest_of
from consumer.dead_letters.store import ALL, DeadLetterStore, Selection, Unreadable
from consumer.errors import DeadLetterError
from tests.contract.letter_stores import KINDS, REAL, LetterBench, make_bench
from tests.dead_letters import DYNAMODB_ARN, KINESIS_ARN, change, dynamodb_records, kinesis_records, letter_of, put


@pytest.fixture(params=[pytest.param(kind, marks=pytest.mark.integration if kind in REAL else ()) for kind in KINDS])
def bench(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LetterBench:
    monkeypatch.setattr(taken, "WAIT_SECONDS", 0)  # ministack is one server
    monkeypatch.setattr(s3, "PAGE", 7)
    endpoint = request.getfixturevalue("ministack").endpoint_url if request.param in REAL else ""
    return make_bench(request.param, tmp_path, endpoint)


async def listed(store: DeadLetterStore, selection: Selection = ALL) -> list[DeadLetter]:
    found = [each async for each in store.letters(selection)]
    assert not [each for each in found if isinstance(each, Unreadable)]
    return [each for each in found if isinstance(each, DeadLetter)]


async def emptied(store: DeadLetterStore) -> list[DeadLetter]:
    """Everything, each letter removed before the next one is asked for, as a redrive does."""
    found = []
    async for each in store.letters():
        assert isinstance(each, DeadLetter), each
        found.append(each)
        await store.remove(each.identity)
    return found


def in_key_order(letters: Iterable[DeadLetter]) -> list[DeadLetter]:
    return sorted(letters, key=lambda letter: (letter.stream, letter.identity.place))


async def stored(bench: LetterBench, letters: list[DeadLetter]) -> None:
    store = bench.store()
    async with store.open():
        await store.put(letters)


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(records=st.lists(dynamodb_records() | kinesis_records(), min_size=1, max_size=12))
async def test_what_goes_in_comes_out(bench: LetterBench, records: list[object]) -> None:
    letters = {letter.identity: letter for letter in map(letter_of, records)}
    store = bench.store()
    async with store.open():
        assert not (await store.check()).problems
        await store.put(list(letters.values()))
    store = bench.store()
    async with store.open():
        found = {letter.identity: letter for letter in await emptied(store)}
        assert found == letters
        for letter in letters.values():
            assert found[letter.identity].record().raw == letter.record().raw
        assert await listed(store) == []


LETTERS = [
    change(10, "b"),
    change(9, "a"),
    change(2**70, "a", shard="shardId-0"),
    change(11, "a"),
    put(7, "a", stream="s"),
    put(8, "p"),
]


async def test_a_key_s_letters_come_in_the_order_of_the_stream_whatever_the_shard(bench: LetterBench) -> None:
    await stored(bench, LETTERS)
    store = bench.store()
    async with store.open():
        found = await listed(store)
    assert found == in_key_order(LETTERS)
    of_a = [int(each.sequence_number) for each in found if each.key == LETTERS[1].key and each.stream == DYNAMODB_ARN]
    assert of_a == [9, 11, 2**70]


async def test_a_letter_is_selected_by_stream_shard_and_key(bench: LetterBench) -> None:
    await stored(bench, LETTERS)
    for selection, count in (
        (Selection(stream=DYNAMODB_ARN), 4),
        (Selection(stream=KINESIS_ARN), 0),
        (Selection(shard_id="shardId-0"), 1),
        (Selection(key=LETTERS[1].key), 3),
        (Selection(stream=DYNAMODB_ARN, key=LETTERS[1].key, shard_id="shardId-1"), 2),
    ):
        store = bench.store()
        async with store.open():
            found = await listed(store, selection)
            assert len(found) == count
            assert found == in_key_order(found)


async def test_a_second_write_makes_no_second_letter_where_the_store_can_tell(bench: LetterBench) -> None:
    for _ in range(3):
        await stored(bench, LETTERS)
    store = bench.store()
    async with store.open():
        # Messages of one letter that a queue has twice are one letter to whoever lists them, and go together.
        assert await listed(store) == in_key_order(LETTERS)
        await store.remove(LETTERS[0].identity)
    store = bench.store()
    async with store.open():
        assert await listed(store) == in_key_order(LETTERS[1:])


async def test_what_was_removed_is_gone_and_may_come_again(bench: LetterBench) -> None:
    await stored(bench, LETTERS)
    store = bench.store()
    async with store.open():
        await store.remove(LETTERS[1].identity)
        await store.remove(Identity("s", "shard", "1", 0, "d"))
        assert await store.find(LETTERS[1].identity) is None
        assert await store.find(LETTERS[2].identity) == LETTERS[2]
    store = bench.store()
    async with store.open():
        assert LETTERS[1] not in await listed(store)
    if bench.kind != "sqs-fifo":  # for five minutes, such a queue takes it for a repeat
        await stored(bench, [LETTERS[1]])
        store = bench.store()
        async with store.open():
            assert await listed(store) == in_key_order(LETTERS)


@pytest.mark.parametrize("size", [300_000, 700_000, 1_200_000])
async def test_a_large_body_comes_back_whole(bench: LetterBench, size: int) -> None:
    letters = [change(1, bytes_of_body=size), put(2, bytes_of_body=size)]
    await stored(bench, letters)
    store = bench.store()
    async with store.open():
        found = await listed(store)
        assert [(await store.whole(each)).record().raw for each in found] == [
            each.record().raw for each in in_key_order(letters)
        ]
        whole = await store.find(letters[0].identity)
        assert whole is not None
        assert whole.record().raw == letters[0].record().raw
        for each in found:
            await store.remove(each.identity)
    store = bench.store()
    async with store.open():
        assert await listed(store) == []


async def test_keys_that_have_letters_are_told_where_the_store_can(bench: LetterBench) -> None:
    await stored(bench, LETTERS)
    store = bench.store()
    async with store.open():
        if not store.tells_keys:
            with pytest.raises(DeadLetterError, match="another store"):
                await store.held_keys(DYNAMODB_ARN)
            return
        a, b = digest_of(LETTERS[1].key), digest_of(LETTERS[0].key)
        assert await store.held_keys(DYNAMODB_ARN) == {a, b}
        assert await store.held_keys("nobody's") == frozenset()
        assert await store.holds(DYNAMODB_ARN, a)
        await store.remove(LETTERS[0].identity)
        assert not await store.holds(DYNAMODB_ARN, b)
        assert await store.held_keys(DYNAMODB_ARN) == {a}
        assert not await store.holds("s", b)


async def test_a_note_is_replaced_by_who_has_seen_it_and_by_nobody_else(bench: LetterBench) -> None:
    await stored(bench, LETTERS)
    store = bench.store()
    async with store.open():
        assert await store.note("", "ada") == "ada"
        if store.name.startswith("sqs:"):
            return  # it keeps what one has taken from others, and no note
        assert await store.note("", "bob") == "ada"
        assert await store.note("nobody", "bob") == "ada"
        assert await store.note("ada", "bob") == "bob"
        assert await store.note("ada", "") == "bob"
        assert await store.note("bob", "") == ""
        assert await store.note("ada", "eve") == ""
        both = await asyncio.gather(store.note("", "one"), store.note("", "two"))
        assert both[0] == both[1]
        assert both[0] in ("one", "two")
        assert len([each async for each in store.letters()]) == len(LETTERS), "it is none of the letters"


async def test_keys_are_found_among_many_letters_of_few_and_few_of_many(bench: LetterBench) -> None:
    store = bench.store()
    if not store.tells_keys:
        return
    letters = [change(number, f"key-{number // count}-{count}") for count in (1, 12) for number in range(60)]
    await stored(bench, letters)
    async with store.open():
        assert await store.held_keys(DYNAMODB_ARN) == {letter.identity.digest for letter in letters}
        assert len({letter.identity.digest for letter in letters}) == 65


async def test_many_letters_are_listed_page_by_page(bench: LetterBench) -> None:
    letters = [change(number, f"key-{number % 7}", bytes_of_body=30_000) for number in range(60)]
    await stored(bench, letters)
    store = bench.store()
    async with store.open():
        found = [each async for each in store.letters()]
    if bench.kind == "sqs-fifo":
        # Behind ten letters of one group the queue gives out none of it: that is said, and not passed over.
        *found, last = found
        assert isinstance(last, Unreadable)
        assert "50 letters wait" in last.why
        assert len(found) == 10
    else:
        assert found == in_key_order(letters)
    store = bench.store()
    async with store.open():
        gone = await emptied(store)
        assert {letter.identity for letter in gone} == {letter.identity for letter in letters}
        for key in {letter.key for letter in letters}:
            numbers = [int(letter.sequence_number) for letter in gone if letter.key == key]
            assert numbers == sorted(numbers)
        assert await listed(store) == []
