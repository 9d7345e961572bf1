"""Whatever lies in a table: the doctor says something of it, on lines that fit, and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.cli.doctor_report import report
from consumer.operate.diagnosis import diagnose
from consumer.operate.findings import Look
from lease_store.item import table_scan
from lease_store.layout import legacy_rows
from tests.fuzz.mutations import attribute_values, row_names
from tests.golden import recordings

RECORDED = list(recordings.tables())
noise = st.dictionaries(row_names, attribute_values, max_size=4)
names = st.one_of(st.just("w\x1b[2J1\n"), st.text(min_size=1, max_size=8)).map(lambda text: {"S": text})


def rows_of(place: str, key: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Rows that a KCL wrote at ``place``, some with other names, and a few attributes that no KCL writes so."""
    sound = [row for _, where, rows in RECORDED if where == place for row in rows]
    spoilt = st.tuples(st.sampled_from(sound), noise, st.dictionaries(st.sampled_from([key, "leaseOwner"]), names))
    return st.lists(spoilt.map(lambda parts: {**parts[0], **parts[1], **parts[2]}), max_size=5)


@settings(max_examples=150)
@given(
    st.lists(rows_of("leases", "leaseKey"), min_size=1, max_size=3),
    st.none() | st.tuples(rows_of("coordinator", "key"), st.none() | rows_of("metrics", "wid")),
    st.integers(20, 200),
)
def test_any_table_is_told_line_by_line_and_as_json(
    scans: list[list[dict[str, Any]]], beside: tuple[Any, Any] | None, width: int
) -> None:
    legacy = legacy_rows(*beside) if beside else None
    looks = [Look(at=30.0 * number, scan=table_scan(items), legacy=legacy) for number, items in enumerate(scans)]
    found = diagnose(looks, table="t", app="a")
    assert found.refusals or found.joining
    for lines in (list(report(found, width=width)), list(report(found, width=None))):
        assert all(line.isprintable() for line in lines)
    assert max(map(len, report(found, width=width))) <= width
    assert json.loads(json.dumps(asdict(found)))["mode"] == found.mode
