"""What can the official SDK do, and which of that do the tests here make it do? Found by looking at the SDK and at the tests themselves."""

from __future__ import annotations

import ast
import inspect
import itertools
import pathlib
import types
import typing

from svix.api import Svix, SvixOptions
from svix.api.common import ApiBaseSync

from benchmarks.server import Server
from tests import syntax
from tests.acceptance.receiver import Receiver

HERE = pathlib.Path(__file__).parent


def client(running: Server, token: str | None = None) -> Svix:
    """The SDK for a server, as its users make it; it asks once, so that an error is one."""
    return Svix(token or running.token, SvixOptions(server_url=running.url, retry_schedule=[]))


class Sdk:
    """The SDK, a server that many tests share, and a receiver behind its endpoints."""

    def __init__(self, running: Server, receiver: Receiver) -> None:
        self.server = running
        self.receiver = receiver
        self.svix = client(running)
        self._numbers = itertools.count(1)

    def name(self, word: str) -> str:
        """A name that nobody else on the server has."""
        return f"{word}-{next(self._numbers)}"


def methods(svix: Svix) -> dict[str, typing.Callable[..., typing.Any]]:
    """Every method of every resource of the SDK, by its dotted name."""
    return dict(_methods(svix, ""))


def _methods(resource: object, prefix: str) -> typing.Iterator[tuple[str, typing.Callable[..., typing.Any]]]:
    for name in dir(type(resource)):
        declared = inspect.getattr_static(type(resource), name)
        if name.startswith("_"):
            continue
        if isinstance(declared, property):
            inner = getattr(resource, name)
            if isinstance(inner, ApiBaseSync):
                yield from _methods(inner, f"{prefix}{name}.")
        elif isinstance(declared, types.FunctionType):
            yield prefix + name, getattr(resource, name)


def called() -> set[str]:
    """The methods that the code in this directory names: whatever stands behind `svix.` in its text."""
    found = set()
    for path in HERE.glob("*.py"):
        for node in ast.walk(syntax.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute):
                names = _dotted(node)
                if "svix" in names:
                    found.add(".".join(names[names.index("svix") + 1 :]))
    return found


def _dotted(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Attribute):
        return [*_dotted(node.value), node.attr]
    return [node.id] if isinstance(node, ast.Name) else []
