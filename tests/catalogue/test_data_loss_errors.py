"""Catalogue, data loss: what user code raises, and what the stream refuses, costs no record."""

from __future__ import annotations

from tests.catalogue.recorder import Batch
from tests.catalogue.stage import Stage, staged


@staged()
async def test_c01_a_record_whose_handler_always_raises_is_never_passed_by_a_checkpoint(stage: Stage) -> None:
    serials = stage.put("k", 20)
    bad = serials[6]
    group = stage.group()

    def work(batch: Batch) -> None:
        for serial in batch.serials:
            if serial == bad:
                raise ValueError
            batch.done(serial)

    await group.start(work=work, max_records=3)
    await stage.advance(hours=0.5)
    (lease,) = group.leases().values()
    assert int(lease.checkpoint.sequence_number) == stage.written(serials[5]).sequence
    assert group.times()[bad] > 20
    assert max(each.serial for each in group.given) == serials[8]
