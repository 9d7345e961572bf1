"""``make simulate`` and what it tells of a red seed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter

import pytest

from tests.simulation import seeds
from tests.simulation.__main__ import main
from tests.simulation.campaign import Campaign, seeds_of
from tests.simulation.seeds import Outcome, play

COMMAND = [sys.executable, "-m", "tests.simulation"]


def test_half_are_leases_a_quarter_mixed_an_eighth_each_fleet_and_policies_and_they_take_turns() -> None:
    tasks = seeds_of(10_001, 5)
    assert Counter(world for world, _ in tasks) == {"leases": 5_001, "fleet": 1_250, "policies": 1_250, "mixed": 2_500}
    first = Counter(world for world, _ in tasks[:320])
    assert first == {"leases": 160, "fleet": 40, "policies": 40, "mixed": 80}
    assert min(tasks) == ("fleet", 5)
    assert len(set(tasks)) == 10_001
    assert seeds_of(3, 7, "fleet") == [("fleet", 7), ("fleet", 8), ("fleet", 9)]


def test_a_red_seed_is_told_with_its_trace_hash_its_last_steps_and_its_replay() -> None:
    steps = tuple(f"step {n}" for n in range(30))
    told = Outcome("leases", 7, ("two trust one lease",), "c0ffee", "", steps, 0.0, {}).told().splitlines()
    assert told[0] == "seed 7 of the world of leases: two trust one lease"
    assert told[1] == "trace hash c0ffee"
    assert told[2:32] == list(steps)
    assert told[32:] == ["replay: python -m tests.simulation --world leases --seed 7"]


def test_a_world_that_fails_itself_is_red(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(seed: int, steps: int) -> Outcome:
        raise ZeroDivisionError

    monkeypatch.setattr(seeds, "WORLDS", {"leases": fails})
    outcome = play("leases", 1)
    assert outcome.is_red
    assert "ZeroDivisionError" in outcome.told()


def test_the_table_counts_red_seeds_and_says_how_to_see_them_again() -> None:
    told: list[str] = []
    campaign = Campaign(seeds_of(3, 0), jobs=1, tell=told.append)
    campaign._add(Outcome("leases", 1, (), "a", "", (), 12.5, {"tenures": 4}, 0.25))
    campaign._add(Outcome("leases", 2, ("broken",), "b", "", (), 99.0, {"tenures": 3}, 0.75))
    _, leases, _, *red = campaign.table().splitlines()
    assert leases.split() == ["leases", "2", "1", "0.50", "0.75", "(2)", "12.5", "s", "(1)", "7", "tenures"]
    assert red == ["red: python -m tests.simulation --world leases --seed 2"]
    assert "broken" in told[0]


def test_the_command_plays_each_world_in_processes_and_tells_json() -> None:
    done = subprocess.run(
        [*COMMAND, "--seeds", "8", "--jobs", "2", "--json"], capture_output=True, text=True, check=True
    )
    figures = json.loads(done.stdout)
    assert figures["complete"]
    assert {world["world"]: (world["seeds"], world["red"]) for world in figures["worlds"]} == {
        "leases": (4, []),
        "fleet": (1, []),
        "policies": (1, []),
        "mixed": (2, []),
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--seeds", "0"], "'0' is no whole number from 1 on"),
        (["--jobs", "-1"], "'-1' is no whole number from 1 on"),
        (["--seed", "7"], "name one with --world"),
    ],
)
def test_a_campaign_of_nothing_is_refused(
    arguments: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tests.simulation", *arguments])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert told in capsys.readouterr().err


def test_an_interrupt_ends_it_with_what_was_done() -> None:
    with subprocess.Popen(
        [*COMMAND, "--seeds", "3000", "--jobs", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as command:
        assert command.stderr is not None
        command.stderr.readline()
        command.send_signal(signal.SIGINT)
        table, told = command.communicate(timeout=100)
    assert command.returncode == 130
    assert "of 3000 seeds" in table
    assert "Traceback" not in told
