"""Several walks along endpoints as one list of messages: no gap, no repetition, whatever each of them gave up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ringback.model.deliveries import AttemptStatus
from ringback.model.messages import Message
from ringback.policy.paging import Page, Walk
from ringback.store.operations.journeys import joined
from ringback.store.operations.standings import Pair

LIMIT = 3


def message(number: int) -> Message:
    return Message(f"msg_{number:03}", "app_1", "a", b"", 0, 0)


def walked(own: set[int], walk: Walk, patience: int) -> Page[tuple[Message, Pair]]:
    """What a walk along one endpoint finds that looks at no more than `patience` of a hundred messages."""
    inside = [n for n in range(100) if walk.above < message(n).id < walk.below]
    inside.sort(reverse=walk.direction == "DESC")
    looked = inside[:patience]
    hits = [n for n in looked if n in own]
    items = [(message(n), Pair(message(n).id, AttemptStatus.FAIL, None)) for n in hits[: walk.limit]]
    if walk.backwards:
        items.reverse()
    more = len(hits) > walk.limit or len(looked) < len(inside)
    return Page(items, not more, message(looked[-1]).id if more and len(hits) <= walk.limit else None)


@given(st.lists(st.tuples(st.sets(st.integers(0, 99)), st.integers(4, 100)), min_size=1, max_size=4), st.booleans())
def test_the_pages_of_joined_walks_hold_every_message_once_in_order(endpoints: list[tuple[set[int], int]], backwards: bool) -> None:
    expected = sorted({message(n).id for own, _ in endpoints for n in own}, reverse=True)
    seen: list[str] = []
    walk = Walk(LIMIT, True, backwards)
    for _ in range(200):
        pages = [walked(own, walk, patience) for own, patience in endpoints]
        page = joined(pages, walk)
        found = [m.id for m in page.items]
        assert len(found) <= LIMIT
        seen = found + seen if backwards else seen + found
        if page.done:
            break
        far = (found[0] if backwards else found[-1]) if found else page.stopped_at
        # A short page is certain up to where it stopped: from there the next one goes on.
        if page.stopped_at is not None and (not found or (page.stopped_at > far if backwards else page.stopped_at < far)):
            far = page.stopped_at
        assert far is not None
        walk = Walk(LIMIT, True, backwards, above=far) if backwards else Walk(LIMIT, True, backwards, below=far)
    assert seen == expected
