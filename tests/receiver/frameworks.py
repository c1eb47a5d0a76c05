"""Each framework around the same receivers: as a user would put them there."""

from __future__ import annotations

import asyncio
import typing
from collections.abc import Callable, Mapping

import django
import fastapi
import flask
import starlette.applications
import starlette.routing
from django.conf import settings
from django.urls import path as django_path

from ringback.receiver import Receiver, asgi, wsgi
from ringback.receiver import django as for_django
from ringback.receiver import fastapi as for_fastapi
from ringback.receiver import flask as for_flask
from tests.receiver.serving import Running, serve_asgi, serve_werkzeug, serve_wsgi

Receivers = Mapping[str, Receiver]
urlpatterns: list[typing.Any] = []


def asgi_alone(receivers: Receivers) -> Running:
    return serve_asgi(asgi.ReceiverApp(receivers))


def asgi_routed(receivers: Receivers) -> Running:
    routes = [starlette.routing.Route(path, asgi.ReceiverApp(receiver)) for path, receiver in receivers.items()]
    return serve_asgi(starlette.applications.Starlette(routes=routes))


def asgi_mounted(receivers: Receivers) -> Running:
    inner = {path.removeprefix("/hooks"): receiver for path, receiver in receivers.items()}
    return serve_asgi(starlette.applications.Starlette(routes=[starlette.routing.Mount("/hooks", asgi.ReceiverApp(inner))]))


def wsgi_alone(receivers: Receivers) -> Running:
    return serve_wsgi(wsgi.ReceiverApp(receivers))


def flask_views(receivers: Receivers) -> Running:
    app = flask.Flask("receiving")
    for path, receiver in receivers.items():
        app.add_url_rule(path, view_func=for_flask.view(receiver), methods=for_flask.METHODS)
    return serve_wsgi(app)


def flask_own_server(receivers: Receivers) -> Running:
    app = flask.Flask("receiving")
    for path, receiver in receivers.items():
        app.register_blueprint(for_flask.blueprint(receiver, path))
    return serve_werkzeug(app)


def _look() -> None:
    assert flask.request.get_data() is not None


def flask_blueprints(receivers: Receivers) -> Running:
    app = flask.Flask("receiving")
    # Somebody looks into the body before the receiver does.
    app.before_request(_look)
    for path, receiver in receivers.items():
        app.register_blueprint(for_flask.blueprint(receiver, path))
    return serve_wsgi(app)


def _set_up_django(receivers: Receivers) -> None:
    if not settings.configured:
        csrf = "django.middleware.csrf.CsrfViewMiddleware"
        settings.configure(
            SECRET_KEY="test", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], MIDDLEWARE=[csrf], DEBUG=False, LOGGING_CONFIG=None
        )
        django.setup()
    from django.urls import clear_url_caches

    urlpatterns[:] = [django_path(path.removeprefix("/"), for_django.view(receiver)) for path, receiver in receivers.items()]
    clear_url_caches()


def django_wsgi(receivers: Receivers) -> Running:
    _set_up_django(receivers)
    from django.core.wsgi import get_wsgi_application

    return serve_wsgi(get_wsgi_application())


def django_asgi(receivers: Receivers) -> Running:
    _set_up_django(receivers)
    from django.core.asgi import get_asgi_application

    return serve_asgi(get_asgi_application())


def fastapi_routers(receivers: Receivers) -> Running:
    app = fastapi.FastAPI()
    for path, receiver in receivers.items():
        app.include_router(for_fastapi.router(receiver, path))
    return serve_asgi(app)


ALL: dict[str, Callable[[Receivers], Running]] = {
    made.__name__: made
    for made in (
        asgi_alone,
        asgi_routed,
        asgi_mounted,
        wsgi_alone,
        flask_views,
        flask_own_server,
        flask_blueprints,
        django_wsgi,
        django_asgi,
        fastapi_routers,
    )
}
# Those whose server can take a body without a length apart.
CHUNKED = ("asgi_alone", "asgi_routed", "asgi_mounted", "flask_own_server", "django_asgi", "fastapi_routers")


async def nap() -> None:
    """Let others run once."""
    await asyncio.sleep(0)
