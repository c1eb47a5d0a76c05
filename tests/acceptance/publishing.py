"""How do clients publish at full speed to a server that may die at any moment? On many connections, keeping account of every answer."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import typing

# How long a publisher waits for one answer, seconds: only a server that neither answers nor dies can take so long.
ANSWER_S = 20.0


@dataclasses.dataclass
class Account:
    """What became of every number published. `unknown` holds those whose connection was cut before the answer."""

    acknowledged: dict[int, str] = dataclasses.field(default_factory=dict)
    refused: dict[int, int] = dataclasses.field(default_factory=dict)
    unknown: set[int] = dataclasses.field(default_factory=set)


def body(number: int, size: int = 0) -> bytes:
    """The payload that carries a number, with a text of `size` characters; 0: sizes differ, and one in ten is not ASCII."""
    text = "x" * size if size else ("é€😀" if number % 10 == 0 else "x") * (number % 300)
    return json.dumps({"number": number, "text": text}, ensure_ascii=False).encode()


def number_in(payload: bytes) -> int:
    """The number that a payload carries."""
    number: int = json.loads(payload)["number"]
    return number


def request(app_id: str, token: str, number: int, size: int = 0) -> bytes:
    """The bytes that publish a number, with the idempotency key that a repeated request carries again."""
    content = b'{"eventType":"order.paid","payload":%b}' % body(number, size)
    head = (
        f"POST /api/v1/app/{app_id}/msg HTTP/1.1\r\nhost: ringback\r\nauthorization: Bearer {token}\r\n"
        f"idempotency-key: number-{number}\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """One answer: status, headers (names in lower case), body. Raises IncompleteReadError when the connection ends first."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status_line, *lines = head.rstrip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    content = await reader.readexactly(int(headers.get("content-length", "0")))
    return int(status_line.split(" ")[1]), headers, content


async def publish(
    port: int, app_id: str, token: str, numbers: typing.Iterator[int], account: Account, *, connections: int, size: int = 0
) -> None:
    """Publish `numbers` on so many connections, each as fast as it is answered, until they run out or every connection is cut."""

    async def one_connection() -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return
        try:
            for number in numbers:
                account.unknown.add(number)
                writer.write(request(app_id, token, number, size))
                async with asyncio.timeout(ANSWER_S):
                    status, _, content = await read_answer(reader)
                account.unknown.discard(number)
                if status == 202:
                    account.acknowledged[number] = json.loads(content)["id"]
                else:
                    account.refused[number] = status
        except (OSError, asyncio.IncompleteReadError):
            pass  # the connection was cut: the number stays unknown
        finally:
            writer.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(one_connection())
