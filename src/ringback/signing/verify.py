"""Is this request from whom it claims to be? The front door of verification: a provider or a scheme, and its secrets.

Example:
    >>> from ringback.signing.headers import Headers
    >>> from ringback.signing.providers.catalogue import provider
    >>> from ringback.signing.request import InboundRequest, Secret
    >>> github = prepare_provider(provider("github"), [Secret("It's a Secret to Everybody")])
    >>> signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    >>> request = InboundRequest(Headers.of({"X-Hub-Signature-256": signature}), b"Hello, World!")
    >>> github.verify(request, now_s=1_700_000_000).scheme
    'github-sha256'
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ringback.errors import VerificationError
from ringback.signing.fetched import NO_KEYS, KeySource
from ringback.signing.provider import Provider
from ringback.signing.request import InboundRequest, Scheme, Secret, Verifier
from ringback.signing.verdict import MISSING_HEADER, Verdict


def prepare_scheme(scheme: Scheme, secrets: Sequence[Secret], *, tolerance_s: float | None = None) -> Verifier:
    """A verifier of one scheme. `tolerance_s` overrides the scheme's own. Raises ValueError when a secret cannot be used."""
    return scheme.prepare(secrets, scheme.tolerance_s if tolerance_s is None else tolerance_s)


def prepare_provider(provider: Provider, secrets: Sequence[Secret], *, tolerance_s: float | None = None) -> Verifier:
    """A verifier of all the provider's schemes that may be chosen freely. Raises ValueError when a secret fits none of them."""
    if len(provider.schemes) == 1:
        return prepare_scheme(provider.schemes[0], secrets, tolerance_s=tolerance_s)
    prepared = tuple(_fitting(scheme, secrets, tolerance_s) for scheme in provider.schemes)
    unused = set(range(len(secrets))) - {index for one in prepared for index in one.indexes}
    if unused or not secrets:
        # Said by the newest scheme, whose secrets most people have.
        prepare_scheme(provider.schemes[0], [secrets[min(unused)]] if unused else (), tolerance_s=tolerance_s)
    return _Chooser(tuple(one for one in prepared if one.indexes))


class _Fitted:
    """A scheme with those of the secrets that it can use."""

    __slots__ = ("indexes", "scheme", "verifier")

    def __init__(self, scheme: Scheme, verifier: Verifier | None, indexes: tuple[int, ...]) -> None:
        self.scheme = scheme
        self.verifier = verifier
        self.indexes = indexes


class _Chooser:
    """Judges a request by the first scheme that it claims to be of, and by no other: a failure there is final."""

    __slots__ = ("_schemes",)

    def __init__(self, schemes: tuple[_Fitted, ...]) -> None:
        self._schemes = schemes

    def verify(self, request: InboundRequest, *, now_s: float, key_source: KeySource = NO_KEYS) -> Verdict:
        for one in self._schemes:
            if one.verifier is not None and one.scheme.applies(request):
                verdict = one.verifier.verify(request, now_s=now_s, key_source=key_source)
                return msgspec.structs.replace(verdict, key_index=one.indexes[verdict.key_index])
        raise VerificationError(MISSING_HEADER, f"the request has no signature of {' or '.join(one.scheme.name for one in self._schemes)}")


def _fitting(scheme: Scheme, secrets: Sequence[Secret], tolerance_s: float | None) -> _Fitted:
    indexes = tuple(index for index, secret in enumerate(secrets) if _fits(scheme, secret, tolerance_s))
    if not indexes:
        return _Fitted(scheme, None, ())
    return _Fitted(scheme, prepare_scheme(scheme, [secrets[index] for index in indexes], tolerance_s=tolerance_s), indexes)


def _fits(scheme: Scheme, secret: Secret, tolerance_s: float | None) -> bool:
    try:
        prepare_scheme(scheme, [secret], tolerance_s=tolerance_s)
    except ValueError:
        return False
    return True
