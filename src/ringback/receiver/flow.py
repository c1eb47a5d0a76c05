"""How is one sequence of steps run by threads and by coroutines alike? Written once as a generator of calls; two runners make them."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import cache
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

T = TypeVar("T")

# Threads for the books of all receivers: a file takes one at a time anyway, a database server some.
_BOOKKEEPERS: Final = 8


class Call(msgspec.Struct, frozen=True):
    """A function to be called with these arguments: one that may block, or a coroutine function.

    `books` says that it keeps the books of what ran: it has threads that no handler can fill, and is never cut off in the middle.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    books: bool = False


Steps: TypeAlias = Generator[Call, Any, T]


def run(steps: Steps[T]) -> T:
    """Take all steps, here and now. Coroutines run on a loop of their own: raises RuntimeError on a thread that has one already."""
    try:
        call = next(steps)
        while True:
            try:
                value = _called(call)
            except BaseException as error:
                call = steps.throw(error)
            else:
                call = steps.send(value)
    except StopIteration as end:
        result: T = end.value
        return result


def _called(call: Call) -> Any:
    value = _guarded(call)
    if not inspect.isawaitable(value):
        return value
    try:
        return asyncio.run(_awaited(value))
    except asyncio.CancelledError as cancelled:
        raise _cut_off_inside(call) from cancelled


def _guarded(call: Call) -> Any:
    try:
        return call.function(*call.arguments)
    except StopIteration as stop:
        # No future can carry it: whoever waited would wait for ever.
        raise RuntimeError(f"{_name(call)} raised StopIteration: a `next` without a default found nothing") from stop


async def _awaited(value: Any) -> Any:
    return await value


async def run_async(steps: Steps[T]) -> T:
    """Take all steps: coroutines on this loop, whatever may block on threads.

    Cancelled while a coroutine runs, the steps hear of it, and may clean up. A thread cannot be cancelled: it runs to its end, its outcome
    is put down in the books, and only then the cancellation goes on.
    """
    held: list[asyncio.CancelledError] = []
    try:
        call = next(steps)
        while True:
            try:
                value = await _called_async(call, held)
            except BaseException as error:
                call = steps.throw(error)
            else:
                call = steps.send(value)
    except StopIteration as end:
        if held:
            raise held[0] from None
        result: T = end.value
        return result


async def _called_async(call: Call, held: list[asyncio.CancelledError]) -> Any:
    if is_async(call.function):
        if call.books:
            return await _to_its_end(asyncio.ensure_future(call.function(*call.arguments)), held)
        if held:
            raise held[0]
        return await _cancellable(call, call.function(*call.arguments))
    context = contextvars.copy_context()
    threads = _bookkeepers(os.getpid()) if call.books else None
    value = await _to_its_end(asyncio.get_running_loop().run_in_executor(threads, context.run, _guarded, call), held)
    return await _cancellable(call, value) if inspect.isawaitable(value) else value


async def _cancellable(call: Call, work: Awaitable[Any]) -> Any:
    task = asyncio.current_task()
    try:
        return await work
    except asyncio.CancelledError as cancelled:
        if task is not None and not task.cancelling():
            # Nobody cancels us: what it waited for was, which is a failure as any other.
            raise _cut_off_inside(call) from cancelled
        raise


async def _to_its_end(work: asyncio.Future[Any], held: list[asyncio.CancelledError]) -> Any:
    while not work.done():
        try:
            await asyncio.wait((work,))
        except asyncio.CancelledError as cancelled:
            held.append(cancelled)
    return work.result()


@cache
def _bookkeepers(process: int) -> Executor:
    """The threads of this process: those of the one that forked it are not here."""
    return ThreadPoolExecutor(_BOOKKEEPERS, f"ringback-books-{process}")


def _cut_off_inside(call: Call) -> RuntimeError:
    return RuntimeError(f"{_name(call)} waited for something that was cancelled")


def _name(call: Call) -> str:
    return str(getattr(call.function, "__qualname__", call.function))


def is_async(function: Callable[..., Any]) -> bool:
    """Is it a coroutine function, or an object that is called as one?"""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
