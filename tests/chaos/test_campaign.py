"""Eight rounds of chaos over real processes, half of them on each kind of stream; ``make chaos`` plays two hundred."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from consumer.testing.ministack import Ministack
from tests.chaos.campaign import Campaign
from tests.chaos.figures import figures
from tests.chaos.judge import findings
from tests.chaos.plan import SourceKind, StopKind
from tests.chaos.recording import kept

pytestmark = pytest.mark.integration

ROUNDS = 4
SEED = int(os.environ.get("LEASEHOLD_CHAOS_SEED", "1"))


@pytest.mark.timeout(240)
@pytest.mark.parametrize("source", ["dynamodb", "kinesis"])
async def test_chaos_loses_nothing_keeps_order_and_lets_no_zombie_write(
    source: SourceKind, ministack: Ministack, tmp_path: Path
) -> None:
    recording = await Campaign(source, SEED, ministack=ministack, folder=tmp_path).run(ROUNDS, print)
    found = findings(recording)
    kept(recording, tmp_path)
    print(json.dumps(figures(recording, found)))
    again = f"python -m tests.chaos --source {source} --seed {SEED} --rounds {ROUNDS}"
    assert found == [], f"the recording and the logs are in {tmp_path}; the same again: {again}"
    told = figures(recording, found)
    assert told["records"]["written"] > 1000
    assert sum(told["done"].get(kind, 0) for kind in StopKind) >= ROUNDS
    assert sum(told["calls_spoilt"].values()) > 0
    assert told["takeovers"]["count"] > 0
