"""The leader of a KCL 2.x fleet, as a Java virtual machine draws it."""

from __future__ import annotations

import random

import pytest

from consumer.leasing.shuffle import shuffle_leader, shuffled

# Printed by Java 17: Collections.shuffle(names, new Random(1947)) over w00, w01, ...
ORDERS = {
    1: "w00",
    2: "w00 w01",
    3: "w02 w00 w01",
    5: "w04 w00 w02 w01 w03",
    7: "w02 w04 w03 w05 w00 w06 w01",
    8: "w02 w03 w00 w06 w04 w07 w01 w05",
    20: "w14 w00 w11 w10 w04 w09 w08 w17 w15 w16 w12 w13 w06 w01 w19 w07 w02 w05 w18 w03",
    33: "w21 w02 w14 w16 w01 w20 w09 w30 w05 w31 w12 w18 w08 w23 w28 w13 w25 w17 w03 w04 w24 w22 w00 w07 w26 w27 w15 "
    "w06 w29 w32 w11 w10 w19",
}

# The same over 0, 1, ...: the first, and the whole order as a polynomial in 31 modulo 1,000,000,007.
LONG_ORDERS = {
    63: (60, 970110794),
    64: (46, 403379838),
    65: (8, 244316148),
    1000: (748, 232745317),
    5000: (4662, 975911109),
}


@pytest.mark.parametrize("size", ORDERS)
def test_the_order_is_the_one_that_java_draws(size: int) -> None:
    names = [f"w{number:02d}" for number in range(size)]
    random.Random(size).shuffle(names)  # the order of a scan says nothing
    assert shuffled(names) == ORDERS[size].split()


@pytest.mark.parametrize("size", LONG_ORDERS)
def test_long_orders_agree_to_the_last_name(size: int) -> None:
    order = [int(name) for name in shuffled(f"{number:04d}" for number in range(size))]
    digest = 0
    for number in order:
        digest = (digest * 31 + number) % 1_000_000_007
    assert (order[0], digest) == LONG_ORDERS[size]


def test_names_count_once_and_sort_as_java_sorts_them() -> None:
    """Java 17 sorts an emoji (two UTF-16 units) before a full-width tilde, Python after it."""
    names = ["A", "z", "\U0001f600", "\uff5e"]  # in Java's order
    order = ORDERS[5].split()
    assert order[0] == "w04"
    by_rank = dict(zip(["w00", "w01", "w02", "w03", "w04"], [*names, "\uffee"], strict=True))
    assert shuffled([*names, "\uffee", *names]) == [by_rank[name] for name in order]


def test_without_an_owner_nobody_leads() -> None:
    assert shuffle_leader([]) is None
    assert shuffle_leader(["b", "a", "b"]) == "a"
