"""How is an event written down? As a line for people on a terminal, as one JSON object otherwise, and never with a secret in it.

`log` is the only way to log: it takes an event of the catalogue. The masking here is the last line of defence; the first is that no event
has a field for a payload or a secret. Call `configure_logging` once, at the edge; before that, events go to structlog's defaults.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from ringback.telemetry.events import LIBRARY, LogEvent

_MASK = "****"
_SECRET_KEY = re.compile(r"token|secret|authorization|password|cookie|payload|body|signature|private_key", re.IGNORECASE)
# Names that speak about a secret or a payload without holding it.
_HARMLESS_KEY = re.compile(r".*_(id|ids|bytes|count|max|s)", re.IGNORECASE)
_SECRET_TEXT = re.compile(
    r"(?P<kind>\b(?:sk|appsk|strmsk|srcsk|whsec|whsk|whpk)_)[A-Za-z0-9+/=_-]{6,}"
    r"|(?P<scheme>\b(?:Bearer|Basic)\s+)\S+"
    r"|(?P<user>://)[^\s/@]+(?=@)"
)
_FIRST_KEYS = ("timestamp", "level", "event")
# Deeper than any event nests; what lies below is shown as its type, so that a cycle cannot hang the logger.
_DEPTH_MAX = 6


def log(event: LogEvent, *, failure: BaseException | None = None, **fields: object) -> None:
    """Write one event. `failure` adds its traceback, without local variables. Never raises for what a field holds."""
    if failure is not None:
        fields["exc_info"] = failure
    getattr(structlog.get_logger(), event.level)(event.name, **fields)


def configure_logging(level: str, format: str, stream: TextIO = sys.stderr) -> None:
    """Set up logging of this process, libraries included. `format` is auto, human or json; `level` one of the settings' words."""
    human = format == "human" or (format == "auto" and stream.isatty())
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # Plain tracebacks: the prettier ones print local variables, and with them payloads and secrets.
        structlog.processors.format_exc_info,
        mask_secrets,
    ]
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=stream.isatty(), sort_keys=False, exception_formatter=structlog.dev.plain_traceback)
        if human
        else structlog.processors.JSONRenderer(sort_keys=False)
    )
    least = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=[_as_library_event, *shared], processors=[_tidy, renderer]))
    root = logging.getLogger()
    root.handlers = [handler]
    # What libraries tell at info (each start, each connection) is told better by our own events.
    root.setLevel(max(least, logging.WARNING) if least > logging.DEBUG else least)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        library = logging.getLogger(name)
        library.handlers = []
        library.propagate = True


def mask_secrets(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: hides values under telling keys, and what looks like a secret inside any text. Time, level and event lead."""
    ordered = [key for key in _FIRST_KEYS if key in event] + [key for key in event if key not in _FIRST_KEYS]
    return {key: _masked(key, event[key], 0) for key in ordered}


def _masked(key: str, value: object, depth: int) -> object:
    if _SECRET_KEY.search(key) and not _HARMLESS_KEY.fullmatch(key):
        return _MASK
    if isinstance(value, str):
        return _SECRET_TEXT.sub(lambda match: (match["kind"] or match["scheme"] or match["user"]) + _MASK, value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth >= _DEPTH_MAX:
        return f"<{type(value).__name__}>"
    if isinstance(value, dict):
        return {str(inner): _masked(str(inner), held, depth + 1) for inner, held in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked("", held, depth + 1) for held in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    return _masked("", str(value), depth + 1)


def _as_library_event(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    record = event.get("_record")
    event["logger"] = getattr(record, "name", "")
    event["text"] = event["event"]
    event["event"] = LIBRARY.name
    return event


def _tidy(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event.pop("_record", None)
    event.pop("_from_structlog", None)
    return event
