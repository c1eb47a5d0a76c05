"""Writes the pages of docs/reference that are made from the code: `.venv/bin/python docs/generate.py`. A test fails when they are stale."""

from __future__ import annotations

import argparse
import functools
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

import msgspec  # noqa: E402 - as below

import ringback.api  # noqa: E402 - the path to the source must be set before
from ringback.api.auth import Access  # noqa: E402 - as above
from ringback.api.routing import Operation  # noqa: E402 - as above
from ringback.cli.main import build_parser  # noqa: E402 - as above
from ringback.config.settings import declared_settings  # noqa: E402 - as above
from ringback.model.applications import Capability  # noqa: E402 - as above
from ringback.model.operational import CATALOGUE as OPERATIONAL  # noqa: E402 - as above
from ringback.model.quarantine import TOO_LARGE_BODY, UNREADABLE_CODING, UNSOLICITED_HANDSHAKE  # noqa: E402 - as above
from ringback.model.reconciliation import Listing  # noqa: E402 - as above
from ringback.model.subscriptions import Renewal  # noqa: E402 - as above
from ringback.policy.reconciliation_rows import LISTINGS  # noqa: E402 - as above
from ringback.policy.subscription_rows import RENEWALS  # noqa: E402 - as above
from ringback.signing.verdict import REASONS  # noqa: E402 - as above
from ringback.telemetry.events import catalogue  # noqa: E402 - as above
from ringback.telemetry.prometheus import CATALOGUE  # noqa: E402 - as above

NOTE = "<!-- Made by docs/generate.py from the code; change it there. -->\n"


def settings() -> str:
    """docs/reference/settings.md."""
    parts = [
        f"# Settings\n\n{NOTE}\n"
        "Each setting can be given in a TOML file (`--config FILE`, or the file that `RINGBACK_CONFIG` names) under its own\n"
        "name, or as an environment variable: `RINGBACK_` and the name in capitals. `listen_address` and `database_url` have the\n"
        "flags `--listen` and `--database`. A flag beats a variable, a variable beats the file. The reference server's `SVIX_`\n"
        "variables of the same names are read too; ours win. An empty variable counts as not set. All settings are checked at\n"
        "start; a wrong value or a name that is no setting ends the start with a message that names it (exit code 2).\n\n"
        "Durations are seconds, or a number with `ms`, `s`, `m`, `h`, `d` or `w`. Sizes are bytes, or a number with `kB`, `MB`, `GB`,\n"
        "`KiB`, `MiB` or `GiB`. Lists are TOML lists, or items with commas between.\n"
    ]
    for declared in declared_settings():
        default = f"`{declared.default}`" if declared.default else "not set" if "list" not in declared.kind.name else "empty"
        names = [f"`RINGBACK_{declared.name.upper()}`", *(f"`SVIX_{alias.upper()}`" for alias in declared.aliases)]
        parts.append(
            f"\n## {declared.name}\n\n{declared.meaning}\n\n"
            f"- Default: {default}\n- Allowed: {declared.kind.allowed}\n- Variable: {', also '.join(names)}\n"
        )
    return "".join(parts)


def events() -> str:
    """docs/reference/events.md."""
    parts = [
        f"# Log events\n\n{NOTE}\n"
        "Every line that the server logs is one of these. On a terminal lines are made for people; otherwise each is one JSON\n"
        "object with `timestamp` (UTC), `level`, `event` and the fields below (`log_format`). Secrets, tokens and payloads are\n"
        "never logged. Nothing is logged for a single message or attempt: those are counted ([metrics](metrics.md)) and kept as\n"
        "history.\n\n"
        "| Event | Level | Fields | Meaning |\n|---|---|---|---|\n"
    ]
    for event in catalogue():
        fields = ", ".join(f"`{field}`" for field in event.fields)
        parts.append(f"| `{event.name}` | {event.level} | {fields} | {event.meaning} |\n")
    return "".join(parts)


