"""Whose secret is meant, where several senders share one URL? The request names its sender, and is judged by that one's secrets alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from ringback.errors import VerificationError
from ringback.signing.fetched import NO_KEYS, KeySource
from ringback.signing.places import first_text
from ringback.signing.request import InboundRequest, Secret, Verifier
from ringback.signing.verdict import UNKNOWN_SENDER, Verdict


class BySender:
    """A verifier for each sender. What a request says of its sender is not believed: it only chooses which secrets must match."""

    __slots__ = ("_indexes", "_place", "_verifiers")

    def __init__(self, place: str, secrets: Sequence[tuple[str, Secret]], prepare: Callable[[Sequence[Secret]], Verifier]) -> None:
        """`place` is where a request names its sender; each secret comes with the sender's name. Raises ValueError as `prepare` does."""
        by_sender: dict[str, list[int]] = {}
        for index, (sender, _) in enumerate(secrets):
            by_sender.setdefault(sender, []).append(index)
        self._place = place
        self._indexes = by_sender
        self._verifiers = {sender: prepare([secrets[index][1] for index in indexes]) for sender, indexes in by_sender.items()}

    def verify(self, request: InboundRequest, *, now_s: float, key_source: KeySource = NO_KEYS) -> Verdict:
        """As the sender's own verifier; the number of the key is that among all secrets."""
        sender = first_text((self._place,), request)
        verifier = None if sender is None else self._verifiers.get(sender)
        if sender is None or verifier is None:
            raise VerificationError(UNKNOWN_SENDER, f"the sender that {self._place} names has no secret here")
        verdict = verifier.verify(request, now_s=now_s, key_source=key_source)
        return msgspec.structs.replace(verdict, key_index=self._indexes[sender][verdict.key_index])
