"""What waiting shards know of the table: the same as by going through all rows, looked up once for many."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.leasing.lease_loop import TableState
from consumer.shards.table_look import TableLook, TableLooks
from consumer.streams import incarnations, shard_graph
from consumer.testing.virtual_time import VirtualClock
from lease_store.checkpoint import SHARD_END, TRIM_HORIZON, Checkpoint
from lease_store.errors import LeaseStoreError
from lease_store.lease import Lease
from tests.unit.shards.shard_fakes import virtual

LABELS = tuple(f"arn:aws:dynamodb:x:0:table/t/stream/{year}-01-01T00:00:00.000" for year in (2024, 2025, 2026))
ROWS = st.lists(
    st.builds(
        Lease,
        key=st.sampled_from([f"s{number}" for number in range(8)]),
        checkpoint=st.sampled_from([TRIM_HORIZON, Checkpoint("5"), SHARD_END]),
        stream=st.sampled_from([*LABELS, None]),
        parents=st.lists(st.sampled_from([f"s{number}" for number in range(8)]), max_size=2, unique=True).map(tuple),
    ),
    unique_by=lambda lease: lease.key,
)


@given(ROWS, st.sampled_from([*LABELS, None]))
def test_a_look_tells_what_the_rows_tell(rows, label):
    look = TableLook(TableState(tuple(rows), 1, is_describer=True, draining=False))
    assert look.is_older_drained(label) == incarnations.old_stream_drained(rows, label)
    assert look.older_labels(label) == incarnations.older_labels(rows, label)
    for lease in rows:
        if not (lease.is_finished or lease.checkpoint.is_number) and look.is_older_drained(lease.stream):
            assert not look.has_all_parents_done(lease) or shard_graph.may_start(lease, rows, None)


class Table:
    """A lease loop that is asked what it knows, and its seam."""

    def __init__(self):
        self.asked = []
        self.fails = False

    async def state(self):
        self.asked.append(asyncio.get_running_loop().time())
        await asyncio.sleep(1.0)
        if self.fails:
            raise LeaseStoreError
        return TableState((), len(self.asked), is_describer=True, draining=False)

    async def call(self, work):
        return await work


def test_many_who_ask_at_once_share_a_look_and_none_gets_one_that_began_before_it_asked():
    async def main():
        table = Table()
        looks = TableLooks(table, table, VirtualClock())
        first = [asyncio.ensure_future(looks.take()) for _ in range(50)]
        await asyncio.sleep(0.5)
        later = [asyncio.ensure_future(looks.take()) for _ in range(50)]
        assert {(await look).state.live_workers for look in first} == {1}
        assert {(await look).state.live_workers for look in later} == {2}
        assert table.asked == [0.0, 1.0]
        assert looks._last is None, "ten thousand rows are not kept for nobody"

    virtual(main)


def test_a_look_that_failed_is_nobodys_answer():
    async def main():
        table = Table()
        looks = TableLooks(table, table, VirtualClock())
        table.fails = True
        failed = asyncio.ensure_future(looks.take())
        waits = asyncio.ensure_future(looks.take())
        with pytest.raises(LeaseStoreError):
            await failed
        table.fails = False
        assert (await waits).state.live_workers == 2

    virtual(main)