def metrics() -> str:
    """docs/reference/metrics.md."""
    parts = [
        f"# Metrics\n\n{NOTE}\n"
        "`GET /metrics` answers in Prometheus' text format. Who may read it is the setting [metrics_access](settings.md#metrics_access).\n"
        "Counters begin at 0 when the server starts. Besides these there are the usual `process_*` metrics (CPU, memory, open files).\n\n"
        "| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n"
    ]
    for metric in CATALOGUE:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        parts.append(f"| `{metric.name}` | {metric.type} | {labels} | {metric.meaning} |\n")
    return "".join(parts)


def _fields(shape: type[msgspec.Struct]) -> str:
    """The fields of an event's data; those that may be null are marked."""
    fields = msgspec.structs.fields(shape)
    return ", ".join(f"`{field.encode_name}`" + (" (or null)" if "None" in str(field.type) else "") for field in fields)


def operational_events() -> str:
    """docs/reference/operational-events.md."""
    parts = [
        f"# Operational events\n\n{NOTE}\n"
        "What the platform tells its owner, at [operational endpoints](../how-to/hear-about-failures.md). Each is delivered as a\n"
        'message of its own, `{"type": NAME, "data": {…}}`, whose event type is the name. `lastAttempt` has `id`, `responseStatusCode`\n'
        "and `timestamp`; `trigger` is `manual` or `automatic`; `data` of a task is what the task itself shows, counts and lists also\n"
        "under names in the other spelling (`messages_sent`, `messages_purged`, `app_stats`), lists up to 1,000 rows.\n\n"
        "| Event | When | `data` |\n|---|---|---|\n"
    ]
    parts += [f"| `{event.name}` | {event.told} | {_fields(event.data)} |\n" for event in OPERATIONAL]
    return "".join(parts)


def _subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(actions[0].choices) if actions else {}


def _usage(parser: argparse.ArgumentParser, depth: int) -> str:
    # A fixed width, so that the page does not depend on the terminal it was made on.
    parser.formatter_class = lambda prog: argparse.HelpFormatter(prog, width=100)
    parts = [f"\n{'#' * depth} {parser.prog}\n\n```text\n{parser.format_help().strip()}\n```\n"]
    parts += [_usage(command, depth + 1) for command in _subcommands(parser).values()]
    return "".join(parts)


def cli() -> str:
    """docs/reference/cli.md."""
    return (
        f"# Command line\n\n{NOTE}\n"
        "Exit codes: 0 = done, 1 = failed, 2 = the command line or a setting is wrong. Errors are one message on stderr.\n"
        "In a clone `scripts/serve` makes the command; it is `.venv/bin/ringback` then.\n" + _usage(build_parser(), 2)
    )


class _Anything:
    """Stands for a service that is never called."""

    def __getattr__(self, name: str) -> _Anything:
        return self

    def __iter__(self) -> Iterator[object]:
        return iter(())


def _operations() -> dict[str, list[Operation]]:
    """The operations of the API, by module. Declaring them calls no service, so that none is needed here."""
    declared = {}
    for found in pkgutil.iter_modules(ringback.api.__path__):
        routes = getattr(importlib.import_module(f"ringback.api.{found.name}"), "routes", None)
        if routes is not None:
            declared[found.name] = routes(*(_Anything() for _ in inspect.signature(routes).parameters))
    return declared


ACCESS = {
    Access.OPEN: "none",
    Access.APPLICATION: "org token, or the application's",
    Access.ORGANISATION: "org token",
    Access.ANY: "any",
    Access.POLLER: "org token, the application's, or the polling endpoint's key",
    Access.STREAM: "org token, or the stream's",
    Access.SINK_POLLER: "org token, the stream's, or the sink's key",
    Access.STREAM_PORTAL: "the stream's",
    Access.SUBSCRIPTION: "org token, the application's, or the subscription's",
}
# Operations that check their caller themselves.
OWN_ACCESS = {
    "/metrics": "[metrics_access](settings.md#metrics_access)",
    "/api/v1/auth/logout": "the application's",
    "/api/v1/operator/": "the operator's, from the file beside the database",
}


