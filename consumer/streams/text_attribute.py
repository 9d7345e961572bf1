"""One attribute of an item, read out of images that stay undecoded otherwise: a tenth of what decoding them costs."""

from __future__ import annotations

from typing import Any, Final

from msgspec import MsgspecError, Raw, Struct, defstruct
from msgspec.json import Decoder

from consumer.streams.images import NO_IMAGE

__all__ = ["TextAttribute"]


class _Text(Struct, gc=False, forbid_unknown_fields=True):
    S: str


class TextAttribute:
    """The attribute ``name`` where it is text (``S``). Raises ValueError for a name that JSON would have to escape."""

    def __init__(self, name: str) -> None:
        item: Any = defstruct("_Item", [("text", _Text | None, None)], rename={"text": name}, gc=False)
        self.name: Final = name
        self._decode = Decoder(item | None).decode

    def of(self, image: Raw) -> str | None:
        """What an image has under the name; None where that is no text, or the image none."""
        if image is NO_IMAGE:
            return None
        try:
            item = self._decode(image)
        except (MsgspecError, ValueError, RecursionError):
            return None
        return None if item is None or item.text is None else str(item.text.S)
