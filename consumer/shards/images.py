"""Whether a stream carries the images that a processor requires."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from consumer.errors import ViewTypeMismatch
from consumer.record import ViewType
from consumer.streams.source import StreamIdentity

__all__ = ["check_images"]

_IMAGES: Final = {
    ViewType.KEYS_ONLY: frozenset[str](),
    ViewType.NEW_IMAGE: frozenset({"new_image"}),
    ViewType.OLD_IMAGE: frozenset({"old_image"}),
    ViewType.NEW_AND_OLD_IMAGES: frozenset({"new_image", "old_image"}),
}


def check_images(required: Iterable[str], stream: StreamIdentity) -> None:
    """Raise ViewTypeMismatch where ``stream`` lacks an image; Kinesis streams and unknown view types pass."""
    if stream.view_type is not None and (missing := frozenset(required) - _IMAGES[stream.view_type]):
        raise ViewTypeMismatch(
            f"The processor requires {', '.join(sorted(missing))}, but stream {stream.arn} has view type "
            f"{stream.view_type}. A stream's view type is fixed: disable the table's stream and enable it again with "
            "NEW_AND_OLD_IMAGES, or drop the requirement."
        )
