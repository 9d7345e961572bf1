"""The tree of errors: each class speaks for itself."""

from __future__ import annotations

import pytest

import consumer.errors
from consumer.errors import LeaseholdError


@pytest.mark.parametrize("name", [each for each in consumer.errors.__all__ if each != "ConfigError"])
def test_the_default_message_is_the_whole_sentence_of_the_docstring(name: str) -> None:
    kind: type[LeaseholdError] = getattr(consumer.errors, name)
    message = str(kind())
    assert message == (kind.__doc__ or "").partition("\n")[0]
    assert message.endswith("."), "the first line is the message: a sentence that goes on in the second is cut"
