"""How does a Django project take webhooks? By a view around a receiver, for `urls.py`; CSRF protection is off for it, as it must be."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from ringback.receiver import wsgi
from ringback.receiver.receiving import Receiver


def view(receiver: Receiver) -> Callable[..., HttpResponse]:
    """Make the view of a receiver: `path("webhooks/stripe", django.view(stripe))`. Under ASGI, Django runs it on a thread."""

    def receive(request: HttpRequest, *args: object, **named: object) -> HttpResponse:
        # Under ASGI Django has the body whole, in memory or in a file; under WSGI it reads none without a length.
        environ = {"RAW_URI": request.get_full_path()} | request.META
        environ |= {"wsgi.input_terminated": hasattr(request, "scope"), "wsgi.url_scheme": request.scheme}
        reply = wsgi.answer(receiver, environ, request.read)
        response = HttpResponse(reply.body, status=reply.status, content_type=reply.content_type or None)
        if not reply.content_type:
            # Django would call it HTML.
            del response["Content-Type"]
        for name, value in reply.headers:
            response[name] = value
        return response

    # Nobody who calls has a cookie of ours: the signature is the proof.
    receive.csrf_exempt = True  # type: ignore[attr-defined]  # Django reads it from the function
    return receive
