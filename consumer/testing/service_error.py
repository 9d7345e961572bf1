"""How emulated services say no: a code, a message and a status, raised in the core, shaped by the fronts."""

from __future__ import annotations

__all__ = ["ServiceError"]

# What AWS answers with 500; everything else a client did wrong, or too often, is a 400.
_SERVER_SIDE = frozenset({"InternalServerError", "InternalFailureException", "ServiceUnavailable"})


class ServiceError(Exception):
    """One refusal: ``code`` as AWS spells it, ``status`` 400 unless the code is one of the service's own failures."""

    def __init__(self, code: str, message: str, status: int | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status if status is not None else 500 if code in _SERVER_SIDE else 400
