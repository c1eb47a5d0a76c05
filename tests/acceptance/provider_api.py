"""What does the API of a provider look like from here? A server in threads of the test that answers as the test says."""

from __future__ import annotations

import dataclasses
import http.server
import json
import threading
import time
import typing
import urllib.parse

# What the owner gave us, to be found in requests to the provider and nowhere else.
CREDENTIAL = "rk_live_the_credential_of_the_owner"


@dataclasses.dataclass(frozen=True)
class Asked:
    """One request to the API. `headers` are in lower case, `query` holds all values of each parameter."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes = b""

    def one(self, name: str) -> str | None:
        """The value of a parameter."""
        return self.query.get(name, [None])[0]


@dataclasses.dataclass(frozen=True)
class Said:
    """An answer. `body` is bytes, or what is written as JSON."""

    body: object = b""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)


def refused(status: int, **headers: str) -> Said:
    """An answer that says no."""
    return Said({"error": "no"}, status, tuple((name.replace("_", "-"), value) for name, value in headers.items()))


class ProviderApi:
    """Answers requests with what `answer` makes of each; `asked` are all of them."""

    def __init__(self, answer: typing.Callable[[Asked], Said]) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body in one piece: the other end would wait for the rest otherwise.
            wbufsize = -1

            def _reply(self) -> None:
                parts = urllib.parse.urlsplit(self.path)
                headers = {name.lower(): value for name, value in self.headers.items()}
                query = urllib.parse.parse_qs(parts.query, keep_blank_values=True)
                request = Asked(self.command, parts.path, query, headers, self.rfile.read(int(headers.get("content-length", "0"))))
                api.asked.append(request)
                said = api.answer(request)
                body = said.body if isinstance(said.body, bytes) else json.dumps(said.body, indent=2).encode()
                self.send_response(said.status)
                for name, value in said.headers:
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                try:
                    self.wfile.write(body)
                except ConnectionError:
                    # Whoever asked has had enough of it.
                    self.close_connection = True

            do_GET = do_POST = do_PUT = do_PATCH = _reply

            def log_message(self, format: str, *args: typing.Any) -> None:
                """Nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()


class StripeList:
    """Events as Stripe lists them: the newest first, a page at a time, behind `starting_after`."""

    def __init__(self, count: int, *, page: int = 3, newest_s: float | None = None) -> None:
        self.page = page
        newest_s = time.time() - 3_600 if newest_s is None else newest_s
        self.events = [self.event(f"evt_{number}", int(newest_s) - (count - number)) for number in range(1, count + 1)]

    @staticmethod
    def text(seconds: int) -> str:
        """A time so many seconds from now, in words."""
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))

    @staticmethod
    def event(event_id: str, created_s: int, kind: str = "charge.succeeded") -> dict[str, typing.Any]:
        """One event as the list shows it: laid out otherwise than the call that would have brought it."""
        return {"id": event_id, "object": "event", "created": created_s, "type": kind, "data": {"object": {"id": f"ch_{event_id}"}}}

    def __call__(self, asked: Asked) -> Said:
        """The page that is asked for."""
        if asked.headers.get("authorization") != f"Bearer {CREDENTIAL}":
            return refused(401)
        low, high = int(asked.one("created[gte]") or 0), int(asked.one("created[lte]") or 1 << 40)
        wanted = asked.query.get("types[]")
        listed = [e for e in reversed(self.events) if low <= e["created"] <= high and (wanted is None or e["type"] in wanted)]
        after = asked.one("starting_after")
        if after is not None:
            ids = [event["id"] for event in listed]
            listed = listed[ids.index(after) + 1 :]
        page = listed[: self.page]
        return Said({"object": "list", "url": "/v1/events", "has_more": len(listed) > len(page), "data": page})


class GithubDeliveries:
    """Deliveries as GitHub lists them, the newest first; the last one of `guids` is the newest. Pages are named by the header Link."""

    PARAMETERS: typing.ClassVar[dict[str, str]] = {"owner": "acme", "repo": "shop", "hook": "7"}

    def __init__(self, guids: list[str], *, page: int) -> None:
        self.page = page
        self.listed = [self.delivery(number, guid) for number, guid in reversed(list(enumerate(guids, 1)))]
        self.redelivered: list[str] = []

    @staticmethod
    def delivery(number: int, guid: str) -> dict[str, typing.Any]:
        """One delivery as the list shows it."""
        at = StripeList.text(-4_000 + number)
        return {"id": number, "guid": guid, "delivered_at": at, "status_code": 502, "event": "issues", "action": "opened"}

    def __call__(self, asked: Asked) -> Said:
        """The page, the details of one delivery, or the word that it is sent again."""
        if asked.headers.get("authorization") != f"Bearer {CREDENTIAL}" or asked.headers.get("x-github-api-version") != "2022-11-28":
            return refused(401)
        behind = asked.path.partition("/deliveries")[2].strip("/").split("/")
        if behind[-1] == "attempts":
            assert asked.method == "POST"
            self.redelivered.append(behind[0])
            return Said({}, 202)
        if behind[0]:
            delivery = next(item for item in self.listed if str(item["id"]) == behind[0])
            return Said({**delivery, "request": {"headers": {}, "payload": {"action": "opened", "guid": delivery["guid"]}}})
        at = int(asked.one("cursor") or 0)
        more = f'<http://{asked.headers["host"]}{asked.path}?per_page=100&cursor={at + self.page}>; rel="next"'
        last = (("link", more),) if at + self.page < len(self.listed) else ()
        # What else stands in such a head, before the link.
        padding = ("content-security-policy", "default-src 'none'; " * 250)
        return Said(self.listed[at : at + self.page], headers=(("content-type", "application/json"), padding, *last))
