"""Why did deliveries fail for good? The causes of dead letters, in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ringback.model.attempts import ErrorClass as E
from ringback.model.deliveries import ABORTED
from ringback.policy.advice import Advice, advice

_WORDS: Final[Mapping[str, str]] = {
    E.DNS: "name not found",
    E.BLOCKED: "address blocked",
    E.REFUSED: "connection refused",
    E.UNREACHABLE: "unreachable",
    E.CONNECT_TIMEOUT: "no connection in time",
    E.PROXY: "stopped by the proxy",
    E.TLS: "no secure connection",
    E.TIMEOUT: "no answer in time",
    E.RESET: "connection broke off",
    E.PROTOCOL: "no HTTP answer",
    E.PAYLOAD_GONE: "payload gone",
    E.TRANSFORMATION: "transformation failed",
    E.TRANSFORMATION_LIMIT: "transformation stopped",
    E.CANCELLED: "cancelled by its transformation",
    E.INTERNAL: "defect of this server",
    ABORTED: "given up as asked",
}
_HTTP: Final = "http_"
_ABORTED: Final = Advice(
    "The receiver asked for no more attempts of these messages (webhook-delivery: abort-message).",
    ("If that was not meant, let it answer without that header, and replay them.",),
)


def words_of_cause(cause: str) -> str:
    """A cause as a badge or a choice says it: `answered 503`."""
    if cause.startswith(_HTTP):
        return f"answered {cause.removeprefix(_HTTP)}"
    return _WORDS.get(cause, cause.replace("_", " "))


def advice_of_cause(cause: str) -> Advice:
    """What a cause means, and what to do about it."""
    if cause == ABORTED:
        return _ABORTED
    status = cause.removeprefix(_HTTP)
    return advice(None, int(status)) if cause.startswith(_HTTP) and status.isdecimal() else advice(cause, 0)
