"""Logging of the command: stderr, one line a record, UTC, as text or JSON."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

__all__ = ["JsonLines", "TextLines", "set_up"]

# Where these talk at their own level they drown ours, and at debug they print records and credentials' sources.
_LOUD: Final = ("aiobotocore", "botocore", "boto3", "urllib3", "aiohttp", "asyncio")


class TextLines(logging.Formatter):
    """``2026-11-20T08:00:00.123Z INFO leasehold.worker: message``; a traceback follows on the same line.

    Of ``process`` 2 of several it is ``leasehold.worker[2]``.
    """

    def __init__(self, process: int | None = None) -> None:
        super().__init__()
        self._process = "" if process is None else f"[{process}]"

    def format(self, record: logging.LogRecord) -> str:
        return f"{_instant(record)} {record.levelname} {record.name}{self._process}: {_one_line(_text(self, record))}"


class JsonLines(logging.Formatter):
    """One JSON object a record: time, level, logger, process (of several), message, traceback where there is one."""

    def __init__(self, process: int | None = None) -> None:
        super().__init__()
        self._process = {} if process is None else {"process": process}

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _instant(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            **self._process,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def set_up(level: str, form: str, *, process: int | None = None) -> None:
    """Send every record at ``level`` or above to stderr in ``form`` (text or json); libraries only from warning on.

    ``process`` is the number of this one among several, which stands in each line.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(process) if form == "json" else TextLines(process))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in _LOUD:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


def _instant(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    message = record.getMessage()
    return f"{message}\n{formatter.formatException(record.exc_info)}" if record.exc_info else message


def _one_line(text: str) -> str:
    return "\\n".join(text.splitlines())
