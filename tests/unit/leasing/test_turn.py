"""Whose turn it is to write a lease's row: in order, never two at once, never lost with who waited for it."""

from __future__ import annotations

import asyncio

import pytest

from consumer.leasing.turn import Turn
from consumer.testing.virtual_time import run_virtual


async def taken_by(turn: Turn, name: str, order: list[str]) -> None:
    await turn.take()
    order.append(name)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_it_goes_to_who_waited_longest_and_is_never_free_in_between() -> None:
    async def main() -> None:
        turn, order = Turn(), list[str]()
        assert turn.is_free
        await turn.take()
        waiting = [asyncio.ensure_future(taken_by(turn, name, order)) for name in "abc"]
        await settled()
        for given in range(3):
            turn.give_back()
            assert not turn.take_if_free(), "somebody waits who was here before"
            await settled()
            assert order == list("abc")[: given + 1]
        turn.give_back()
        assert turn.is_free
        await asyncio.gather(*waiting)

    run_virtual(main())


def test_it_is_taken_without_waiting_or_not_at_all() -> None:
    turn = Turn()
    assert turn.take_if_free()
    assert not turn.take_if_free()
    turn.give_back()
    assert turn.take_if_free()


@pytest.mark.parametrize("given_first", [False, True])
def test_who_stops_waiting_takes_nobody_elses_turn_along(given_first: bool) -> None:
    """Also in the very moment in which it was given to him."""

    async def main() -> None:
        turn, order = Turn(), list[str]()
        await turn.take()
        leaving, staying = (asyncio.ensure_future(taken_by(turn, name, order)) for name in ("leaving", "staying"))
        await settled()
        if given_first:
            turn.give_back()
        leaving.cancel()
        await settled()
        if not given_first:
            turn.give_back()
        await settled()
        assert (order, leaving.cancelled()) == (["staying"], True)
        turn.give_back()
        assert turn.is_free
        await staying

    run_virtual(main())
