"""Decoding only the names that a filter asks for: the rest of an object is skipped over by msgspec, unread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from msgspec import UNSET, Raw, Struct, UnsetType, ValidationError, defstruct
from msgspec.json import Decoder

__all__ = ["Choice", "choice_of", "values_of"]


@dataclass(frozen=True, slots=True)
class Choice:
    """``decode`` gives an instance of ``struct`` that has the names asked for, each at its attribute, or ``UNSET``.

    Of JSON that is no object it gives the value as a whole; so it does of all JSON where ``struct`` is None. Numbers
    are int or Decimal. Raises ValueError for what is no JSON.
    """

    struct: type | None
    attribute_of: Mapping[str, str]
    decode: Callable[[bytes | Raw], Any]


def choice_of(names: Iterable[str]) -> Choice:
    """What decodes these names of an object."""
    decode_any = Decoder(float_hook=Decimal).decode
    struct, attribute_of = _struct(names, Any)
    decode_object = decode_any if struct is None else Decoder(struct, float_hook=Decimal).decode

    def decode(text: bytes | Raw) -> Any:
        try:
            try:
                return decode_object(text)
            except ValidationError:  # no object
                return decode_any(text)
        except RecursionError:
            raise ValueError("nested too deeply") from None

    return Choice(struct, attribute_of, decode)


def values_of(names: Iterable[str], value_of: Callable[[Raw], Any]) -> Callable[[Raw], dict[str, Any] | UnsetType]:
    """What reads these attributes of an item, each by ``value_of``; ``UNSET`` for an item that is null.

    Raises ValueError where the item is no object, and as ``value_of`` does.
    """
    wanted = tuple(sorted(set(names)))
    struct, attribute_of = _struct(wanted, Raw | UnsetType)
    if struct is None:
        decode_all = Decoder(dict[str, Raw] | None).decode

        def read_all(item: Raw) -> dict[str, Any] | UnsetType:
            found = decode_all(item)
            return UNSET if found is None else {name: value_of(found[name]) for name in wanted if name in found}

        return read_all
    decode = Decoder(struct | None).decode
    pairs = tuple(attribute_of.items())

    def read(item: Raw) -> dict[str, Any] | UnsetType:
        chosen = decode(item)
        if chosen is None:
            return UNSET
        return {
            name: value_of(value) for name, attribute in pairs if (value := getattr(chosen, attribute)) is not UNSET
        }

    return read


def _struct(names: Iterable[str], kind: Any) -> tuple[type[Struct] | None, dict[str, str]]:
    """A struct with these names; None where one of them is none that msgspec can match (quotes, control characters)."""
    attribute_of = {name: f"a{index}" for index, name in enumerate(sorted(set(names)))}
    try:
        struct = defstruct(
            "Chosen",
            [(attribute, kind, UNSET) for attribute in attribute_of.values()],
            rename={attribute: name for name, attribute in attribute_of.items()},
            gc=False,
        )
    except ValueError:
        return None, {}
    return struct, attribute_of
