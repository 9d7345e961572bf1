"""Control of a stream server over HTTP, for processes that share no memory with it: ``/_stream/...`` on the same port.

Requests and replies are JSON objects; a refusal is a 400 with ``{"error": "..."}``. ``stream`` is an ARN,
``dynamodb:TABLE``, ``kinesis:STREAM`` or a bare name.

- ``GET /_stream/state``: every stream with its shards, and feeds; ``GET /_stream/calls``: calls and faults so far.
- ``POST /_stream/rotate`` ``{"stream", "shard"?}``, ``/split`` ``{"stream", "shard"?, "at"?}``,
  ``/merge`` ``{"stream", "shards": [a, b]}``, ``/reshard`` ``{"stream", "count"}``: the reply names the ``children``.
- ``POST /_stream/tables`` ``{"name", "key_schema"?, "view_type"?, "shard_count"?, "stream_arn"?, "options"?}``,
  ``/disable`` and ``/enable`` ``{"table", "view_type"?}``, ``/streams`` ``{"name", "shard_count"?, "options"?}``.
- ``POST /_stream/items`` ``{"table", "new_image"?, "old_image"?, "ttl"?}``.
- ``POST /_stream/faults``: ``{"clear": true}`` disarms, then ``{"faults": [{"kind": ...}, ...]}`` arms, and
  ``{"staleness": {...}}`` sets how far listings lag.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from consumer.testing.faults import Fault, FaultPlan
from consumer.testing.service_error import ServiceError
from consumer.testing.shard_log import ShardLog
from consumer.testing.stream_rules import Staleness, StreamOptions
from consumer.testing.table_feed import TableFeed

__all__ = ["Control"]

Fields = dict[str, Any]


class Control:
    """Carries out control requests on a shard log and its faults."""

    def __init__(self, log: ShardLog, faults: FaultPlan, feeds: Callable[[], Sequence[TableFeed]]) -> None:
        self._log = log
        self._faults = faults
        self._feeds = feeds
        self._gets: dict[str, Callable[[], Fields]] = {"state": self._state, "calls": self._calls}
        self._posts: dict[str, Callable[[Fields], Fields]] = {
            "rotate": self._rotate,
            "split": self._split,
            "merge": self._merge,
            "reshard": self._reshard,
            "tables": self._tables,
            "streams": self._streams,
            "enable": self._enable,
            "disable": self._disable,
            "items": self._items,
            "faults": self._arm,
        }

    def answer(self, method: str, name: str, fields: Fields) -> tuple[int, Fields]:
        """The HTTP status and the reply for a request to ``/_stream/<name>``."""
        try:
            if method == "GET" and name in self._gets:
                return 200, self._gets[name]()
            if method == "POST" and name in self._posts:
                return 200, self._posts[name](fields)
        except ServiceError as error:
            return 400, {"error": str(error)}
        except KeyError as error:
            return 400, {"error": f"{name} needs the field {error.args[0]}."}
        except (TypeError, ValueError) as error:
            return 400, {"error": str(error)}
        known = [f"GET {each}" for each in self._gets] + [f"POST {each}" for each in self._posts]
        return 404, {"error": f"There is no {method} /_stream/{name}; there are {', '.join(known)}."}

    def _state(self) -> Fields:
        feeds = [
            {"table": feed.table, "records": feed.records, "errors": feed.errors, "last_error": feed.last_error}
            for feed in self._feeds()
        ]
        return {**self._log.state(), "feeds": feeds}

    def _calls(self) -> Fields:
        armed = [
            {name: value for name, value in asdict(fault).items() if value is not None} for fault in self._faults.armed
        ]
        return {
            "calls": dict(self._faults.calls),
            "fired": dict(self._faults.fired),
            "armed": armed,
            "staleness": asdict(self._faults.staleness),
        }

    def _rotate(self, fields: Fields) -> Fields:
        return {"children": list(self._log.stream(fields["stream"]).lineage.rotate(fields.get("shard")))}

    def _split(self, fields: Fields) -> Fields:
        at = fields.get("at")
        lineage = self._log.stream(fields["stream"]).lineage
        return {"children": list(lineage.split(fields.get("shard"), None if at is None else int(at)))}

    def _merge(self, fields: Fields) -> Fields:
        first, second = fields["shards"]
        return {"children": [self._log.stream(fields["stream"]).lineage.merge(first, second)]}

    def _reshard(self, fields: Fields) -> Fields:
        log = self._log.stream(fields["stream"])
        before = {shard.id for shard in log.open_shards()}
        log.lineage.reshard(int(fields["count"]))
        return {"children": [shard.id for shard in log.open_shards() if shard.id not in before]}

    def _tables(self, fields: Fields) -> Fields:
        settings = {name: value for name, value in fields.items() if name not in ("name", "key_schema", "options")}
        log = self._log.create_table(
            fields["name"], fields.get("key_schema", ["pk"]), options=self._options(fields), **settings
        )
        return {"stream_arn": log.arn}

    def _streams(self, fields: Fields) -> Fields:
        log = self._log.create_stream(fields["name"], int(fields.get("shard_count", 1)), options=self._options(fields))
        return {"stream_arn": log.arn}

    def _enable(self, fields: Fields) -> Fields:
        view_type = fields.get("view_type", "NEW_AND_OLD_IMAGES")
        return {"stream_arn": self._log.tables.enable(fields["table"], view_type).log.arn}

    def _disable(self, fields: Fields) -> Fields:
        self._log.tables.disable(fields["table"])
        return {}

    def _items(self, fields: Fields) -> Fields:
        images = {name: fields.get(name) for name in ("new_image", "old_image")}
        sequence = self._log.put_item(fields["table"], ttl=bool(fields.get("ttl", False)), **images)
        return {"sequence_number": sequence}

    def _arm(self, fields: Fields) -> Fields:
        faults = [Fault.from_mapping(each) for each in fields.get("faults", [])]
        staleness = Staleness(**fields["staleness"]) if "staleness" in fields else None
        if fields.get("clear"):
            self._faults.clear()
        self._faults.arm(*faults)
        if staleness is not None:
            self._faults.staleness = staleness
        return {"armed": len(self._faults.armed)}

    def _options(self, fields: Fields) -> StreamOptions | None:
        options = fields.get("options")
        return None if options is None else self._log.options.changed(options)
