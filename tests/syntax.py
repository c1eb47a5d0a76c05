"""The syntax tree of a module."""

from __future__ import annotations

import ast
import gc
import typing

# The defect below strikes once in some thousand trees.
TRIES: typing.Final = 5


def parse(text: str) -> ast.Module:
    """As `ast.parse`, which counts its depth wrongly in Python 3.11 when other code gets in between (cpython #106905)."""
    collects = gc.isenabled()
    gc.disable()
    try:
        for _ in range(TRIES - 1):
            try:
                return ast.parse(text)
            except SystemError:
                continue
        return ast.parse(text)
    finally:
        if collects:
            gc.enable()
