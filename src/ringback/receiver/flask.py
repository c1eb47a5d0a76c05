"""How does a Flask application take webhooks? By a view, or a blueprint, around a receiver. Needs Flask 3.1 or newer."""

from __future__ import annotations

import io
from collections.abc import Callable

from flask import Blueprint, Response, request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from ringback.receiver import wsgi
from ringback.receiver.body import CutShortError, TooLargeError
from ringback.receiver.receiving import Receiver

# What a view must let through: handshakes ask with the others.
METHODS = ["GET", "HEAD", "OPTIONS", "POST"]


def view(receiver: Receiver) -> Callable[[], Response]:
    """A view: `app.add_url_rule("/webhooks/stripe", view_func=view(stripe), methods=METHODS)`. Exempt it from CSRF protection."""

    def receive() -> Response:
        reply = wsgi.answer(receiver, request.environ, _reader(receiver))
        response = Response(reply.body, reply.status, headers=[*reply.headers])
        # Flask would call it HTML.
        response.headers.pop("content-type", None)
        if reply.content_type:
            response.headers["content-type"] = reply.content_type
        return response

    receive.__name__ = f"receive_{receiver.name}".replace("-", "_")
    # OPTIONS is a handshake of some providers, so that Flask must not answer it by itself.
    receive.provide_automatic_options = False  # type: ignore[attr-defined]  # Flask reads it from the function
    return receive


def blueprint(receiver: Receiver, path: str) -> Blueprint:
    """A blueprint with the receiver at a path: `app.register_blueprint(blueprint(stripe, "/webhooks/stripe"))`."""
    made = Blueprint(f"ringback_{receiver.name}".replace("-", "_").replace(".", "_"), __name__)
    made.add_url_rule(path, view_func=view(receiver), methods=METHODS, endpoint="receive")
    return made


def _reader(receiver: Receiver) -> Callable[[int], bytes]:
    """Reads the body through Flask, which keeps a copy: somebody may have asked for it before us, or ask later."""
    copy: list[io.BytesIO] = []

    def read(most: int) -> bytes:
        if not copy:
            # Where no length was announced, Flask ends the read there without a word: one byte more tells a body over the limit.
            request.max_content_length = receiver.max_body_bytes + 1
            try:
                copy.append(io.BytesIO(request.get_data(parse_form_data=False)))
            except RequestEntityTooLarge:
                raise TooLargeError from None
            except ClientDisconnected:
                raise CutShortError from None
        return copy[0].read(most)

    return read
