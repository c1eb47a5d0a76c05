"""The demo's process: `python -m ringback.cli.demo URL`, the token on the first line of stdin. Ends when stdin does.

It is a customer: it knows the server by its public API alone. SIGINT is left to the server, which drains what is in flight; until then the
receiver here must go on answering.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from http import HTTPStatus

from ringback.cli.api import Api
from ringback.cli.demo.companion import RECEIVER_HOST
from ringback.cli.demo.events import DESCRIPTIONS, make_event
from ringback.cli.demo.receiver import Receiver
from ringback.cli.demo.show import show
from ringback.cli.demo.tally import Tally
from ringback.clock import SystemClock
from ringback.errors import RingbackError
from ringback.signing.secret import CheckingKey, parse_public_key, parse_secret

_APP = "/api/v1/app/ringback-demo"
_ENDPOINT = f"{_APP}/endpoint/demo-receiver"
# Events a second: enough to see percentiles move, little enough for any machine.
_RATE = 25
# Seconds that the server may take to become ready: a large database is copied before it is upgraded.
_READY_WITHIN_S = 60.0
# Seconds between two questions whether it is ready, and before a refused event is followed by the next.
_AGAIN_S = 0.1


async def run(url: str, token: str, stopped: asyncio.Event) -> None:
    """Set up an application and an endpoint, then send events until stopped."""
    clock = SystemClock()
    tally = Tally()
    run_name = f"run-{clock.now_us()}"
    receiver = Receiver(tally, run_name)
    api = Api(url, token)
    port = await receiver.start(RECEIVER_HOST)
    endpoint = f"http://{RECEIVER_HOST}:{port}/webhook"
    try:
        async with asyncio.timeout(_READY_WITHIN_S):
            while not stopped.is_set() and not await _is_ready(api):
                await asyncio.sleep(_AGAIN_S)
        if stopped.is_set():
            return
        receiver.trust([await asyncio.to_thread(_set_up, api, endpoint)])
        print(f"demo: events go to {endpoint}; the server's token is {token}", flush=True)
        tasks = [asyncio.create_task(_send(api, tally, run_name, clock)), asyncio.create_task(show(tally, endpoint))]
        waiting = asyncio.create_task(stopped.wait())
        await asyncio.wait([*tasks, waiting], return_when=asyncio.FIRST_COMPLETED)
        for task in (*tasks, waiting):
            task.cancel()
        # What ended before it was stopped has failed: let that be seen.
        for result in await asyncio.gather(*tasks, waiting, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
    finally:
        receiver.close()
    print(f"demo: {tally.line()}", flush=True)


async def _is_ready(api: Api) -> bool:
    try:
        status, _ = await asyncio.to_thread(api.call, "GET", "/api/v1/health")
    except OSError:
        return False
    return status == HTTPStatus.OK


def _set_up(api: Api, endpoint: str) -> CheckingKey:
    """Create what the demo needs, or take it over from an earlier demo; the key that the endpoint's requests are signed with."""
    api.need("POST", "/api/v1/app?get_if_exists=true", {"name": "Ringback demo", "uid": "ringback-demo"})
    for name, description in DESCRIPTIONS.items():
        status, answer = api.call("POST", "/api/v1/event-type", {"name": name, "description": description})
        if status not in (HTTPStatus.CREATED, HTTPStatus.CONFLICT):
            raise RingbackError(f"event type {name} was answered {status}: {answer}")
    api.need("PUT", _ENDPOINT, {"url": endpoint, "uid": "demo-receiver", "description": "Fails now and then, on purpose"})
    key = api.need("GET", f"{_ENDPOINT}/secret")["key"]
    return parse_public_key(key) if key.startswith("whpk_") else parse_secret(key)


async def _send(api: Api, tally: Tally, run_name: str, clock: SystemClock) -> None:
    sequence = 0
    next_s = clock.monotonic_s()
    while True:
        sequence += 1
        event_type, payload = make_event(sequence, run_name)
        body = {"eventType": event_type, "eventId": f"{run_name}-{sequence}", "payload": payload}
        tally.sending(sequence, clock.monotonic_s())
        try:
            status, _ = await asyncio.to_thread(api.call, "POST", f"{_APP}/msg", body, key=f"{run_name}-{sequence}")
        except OSError:
            # The server is stopping: the receiver goes on until it has.
            status = 0
        if status == HTTPStatus.ACCEPTED:
            tally.accepted()
        else:
            tally.not_accepted(sequence)
            await asyncio.sleep(_AGAIN_S)
        next_s = max(next_s + 1 / _RATE, clock.monotonic_s() - 1)
        await asyncio.sleep(max(next_s - clock.monotonic_s(), 0))


async def _main(url: str, token: str) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_stdin() -> None:
        if not os.read(sys.stdin.fileno(), 1024):
            loop.remove_reader(sys.stdin.fileno())
            stopped.set()

    loop.add_reader(sys.stdin.fileno(), on_stdin)
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    await run(url, token, stopped)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        asyncio.run(_main(sys.argv[1], sys.stdin.buffer.readline().decode().strip()))
    except (RingbackError, OSError, TimeoutError) as problem:
        print(f"demo: {str(problem) or 'the server did not become ready'}", file=sys.stderr)
        sys.exit(1)
