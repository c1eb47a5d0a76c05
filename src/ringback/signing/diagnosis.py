"""Why did a signature not match? Tries the usual mistakes one at a time, and says which one would explain it.

For people who look at a refused request, never for believing one: each try costs a whole verification, and times are not checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeAlias

from ringback.errors import VerificationError
from ringback.signing.encodings import SECRET_ENCODINGS
from ringback.signing.fetched import KeyUnavailable
from ringback.signing.request import InboundRequest, Secret, Verifier
from ringback.signing.rewrites import rewrites

Prepare: TypeAlias = Callable[[Sequence[Secret]], Verifier]

# Larger bodies are not taken apart: parsing and signing them again several times would hold everything else up.
MAX_BODY_BYTES: Final = 1_048_576
# Ways to read a secret that people mix up; public keys cannot be taken for anything else.
_READINGS: Final = ("utf8", "hex", "base64", "whsec_base64")


def likely_causes(prepare: Prepare, secrets: Sequence[Secret], request: InboundRequest, *, now_s: float) -> list[str]:
    """Sentences, each naming one change that makes the signature match; empty when none of the usual mistakes explains it.

    `prepare` makes the verifier of the source for given secrets, with no limit on age.
    """
    if len(request.body) > MAX_BODY_BYTES:
        return []
    causes = [cause for cause, changed in rewrites(request) if _matches(prepare, secrets, changed, now_s)]
    causes = list(dict.fromkeys(causes))
    return causes + [cause for cause, changed in _other_secrets(secrets) if _matches(prepare, changed, request, now_s)]


def _matches(prepare: Prepare, secrets: Sequence[Secret], request: InboundRequest, now_s: float) -> bool:
    try:
        prepare(secrets).verify(request, now_s=now_s)
    except (VerificationError, KeyUnavailable, ValueError):
        return False
    return True


def _other_secrets(secrets: Sequence[Secret]) -> Iterator[tuple[str, Sequence[Secret]]]:
    stripped = [Secret(secret.text.strip().strip("\"'"), secret.encoding) for secret in secrets]
    if stripped != list(secrets):
        yield "the secret was pasted with blanks or quotes around it", stripped
    for encoding in _READINGS:
        read = [Secret(secret.text, encoding) for secret in secrets]
        if encoding in SECRET_ENCODINGS and read != list(secrets):
            yield f"the secret must be read as {encoding}", read
