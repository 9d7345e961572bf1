from __future__ import annotations

from collections import Counter

import pytest

from consumer.demo.check import Goals
from consumer.demo.script import MINIMUM_SECONDS, CueKind, SourceKind, script

FAILOVER_SECONDS = 10.0


@pytest.mark.parametrize("source", ["dynamodb", "kinesis"])
@pytest.mark.parametrize("seconds", [MINIMUM_SECONDS, 45.0, 600.0])
def test_every_script_stages_what_the_verdict_asks_for(source: SourceKind, seconds: float):
    cues = script(seconds, source)
    counts = Counter(cue.kind for cue in cues)
    replacements = counts[CueKind.ROTATE] + counts[CueKind.ROTATE_ALL] + counts[CueKind.MERGE]
    assert replacements >= Goals().rotations
    assert counts[CueKind.SPLIT] >= Goals().splits
    assert counts[CueKind.KILL] == counts[CueKind.STOP] == 1
    assert [cue.at for cue in cues] == sorted(cue.at for cue in cues)
    assert cues[-1].at < seconds


@pytest.mark.parametrize("source", ["dynamodb", "kinesis"])
def test_the_shortest_run_has_room_for_the_takeover_before_the_stop_and_for_the_hand_off_after_it(source: SourceKind):
    at = {cue.kind: cue.at for cue in script(MINIMUM_SECONDS, source)}
    assert at[CueKind.STOP] - at[CueKind.KILL] >= FAILOVER_SECONDS + 1.0
    assert MINIMUM_SECONDS - at[CueKind.STOP] >= 5.0


def test_shards_change_while_some_have_no_owner():
    cues = script(45.0, "dynamodb")
    killed = next(cue.at for cue in cues if cue.kind is CueKind.KILL)
    between = [cue for cue in cues if killed < cue.at < killed + FAILOVER_SECONDS]
    assert {cue.kind for cue in between} >= {CueKind.ROTATE, CueKind.SPLIT}
