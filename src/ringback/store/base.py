"""What can a store do? The seam between the services and engine above and the databases below.

The seam is at the height of the domain: the hot verbs are methods here, and the verbs of each noun are functions in `store.operations`,
written once in SQL that every vendor understands, over the `Transaction` that a store hands them. One conformance suite runs over every
store.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from ringback.errors import RingbackError
from ringback.model.attempts import Attempt
from ringback.model.deliveries import Claim, DeadLetter, Delivery
from ringback.model.endpoints import Disabling
from ringback.model.messages import Message
from ringback.policy.search_query import Phrase

T = TypeVar("T")
Row = tuple[Any, ...]


class Transaction(Protocol):
    """What an operation may do inside one transaction. Parameters are `?`; rows are tuples. Blocks; never crosses an await."""

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """All rows of a query."""
        ...

    def row(self, sql: str, parameters: Sequence[Any] = ()) -> Row | None:
        """The first row of a query, or None."""
        ...

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Execute a statement; how many rows it changed."""
        ...

    def rows_many(self, sql: str, parameters: Iterable[Sequence[Any]]) -> list[Row]:
        """All rows that a statement gives, executed once for each sequence of parameters."""
        ...

    def run_many(self, sql: str, parameters: Iterable[Sequence[Any]]) -> None:
        """Execute a statement once for each sequence of parameters."""
        ...

    def then(self, callback: Callable[[], None]) -> None:
        """Call this once, on the loop, when what the transaction wrote is durable; never when it is undone."""
        ...


class IdempotencyMark(msgspec.Struct, frozen=True, gc=False):
    """A request that must have its effect once: `key` is its 16-byte digest, kept until `expires_at`."""

    key: bytes
    expires_at: int


class EventClaim(msgspec.Struct, frozen=True, gc=False):
    """What a provider calls the event of a message, so that it is kept once.

    `key` is of `store.operations.deduplication.key_of`, `body` the digest of the bytes; the claim is forgotten after `window_us`. `proof`
    is the key of what proved it, where that could be put beside another event; empty: it could not.
    """

    source_id: str
    key: bytes
    body: bytes
    window_us: int
    proof: bytes = b""


class VersionClaim(msgspec.Struct, frozen=True, gc=False):
    """Which version of a thing a message tells of, so that none is kept that is older than the newest one.

    `key` stands for the thing within its source; `kind` and `place` are of `policy.versions`. It is remembered for `window_us`.
    """

    source_id: str
    key: bytes
    kind: str
    place: bytes
    window_us: int


class Superseded(RingbackError):
    """Nothing was kept: what the message tells of is older than what the message `by` told before."""

    def __init__(self, by: str) -> None:
        super().__init__(f"the message {by} told of a newer version before")
        self.by = by


class Target(msgspec.Struct, frozen=True, gc=False):
    """An endpoint that a message was matched to; `claim` when the dispatcher takes the delivery at once, in memory."""

    endpoint_id: str
    claim: bool


class Acceptance(msgspec.Struct, gc=False):
    """A message with the endpoints it was matched to, to be committed as one. A message with `deliver_at` has none yet.

    The store makes a delivery for each target, with its sequence number; those with `claim` count as leased and are found in `claimed` once
    the commit is durable. Then exactly one of the callbacks is called on the loop: `accepted`, `refused` (nothing was kept) with the
    cause, or `repeated` with the id of the message that the same idempotency key made before, or that the same `event` came as. A message
    whose `version` is not the newest is refused as `Superseded`.

    With a `refusal` nothing is kept, and that is the cause; but a request whose key made a message before hears of that one.

    A message has a `mark`, or an `event`, or neither. When another body came under the name of its event, `message` is replaced by one
    whose origin says so.

    `lanes` has the lane of each target that is in order with others: its delivery is claimed only if it is the first of its lane.
    """

    message: Message
    targets: list[Target]
    accepted: Callable[[Acceptance], None]
    refused: Callable[[Acceptance, Exception], None]
    repeated: Callable[[Acceptance, str], None]
    mark: IdempotencyMark | None = None
    event: EventClaim | None = None
    refusal: Exception | None = None
    claimed: list[Delivery] = msgspec.field(default_factory=list)
    lanes: dict[str, str] | None = None
    version: VersionClaim | None = None


class Record(msgspec.Struct, frozen=True, gc=False):
    """What one attempt leaves behind: history, and what becomes of the delivery.

    `next_due_at` is when the delivery is due again; None when it is finished: then `dead` is its dead letter, if it has become one.
    `ends_pair` also ends a schedule that runs beside this attempt (a success by hand, or one that is cancelled); so does `dead` of an
    attempt made by hand, and it is kept only when there was a schedule. A delivery that was ended while it was attempted stays ended: of it
    only the attempt is kept.

    Of the endpoint: `disables` is why it is disabled by this; one that is disabled already stays as it is. `first_failure_at` is when the
    first of its messages ran out of attempts, to be remembered; 0 = to be forgotten.

    `tell` is called in the transaction, once for all records of the commit that have the same one, when attempts and dead letters are
    written and nothing is ended by a success or disabled yet; it may run twice, the first time undone. `message` is what was sent, which
    spares the store a look at it.

    `sent` is the body of the request where it was not the payload: a transformation has changed it.

    Of a delivery in a lane: `follow` is filled with the next one of the lane, leased to the caller, when this one is finished; with
    `blocks` it blocks its lane by dying.
    """

    delivery: Delivery
    attempt: Attempt
    next_due_at: int | None = None
    dead: DeadLetter | None = None
    ends_pair: bool = False
    disables: Disabling | None = None
    first_failure_at: int | None = None
    tell: Callable[[Transaction, Sequence[Record]], None] | None = None
    message: Message | None = None
    follow: list[Claim] | None = None
    blocks: bool = False
    sent: bytes | None = None


