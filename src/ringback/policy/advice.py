"""What should somebody do about a failure? For each cause what it means, and what to look at first."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from ringback.model.attempts import ErrorClass

E = ErrorClass


class Advice(msgspec.Struct, frozen=True):
    """What a cause means, and what to do about it."""

    meaning: str
    steps: tuple[str, ...]


_BY_ERROR: Final[Mapping[str, Advice]] = MappingProxyType(
    {
        E.DNS: Advice(
            "The name of the endpoint could not be looked up.",
            ("Check the host in the URL for a typing mistake.", "Ask its owner whether the domain has expired or moved."),
        ),
        E.BLOCKED: Advice(
            "The endpoint's address is in a private or reserved network, which deliveries may not reach.",
            (
                "Use an address that is reachable from the internet.",
                "If it is your own network, allow it with the setting whitelist_subnets.",
            ),
        ),
        E.REFUSED: Advice(
            "Nothing listens at that address and port.",
            ("Check that the receiver runs, and on the port of the URL.", "Check that a firewall does not reject the connection."),
        ),
        E.UNREACHABLE: Advice(
            "There is no way to the network of the endpoint.",
            ("Check the address in the URL.", "Check this server's own network: other endpoints would fail the same way."),
        ),
        E.CONNECT_TIMEOUT: Advice(
            "Nobody answered the attempt to connect.",
            (
                "Check that a firewall does not drop packets from this server.",
                "Check that the receiver is up; a machine that is off looks the same.",
            ),
        ),
        E.PROXY: Advice(
            "The proxy that deliveries go through did not let this one pass.",
            (
                "Check that the proxy of the setting proxy_addr runs, and that its login is right.",
                "Check whether it forbids this destination.",
                "Hosts that need no proxy belong into the setting noproxy.",
            ),
        ),
        E.TLS: Advice(
            "No secure connection could be made.",
            (
                "Check that the certificate is valid for the host of the URL and has not expired.",
                "Check that the server sends its whole chain of certificates; browsers repair a missing one, others do not.",
                "If it speaks plain HTTP, the URL must begin with http://.",
            ),
        ),
        E.TIMEOUT: Advice(
            "The endpoint took the request and did not answer in time.",
            (
                "Let the receiver store the message, answer 2xx at once, and work afterwards.",
                "It may have done the work all the same: let it recognise a message by its webhook-id.",
            ),
        ),
        E.RESET: Advice(
            "The connection broke off before there was an answer.",
            (
                "Look for a crash or a restart of the receiver at that time.",
                "Check the limits of a proxy before it: size of bodies, idle time.",
            ),
        ),
        E.PROTOCOL: Advice(
            "What came back was no HTTP answer.",
            ("Check the port: something other than a web server may listen there.", "If it speaks TLS, the URL must begin with https://."),
        ),
        E.PAYLOAD_GONE: Advice(
            "The payload was expunged or had expired before it could be sent.",
            ("Send the message again under a new event id.", "Keep payloads longer than the retry schedule lasts."),
        ),
        E.TRANSFORMATION: Advice(
            "The endpoint's transformation failed, so there was nothing to send.",
            (
                "Read its error: it names the line of the code.",
                "Try the code on this message, on the page of the endpoint's transformation; retries run what is saved then.",
            ),
        ),
        E.TRANSFORMATION_LIMIT: Advice(
            "The endpoint's transformation was stopped: it took too much time or memory.",
            (
                "Look for a loop without an end, and for a regular expression that tries too much.",
                "Try the code on this message, on the page of the endpoint's transformation.",
            ),
        ),
        E.CANCELLED: Advice(
            "The endpoint's transformation wanted this message not sent.",
            ("If that was not meant, change the code, and resend the message.",),
        ),
        E.INTERNAL: Advice(
            "The server ran into a defect of its own.", ("Look into the server's log at that time.", "Report it with that line.")
        ),
    }
)
# By HTTP status (RFC 9110, 15).
_BY_STATUS: Final[Mapping[int, Advice]] = MappingProxyType(
    {
        400: Advice(
            "The receiver could not read the request.",
            ("Compare the payload with what the receiver's code expects.", "Read its answer below: most frameworks say which field."),
        ),
        401: Advice(
            "The receiver did not accept who is calling.",
            (
                "Check that it verifies with the current secret of this endpoint; after a rotation both work for a while.",
                "Check that it verifies the raw bytes of the body, before any framework has parsed them.",
                "If it wants a header of its own, add it to the endpoint.",
            ),
        ),
        403: Advice(
            "The receiver understood the request and forbids it.",
            (
                "Check its firewall or bot protection: many block requests without a browser.",
                "Check whether it allows this server's address.",
            ),
        ),
        404: Advice(
            "There is nothing at that path.",
            ("Check the path of the URL; a slash at the end can matter.", "Check that the route is deployed."),
        ),
        405: Advice("The path exists, and takes no POST.", ("Check the path of the URL.", "Let the receiver's route accept POST.")),
        408: Advice("The receiver waited too long for the request.", ("Check proxies between here and there.",)),
        409: Advice(
            "The receiver says that it conflicts with what it has.",
            ("If it means a repeated message, let it answer 2xx: a repetition is no failure.",),
        ),
        410: Advice(
            "The receiver wants nothing any more, so the endpoint was disabled.",
            ("If that was not meant, let it answer something else, and enable the endpoint.",),
        ),
        413: Advice(
            "The payload is too large for the receiver.",
            ("Raise the limit of bodies at the receiver and at proxies before it.", "Send a reference instead of the whole."),
        ),
        415: Advice("The receiver does not take this content type.", ("Let it accept the content type that is shown under Request.",)),
        422: Advice(
            "The receiver read the request and found something wrong with it.",
            ("Read its answer below.", "Compare the payload with the schema of its event type."),
        ),
        429: Advice(
            "The receiver gets more than it can take.",
            (
                "Give the endpoint a rate (attempts a second) that the receiver can keep up with.",
                "Its Retry-After is obeyed where it sends one.",
            ),
        ),
        500: Advice("The receiver has a defect.", ("Look into its log at the time of the attempt, by the webhook-id.",)),
        502: Advice(
            "A proxy before the receiver got no good answer from it.",
            ("Check that the receiver behind the proxy runs.", "Look into the proxy's log."),
        ),
        503: Advice(
            "The receiver is overloaded or in maintenance.",
            ("Wait: retries go on by themselves, and its Retry-After is obeyed.", "Give the endpoint a rate if it happens under load."),
        ),
        504: Advice("A proxy before the receiver waited too long for it.", ("Let the receiver answer 2xx at once, and work afterwards.",)),
    }
)
_REDIRECT: Final = Advice(
    "The receiver points elsewhere, and redirects are never followed: the new place was not checked.",
    ("Put the final URL into the endpoint; the header location under Response names it.",),
)
_CLIENT: Final = Advice("The receiver refused the request.", ("Read its answer below.", "Ask its owner what the status means there."))
_SERVER: Final = Advice("The receiver failed.", ("Look into its log at the time of the attempt, by the webhook-id.",))
_OTHER: Final = Advice("The answer was no success: only 2xx is.", ("Let the receiver answer 2xx once it has the message.",))


def advice(error: str | None, status: int) -> Advice:
    """What to do about an attempt that failed with this error class, or with this HTTP status (0 = no answer)."""
    if status:
        found = _BY_STATUS.get(status)
        return found or {3: _REDIRECT, 4: _CLIENT, 5: _SERVER}.get(status // 100, _OTHER)
    return _BY_ERROR.get(error or "", _BY_ERROR[E.INTERNAL])
