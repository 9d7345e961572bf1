"""Drawn values, and patterns cut out along them: names that a value has or might have, leaves that may hold."""

from __future__ import annotations

from random import Random
from typing import Any

__all__ = ["attributes", "json_value", "pattern_for"]

NAMES = ("a", "b", "c")
TEXTS = ("", "x", "X", "xy", "yx", "1", "2.0", "true")
NUMBERS = (0, 1, 2, 1.0, 1.5, -1, 10**30)
NUMBER_TEXTS = ("0", "1", "1.0", "-1", "2.0", "15E-1")
TYPES: dict[str, Any] = {"S": "x", "N": "1", "BOOL": True, "SS": "x", "NS": "1"}


def plain(chance: Random) -> Any:
    return chance.choice([*TEXTS, *NUMBERS, True, False, None])


def json_value(chance: Random, depth: int = 4) -> Any:
    """Any JSON, arrays and objects more often than not."""
    kind = chance.randrange(6) if depth else 0
    if kind < 2:
        return plain(chance)
    count = chance.randrange(4)
    if kind < 4:
        return [json_value(chance, depth - 1) for _ in range(count)]
    return {name: json_value(chance, depth - 1) for name in chance.sample(NAMES, min(count, 3))}


def attributes(chance: Random, depth: int = 3) -> dict[str, Any]:
    """An item in DynamoDB JSON."""
    return {name: _attribute(chance, depth) for name in chance.sample(NAMES, chance.randrange(1, 4))}


def _attribute(chance: Random, depth: int) -> dict[str, Any]:
    kind = chance.choice(["S", "N", "BOOL", "SS", "NS", *(["L", "L", "M"] if depth else [])])
    if kind == "L":
        return {"L": [_attribute(chance, depth - 1) for _ in range(chance.randrange(4))]}
    if kind == "M":
        return {"M": attributes(chance, depth - 1)}
    if kind in ("SS", "NS"):
        return {kind: chance.sample(TEXTS if kind == "SS" else NUMBER_TEXTS, chance.randrange(1, 3))}
    return {kind: chance.choice({"S": TEXTS, "N": NUMBER_TEXTS, "BOOL": (True, False)}[kind])}


def pattern_for(chance: Random, value: Any, depth: int = 5) -> dict[str, Any]:
    """A pattern that has a fair chance to match the value."""
    drawn = _below(chance, value, depth)
    return drawn if isinstance(drawn, dict) else {"a": drawn}


def _below(chance: Random, value: Any, depth: int) -> Any:
    while isinstance(value, list) and value:
        value = chance.choice(value)
    if not depth or not isinstance(value, dict):
        return _leaf(chance, value)
    typed = bool(value.keys() & {*TYPES, "L", "M"})
    known = list(value) or ["a"]
    names = chance.choices(known if typed else [*known, *known, "a", "b"], k=chance.randrange(1, 4))
    if typed and chance.randrange(6) == 0:
        names.append(chance.choice(list(TYPES)))
    pattern = {name: _below(chance, value.get(name, TYPES.get(name, {"S": "x"})), depth - 1) for name in names}
    if len(pattern) > 1 and chance.randrange(6) == 0:
        first, *rest = pattern
        return {"$or": [{first: pattern[first]}, {name: pattern[name] for name in rest}]}
    return pattern


def _leaf(chance: Random, value: Any) -> list[Any]:
    return [_alternative(chance, value) for _ in range(chance.randrange(1, 3))]


def _alternative(chance: Random, value: Any) -> Any:
    kind = chance.randrange(10)
    if kind < 4 and not isinstance(value, dict | list):
        return value
    if kind < 6:
        return plain(chance)
    text = chance.choice([value, value[:1], value[-1:], value.swapcase()] if isinstance(value, str) else TEXTS)
    number = chance.choice(NUMBERS)
    caseless = {"equals-ignore-case": text}
    return chance.choice(
        [
            {"exists": chance.random() < 0.5},
            {"exists": False},
            {"prefix": text},
            {"suffix": text},
            caseless,
            {"prefix": caseless},
            {"suffix": caseless},
            {"anything-but": [plain(chance), plain(chance)]},
            {"anything-but": {"prefix": text or "x"}},
            {"numeric": [chance.choice([">", ">=", "=", "<", "<="]), number]},
            {"numeric": [">", number, "<=", number + 1]},
        ]
    )
