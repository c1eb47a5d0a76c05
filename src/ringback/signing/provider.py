"""What is known about one provider? A row of the catalogue: how it proves itself, and what a person needs to know to receive from it."""

from __future__ import annotations

from typing import Literal

import msgspec

from ringback.signing.request import Scheme


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """One row. `schemes` are those that choosing the provider accepts, newest first; `by_name_only` are older or weaker ones.

    A request is judged by the first of `schemes` that it claims to be of, so that nothing can be had by leaving the newer signature away.
    `event_id` and `event_type` are places, tried in order: `header:NAME`, `json:PATH` or `form:NAME`. An id that several events share names
    one of them together with the texts at `event_id_with`, all of these places. `batch` is the path of the items in the body (`form:NAME`
    when they are a JSON array in a field of a form); then they are places in one item. `batch_type` is the content type of batches, where
    single events are sent as well. `changing` are paths in JSON whose values are others each time that an event is sent. `handshakes` are
    names of `ringback.signing.handshake`. `redelivery` are places, tried in order, where it counts how often it sent an event. `reply` is
    what it must be answered: status, body, content type; None where any 2xx will do. `confidence`: high (the provider's own documentation
    or package was read), medium (one good secondary source), low (a lead only).
    """

    id: str
    name: str
    confidence: Literal["high", "medium", "low"]
    schemes: tuple[Scheme, ...]
    by_name_only: tuple[Scheme, ...] = ()
    header: str = ""
    signed: str = ""
    secret: str = ""
    several: str = ""
    also_sent: str = ""
    user_agent: str = ""
    addresses: str = ""
    event_id: tuple[str, ...] = ()
    event_id_with: tuple[str, ...] = ()
    event_type: tuple[str, ...] = ()
    batch: str = ""
    batch_type: str = ""
    changing: tuple[str, ...] = ()
    handshakes: tuple[str, ...] = ()
    redelivery: tuple[str, ...] = ()
    answer: str = ""
    reply: tuple[int, str, str] | None = None
    retries: str = ""
    note: str = ""
    unconfirmed: tuple[str, ...] = ()
    source: str = ""

    @property
    def scheme_names(self) -> tuple[str, ...]:
        """Every name under which its requests can be verified."""
        return tuple(scheme.name for scheme in (*self.schemes, *self.by_name_only))
