"""How is one sequence of steps run by threads and by coroutines alike? Written once as a generator of calls; two runners make them."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Generator
from typing import Any, TypeAlias, TypeVar

import msgspec

T = TypeVar("T")


class Call(msgspec.Struct, frozen=True):
    """A function to be called with these arguments: one that may block, or a coroutine function."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()


Steps: TypeAlias = Generator[Call, Any, T]


def run(steps: Steps[T]) -> T:
    """Take all steps, here and now. Coroutines run on a loop of their own: raises RuntimeError on a thread that has one already."""
    try:
        call = next(steps)
        while True:
            try:
                value = _called(call)
            except Exception as error:
                call = steps.throw(error)
            else:
                call = steps.send(value)
    except StopIteration as end:
        result: T = end.value
        return result


def _called(call: Call) -> Any:
    value = call.function(*call.arguments)
    return asyncio.run(_awaited(value)) if inspect.isawaitable(value) else value


async def _awaited(value: Any) -> Any:
    return await value


async def run_async(steps: Steps[T]) -> T:
    """Take all steps: coroutines on this loop, whatever may block on threads.

    Cancelled while a coroutine runs, the steps hear of it, and may clean up. A thread cannot be cancelled: nothing is cleaned up under it.
    """
    try:
        call = next(steps)
        while True:
            try:
                value = await _called_async(call)
            except asyncio.CancelledError as cancelled:
                if not is_async(call.function):
                    raise
                call = steps.throw(cancelled)
            except Exception as error:
                call = steps.throw(error)
            else:
                call = steps.send(value)
    except StopIteration as end:
        result: T = end.value
        return result


async def _called_async(call: Call) -> Any:
    if is_async(call.function):
        return await call.function(*call.arguments)
    value = await asyncio.to_thread(call.function, *call.arguments)
    return await value if inspect.isawaitable(value) else value


def is_async(function: Callable[..., Any]) -> bool:
    """Is it a coroutine function, or an object that is called as one?"""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