# Run by tests/acceptance/test_tutorial.py.
BY_CURL = """
## By curl

An application is one of your customers; its endpoints are where that customer is called. Wherever an id stands, your own `uid` may.

```bash
API=http://127.0.0.1:8071/api/v1
curl_() { curl --silent --show-error --fail-with-body -H "authorization: Bearer $RINGBACK_TOKEN" -H 'content-type: application/json' "$@"; }
curl_ $API/app -d '{"name": "Ada and Sons", "uid": "ada"}'
curl_ $API/app/ada/endpoint -d '{"url": "https://example.com/webhook", "uid": "orders"}'
curl_ $API/app/ada/msg -H 'idempotency-key: order-1' -d '{"eventType": "order.created", "payload": {"order": 1}}'
curl_ $API/app/ada/attempt/endpoint/orders    # what was tried: the status, and the cause of a failure in words
```

A list answers `{"data": […], "iterator": …, "done": …}`: give `iterator` back as `?iterator=` for the next page until `done`; `limit` is
at most 250. An error answers `{"code": …, "detail": …}`, and 422 a list of which field is wrong and why. A POST with an
`idempotency-key` may be repeated: it is done once, and its answer is the first one's.
"""


def http_api() -> str:
    """docs/reference/http-api.md."""
    parts = [
        f"# HTTP API\n\n{NOTE}\n"
        "`GET /api/v1/openapi.json` on a running server has every field of every request and answer, made from the same types that\n"
        "parse the requests. A token goes into `Authorization: Bearer …`. Errors: [errors](errors.md). Every path also takes one\n"
        "slash at its end, and HEAD where GET is.\n\n"
        "A token of an application may do everything with it, unless it was made with `capabilities`: then the GETs, but for those of\n"
        "secrets, and what it has the capability for. `ManageEndpoint` includes `ManageEndpointSecret`, and that `ViewEndpointSecret`.\n",
        BY_CURL,
    ]
    seen: set[str] = set()
    for noun, operations in _operations().items():
        # What a module takes over from another one stands where it was met first.
        rows = [row for row in map(_row, operations) if row not in seen]
        seen.update(rows)
        if rows:
            parts.append(f"\n## {noun.replace('_', ' ').capitalize()}\n\n| Method | Path | What it does | Token |\n|---|---|---|---|\n")
            parts += rows
    return "".join(parts)


def _row(operation: Operation) -> str:
    access = next((own for prefix, own in OWN_ACCESS.items() if operation.path.startswith(prefix)), ACCESS[operation.access])
    whose = "the application's"
    if operation.access is Access.ANY and operation.needs is not None:
        access += f"; {whose}"
    # Every token may look.
    if operation.needs is not None and operation.needs is not Capability.VIEW_BASE:
        access = access.replace(whose, f"{whose} with `{operation.needs}`")
    if operation.path.startswith("/ingest/"):
        # The portal token of a source is one of the application that it has to itself.
        access = access.replace(whose, "the source's")
    return f"| {operation.method} | `{operation.path}` | {operation.summary} | {access} |\n"


def provider_lists() -> str:
    """docs/reference/provider-lists.md."""
    parts = [
        f"# Lists of providers\n\n{NOTE}\n"
        "Which providers can be asked [what they sent](../how-to/find-missing-calls.md), or\n"
        "[what changed](../how-to/find-missing-calls.md#changes-that-no-call-brings), and how. `confidence`: high = the provider's own\n"
        "documentation was read, medium = one good secondary source, low = a lead only.\n"
    ]
    for row in LISTINGS.values():
        needed = ", ".join(f"`{name}` ({meaning})" for name, meaning in row.parameters.items()) or "none"
        headers = ", ".join(f"`{name}: {text}`" for name, text in row.auth.items())
        again = f"- To send an event again: {f'`POST {row.redeliver}`' if row.redeliver else 'no way is known'}\n"
        if row.position:
            begins = "at its beginning"
            if row.start is not None:
                query = "&".join(f"{name}={text}" for name, text in row.start.query.items())
                begins = f"from now on, by `{row.method} {row.base}{row.start.path}{'?' if query else ''}{query}`"
            taken = f"each is an event `{row.event_type}`" if row.thin else "they are compared with the calls that came"
            again = f"- Lists changes: {taken}; it begins {begins if row.thin or row.start is not None else 'from now on'}\n"
        parts.append(
            f"\n## {row.name}\n\n{_first_asked(row)}- Asked: `{row.method} {row.base}{row.path}`, with {headers}\n- Parameters: {needed}\n"
            f"{again}- Confidence: {row.confidence}\n- Note: {row.note}\n- Source: {row.source}\n"
        )
    return "".join(parts)


