"""The policy allows what the code calls and nothing more; the Dockerfile is what its checks take it for."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from botocore.session import get_session

from deploy.run_steps import Stage, instructions, run_steps
from tests.house.tree import ROOT, tree_of

POLICY: dict[str, Any] = json.loads((ROOT / "deploy/iam-policy.json").read_text())
# The files that talk to each service; DynamoDB Streams is an endpoint of its own whose actions carry DynamoDB's prefix.
BORDERS = {
    "dynamodb": (
        "consumer/dead_letters/dynamodb.py",
        "consumer/streams/dynamodb_streams.py",
        "lease_store/dynamodb*.py",
    ),
    "dynamodbstreams": ("consumer/streams/dynamodb_streams.py", "consumer/streams/aws_clients.py"),
    "kinesis": ("consumer/streams/kinesis.py", "consumer/streams/aws_clients.py"),
    "s3": ("consumer/dead_letters/bodies.py", "consumer/dead_letters/s3.py"),
    "sns": ("consumer/dead_letters/notifying.py",),
    "sqs": ("consumer/dead_letters/sqs.py", "consumer/dead_letters/taken.py"),
}
# Several calls are one right; and what is allowed of PartiQL is a kind of statement: ours change rows that are there.
RIGHTS = {
    "BatchExecuteStatement": "PartiQLUpdate",
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
    "ListObjectsV2": "ListBucket",
    "PublishBatch": "Publish",
    "SendMessageBatch": "SendMessage",
}


def _called(service: str) -> set[str]:
    """The operations of ``service`` that its border files name, as IAM actions."""
    operations = set(get_session().get_service_model(service).operation_names)
    named = {
        node.value
        for pattern in BORDERS[service]
        for path in sorted(ROOT.glob(pattern))
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in operations
    }
    assert named, f"no operation of {service} is named where it was looked for"
    return {f"{service.removesuffix('streams')}:{RIGHTS.get(name, name)}" for name in named}


def _allowed() -> set[str]:
    actions: set[str] = set()
    for statement in POLICY["Statement"]:
        assert statement["Effect"] == "Allow"
        actions |= {statement["Action"]} if isinstance(statement["Action"], str) else set(statement["Action"])
    return actions


def test_the_policy_allows_exactly_what_the_borders_call():
    assert _allowed() == set().union(*map(_called, BORDERS))


def _resources(statement: dict[str, Any]) -> list[str]:
    resources = statement["Resource"]
    return [resources] if isinstance(resources, str) else resources


def test_no_action_and_no_resource_is_a_bare_star():
    assert not [action for action in _allowed() if "*" in action]
    for statement in POLICY["Statement"]:
        for resource in _resources(statement):
            assert resource.startswith("arn:aws:")
            assert resource.removesuffix("/stream/*").removesuffix("DEAD_LETTER_BUCKET/*").count("*") == 0


def test_the_lease_table_and_the_source_are_kept_apart():
    """What is written is the lease table, the two that an older KCL keeps beside it, and that of dead letters."""
    writes = {"PutItem", "UpdateItem", "DeleteItem", "CreateTable", "UpdateTable", "PartiQLUpdate"}
    written = set()
    for statement in POLICY["Statement"]:
        actions = {statement["Action"]} if isinstance(statement["Action"], str) else set(statement["Action"])
        if {f"dynamodb:{verb}" for verb in writes} & actions:
            written |= {resource.rpartition(":")[2] for resource in _resources(statement)}
    beside = {
        f"table/{name}-{what}" for name in ("LEASE_TABLE", "APP") for what in ("CoordinatorState", "WorkerMetricStats")
    }
    assert written == {"table/LEASE_TABLE", "table/DEAD_LETTER_TABLE"} | beside


def test_the_page_says_of_each_statement_when_it_is_needed():
    page = (ROOT / "deploy/README.md").read_text()
    for statement in POLICY["Statement"]:
        assert f"| `{statement['Sid']}` |" in page, statement["Sid"]


def test_the_image_runs_as_a_number_and_copies_only_what_is_there():
    steps = instructions((ROOT / "deploy/Dockerfile").read_text())
    words = [word for word, _ in steps]
    assert words.index("USER") > max(number for number, word in enumerate(words) if word == "RUN")
    assert ("USER", "10001:10001") in steps
    ignored = (ROOT / "deploy/Dockerfile.dockerignore").read_text()
    for word, rest in steps:
        if word == "COPY":
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists()
                assert f"!{source}\n" in ignored


def test_an_instruction_that_the_check_can_not_stand_in_for_stops_it(tmp_path: Path):
    with pytest.raises(ValueError, match="ADD"):
        run_steps("ADD http://example.invalid/x /x\n", tmp_path)


def test_paths_of_the_image_lie_below_its_folder(tmp_path: Path):
    stage = Stage("build", tmp_path, "/build")
    assert stage.path("wheels") == tmp_path / "build/wheels"
    assert stage.path("/app/../etc") == tmp_path / "etc"
