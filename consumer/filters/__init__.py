"""Filters: which records reach user code. Compiled once at start, applied to batches, no input or output.

``filter`` is what delivery calls. Beneath it: ``shapes`` takes apart what was given, ``patterns`` reads it (names by
``forms`` and ``places``, values by ``leaf`` and ``operators``), ``matching`` makes one function of it (``choice``
decodes, ``tree`` matches); ``predicate`` stands beside.
"""

from consumer.filters.filter import Filter, OnUndecodable, Verdicts, compile_filter

__all__ = ["Filter", "OnUndecodable", "Verdicts", "compile_filter"]
