"""The KCL's own way from 2.x to 3.x and back, state by state, as a Python fleet follows it."""

from __future__ import annotations

from consumer.hooks import ModeChanged
from lease_store import verbs
from lease_store.coordination import ClientVersion
from lease_store.item import item_of
from lease_store.layout import LegacyRows
from lease_store.lease import Lease
from tests.unit.leasing.two_x_stage import Python, Shared, in_shared_table


def set_state(shared: Shared, state: str) -> None:
    row = ClientVersion(state=f"CLIENT_VERSION_{state}", modified_by="a-migration")
    shared.store.put_item(item_of(row, "coordinator"), "coordinator")


def modes(python: Python) -> list[str]:
    return [fact.mode for fact in python.facts if isinstance(fact, ModeChanged)]


def legacy(shared: Shared) -> LegacyRows:
    rows = shared.store.legacy_rows()
    assert rows is not None
    return rows


def reporters(shared: Shared) -> int:
    """Workers with a metric row where a KCL 3.0 to 3.4 keeps them; none may lie in the lease table."""
    assert not shared.store.rows().workers
    return len(legacy(shared).workers)


@in_shared_table
async def test_each_state_is_followed_in_both_directions_and_no_lease_is_left(shared: Shared) -> None:
    shared.store.add_legacy_tables()
    set_state(shared, "UPGRADE_FROM_2X")
    shared.make(6)
    pythons = [shared.python("py-1"), shared.python("py-2")]

    async def even() -> None:
        await shared.until(lambda: sorted(shared.loads().values()) == [3, 3], within=60.0)

    await even()
    assert reporters(shared) == 2, "without their metric rows the Java fleet could never leave 2.x"
    set_state(shared, "3X_WITH_ROLLBACK")
    await shared.until(lambda: all(modes(each) == ["2x", "leader"] for each in pythons), within=5.0)
    await shared.until(lambda: legacy(shared).lock is not None, within=30.0)
    await even()
    assert reporters(shared) == 2
    set_state(shared, "2X")
    await shared.until(lambda: all(modes(each)[-1] == "2x" for each in pythons), within=5.0)
    await shared.until(lambda: reporters(shared) == 0, within=5.0)
    await shared.until(lambda: legacy(shared).lock is None, within=5.0)
    await even()
    java = shared.java("java-1")
    await shared.until(lambda: sorted(shared.loads().values()) == [2, 2, 2], within=90.0)
    assert java.errors == 0


@in_shared_table
async def test_a_hand_off_that_the_roll_back_met_half_way_comes_to_an_end(shared: Shared) -> None:
    """Its receiver may be a KCL that works as a 2.x by now, and knows nothing of hand-offs any more."""
    shared.store.add_legacy_tables()
    set_state(shared, "3X_WITH_ROLLBACK")
    shared.make(2)
    python = shared.python("py-1", batch_seconds=8.0)
    await shared.until(lambda: len(python.held) == 2, within=60.0)
    lease = shared.row("shard-00")
    shared.store.apply(verbs.start_hand_off(lease, "java-1"))
    await shared.clock.sleep(2.0)
    set_state(shared, "2X")
    await shared.until(lambda: not shared.row("shard-00").is_pending, within=40.0)
    shared.java("java-1")
    await shared.until(lambda: shared.loads() == {"java-1": 1, "py-1": 1}, within=60.0)
    assert not any(lease.is_pending for lease in shared.store.rows().leases)


@in_shared_table
async def test_a_kcl_that_takes_a_lease_on_its_way_from_us_is_not_robbed_of_it(shared: Shared) -> None:
    """A 2.7.2 leaves us named in ``checkpointOwner``, as one who still processes: to accept it were to take it back."""
    shared.make(2)
    python = shared.python("py-1")
    await shared.until(lambda: len(python.held) == 2, within=5.0)
    shared.store.apply(verbs.start_hand_off(shared.row("shard-00"), "java-9"))
    java = shared.java("java-1", looks_first_at=1000.0)
    java.take("shard-00")
    assert shared.row("shard-00").checkpoint_owner == python.name
    await shared.until(lambda: python.held == ["shard-01"], within=4.0)
    await shared.stays(lambda: python.held == ["shard-01"], seconds=60.0)
    assert java.lost == []


@in_shared_table
async def test_what_a_dead_kcl_was_handing_to_us_at_the_roll_back_is_accepted_or_passed_on(shared: Shared) -> None:
    """It stays named as the one who processes, which nobody believes, and would refuse every write of ours."""
    shared.store.add_legacy_tables()
    set_state(shared, "2X")
    shared.make(3)
    shared.java("java-1", looks_first_at=1000.0)
    python = shared.python("py-1", batch_seconds=4.0)
    await shared.until(lambda: len(python.held) == 3, within=5.0)

    def hand_over(key: str) -> None:
        lease = Lease(key=key, owner=python.name, checkpoint_owner="java-dead", hash_range=("0", "1"), entity_type=None)
        shared.store.apply(verbs.create(lease))

    hand_over("shard-07")
    await shared.until(lambda: "shard-07" in python.held, within=13.0)
    left = shared.begin(python.loop.drain(25.0))
    hand_over("shard-08")
    await shared.until(left.done, within=15.0)
    assert shared.loads() == {"": 5}


@in_shared_table
async def test_a_hand_off_under_way_between_us_is_waited_for_when_a_2x_joins(shared: Shared) -> None:
    """Its owner is named in ``checkpointOwner`` and lives: to accept the lease before it let go, two would read it."""
    shared.make(2)
    first = shared.python("py-1", batch_seconds=4.0)
    await shared.until(lambda: len(first.held) == 2, within=5.0)
    second = shared.python("py-2")
    await shared.until(lambda: len(second.held) == 1, within=20.0)
    (key,) = first.held
    shared.store.apply(verbs.start_hand_off(shared.row(key), second.name))
    await shared.stays(lambda: not (key in first.held and key in second.held), seconds=20.0)
    assert key in second.held or shared.loads() == {"py-1": 1, "py-2": 1}
    assert "lost" not in first.ends()