class Bounds(msgspec.Struct, frozen=True):
    """How much a claim may take: so many deliveries, and no more once their payloads make so many bytes (the last one may exceed them)."""

    deliveries: int
    payload_bytes: int


class Claims(msgspec.Struct, frozen=True):
    """Deliveries leased to the caller, the oldest due first.

    `next_due_at` is when the first one not among them is due; None = nothing is left.
    """

    claims: list[Claim]
    next_due_at: int | None


class SearchWanted(msgspec.Struct, frozen=True):
    """What a message must have to be found: all phrases, and of each group of properties one; and nothing of what it must be without.

    A property is a kind (`org`, `app`, `type`, `tag`, `channel`) and a value; an event type may end in `*`, and then is found by its first
    words: more may be found than begins so.
    """

    phrases: tuple[Phrase, ...] = ()
    properties: tuple[tuple[tuple[str, str], ...], ...] = ()
    without_phrases: tuple[Phrase, ...] = ()
    without_properties: tuple[tuple[tuple[str, str], ...], ...] = ()


class SearchFound(msgspec.Struct, frozen=True):
    """Numbers of messages (`message.seq`), the newest first. All above `reached` were looked at; None = all."""

    seqs: list[int]
    reached: int | None


class SearchProgress(msgspec.Struct, frozen=True):
    """What one step of indexing did: messages added and removed, and how many are left.

    `behind_since_us` is when the oldest of those was accepted. `cleared`: what is logged up to this number as forgotten is gone.
    """

    indexed: int
    removed: int
    lag: int
    behind_since_us: int | None
    cleared: int | None
    size_bytes: int


class SearchIndex(Protocol):
    """Where the words of messages are: apart from the database and behind it, made anew from it when it is missing or broken."""

    def step(self) -> Awaitable[SearchProgress]:
        """Forget what was forgotten, and index some messages more. Raises StoreFailure; the next step may begin from nothing then."""
        ...

    def tidy(self, most_bytes: int) -> Awaitable[bool]:
        """Make what was forgotten leave the file too, and keep it below a size. False = there is nothing to do. Raises StoreFailure."""
        ...

    def find(self, wanted: SearchWanted, below: int | None, above: int, limit: int, within_s: float) -> Awaitable[SearchFound]:
        """The newest messages between two numbers (exclusive) that are wanted, looking for about so long. Raises StoreFailure."""
        ...

    def close(self) -> Awaitable[None]:
        """Let the file go."""
        ...


class Store(Protocol):
    """One database. Every write is a group commit: what waits is committed together, and is durable when the caller hears of it."""

    def accept(self, acceptance: Acceptance) -> None:
        """Commit a message with its deliveries; answers through its callbacks, `accepted` in the order of the calls. Never raises."""
        ...

    def record(self, records: Sequence[Record], done: Callable[[Exception | None], None]) -> None:
        """Commit what attempts have left behind, all or none; `done` hears None, or why nothing was kept.

        StoreFailure: the store is in trouble, and they may be kept later; anything else: they never will. May wait some milliseconds for
        company.
        """
        ...

    def claim(self, endpoint_id: str, bounds: Bounds, now_us: int, lease_us: int) -> Awaitable[Claims]:
        """Lease deliveries of one endpoint that are due at `now_us`, for `lease_us` from now. Raises StoreFailure."""
        ...

    def claim_one(self, delivery: Delivery, now_us: int, lease_us: int) -> Awaitable[Claim | None]:
        """Lease this delivery, wherever it stands among those of its endpoint; None: it is finished, or in somebody's hands.

        Raises StoreFailure.
        """
        ...

    def leased(self, endpoint_id: str) -> int:
        """How many deliveries of an endpoint are in somebody's hands: waiting in memory, on the wire, or being recorded."""
        ...

    def renew(self, deliveries: Iterable[Delivery], until_us: int) -> None:
        """Hold leases until a later time."""
        ...

    def release(self, deliveries: Iterable[Delivery]) -> None:
        """Give leases back: the deliveries are anybody's again."""
        ...

    def write(self, operation: Callable[[Transaction], T], *, grows: bool = False) -> Awaitable[T]:
        """Run a short operation in the next group commit, alone in a savepoint.

        What it raises is raised here, and only its own effect is undone. `grows`: it adds what piles up, and is refused where messages are,
        because little disk is left.
        """
        ...

    def read(self, query: Callable[[Transaction], T]) -> Awaitable[T]:
        """Run a query on a snapshot, off the loop. Raises Unavailable past the deadline."""
        ...

    def close(self) -> Awaitable[None]:
        """Commit what waits, then let the database go."""
        ...
