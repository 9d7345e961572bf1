"""Rows by which the workers of a KCL 3.x agree: the leader's lock, and two states of migration; and their codec. Pure.

Names and types are those of KCL 3.5.1 and of the DynamoDB lock client 1.4.0. The same rows lie in the lease table, or
in the coordinator's table of an application that was first run on KCL 3.0 to 3.4; older ones carry no ``entityType``
and are known by their keys. The states are read and followed; no worker of ours advances one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from lease_store.attributes import KEY_ATTRIBUTES, AttributeValue, Fields, Place, set_number, set_text

__all__ = [
    "CLIENT_VERSION_KEY",
    "COORDINATION_KEYS",
    "LOCK_KEY",
    "TABLE_MIGRATION_KEY",
    "ClientVersion",
    "LeaderLock",
    "MigrationState",
    "StateChange",
    "TableMigration",
    "coordination_row",
    "coordination_to_item",
]

LOCK_KEY: Final = "Leader"
CLIENT_VERSION_KEY: Final = "Migration3.0"
TABLE_MIGRATION_KEY: Final = "TableMigration3.5"

COORDINATION_KEYS: Final[Mapping[str, str]] = {
    LOCK_KEY: "LEADER",
    CLIENT_VERSION_KEY: "CLIENT_VERSION_MIGRATION",
    TABLE_MIGRATION_KEY: "TABLE_MIGRATION",
}
"""The ``entityType`` of each well-known key: no lease and no worker can be called so."""

_VERSIONS: Final = frozenset(
    f"CLIENT_VERSION_{name}" for name in ("INIT", "UPGRADE_FROM_2X", "2X", "3X_WITH_ROLLBACK", "3X")
)
_MIGRATIONS: Final = frozenset(f"TABLE_MIGRATION_STATUS_{name}" for name in ("INIT", "DEPLOYED", "PENDING", "COMPLETE"))
# Java parses a duration as a long; fifteen digits of milliseconds are 31,000 years, and still a float's own.
_MOST_DURATION_DIGITS: Final = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderLock:
    """Row ``Leader``: who plans for all, until ``version`` has stood still for ``duration_seconds``.

    ``owner`` is a worker id. ``version`` (``recordVersionNumber``) is new with each heartbeat. Whoever wants the lock
    obeys the *stored* duration by its own clock. ``is_released``: given up, and free for anybody at once.
    """

    owner: str
    version: str
    duration_seconds: float
    is_released: bool = False
    entity_type: str | None = COORDINATION_KEYS[LOCK_KEY]
    extra: Mapping[str, AttributeValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChange:
    """A state that was, and who had set it when (epoch milliseconds)."""

    state: str
    modified_by: str | None = None
    modified_at_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationState:
    """A state as stored, who set it and when (epoch milliseconds), and the ones before it, newest first."""

    state: str
    modified_by: str | None = None
    modified_at_ms: int | None = None
    history: tuple[StateChange, ...] = ()
    entity_type: str | None = None
    extra: Mapping[str, AttributeValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientVersion(MigrationState):
    """Row ``Migration3.0``: whether the fleet works as 2.x or as 3.x; ``state`` is CLIENT_VERSION_3X and the like."""

    entity_type: str | None = COORDINATION_KEYS[CLIENT_VERSION_KEY]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableMigration(MigrationState):
    """Row ``TableMigration3.5``: how far three tables have become one; TABLE_MIGRATION_STATUS_INIT and the like."""

    entity_type: str | None = COORDINATION_KEYS[TABLE_MIGRATION_KEY]


def coordination_row(key: str, fields: Fields) -> LeaderLock | ClientVersion | TableMigration:
    """The row of a well-known key. Raises InvalidRow for any shape that the KCL does not write.

    A lock that is guessed at makes a second leader; a state that is guessed at, a fleet that works by two rules.
    """
    entity_type = fields.text("entityType")
    if entity_type not in (None, COORDINATION_KEYS[key]):
        raise fields.wrong("entityType", f"{entity_type!r} is not {COORDINATION_KEYS[key]}")
    if key == LOCK_KEY:
        return _lock(fields, entity_type)
    kind, attribute, known = _STATES[key]
    return kind(
        state=_state(fields, attribute, known),
        modified_by=fields.text("mb"),
        modified_at_ms=fields.integer("mts"),
        history=tuple(_change(key, each, attribute, known) for each in fields.elements("h")),
        entity_type=entity_type,
        extra=fields.unknown(),
    )


def coordination_to_item(
    row: LeaderLock | ClientVersion | TableMigration, place: Place = "leases"
) -> dict[str, AttributeValue]:
    """The whole row in wire form, keyed as in the table ``place``; all of a lock's values are text."""
    item: dict[str, AttributeValue] = dict(row.extra)
    set_text(item, "entityType", row.entity_type)
    if isinstance(row, LeaderLock):
        item[KEY_ATTRIBUTES[place]] = {"S": LOCK_KEY}
        item["ownerName"] = {"S": row.owner}
        item["leaseDuration"] = {"S": str(round(row.duration_seconds * 1000))}
        item["recordVersionNumber"] = {"S": row.version}
        if row.is_released:
            item["isReleased"] = {"S": "1"}
        return item
    key = CLIENT_VERSION_KEY if isinstance(row, ClientVersion) else TABLE_MIGRATION_KEY
    _, attribute, _ = _STATES[key]
    item[KEY_ATTRIBUTES[place]] = {"S": key}
    item |= _state_to_item(row, attribute)
    if row.history:
        item["h"] = {"L": [{"M": _state_to_item(change, attribute)} for change in row.history]}
    return item


