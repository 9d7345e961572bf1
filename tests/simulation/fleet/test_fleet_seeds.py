"""Seeds of the fleet world that were once red; drawn ones are played by ``tests/simulation/test_seeds.py``.

Where draw or product have changed since, a seed is another world, and green without its mend, too: what holds each
mend for good is a unit test of it (``tests/unit/shards``, ``streams``, ``leasing``, ``delivery``).
"""

from __future__ import annotations

import pytest

from tests.simulation.seeds import play

ONCE_RED = {
    2: "rows of an older incarnation deleted, made anew and read again",
    3: "silent loss in a shard that had not begun",
    27: "a worker that starts at LATEST ended by an empty first listing",
    30: "silent loss in a shard that ended empty",
    43: "a child read before its parent, which a listing had left out",
    52: "silent loss beside a lineage with holes",
    78: "a batch begun without trust after it had waited for a thread",
    85: "silent loss behind a trimmed checkpoint",
    98: "a child read before its parent, in a merge",
    112: "a deadlock between two incarnations",
    133: "silent loss with a recreated Kinesis stream",
    1010: "a start that found its stream re-enabled and said nothing",
    2025: "a worker that had just left, taken for a KCL by the row that a peer had made for it",
    2048: "a record of a recreated Kinesis stream under a lease of the one before",
    2051: "silent loss in a shard that no listing had shown for a day",
    3042: "a read under a lease lost while its shard was opened",
    3110: "a worker that had left, taken for a KCL",
    3172: "a child read before a parent that a group at AT_TIMESTAMP had not found yet",
    5097: "generations of a deleted stream, each of which waited for children",
    5208: "a shard's end stored without the row of a child, in whose place an earlier stream's row stood",
    20097: "a shard of the stream before a re-enabled one, read after it",
    200094: "leaves read from LATEST on beside the ancestor that the group had begun with",
    200694: "silent loss in a child whose row was made a day after its birth",
    300101: "a leaf read from LATEST on before its parent, which had closed since the group began",
    311037: "silent loss in a parent that closed after the group's first row and before its others",
    400268: "what had closed before the group began, read after its children, beside a late leaf",
    400770: "silent loss in a Kinesis shard whose row was made a day after the group had begun",
    402183: "silent loss in a first shard of Kinesis, read from the horizon on, whose row was made a day late",
    402328: "a row of a recreated stream, taken for the lease that a frozen worker had ended (the judge)",
    700042: "records trimmed before the group's time, taken for lost",
}


@pytest.mark.parametrize("seed", ONCE_RED)
def test_a_seed_that_was_once_red_stays_green(seed: int) -> None:
    outcome = play("fleet", seed)
    if outcome.is_red:
        pytest.fail(f"{ONCE_RED[seed]}\n{outcome.told()}", pytrace=False)