def _first_asked(row: Listing | Renewal) -> str:
    if not row.token_url:
        return ""
    return f"- Access token: `POST {row.token_url}` with {', '.join(f'`{name}`' for name in row.token_form)}\n"


def provider_renewals() -> str:
    """docs/reference/provider-renewals.md."""
    parts = [
        f"# Renewals of providers' subscriptions\n\n{NOTE}\n"
        "Which subscriptions can be [renewed](../how-to/keep-subscriptions-alive.md), and how. `confidence`: high = the provider's own\n"
        "documentation was read, medium = one good secondary source, low = a lead only.\n"
    ]
    for row in RENEWALS.values():
        needed = ", ".join(f"`{name}` ({meaning})" for name, meaning in row.parameters.items()) or "none"
        body = f", with `{row.body}`" if row.body else ""
        if row.form:
            body = f", with the form {', '.join(f'`{name}={text}`' for name, text in row.form.items())}"
        parts.append(
            f"\n## {row.name}\n\n{_first_asked(row)}- Asked: `{row.method} {row.base or 'baseUrl'}{row.path}`{body}\n"
            f"- Parameters: {needed}\n"
            f"- Lives for: {row.period_s} s, unless `periodS` says otherwise\n"
            f"- Confidence: {row.confidence}\n- Note: {row.note}\n- Source: {row.source}\n"
        )
    return "".join(parts)


# What programs import, by module; what a module offers besides is its own business.
RECEIVER = {
    "ringback.receiver": ("Receiver", "Event", "Reply", "SqliteInbox", "Worker", "Inbox", "Claim", "EventKey"),
    "ringback.receiver.queue": ("SqliteQueue", "DeadLetter"),
    "ringback.receiver.asgi": ("ReceiverApp",),
    "ringback.receiver.wsgi": ("ReceiverApp",),
    "ringback.receiver.fastapi": ("router", "verified"),
    "ringback.receiver.flask": ("view", "blueprint"),
    "ringback.receiver.django": ("view",),
    "ringback.receiver.testing": ("sign", "SignedRequest"),
    "ringback.receiver.conformance": ("check",),
    "ringback.receiver.fetching": ("HttpsFetcher", "Fetcher"),
}
# Methods that adapters and the worker call, not programs.
NOT_CALLED = {
    "refusal", "too_large", "too_slow", "failed", "claim_in", "finish_in", "fields", "odd_names",
    "take", "renew", "done", "retry", "bury", "put", "watch", "next_due_us",
}  # fmt: skip


# A longer signature has each parameter on a line of its own.
LINE = 100


def _parameter(one: inspect.Parameter) -> str:
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}.get(one.kind, "")
    if one.default is inspect.Parameter.empty:
        return f"{stars}{one.name}: {one.annotation}"
    default = f"{one.default.__name__}" if callable(one.default) else repr(one.default).replace("datetime.timedelta", "timedelta")
    return f"{one.name}: {one.annotation} = {default}"


def _signature(named: Callable[..., object], name: str) -> str:
    shown = inspect.signature(named)
    given = [one for one in shown.parameters.values() if one.name not in ("self", "cls")]
    parts = [_parameter(one) for one in given]
    first = next((place for place, one in enumerate(given) if one.kind is inspect.Parameter.KEYWORD_ONLY), None)
    if first is not None and not any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in given):
        parts.insert(first, "*")
    returns = "" if shown.return_annotation in (inspect.Signature.empty, "None") else f" -> {shown.return_annotation}"
    inside = ", ".join(parts)
    if len(inside) > LINE:
        inside = "\n    " + ",\n    ".join(parts) + ",\n"
    return f"{'await ' if inspect.iscoroutinefunction(named) else ''}{name}({inside}){returns}"


