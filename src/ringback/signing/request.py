"""What did a stranger send us? One HTTP request as verification sees it, and the secrets that it is checked against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from ringback.signing.fetched import NO_KEYS, KeySource
from ringback.signing.headers import Headers
from ringback.signing.verdict import Verdict


class InboundRequest(msgspec.Struct, frozen=True):
    """`body` is the bytes as received, before any decompression; `url` the public URL that the sender called, empty when unknown."""

    headers: Headers
    body: bytes = b""
    method: bytes = b"POST"
    url: bytes = b""


class Secret(msgspec.Struct, frozen=True, gc=False):
    """One secret of a source as it was pasted in; `encoding` overrides how the scheme reads it (see `ringback.signing.encodings`)."""

    text: str
    encoding: str | None = None

    def __repr__(self) -> str:
        return f"Secret(***, encoding={self.encoding!r})"


class Verifier(Protocol):
    """A scheme with its keys prepared; made once per source and used for every request."""

    def verify(self, request: InboundRequest, *, now_s: float, key_source: KeySource = NO_KEYS) -> Verdict:
        """Believe the request, or raise VerificationError; nothing else for any bytes, save what `key_source` raises."""
        ...


class Scheme(Protocol):
    """How one provider proves itself: a row of the catalogue."""

    @property
    def name(self) -> str:
        """The name under which requests are verified, `stripe-v1`."""
        ...

    @property
    def tolerance_s(self) -> float | None:
        """How far the signed time may be from now, either way; None where it is not checked by default."""
        ...

    def applies(self, request: InboundRequest) -> bool:
        """Does the request claim to be of this scheme? Only decides between the schemes of one provider."""
        ...

    def prepare(self, secrets: Sequence[Secret], tolerance_s: float | None) -> Verifier:
        """Check and absorb the secrets. Raises ValueError, without the secret, when one cannot be used."""
        ...
