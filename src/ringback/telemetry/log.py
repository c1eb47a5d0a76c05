"""How is an event written down? As a line for people on a terminal, as one JSON object otherwise, and never with a secret in it.

`log` is the only way to log: it takes an event of the catalogue. The masking here is the last line of defence; the first is that no event
has a field for a payload or a secret. Call `configure_logging` once, at the edge. Underneath is the standard library's logging, so that
what libraries log takes the same way out.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from typing import TextIO

from ringback.clock import SECOND_US, rfc3339
from ringback.telemetry.active import active_ids
from ringback.telemetry.events import LIBRARY, LogEvent

_LOGGER = "ringback"
_MASK = "****"
_SECRET_KEY = re.compile(r"token|secret|authorization|password|cookie|payload|body|signature|private_key", re.IGNORECASE)
# Names that speak about a secret or a payload without holding it.
_HARMLESS_KEY = re.compile(r".*_(id|ids|bytes|count|max|s)", re.IGNORECASE)
_SECRET_TEXT = re.compile(
    r"(?P<kind>\b(?:sk|appsk|strmsk|srcsk|op|whsec|whsk|whpk)_)[A-Za-z0-9+/=_-]{6,}"
    r"|(?P<scheme>\b(?:Bearer|Basic)\s+)\S+"
    r"|(?P<user>://)[^\s/@]+(?=@)"
)
_WORD = re.compile(r"[!#-~]+")
# Deeper than any event nests; what lies below is shown as its type, so that a cycle cannot hang the logger.
_DEPTH_MAX = 6
# ANSI colours of the levels on a terminal: grey, green, yellow, red.
_COLOURS = {"debug": "90", "info": "32", "warning": "33", "error": "31"}


def log(event: LogEvent, *, failure: BaseException | None = None, **fields: object) -> None:
    """Write one event. `failure` adds its traceback, without local variables. Never raises for what a field holds.

    The ids of the span that goes on here are written too.
    """
    level = logging.getLevelNamesMapping()[event.level.upper()]
    span = active_ids()
    if span is not None:
        fields |= {"trace_id": span.trace_id, "span_id": span.span_id}
    logging.getLogger(_LOGGER).log(level, event.name, exc_info=failure, extra={"fields": fields})


def configure_logging(level: str, format: str, stream: TextIO = sys.stderr) -> None:
    """Set up logging of this process, libraries included. `format` is auto, human or json; `level` one of the settings' words."""
    terminal = stream.isatty()
    human = format == "human" or (format == "auto" and terminal)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(HumanLines(coloured=terminal) if human else JsonLines())
    least = logging.getLevelNamesMapping()[level.upper()]
    root = logging.getLogger()
    root.handlers = [handler]
    # What libraries tell at info (each start, each connection) is told better by our own events.
    root.setLevel(max(least, logging.WARNING) if least > logging.DEBUG else least)
    logging.getLogger(_LOGGER).setLevel(least)


class JsonLines(logging.Formatter):
    """One JSON object per line: time, level and event first."""

    def format(self, record: logging.LogRecord) -> str:
        """The line for this record."""
        return json.dumps(_line(self, record))


class HumanLines(logging.Formatter):
    """Time, level, event, then `field=value`; a traceback follows on lines of its own."""

    def __init__(self, *, coloured: bool) -> None:
        super().__init__()
        self._coloured = coloured

    def format(self, record: logging.LogRecord) -> str:
        """The line for this record."""
        line = _line(self, record)
        at, level, event, traceback = (line.pop(key, "") for key in ("timestamp", "level", "event", "exception"))
        shown = f"\x1b[{_COLOURS.get(str(level), '31')}m{level:<7}\x1b[0m" if self._coloured else f"{level:<7}"
        fields = "".join(f" {key}={_plain(value)}" for key, value in line.items())
        safe = "".join(c if c.isprintable() or c == "\n" else "?" for c in f"\n{traceback}") if traceback else ""
        return f"{at} {shown} {event:<18}{fields}{safe}"


def _plain(value: object) -> str:
    """The value as it is where it is one plain word, else quoted: strangers' text must not forge lines or steer the terminal."""
    return value if isinstance(value, str) and _WORD.fullmatch(value) else json.dumps(value)


def _line(formatter: logging.Formatter, record: logging.LogRecord) -> dict[str, object]:
    """What a record says, masked. A library's record becomes a `library` event."""
    fields = getattr(record, "fields", None)
    name = record.getMessage()
    if fields is None:
        fields = {"logger": record.name, "text": name}
        name = LIBRARY.name
    line: dict[str, object] = {"timestamp": rfc3339(int(record.created * SECOND_US)), "level": record.levelname.lower(), "event": name}
    line |= mask_secrets(fields)
    if record.exc_info:
        line["exception"] = _masked("", formatter.formatException(record.exc_info), 0)
    return line


def mask_secrets(fields: dict[str, object]) -> dict[str, object]:
    """The fields in a form that JSON can hold, without values under telling keys and without what looks like a secret in any text."""
    return {key: _masked(key, value, 0) for key, value in fields.items()}


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
