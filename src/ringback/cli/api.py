"""How does a command speak to a server? Over the public HTTP API, one keep-alive connection, one request after another."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from ringback.errors import OperatorError, RingbackError

# Seconds for one answer; more than the server takes for anything.
_TIMEOUT_S = 10.0
# Characters that are shown of an answer which is no JSON: enough for the title of a page.
_TOLD = 120


class Api:
    """Blocking; use it from one thread at a time. Raises OperatorError for a URL or a token that cannot be a server's."""

    def __init__(self, url: str, token: str, timeout_s: float = _TIMEOUT_S) -> None:
        self.url = url
        self._connection, self._base = _connection(url, timeout_s)
        if not (token.isascii() and token.isprintable()):
            raise OperatorError("the token holds a line break or another character that no header can carry; paste it alone")
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}

    def call(self, method: str, path: str, body: object = None, *, key: str = "") -> tuple[int, Any]:
        """Status and parsed body, which is a text where it is no JSON: a proxy on the way answers in its own words.

        A `key` makes a POST safe to repeat. Raises OSError when the server cannot be reached.
        """
        headers = {**self._headers, "idempotency-key": key} if key else self._headers
        content = None if body is None else json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        try:
            return self._once(method, path, content, headers)
        except (http.client.HTTPException, ConnectionError) as error:
            self._connection.close()
            # An idle connection that the server closed looks like this; only what may be repeated is.
            if method == "POST" and not key:
                raise ConnectionError(f"{method} {path}: {error}") from error
        try:
            return self._once(method, path, content, headers)
        except http.client.HTTPException as error:
            self._connection.close()
            raise ConnectionError(f"{method} {path}: {error}") from error

    def need(self, method: str, path: str, body: object = None) -> Any:
        """The parsed body of an answer that must be a success. Raises RingbackError with what the server said."""
        status, answer = self.call(method, path, body)
        if status >= 300:
            raise RingbackError(f"the server answered {status} to {method} {path}: {told(answer)}")
        if isinstance(answer, str):
            raise RingbackError(f"what answered {status} to {method} {path} is no Ringback: {told(answer)}")
        return answer

    def _once(self, method: str, path: str, content: bytes | None, headers: dict[str, str]) -> tuple[int, Any]:
        self._connection.request(method, self._base + path, content, headers)
        answer = self._connection.getresponse()
        raw = answer.read()
        return answer.status, _parsed(raw) if raw else None


def _connection(url: str, timeout_s: float) -> tuple[http.client.HTTPConnection, str]:
    """A connection that speaks as the URL says, and the path below which the server is: what is meant for TLS goes nowhere else."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _no_server(url) from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _no_server(url)
    speaks = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return speaks(parts.hostname, port, timeout=timeout_s), parts.path.rstrip("/")


def _no_server(url: str) -> OperatorError:
    return OperatorError(f"{url!r} is no URL of a server; write it like http://127.0.0.1:8071 or https://ringback.example.com")


def _parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode("utf-8", "replace")


def told(answer: Any) -> str:
    """What an error says, without the JSON around it."""
    detail = answer.get("detail") if isinstance(answer, dict) else None
    if isinstance(detail, list):
        return "; ".join(f"{'.'.join(map(str, problem['loc'][1:]))}: {problem['msg']}" for problem in detail)
    if isinstance(answer, str):
        # A page of a proxy: its first words say whose it is.
        return repr(answer[:_TOLD])
    return detail if isinstance(detail, str) else f"{answer}"
