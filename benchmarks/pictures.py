"""The pictures in docs/images: `scripts/screenshots`, or `scripts/screenshots overview-dark` for one of them.

A real server lives through a day in two and a half minutes, with customers whose endpoints work, fail for a while, recover or hang. Then it
starts again with the time of now, and a browser looks at it.
"""

from __future__ import annotations

import base64
import itertools
import math
import pathlib
import random
import subprocess
import sys
import tempfile
import time
import typing

from benchmarks import server as servers
from ringback.cli.demo.events import make_event
from tests.acceptance.receiver import Answer, Arrival, Receiver
from tests.dashboard.conftest import BASE, chromium
from tests.dashboard.scenery import BODY_401, BODY_503, Scene, furnish

IMAGES = servers.ROOT / "docs" / "images"
# A day in so many seconds.
HOURS = 24.0
DAY_S = 150.0
SPEED = HOURS * 3600 / DAY_S
# Messages an hour at the quietest and at the busiest time.
QUIET, BUSY = 40, 420


class Day:
    """How the endpoints answer, by the hour of the day that is played."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.over = False
        self.chance = random.Random(7)
        self.seen: set[tuple[str, str]] = set()

    @property
    def hour(self) -> float:
        """Hours since the day began."""
        return HOURS if self.over else (time.monotonic() - self.began) * HOURS / DAY_S

    def __call__(self, arrival: Arrival) -> Answer:
        """What is answered to a request."""
        json_type = (("content-type", "application/json"), ("server", "nginx"))
        again = (arrival.path, arrival.id) in self.seen
        self.seen.add((arrival.path, arrival.id))
        took = self.chance.lognormvariate(math.log(0.02), 0.6)
        if arrival.path == "/billing" and (9.5 < self.hour < 11 or self.over):
            return Answer(503, took, (*json_type, ("retry-after", "240")), BODY_503)
        if arrival.path == "/legacy" and (self.over or self.chance.random() < 0.35):
            return Answer(401, took, json_type, BODY_401)
        if arrival.path == "/recovering" and not again and self.chance.random() < 0.06:
            return Answer(500, took, (("content-type", "text/plain"),), b"connection pool exhausted")
        return Answer(200, took, json_type, b'{"received": true}')


def play(server: servers.Server, scene: Scene, day: Day) -> None:
    """Send what shops send, through the day."""
    number = 100
    rest = 0.0
    while day.hour < HOURS:
        # Little at night, much at noon and in the evening.
        busy = 0.5 - 0.5 * math.cos(day.hour / 24 * 2 * math.pi) + 0.25 * math.sin(day.hour / 24 * 6 * math.pi) ** 2
        rest += (QUIET + (BUSY - QUIET) * busy) * HOURS / DAY_S * 0.1
        while rest >= 1:
            rest -= 1
            number += 1
            uid = random.Random(number).choices(list(scene.apps), (7, 2, 2, 1))[0]
            send(server, uid, number)
        time.sleep(0.1)


def send(server: servers.Server, uid: str, number: int) -> str:
    """Send the message of that number to a customer; its id."""
    event_type, payload = make_event(number, "demo")
    payload.pop("demo")
    body = {"eventType": event_type, "payload": payload, "eventId": f"evt-{number:06}", "tags": ["shop", f"batch-{number // 100}"]}
    return str(server.make(f"/app/{uid}/msg", body)["id"])


def fast(database: pathlib.Path) -> servers.Server:
    """A server whose day takes some minutes."""
    port = servers.free_port()
    settings = servers.environment({"retry_schedule": "1s,2s,3s", "overload_min_delay": "500ms", "retry_after_max": "2s"})
    command = [sys.executable, "-m", "benchmarks.fast_serve", str(SPEED), str(HOURS), "--listen", f"127.0.0.1:{port}"]
    with (database.parent / "fast.log").open("ab") as output:
        process = subprocess.Popen([*command, "--database", str(database)], env=settings, cwd=servers.ROOT, stdout=output, stderr=output)
    server = servers.Server(process, "127.0.0.1", port, database, database.parent / "fast.log", servers.TOKEN)
    while not server.healthy():
        time.sleep(0.1)
    return server


class Camera:
    """A browser that is logged in, and takes pictures as WebP."""

    def __init__(self, browser: typing.Any, url: str) -> None:
        self.browser = browser
        self.url = url

    def take(self, name: str, path: str, look: str, before: typing.Callable[[typing.Any], None] | None = None) -> None:
        """Take one picture: `look` is light, dark or phone."""
        size = {"width": 390, "height": 844} if look == "phone" else {"width": 1440, "height": 900}
        context = self.browser.new_context(
            viewport=size, color_scheme="dark" if look == "dark" else "light", locale="en-GB", timezone_id="UTC"
        )
        page = context.new_page()
        page.goto(f"{self.url}{BASE}/login")
        page.locator("[name=token]").fill(servers.TOKEN)
        page.locator("button.primary").click()
        page.goto(f"{self.url}{BASE}{path}")
        if before is not None:
            before(page)
        page.evaluate("document.fonts.ready")
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        shot = context.new_cdp_session(page).send("Page.captureScreenshot", {"format": "webp", "quality": 82})
        file = IMAGES / f"{name}.webp"
        file.write_bytes(base64.b64decode(shot["data"]))
        print(f"{file.relative_to(servers.ROOT)}: {file.stat().st_size / 1000:.0f} kB", flush=True)
        context.close()


ORDER: dict[str, typing.Any] = {
    "title": "A customer placed an order",
    "type": "object",
    "required": ["orderId", "total"],
    "properties": {
        "orderId": {"type": "string", "examples": ["ord_00008241"]},
        "total": {"type": "number", "minimum": 1},
        "currency": {"enum": ["EUR", "USD", "JPY"]},
        "placedAt": {"type": "string", "format": "date-time"},
        "customer": {"type": "object", "properties": {"email": {"type": "string", "format": "email"}}},
    },
}


def equip(server: servers.Server, receiver_url: str) -> None:
    """What the catalogue and the queue show: a schema, and endpoints that get less than is sent to them."""
    server.call("PATCH", "/event-type/order.created", {"schemas": {"1": ORDER}, "groupName": "order", "payloadValidation": "warn"})
    for uid, rate in (("zoe-mueller", 1), ("tokyo-store", 2)):
        server.make(f"/app/{uid}/endpoint", {"url": f"{receiver_url}/{uid}/slow", "description": "Takes little", "throttleRate": rate})


def photograph(server: servers.Server, scene: Scene, wanted: list[str]) -> None:
    """Take all pictures, or those that are wanted."""
    from playwright.sync_api import sync_playwright

    app = f"/apps/{scene.apps['acme']}"
    sent = server.call("GET", "/app/acme/attempt/endpoint/billing?limit=50&with_content=false")[1]["data"]
    message = f"{app}/messages/{sent[0]['msgId']}"

    def typed(page: typing.Any) -> None:
        page.keyboard.press("Control+k")
        page.locator("#palette input").fill("e")
        page.locator("#palette .results a").nth(4).wait_for()

    def busy(page: typing.Any) -> None:
        page.wait_for_function("document.querySelector('[data-state]').textContent === 'Live'")
        for number in range(20_000, 20_012):
            send(server, "acme", number)
        page.locator("[data-rows] tr").nth(16).wait_for()

    numbers = itertools.count(18_000)

    def crowded(page: typing.Any) -> None:
        for number in itertools.islice(numbers, 40):
            send(server, ("zoe-mueller", "tokyo-store")[number % 2], number)
        page.reload()

    pictures: list[tuple[str, str, str, typing.Callable[[typing.Any], None] | None]] = [
        ("overview-light", "/", "light", None),
        ("overview-dark", "/", "dark", None),
        ("overview-phone", "/", "phone", None),
        ("messages-light", f"{app}/messages", "light", None),
        ("message-light", message, "light", None),
        ("message-dark", message, "dark", None),
        ("message-phone", message, "phone", None),
        ("endpoint-light", f"{app}/endpoints/{scene.endpoints['billing']}", "light", None),
        ("endpoint-dark", f"{app}/endpoints/{scene.endpoints['billing']}", "dark", None),
        ("palette-dark", app, "dark", typed),
        ("live-light", f"{app}/messages/live", "light", busy),
        ("search-light", f"{app}/messages?q=EUR+-ticket", "light", None),
        ("event-type-light", "/event-types/order.created", "light", None),
        ("event-type-dark", "/event-types/order.created", "dark", None),
        ("queue-light", "/queue", "light", crowded),
        ("queue-phone", "/queue", "phone", crowded),
        ("settings-dark", "/settings?which=set", "dark", None),
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        camera = Camera(browser, server.url)
        for name, path, look, before in pictures:
            if not wanted or name in wanted:
                camera.take(name, path, look, before)
        browser.close()


def main(wanted: list[str]) -> None:
    """Play the day, and take the pictures."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        database = pathlib.Path(directory) / "ringback.db"
        day = Day()
        receiver = Receiver(day)
        server = fast(database)
        try:
            scene = furnish(server, receiver.url, 0)
            for uid in list(scene.apps)[1:]:
                server.make(f"/app/{uid}/endpoint", {"url": f"{receiver.url}/{uid}", "description": f"Webhooks of {uid}"})
            day.began = time.monotonic()
            play(server, scene, day)
            server.stop()
            day.over = True
            server = servers.start(database, {"retry_schedule": "5s,5m,30m,2h,5h,10h,14h,20h,20h"}, log=database.parent / "server.log")
            for number in range(19_000, 19_040):
                send(server, "acme", number)
            time.sleep(9)
            equip(server, receiver.url)
            photograph(server, scene, wanted)
        finally:
            server.stop()
            receiver.close()


if __name__ == "__main__":
    main(sys.argv[1:])
