"""How does a WSGI server reach a receiver? As an application, alone or behind a dispatcher (gunicorn, waitress, mod_wsgi, uWSGI)."""

from __future__ import annotations

import http
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import quote

from ringback.receiver.body import CutShortError, TooLargeError, length_of, read_all
from ringback.receiver.event import Reply
from ringback.receiver.receiving import Receiver
from ringback.signing.headers import Field, Headers

Environ: TypeAlias = Mapping[str, Any]

# No receiver is at that path.
_NOT_FOUND: Final = Reply(404)
# The server cannot tell where the body ends.
_LENGTH_REQUIRED: Final = Reply(411)


class StartResponse(Protocol):
    """What a server gives an application to begin its answer with."""

    def __call__(self, status: str, headers: list[tuple[str, str]], /) -> Any:
        """Begin the answer."""
        ...


class ReceiverApp:
    """A WSGI application: one receiver at every path that reaches it, or several, each at its own path; 404 elsewhere."""

    def __init__(self, receivers: Receiver | Mapping[str, Receiver]) -> None:
        self._alone = receivers if isinstance(receivers, Receiver) else None
        self._by_path = {} if isinstance(receivers, Receiver) else dict(receivers)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request. Blocks as long as the handler runs."""
        receiver = self._alone or self._by_path.get(environ.get("PATH_INFO", ""))
        reply = _NOT_FOUND if receiver is None else answer(receiver, environ)
        start_response(status_line(reply.status), reply.fields())
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else reply.body]


def answer(receiver: Receiver, environ: Environ, read: Callable[[int], bytes] | None = None) -> Reply:
    """What to answer to a WSGI request, whose body is behind `read` where the framework has its own way to it.

    The time that a body may take is the server's to limit: a read that it ends by an exception is answered 408.
    """
    method, length = str(environ["REQUEST_METHOD"]), length_of(environ.get("CONTENT_LENGTH"))
    early = receiver.refusal(method, length)
    if early is not None:
        return early
    terminated = bool(environ.get("wsgi.input_terminated"))
    if length is None and not terminated and environ.get("HTTP_TRANSFER_ENCODING"):
        return _LENGTH_REQUIRED
    # Where nothing says that the input ends, reading past the length may block for ever.
    size = None if length is None and terminated else length or 0
    try:
        body = read_all(read or environ["wsgi.input"].read, receiver.max_body_bytes, size)
    except TooLargeError:
        return receiver.too_large()
    except CutShortError:
        # Not every scheme signs the body: what came of it would be believed.
        return receiver.cut_short()
    except OSError:
        return receiver.too_slow()
    return receiver.handle(receiver.request(headers_of(environ, receiver.odd_names), body, method, url_of(environ)))


def headers_of(environ: Environ, odd: Mapping[bytes, bytes]) -> Headers:
    """The headers of a WSGI request; `odd` gives those their name that are written with an underscore.

    Those that came twice were joined by the server, so that no signature among them can hold.
    """
    fields: list[Field] = []
    for name, value in environ.items():
        if name.startswith("HTTP_"):
            dashed = name[5:].replace("_", "-").lower().encode("latin-1", "replace")
            fields.append((odd.get(dashed, dashed), str(value).encode("latin-1", "replace")))
        elif name in ("CONTENT_TYPE", "CONTENT_LENGTH") and value:
            fields.append((name.replace("_", "-").lower().encode(), str(value).encode("latin-1", "replace")))
    return Headers(fields, lowered=True)


def url_of(environ: Environ) -> bytes:
    """The URL that was called, as far as the server knows: behind a proxy the receiver must be given the public one."""
    host = environ.get("HTTP_HOST") or f"{environ.get('SERVER_NAME', '')}:{environ.get('SERVER_PORT', '')}"
    # WSGI gives the path decoded, as text of Latin-1; some servers keep what came.
    path = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    path = (
        path.partition("?")[0]
        if path and path.startswith("/")
        else quote(
            f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}", safe="/:;,=@!$&'()*+~", encoding="latin-1", errors="replace"
        )
    )
    query = environ.get("QUERY_STRING", "")
    return f"{environ.get('wsgi.url_scheme', 'http')}://{host}{path}{'?' if query else ''}{query}".encode("latin-1", "replace")


def status_line(status: int) -> str:
    """A status with its words."""
    try:
        return f"{status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status} Status"
