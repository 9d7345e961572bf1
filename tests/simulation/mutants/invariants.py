"""The sentences of both judges in a few words each: what a table of mutants has room for."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["SHORT_FORMS", "short_form"]

SHORT_FORMS: Final[tuple[tuple[str, str], ...]] = (
    (r" trust \S+ at once|trust its lease, too", "one trusting worker"),
    (r"without trust in its lease", "batches begin under trust"),
    (r"holds \d+ pages, \d+ bytes", "bounded queues"),
    (r"left without a word to", "every processor hears of its end"),
    (r"is gone, and .* name it|names .* which has left", "no row names who has left"),
    (r"records came again, although", "an orderly fleet repeats nothing"),
    (r"takes the leader's lock", "the lock is obeyed as stored"),
    (r"can't go together", "one write a lease in a request"),
    (r"renews \S+ \S+ s before it is due", "no renewal before it is due"),
    (r"renews \S+ \S+ s after it was due", "a renewal goes when it is due"),
    (r"says that it renewed", "a renewal is a write that stands"),
    (r"moved the counter from", "each write moves the counter by one"),
    (r"the checkpoint of \S+ went back", "checkpoints never go back"),
    (r"was accepted under", "no write under a tenure that is over"),
    (r"in an earlier tenure and accepted in a later one", "no write under a tenure that is over"),
    (r" s after it had moved", "takes only after the failover time"),
    (r"handed \S+ to", "no lease for who leaves"),
    (r"though nothing went wrong", "no tenure is lost in peace"),
    (r"gets record \d+ of \S+, but", "nothing is left out on the way"),
    (r"gets record \d+ of \S+, whose checkpoint|twice in one tenure", "nothing done with comes again"),
    (r"gets record \d+ of \S+, while", "one worker a record"),
    (r"stored SHARD_END of \S+ with", "no checkpoint beyond an unfinished record"),
    (r"stored \S+ for \S+, of which", "no checkpoint beyond an unfinished record"),
    (r"calls and \d+ events wait", "bounded queues"),
    (r"after \d+ s of ends", "every shard ends"),
    (r"lets go of \S+ at \d+, with", "a hand-off repeats nothing"),
    (r" plans \(.*, while \S+ leads", "only the leader plans"),
    (r" takes \S+, while \S+ leads", "takes only where nobody leads"),
    (r"renews \S+ .* after its hand-off began", "a hand-off is heard of"),
    (r"which is no lease, into a 2.x", "lease rows only beside 2.x"),
    (r"a row that no KCL can use", "rows as a KCL reads them"),
    (r"after its SHARD_END", "no write after SHARD_END"),
    (r"ended before the row of", "children's rows before SHARD_END"),
    (r"a tenure of \S+ without a row", "no tenure without a row"),
    (r"starts \S+ at \S+, stored is", "a tenure starts at the stored checkpoint"),
    (r"while its user code of an ended tenure still runs", "user code of one tenure at a time"),
    (r"was silent for", "short silence at a hand-off"),
    (r"after its owner's death", "takeover within the failover time and 2 s"),
    (r"more than \d+$", "max_leases"),
    (r"starts in \S+ before \S+ ended", "parents first"),
    (r"a short slice of", "short slices do not overlap"),
    (r"went on after shutdown_requested", "no further call after shutdown_requested"),
    (r"not at rest", "at rest in time"),
    (r"A hot loop|Still running", "no endless work"),
    (r"which was written as", "records come as written"),
    (r"got record \d+ again", "nothing done with comes again"),
    (r"got record \d+ before record", "nothing is left out on the way"),
    (r"runs twice at once", "one batch of a shard at a time"),
    (r"still reads \S+ ", "no read under a lost lease"),
    (r"delivers from \S+ before record", "parents first"),
    (r"delivers record \d+ of", "records of the row's own stream"),
    (r"from before the start", "nothing from before the start"),
    (r"first came after record", "order of each key"),
    (r"while its parent", "parents first"),
    (r"but record \d+ is not done", "no checkpoint beyond an unfinished record"),
    (r"stored SHARD_END for \S+, which is open", "no end of an open shard"),
    (r"deleted the row of", "no unfinished row is deleted"),
    (r"records never came|for 6 s, the first", "every record comes"),
    (r"did not leave a calm fleet cleanly", "a clean leave"),
    (r"still name an owner after everybody left", "no row names who has left"),
    (r"DescribeStream calls", "ten DescribeStream calls a second"),
    (r"tasks behind", "no task is left"),
    (r"process_records of .* out of turn|after it had returned|after lease_lost", "callbacks in order"),
)


def short_form(violation: str) -> str:
    """The short form of a judge's sentence; the sentence itself where none is known."""
    return next((short for pattern, short in SHORT_FORMS if re.search(pattern, violation)), violation)