_STATES: Final[Mapping[str, tuple[type[ClientVersion] | type[TableMigration], str, frozenset[str]]]] = {
    CLIENT_VERSION_KEY: (ClientVersion, "cv", _VERSIONS),
    TABLE_MIGRATION_KEY: (TableMigration, "tm", _MIGRATIONS),
}


def _lock(fields: Fields, entity_type: str | None) -> LeaderLock:
    duration = fields.required("leaseDuration")
    is_whole = duration.isascii() and duration.isdigit() and len(duration) <= _MOST_DURATION_DIGITS
    if not is_whole or str(int(duration)) != duration:
        raise fields.wrong("leaseDuration", f"{duration[:200]!r} is no number of milliseconds")
    released = fields.text("isReleased")
    if released not in (None, "1"):
        raise fields.wrong("isReleased", f"{released[:200]!r} is not '1', the only value that a lock client writes")
    return LeaderLock(
        owner=fields.required("ownerName"),
        version=fields.required("recordVersionNumber"),
        duration_seconds=int(duration) / 1000,
        is_released=released is not None,
        entity_type=entity_type,
        extra=fields.unknown(),
    )


def _state(fields: Fields, attribute: str, known: frozenset[str]) -> str:
    state = fields.required(attribute)
    if state not in known:
        raise fields.wrong(attribute, f"{state!r} is not one of {', '.join(sorted(known))}")
    return state


def _change(key: str, element: AttributeValue, attribute: str, known: frozenset[str]) -> StateChange:
    fields = Fields(key, "", element.get("M") or {})
    change = StateChange(
        state=_state(fields, attribute, known), modified_by=fields.text("mb"), modified_at_ms=fields.integer("mts")
    )
    if fields.rest:
        raise fields.wrong("h", f"an entry has {', '.join(sorted(fields.rest))}")
    return change


def _state_to_item(change: MigrationState | StateChange, attribute: str) -> dict[str, AttributeValue]:
    item: dict[str, AttributeValue] = {attribute: {"S": change.state}}
    set_text(item, "mb", change.modified_by)
    set_number(item, "mts", change.modified_at_ms)
    return item
