"""The syntax tree of a module."""

from __future__ import annotations

import ast
import gc
import typing

# The defect below strikes once in some thousand trees.
TRIES: typing.Final = 5
_parse: typing.Final = ast.parse


def parse(source: typing.Any, *arguments: typing.Any, **named: typing.Any) -> typing.Any:
    """As `ast.parse`, which counts its depth wrongly in Python 3.11 when other code gets in between (cpython #106905)."""
    collects = gc.isenabled()
    gc.disable()
    try:
        for _ in range(TRIES - 1):
            try:
                return _parse(source, *arguments, **named)
            except SystemError:
                continue
        return _parse(source, *arguments, **named)
    finally:
        if collects:
            gc.enable()


def steady() -> None:
    """Have everybody parse so: pytest takes the modules of tests and plugins apart, and one that fails takes all that import it along."""
    ast.parse = parse
