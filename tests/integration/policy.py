"""The IAM policy of `deploy/`, as a deployer fills it in: whether it allows a call that was made."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase

from consumer.testing.proxy import Exchange
from tests.house.tree import ROOT
from tests.integration.table_writes import table_of

__all__ = ["Policy"]


class Policy:
    """``names`` fills the placeholders: REGION, ACCOUNT, LEASE_TABLE and so on; ``sids`` None: every statement."""

    def __init__(self, names: Mapping[str, str], *, sids: Collection[str] | None = None) -> None:
        text = (ROOT / "deploy/iam-policy.json").read_text()
        for placeholder, name in names.items():
            text = text.replace(placeholder, name)
        statements = [
            (each["Action"], each["Resource"])
            for each in json.loads(text)["Statement"]
            if sids is None or each["Sid"] in sids
        ]
        self._allowed = [
            (action, resource)
            for actions, resources in statements
            for action in ([actions] if isinstance(actions, str) else actions)
            for resource in ([resources] if isinstance(resources, str) else resources)
        ]

    def lacks(self, call: Exchange, *, tables: str, otherwise: str = "") -> str | None:
        """The right that a DynamoDB call needs and is not given, with what it was about; None where it is allowed.

        ``tables`` is the ARN that table names are put behind; ``otherwise`` what a call without one is about.
        """
        operation, table = call.request.operation, table_of(call)
        if operation == "BatchExecuteStatement":
            # What is allowed is a kind of statement.
            operation = "PartiQLUpdate"
            assert all(each["Statement"].startswith("UPDATE ") for each in call.fields["Statements"])
        right = f"dynamodb:{operation}"
        of = otherwise if table is None else tables + table
        if "IndexName" in call.fields:
            of += f"/index/{call.fields['IndexName']}"
        if any(right == action and fnmatchcase(of, pattern) for action, pattern in self._allowed):
            return None
        return f"{right} of {of}"
