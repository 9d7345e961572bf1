"""One wish to stop, however many signals tell it; a second wish ends the process."""

from __future__ import annotations

import signal

import pytest

from consumer.cli.stops import ECHO_SECONDS, Stops
from consumer.operate.supervisor.lifeline import Asked

TERM, INT = signal.SIGTERM, signal.SIGINT
LATER = ECHO_SECONDS + 1.0


@pytest.mark.parametrize(
    ("requests", "done"),
    [
        pytest.param([(TERM, 0.0)], ["drain"], id="a signal drains"),
        pytest.param([(TERM, 0.0), (TERM, 0.1)], ["drain", None], id="timeout(1) signals the process and its group"),
        pytest.param([(TERM, 0.0), (TERM, LATER)], ["drain", "leave"], id="the same signal later"),
        pytest.param([(TERM, 0.0), (INT, 0.1)], ["drain", "leave"], id="another signal is no echo"),
        pytest.param(
            [(TERM, 0.0), (TERM, 0.1), (TERM, LATER)], ["drain", None, "leave"], id="after the echo comes the second"
        ),
        pytest.param([("drain", 0.0)], ["drain"], id="the supervisor asks"),
        pytest.param(
            [("drain", 0.0), ("drain", 1.0)], ["drain", None], id="the supervisor asks, and then it is gone itself"
        ),
        pytest.param(
            [("drain", 0.0), (TERM, LATER)], ["drain", None], id="the supervisor asks, systemd signals the rest later"
        ),
        pytest.param([(INT, 0.0), ("drain", 0.1)], ["drain", None], id="Ctrl-C reaches the group, the supervisor asks"),
        pytest.param(
            [(INT, 0.0), ("drain", 0.1), (INT, LATER), ("leave", LATER)],
            ["drain", None, "leave", "leave"],
            id="Ctrl-C twice",
        ),
        pytest.param(
            [("drain", 0.0), (INT, 1.0), (INT, 1.0 + LATER)],
            ["drain", None, "leave"],
            id="asked, then two signals of somebody's own",
        ),
        pytest.param([("leave", 0.0)], ["leave"], id="the supervisor has no time"),
    ],
)
def test_what_is_asked_is_done_once(requests: list[tuple[int | Asked, float]], done: list[Asked | None]):
    stops = Stops()
    assert [stops.heard(request, at) for request, at in requests] == done