def _told(docstring: str) -> str:
    """A docstring as Markdown: arguments become a list, examples a block."""
    text, _, arguments = inspect.cleandoc(docstring).partition("\n\nArgs:\n")
    text = re.sub(r"\n\nExample:\n.*", "", text, flags=re.DOTALL)
    joined = re.sub(r"\n {8,}", " ", arguments)
    listed = [f"- `{name}`: {meaning}" for name, meaning in re.findall(r"^    (\w+): (.*)$", joined, re.MULTILINE)]
    return "\n\n".join([text, "\n".join(listed)]) if listed else text


def _class(found: type, name: str) -> str:
    parts = [_told(found.__doc__ or "")]
    if issubclass(found, msgspec.Struct):
        fields = [f"`{field}: {kind}`" for field, kind in found.__annotations__.items()]
        parts.append(f"Fields: {', '.join(fields)}.")
    elif not getattr(found, "_is_protocol", False):
        parts.insert(0, f"```python\n{_signature(found.__init__, name)}\n```")  # type: ignore[misc]  # only looked at
    for member, value in vars(found).items():
        attribute = value.func if isinstance(value, functools.cached_property) else value.fget if isinstance(value, property) else None
        function = attribute or (value.__func__ if isinstance(value, classmethod | staticmethod) else value)
        # What a class of ours runs is an adapter's; a worker is run by a program.
        if member.startswith("_") or member in NOT_CALLED or (member, name) == ("run", "Receiver") or not inspect.isfunction(function):
            continue
        shown = f"{name}.{member}" if attribute else _signature(function, f"{name}.{member}")
        parts.append(f"`{shown}`\\\n{_told(function.__doc__ or '')}")
    return "\n\n".join(parts)


def receiver() -> str:
    """docs/reference/receiver.md."""
    reasons = ", ".join(f"`{reason}`" for reason in (*REASONS, TOO_LARGE_BODY, UNREADABLE_CODING, UNSOLICITED_HANDSHAKE))
    parts = [
        f"# Receiver library\n\n{NOTE}\n"
        "`from ringback.receiver import Receiver, Event, Reply, SqliteInbox, Worker, VerificationError, Unavailable`. All of it works\n"
        "with a plain `pip install ringback`; each framework is imported by its own adapter alone. How to use it: the\n"
        "[tutorial](../tutorial/receive-in-python.md), and the guides for [FastAPI](../how-to/receive-in-fastapi.md),\n"
        "[Flask](../how-to/receive-in-flask.md) and [Django](../how-to/receive-in-django.md).\n\n"
        f"`VerificationError.reason` is one of {reasons}: the words of the gateway's\n"
        "quarantine. They are for the owner; the sender is answered 401, without a body.\n"
    ]
    for module_name, names in RECEIVER.items():
        module = importlib.import_module(module_name)
        parts.append(f"\n## {module_name}\n\n{_told(module.__doc__ or '')}\n")
        for name in names:
            found = getattr(module, name)
            if inspect.isclass(found):
                told = _class(found, name)
            else:
                told = f"```python\n{_signature(found, name)}\n```\n\n{_told(found.__doc__ or '')}"
            parts.append(f"\n### {name}\n\n{told}\n")
    return "".join(parts)


PAGES = {"http-api.md": http_api, "settings.md": settings, "events.md": events, "metrics.md": metrics, "cli.md": cli}
PAGES["operational-events.md"] = operational_events
PAGES["provider-lists.md"] = provider_lists
PAGES["provider-renewals.md"] = provider_renewals
PAGES["receiver.md"] = receiver


if __name__ == "__main__":
    for name, page in PAGES.items():
        (ROOT / "docs" / "reference" / name).write_text(page(), "utf-8")
