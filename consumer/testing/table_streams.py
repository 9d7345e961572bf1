"""The streams of DynamoDB tables: switched on, off and on again under a new ARN, fed with the changes of items."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from consumer.record import ViewType
from consumer.testing.item_images import Image, key_text, size_of, to_image
from consumer.testing.log_shard import LogRecord
from consumer.testing.service_error import ServiceError
from consumer.testing.stream_log import StreamLog
from consumer.testing.stream_rules import DYNAMODB, StreamOptions

__all__ = ["Table", "TableStream", "TableStreams"]

_TTL_IDENTITY = {"PrincipalId": "dynamodb.amazonaws.com", "Type": "Service"}


@dataclass(slots=True)
class TableStream:
    """One stream of a table: from being switched on until retention after being switched off."""

    log: StreamLog
    label: str
    view_type: ViewType
    is_enabled: bool = True


@dataclass(slots=True)
class Table:
    """A table as far as its streams need it.

    ``key_schema``: (name, type code) of the partition key, then of the sort key.
    """

    name: str
    arn: str
    key_schema: tuple[tuple[str, str], ...]
    created_at: float
    streams: list[TableStream] = field(default_factory=list)

    @property
    def latest(self) -> TableStream | None:
        """The stream that was switched on last."""
        return self.streams[-1] if self.streams else None


class TableStreams:
    """Every table and stream of the DynamoDB side of a shard log. Raises ServiceError as the service would."""

    def __init__(
        self,
        now: Callable[[], float],
        rng: random.Random,
        *,
        region: str,
        account_id: str,
        options: StreamOptions,
        prebuild: bool,
    ) -> None:
        self.tables: dict[str, Table] = {}
        self.region = region
        self.account_id = account_id
        self.options = options
        self._prebuild = prebuild
        self._now = now
        self._rng = rng

    def create_table(
        self,
        name: str,
        key_schema: Sequence[str] | Mapping[str, str] = ("pk",),
        *,
        view_type: ViewType | str | None = ViewType.NEW_AND_OLD_IMAGES,
        shard_count: int = 1,
        options: StreamOptions | None = None,
        stream_arn: str | None = None,
    ) -> Table:
        """A table whose items are only known from what is fed; its stream is on unless ``view_type`` is None.

        ``key_schema`` names the partition key and, after it, the sort key, as a mapping with their types (default S).
        ``stream_arn`` gives the stream an ARN that somebody else, such as a real table, made.
        """
        if name in self.tables:
            raise ServiceError("ResourceInUseException", f"Table already exists: {name}")
        types = dict(key_schema) if isinstance(key_schema, Mapping) else dict.fromkeys(key_schema, "S")
        arn = stream_arn.partition("/stream/")[0] if stream_arn else self._table_arn(name)
        table = Table(name, arn, tuple(types.items()), self._now())
        self.tables[name] = table
        if view_type is not None:
            self.enable(name, view_type, shard_count=shard_count, options=options, stream_arn=stream_arn)
        return table

    def enable(
        self,
        name: str,
        view_type: ViewType | str = ViewType.NEW_AND_OLD_IMAGES,
        *,
        shard_count: int = 1,
        options: StreamOptions | None = None,
        stream_arn: str | None = None,
    ) -> TableStream:
        """Switch the table's stream on: a new ARN, new shards, sequence numbers from the start again."""
        table = self.table(name)
        if table.latest is not None and table.latest.is_enabled:
            raise ServiceError("ValidationException", f"Table already has an enabled stream: TableName: {name}")
        label = stream_arn.partition("/stream/")[2] if stream_arn else self._new_label(table)
        arn = f"{table.arn}/stream/{label}"
        log = StreamLog(
            DYNAMODB,
            arn=arn,
            incarnation=arn,
            now=self._now,
            rng=self._rng,
            shard_count=shard_count,
            options=options or self.options,
            prebuild=self._prebuild,
        )
        stream = TableStream(log, label, ViewType(view_type))
        table.streams.append(stream)
        return stream

    def disable(self, name: str) -> None:
        """Switch the table's stream off: it takes nothing more and stays readable until retention."""
        stream = self.table(name).latest
        if stream is None or not stream.is_enabled:
            raise ServiceError("ValidationException", f"Table {name} has no enabled stream.")
        stream.is_enabled = False
        stream.log.disable()

    def drop_table(self, name: str) -> None:
        """Forget the table and all its streams."""
        self.table(name)
        del self.tables[name]

    def table(self, name: str) -> Table:
        """The table, without streams that were switched off before retention; raises ResourceNotFoundException."""
        table = self.tables.get(name)
        if table is None:
            raise ServiceError("ResourceNotFoundException", f"Requested resource not found: Table: {name} not found")
        table.streams = [stream for stream in table.streams if not stream.log.is_over()]
        return table

    def by_arn(self, arn: str) -> tuple[Table, TableStream]:
        """The stream of that ARN and its table; raises ResourceNotFoundException."""
        for name in list(self.tables):
            table = self.table(name)
            for stream in table.streams:
                if stream.log.arn == arn:
                    return table, stream
        raise ServiceError("ResourceNotFoundException", f"Requested resource not found: Stream: {arn} not found")

    def change(
        self,
        name: str,
        *,
        new_image: Mapping[str, Any] | None = None,
        old_image: Mapping[str, Any] | None = None,
        ttl: bool = False,
    ) -> tuple[LogRecord, str]:
        """Record a change: INSERT (new image), MODIFY (both) or REMOVE (old image); the record and its shard's id.

        ``ttl`` marks a REMOVE as made by the service because the item had expired.
        """
        table = self.table(name)
        new = None if new_image is None else to_image(new_image)
        old = None if old_image is None else to_image(old_image)
        if ttl and (new is not None or old is None):
            raise ValueError("A TTL delete has an old image and no new one.")
        keys = self._keys(table, new if new is not None else old)
        event = "MODIFY" if new is not None and old is not None else "REMOVE" if new is None else "INSERT"
        identity = _TTL_IDENTITY if ttl else None
        return self.append(name, event, keys, new_image=new, old_image=old, user_identity=identity)

    def append(
        self,
        name: str,
        event_name: str,
        keys: Image,
        *,
        new_image: Image | None = None,
        old_image: Image | None = None,
        user_identity: Mapping[str, Any] | None = None,
        event_id: str | None = None,
    ) -> tuple[LogRecord, str]:
        """Append a record in DynamoDB's JSON to the table's stream, with the images that its view type carries."""
        table = self.table(name)
        stream = table.latest
        if stream is None or not stream.is_enabled:
            raise ServiceError("ValidationException", f"Table {name} has no enabled stream.")
        body: dict[str, Any] = {"Keys": keys}
        if new_image is not None and stream.view_type in (ViewType.NEW_IMAGE, ViewType.NEW_AND_OLD_IMAGES):
            body["NewImage"] = new_image
        if old_image is not None and stream.view_type in (ViewType.OLD_IMAGE, ViewType.NEW_AND_OLD_IMAGES):
            body["OldImage"] = old_image
        size = sum(size_of(image) for image in body.values())
        tail = {"SizeBytes": size, "StreamViewType": stream.view_type.value}
        identifier = event_id or f"{self._rng.getrandbits(128):032x}"

        def compose(sequence: str, stamp: float) -> dict[str, Any]:
            at = datetime.fromtimestamp(stamp, UTC)
            entry: dict[str, Any] = {
                "eventID": identifier,
                "eventName": event_name,
                "eventVersion": "1.1",
                "eventSource": "aws:dynamodb",
                "awsRegion": self.region,
                "dynamodb": {"ApproximateCreationDateTime": at, **body, "SequenceNumber": sequence, **tail},
            }
            return entry if user_identity is None else {**entry, "userIdentity": user_identity}

        return stream.log.append(key_text(keys[table.key_schema[0][0]]), size, compose)

    def _keys(self, table: Table, image: Image | None) -> Image:
        if image is None:
            raise ValueError("A change needs a new image, an old image or both.")
        missing = [name for name, _ in table.key_schema if name not in image]
        if missing:
            raise ValueError(f"The item lacks {', '.join(missing)}, the key of table {table.name}.")
        return {name: image[name] for name, _ in table.key_schema}

    def _table_arn(self, name: str) -> str:
        return f"arn:aws:dynamodb:{self.region}:{self.account_id}:table/{name}"

    def _new_label(self, table: Table) -> str:
        taken = {stream.label for stream in table.streams}
        at = self._now()
        while (label := datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]) in taken:
            at += 0.001
        return label
