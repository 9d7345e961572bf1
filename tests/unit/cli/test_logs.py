"""One line a record, in UTC, whatever the message holds."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from consumer.cli.logs import JsonLines, TextLines, set_up


def _record(message: str, *args: object, error: bool = False) -> logging.LogRecord:
    info = None
    if error:
        try:
            raise ValueError("two\nlines")
        except ValueError:
            info = sys.exc_info()
    record = logging.LogRecord("leasehold.worker", logging.WARNING, "", 1, message, args, info)
    record.created = 1795161600.25
    return record


def test_a_text_line_has_time_level_and_logger():
    assert (
        TextLines().format(_record("shard %s", "s-1")) == "2026-11-20T08:00:00.250Z WARNING leasehold.worker: shard s-1"
    )


def test_newlines_and_tracebacks_stay_on_the_line():
    line = TextLines().format(_record("first\nsecond", error=True))
    assert "\n" not in line
    assert "first\\nsecond\\nTraceback" in line
    assert line.endswith("ValueError: two\\nlines")


def test_a_json_line_is_one_object():
    text = JsonLines().format(_record("first\nsecond", error=True))
    assert "\n" not in text
    line = json.loads(text)
    assert line.pop("traceback").endswith("ValueError: two\nlines")
    assert line == {
        "time": "2026-11-20T08:00:00.250Z",
        "level": "warning",
        "logger": "leasehold.worker",
        "message": "first\nsecond",
    }


def test_each_line_of_one_of_several_processes_says_which_it_is():
    assert TextLines(12).format(_record("taken")) == "2026-11-20T08:00:00.250Z WARNING leasehold.worker[12]: taken"
    assert json.loads(JsonLines(12).format(_record("taken")))["process"] == 12


def test_libraries_stay_quiet_at_every_level(capsys: pytest.CaptureFixture[str]):
    set_up("debug", "text")
    logging.getLogger("botocore.endpoint").debug("the body of a request")
    logging.getLogger("leasehold.worker").debug("ours")
    shown = capsys.readouterr()
    assert shown.err.endswith("DEBUG leasehold.worker: ours\n")
    assert "body" not in shown.err
    assert shown.out == ""
