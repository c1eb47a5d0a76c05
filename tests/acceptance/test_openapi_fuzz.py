"""Does the server keep the promises of the specification that it serves, whatever it is asked within it and beside it?

schemathesis makes the requests out of the document: right ones and wrong ones, with ids of things that exist and of things that do not.
The examples are the same in every run.
"""

from __future__ import annotations

import os
import typing

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from ringback.api.routing import Operation
from ringback.config.running import find
from tests.acceptance.receiver import Receiver
from tests.api.everything import SETTINGS, Everything
from tests.api.live import opened
from tests.api.operations import operations

# Requests of each kind to each operation. With these all of it takes less than a minute; a release is tried with a hundred times as many.
EXAMPLES: typing.Final = int(os.environ.get("RINGBACK_TEST_FUZZ_EXAMPLES", "3"))
# Of so many requests one is for things that do not exist.
ONE_IN: typing.Final = 6
# Longest time for an answer, seconds.
PATIENCE_S: typing.Final = 20.0
CHECKS: typing.Final = [status_code_conformance, content_type_conformance, response_schema_conformance, response_headers_conformance]


class World:
    """A server with one of everything, and its specification as schemathesis reads it."""

    def __init__(self, there: Everything) -> None:
        self.there = there
        document = there.live.get("/openapi.json").json()
        # Who may call what is tested elsewhere; here everybody may, so that no request is wasted on a 401.
        for item in document["paths"].values():
            for operation in item.values():
                operation.pop("security", None)
        document.pop("security")
        self.schema = schemathesis.openapi.from_dict(document)
        operator = find(str(there.live.server.database))
        assert operator is not None
        self._tokens = {"operator": operator.token, "": there.live.server.token}
        self.session = requests.Session()
        self.session.trust_env = False

    def faults(self, case: typing.Any) -> list[str]:
        """Send one request, and hold the answer against the specification: where it breaks it."""
        kind = "operator" if case.path.startswith("/api/v1/operator/") else ""
        response = case.call(
            base_url=self.there.live.server.url,
            session=self.session,
            headers={"authorization": f"Bearer {self._tokens[kind]}"},
            timeout=PATIENCE_S,
        )
        # What this version does not have says so, and the specification says where.
        if response.status_code >= 500 and response.status_code != 501:
            return [response.text]
        try:
            case.validate_response(response, checks=CHECKS + self._refusing(case))
        except FailureGroup as group:
            return [f"{fault.title}: {fault.message}\n{response.status_code} {response.text[:500]}" for fault in group.exceptions]
        return []

    def _refusing(self, case: typing.Any) -> list[typing.Any]:
        """A wrong body must be refused. Wrong queries are not judged: schemathesis takes a word for wrong where it may also be empty."""
        return [negative_data_rejection] if case.operation.definition.raw.get("requestBody") and not case.query else []


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> typing.Iterator[World]:
    receiver = Receiver()
    for live in opened(tmp_path_factory.mktemp("specification"), SETTINGS):
        made = World(Everything(live, receiver))
        yield made
        made.session.close()
    receiver.close()


def order(operation: Operation) -> tuple[bool, int, str]:
    """Deletions come last, of what is inside before what is around it."""
    return operation.method == "DELETE", -operation.path.count("/"), operation.path


def _everything() -> list[Operation]:
    # Some are declared twice, with the same words.
    return sorted({(operation.method, operation.path): operation for operation in operations()}.values(), key=order)


def _modes() -> typing.Iterator[tuple[Operation, GenerationMode]]:
    for operation in _everything():
        yield operation, GenerationMode.POSITIVE
        # There is nothing to get wrong in a request without query and body.
        if operation.query or operation.body is not None:
            yield operation, GenerationMode.NEGATIVE


@pytest.mark.parametrize(
    ("operation", "mode"), [pytest.param(*pair, id=f"{pair[1].value} {pair[0].method} {pair[0].path}") for pair in _modes()]
)
def test_every_answer_is_one_that_the_specification_promises(world: World, operation: Operation, mode: GenerationMode) -> None:
    described = world.schema[operation.path][operation.method]

    @hypothesis.settings(
        max_examples=EXAMPLES, database=None, phases=[hypothesis.Phase.generate], suppress_health_check=list(hypothesis.HealthCheck)
    )
    @hypothesis.given(case=described.as_strategy(generation_mode=mode), number=st.integers(1, ONE_IN))
    def holds(case: typing.Any, number: int) -> None:
        if number < ONE_IN:
            case.path_parameters = {name: world.there.id(operation.path, name) for name in case.path_parameters or {}}
        if mode is GenerationMode.NEGATIVE:
            # A key that an accepted request had before gets that one's answer, whatever the body says now.
            case.headers.pop("idempotency-key", None)
        assert world.faults(case) == []

    holds()
