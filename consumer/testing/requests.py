"""What both fronts need of a request: fields with their types and limits, refused as the services refuse them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from consumer.testing.service_error import ServiceError
from consumer.testing.wire_json import to_timestamp

__all__ = ["Request"]


class Request:
    """The JSON body of one call; ``invalid`` is the code with which this service refuses a bad field."""

    def __init__(self, fields: Mapping[str, Any], invalid: str) -> None:
        self.fields = fields
        self.invalid = invalid

    def text(self, name: str) -> str:
        """A required string."""
        value = self.optional_text(name)
        if value is None:
            raise self.refusal(
                f"1 validation error detected: Value null at '{name}' failed to satisfy constraint: not null"
            )
        return value

    def optional_text(self, name: str) -> str | None:
        """A string, or None where it is absent."""
        value = self.fields.get(name)
        if value is not None and not isinstance(value, str):
            raise ServiceError("SerializationException", f"{name} must be a string.")
        return value

    def count(self, name: str, default: int, most: int) -> int:
        """A number from 1 to ``most``, ``default`` where it is absent."""
        value = self.fields.get(name)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool):
            raise ServiceError("SerializationException", f"{name} must be a whole number.")
        if not 1 <= value <= most:
            message = f"1 validation error detected: Value '{value}' at '{name}' must lie between 1 and {most}"
            raise self.refusal(message)
        return value

    def timestamp(self, name: str) -> float | None:
        """Epoch seconds, or None where the field is absent."""
        try:
            return to_timestamp(self.fields.get(name))
        except ValueError as error:
            raise ServiceError("SerializationException", f"{name}: {error}") from error

    def blob(self, name: str) -> bytes:
        """Bytes that came as base64 text."""
        try:
            return base64.b64decode(self.text(name), validate=True)
        except binascii.Error as error:
            raise ServiceError("SerializationException", f"{name} is not base64 text.") from error

    def part(self, name: str) -> Request | None:
        """A structure inside the request, or None where it is absent."""
        value = self.fields.get(name)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise ServiceError("SerializationException", f"{name} must be a structure.")
        return Request(value, self.invalid)

    def refusal(self, message: str) -> ServiceError:
        """The error for a field that this service does not accept."""
        return ServiceError(self.invalid, message)
