"""Which operations does the API have? All that are declared, found without a server."""

from __future__ import annotations

import functools

from ringback.api.openapi import operation_for
from ringback.api.routing import Operation
from tests.test_docs import GENERATOR


@functools.cache
def operations() -> tuple[Operation, ...]:
    """Every operation that is built."""
    declared = [operation for module in GENERATOR._operations().values() for operation in module]
    return (*declared, operation_for(declared))


def operation_of(path: str, method: str = "POST") -> Operation:
    """The operation with that method and path."""
    return next(operation for operation in operations() if (operation.method, operation.path) == (method, path))
