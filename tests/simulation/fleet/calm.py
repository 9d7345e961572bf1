"""What a calm fleet shows of its policy: to its user code, in its status, in the store; in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from tests.simulation.fleet.judge import StreamJudge
from tests.simulation.fleet.process import Process

__all__ = ["oddities"]


def oddities(judge: StreamJudge, live: list[Process], open_shards: set[str], mended_at: float | None) -> Iterator[str]:
    """What is not as the policy has it; ``mended_at``: since when no letter should follow another (virtual time)."""
    policy, letters = judge.policy, judge.accounts.letters
    failing = {record.place[1]: record for record in judge.accounts.stuck()}
    free = open_shards - {shard for _, shard in judge.stuck.unfinished()}
    for process in live:
        for consumer in process.consumers:
            shard = consumer.shard_id
            status = consumer.status()
            told = judge.calls.empties_of(process.name, shard)
            if policy.setting("empty_batches") and shard in free and not told:
                yield f"{process.name} was told of no read of {shard} that found nothing"
            tenure = judge.tenure_of(process.name, shard)
            record = failing.get(shard)
            if record is None or tenure is None or not tenure.tries[record.serial]:
                continue
            if status.oldest_failing_batch_seconds is None:
                yield f"{process.name} says nothing of record {record.serial} of {shard}, which fails"
            is_parked = policy.is_roomy and (policy.parks_alone or policy.names(record.serial))
            if is_parked and shard not in open_shards and status.stage != "parked_at_end":
                yield f"{process.name} is at {status.stage} with {shard}, whose end waits for record {record.serial}"
    if mended_at is not None and letters.last_stored_at > mended_at:
        yield f"a letter was stored {letters.last_stored_at - mended_at:.1f} s after all of them were gone, and mended"
