"""Who has come, by what stands in rows: what stood there before I looked says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from consumer.leasing.names import made_name, seems_ours
from consumer.leasing.newcomers import Newcomers
from lease_store.lease import Lease


def rows(said: Mapping[str, str | None]) -> list[Lease]:
    return [Lease(key=key, newcomer=name) for key, name in said.items()]


def test_what_stood_in_rows_at_my_first_look_is_old() -> None:
    newcomers = Newcomers(30.0)
    newcomers.see(rows({"a": "long-gone/1", "b": None}), (), 0.0)
    assert newcomers.waiting(0.0) == ()
    newcomers.see(rows({"a": "long-gone/1", "b": "w2/1"}), (), 1.0)
    newcomers.see(rows({"a": "w1/1", "b": "w2/1"}), (), 2.0)
    assert newcomers.waiting(2.0) == ("w1", "w2")


def test_a_newcomer_is_counted_until_it_owns_a_lease_or_its_time_is_over() -> None:
    newcomers = Newcomers(30.0)
    newcomers.see(rows({"a": None}), (), 0.0)
    newcomers.see(rows({"a": "w1/1"}), (), 1.0)
    assert newcomers.waiting(30.9) == ("w1",)
    assert newcomers.waiting(31.0) == ()
    newcomers.see(rows({"a": "w1/1"}), {"w1"}, 5.0)
    assert newcomers.waiting(5.0) == ()
    newcomers.see(rows({"a": "w1/1"}), (), 6.0)  # what it said is no news, though it may hold nothing again
    assert newcomers.waiting(6.0) == ()
    newcomers.see(rows({"a": "w1/2"}), (), 7.0)
    assert newcomers.waiting(7.0) == ("w1",)


def test_each_announcement_is_another() -> None:
    newcomers = Newcomers(30.0)
    assert [newcomers.announcement("a/b") for _ in range(2)] == ["a/b/1", "a/b/2"]


def test_a_name_of_ours_is_known_by_its_nonce_and_no_kcl_s_by_its_uuid() -> None:
    assert seems_ours(made_name("host-1", Random(1)))
    assert not seems_ours("ip-10-0-0-1.ec2.internal:6f9619ff-8b86-d011-b42d-00cf4fc964ff")
    assert not seems_ours("java1")
    assert not seems_ours("-0123456789")
