"""What does an event of a provider look like? A small realistic one of those that are known best, a plain one of the others.

The bodies in samples.json follow what the providers show in their documentation; `{id}` in them becomes new each time, so that no event is
taken for one that came before, `{now}` and `{now_text}` the time in seconds, `{iso}` the same as a date, `{secret}` what the provider
repeats of the secret.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import urlencode

import msgspec

from ringback.clock import SECOND_US, rfc3339
from ringback.receiver.testing import SignedRequest, sign
from ringback.signing.provider import Provider
from ringback.signing.tokens import Token, Unsigned

# What an event is called where nobody says it, and there is no sample.
_PLAIN_EVENT: Final = "test.event"
_FORM: Final = "application/x-www-form-urlencoded"
_JSON: Final = "application/json"

# By provider, by kind of body (`json` or `form`), by event.
_Samples: TypeAlias = dict[str, dict[str, dict[str, dict[str, Any]]]]


class Sample(msgspec.Struct, frozen=True):
    """The body of an event, and what the provider calls it."""

    event: str
    body: bytes
    content_type: str


def samples() -> _Samples:
    """All that are kept. Blocks for a file read."""
    return msgspec.json.decode(Path(__file__).with_name("samples.json").read_bytes(), type=_Samples)


def sample(row: Provider, event: str | None, unique: str, now_us: int, secret: str = "") -> Sample:
    """An event of a provider: its usual one, or of that name."""
    for kind, kept in samples().get(row.id, {}).items():
        name = event or next(iter(kept))
        if kind == "form":
            fields = _filled(kept.get(name, next(iter(kept.values()))), unique, now_us, secret)
            own = _argument(row.event_type, "form")
            return Sample(name, urlencode(fields | ({own: name} if own else {})).encode(), _FORM)
        if name in kept:
            return Sample(name, msgspec.json.encode(_filled(kept[name], unique, now_us, secret)), _JSON)
    return _plain(row, event or _PLAIN_EVENT, unique, now_us, secret)


def signed(row: Provider, made: Sample, secret: str, url: str) -> SignedRequest:
    """The request as the provider sends it. Raises ValueError for a secret that is none of its, Unsignable."""
    if isinstance(row.schemes[0], Unsigned):
        return SignedRequest("POST", url, {"content-type": made.content_type}, made.body)
    return sign(row.id, secret, made.body, url=url, event_type=made.event, headers={"content-type": made.content_type})


def _plain(row: Provider, event: str, unique: str, now_us: int, secret: str) -> Sample:
    document: dict[str, Any] = {"id": unique, "type": event, "created_at": rfc3339(now_us), "data": {"note": "sent by ringback trigger"}}
    for places, text in ((row.event_id, unique), (row.event_type, event)):
        path = _argument(places, "json")
        if path:
            _put(document, path.split("."), text)
    batch = "" if row.batch_type else row.batch
    proof = row.schemes[0]
    if isinstance(proof, Token) and proof.places[0].startswith("json:"):
        # What proves it is a part of each item.
        _put(document, proof.places[0].removeprefix("json:").removeprefix(f"{batch}.").split("."), secret)
    if batch.startswith("form:"):
        return Sample(event, urlencode({batch.removeprefix("form:"): msgspec.json.encode([document])}).encode(), _FORM)
    if row.event_type and all(place.startswith("form:") for place in row.event_type):
        return Sample(event, urlencode({_argument(row.event_type, "form"): event, "id": unique}).encode(), _FORM)
    whole: Any = document
    for step in reversed([step for step in batch.split(".") if step]):
        name = step.removesuffix("[]")
        whole = [whole] if step.endswith("[]") else whole
        whole = {name: whole} if name else whole
    return Sample(event, msgspec.json.encode(whole), _JSON)


def _argument(places: Iterable[str], kind: str) -> str:
    """Of the first place of a kind what it is called there."""
    return next((place.partition(":")[2] for place in places if place.startswith(f"{kind}:")), "")


def _put(document: dict[str, Any], path: list[str], text: str) -> None:
    for step in path[:-1]:
        inner = document.get(step)
        document[step] = document = inner if isinstance(inner, dict) else {}
    document[path[-1]] = text


def _filled(value: Any, unique: str, now_us: int, secret: str) -> Any:
    if isinstance(value, dict):
        return {name: _filled(inner, unique, now_us, secret) for name, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, unique, now_us, secret) for inner in value]
    now_s = now_us // SECOND_US
    if value == "{now}":
        return now_s
    if isinstance(value, str):
        for name, text in (("{id}", unique), ("{now_text}", str(now_s)), ("{iso}", rfc3339(now_us)), ("{secret}", secret)):
            value = value.replace(name, text)
    return value
