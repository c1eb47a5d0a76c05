"""Where does a subject stand in the database? Every table that keeps what others sent or answered, walked in steps; only reading.

Each step looks at so many rows and bytes, and says what it found and where the next one goes on. Rows are decoded only for an export.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from ringback import ids
from ringback.clock import rfc3339
from ringback.model.quarantine import CapturedRequest
from ringback.model.tasks import Reach
from ringback.policy.sources import shown_headers, shown_url
from ringback.policy.subjects import Subject
from ringback.store.base import Row, Transaction
from ringback.store.operations import sources
from ringback.store.operations.endpoints import Sealer
from ringback.store.operations.slices import affordable
from ringback.store.operations.streams import EVENTS_MAX

# Rows that one step looks at: some 50 ms of a reader at the most, with 4 MiB of what they hold.
_EXAMINED: Final = 2_000
# Rows that one step finds: so many are erased in some milliseconds of the event loop.
_FOUND: Final = 40
# Deliveries in order that one step looks at: all of them may have to be moved.
_LANES: Final = 100
# Bytes of payloads that one step finds: each page of them is overwritten.
_FOUND_BYTES: Final = 1024 * 1024

# Is a message, by its origin as JSON, of the source whose name there is given?
_ORIGIN: Final = "instr({}, ?) > 0"

_requests: Final = msgspec.msgpack.Decoder(CapturedRequest)


class Found(msgspec.Struct, frozen=True):
    """A row in which the subject stands: its key, and what an export says of it."""

    key: tuple[Any, ...]
    record: dict[str, Any]


class Looked(msgspec.Struct, frozen=True):
    """What one step found; the next one goes on behind `position`, None = all was looked at."""

    found: list[Found]
    position: str | None


class Reading(msgspec.Struct, frozen=True):
    """What each walk needs besides its place. `content`: what is found is told in full."""

    reach: Reach
    subject: Subject
    vault: Sealer
    content: bool = False


# A walk: the next step of it behind a position, "" at the start.
Look = Callable[[Transaction, Reading, str], Looked]


def top(tx: Transaction) -> int:
    """The number of the newest message."""
    return _newest(tx, "message")


def messages(tx: Transaction, read: Reading, position: str) -> Looked:
    """Messages, received ones and those that wait for their time too, by payload, headers, and what they are called and tagged."""
    reach = read.reach
    condition, values = _scope(reach, "m.app_id", "m.origin")
    # By their numbers alone: with an index SQLite would rather walk all messages of an application for each step.
    sql = (
        "SELECT m.seq, COALESCE(length(m.payload), 0) + COALESCE(length(m.headers), 0) FROM message m NOT INDEXED CROSS JOIN application a "
        f"ON a.id = m.app_id WHERE m.seq >= ? AND m.seq <= ? AND a.org_id = ? AND m.created_at >= ? AND m.created_at < ?{condition} "
        "ORDER BY m.seq"
    )
    columns = "id, app_id, payload, headers, origin, event_id, channels, tags, ordering_key, event_type, created_at, content_type"

    def judged(seq: int) -> tuple[bool, tuple[Any, ...], dict[str, Any]]:
        row = _row(tx, f"SELECT {columns} FROM message WHERE seq = ?", seq)
        message_id, app_id, payload, headers, origin, event_id, channels, tags, key, event_type, created_at, content_type = row
        stands = read.subject.in_document(payload) or any(map(read.subject.beside, (headers, origin, event_id, channels, tags, key)))
        record = {
            "id": message_id,
            "appId": app_id,
            "timestamp": rfc3339(created_at),
            "eventType": event_type,
            "eventId": event_id,
            "channels": None if channels is None else msgspec.json.decode(channels),
            "tags": None if tags is None else msgspec.json.decode(tags),
            "orderingKey": key,
            "contentType": content_type,
            "payload": _text(payload),
            "headers": _text(headers),
        }
        return stands, (seq, message_id, app_id), record

    return _numbered(tx, read, "message", sql, values, position, min(reach.top, _newest(tx, "message")), judged)


def attempts(tx: Transaction, read: Reading, position: str) -> Looked:
    """Attempts, by what was sent in place of the payload, what was answered, and the texts beside."""
    condition, values = _scope(read.reach, "a.app_id", None)
    if read.reach.source_id is not None:
        condition += (
            f" AND EXISTS (SELECT 1 FROM message m WHERE m.app_id = a.app_id AND m.id = a.message_id AND {_ORIGIN.format('m.origin')})"
        )
        values.append(_named(read.reach.source_id))
    sql = (
        "SELECT a.seq, COALESCE(length(a.response), 0) + COALESCE(length(b.body), 0) FROM attempt a CROSS JOIN application p "
        "ON p.id = a.app_id LEFT JOIN attempt_body b ON b.message_id = a.message_id AND b.attempt_id = a.id "
        f"WHERE a.seq >= ? AND a.seq <= ? AND p.org_id = ? AND a.started_at >= ? AND a.started_at < ?{condition} ORDER BY a.seq"
    )
    query = (
        "SELECT a.id, a.app_id, a.endpoint_id, a.message_id, a.url, a.detail, a.response, a.response_head, a.request_head, b.body, "
        "a.started_at, a.code FROM attempt a LEFT JOIN attempt_body b ON b.message_id = a.message_id AND b.attempt_id = a.id "
        "WHERE a.seq = ?"
    )

    def judged(seq: int) -> tuple[bool, tuple[Any, ...], dict[str, Any]]:
        attempt_id, app_id, endpoint_id, message_id, url, detail, response, answered, asked, sent, at, code = _row(tx, query, seq)
        stands = any(map(read.subject.in_document, (response, sent))) or any(map(read.subject.beside, (url, detail, answered, asked)))
        record = {
            "id": attempt_id,
            "appId": app_id,
            "msgId": message_id,
            "endpointId": endpoint_id,
            "timestamp": rfc3339(at),
            "url": url,
            "responseStatusCode": code,
            "response": _text(response),
            "sent": _text(sent),
        }
        return stands, (seq, attempt_id, message_id), record

    return _numbered(tx, read, "attempt", sql, values, position, _newest(tx, "attempt"), judged)


def dead_letters(tx: Transaction, read: Reading, position: str) -> Looked:
    """Dead letters, by what they say of the last failure."""
    condition, values = _scope(read.reach, "d.app_id", "(SELECT m.origin FROM message m WHERE m.app_id = d.app_id AND m.id = d.message_id)")
    rows = tx.rows(
        f"SELECT d.id, d.detail, d.org_id = ? AND d.died_at >= ? AND d.died_at < ?{condition}, d.message_id, d.died_at "
        "FROM dead_letter d WHERE d.id > ? ORDER BY d.id LIMIT ?",
        (*_span(read.reach), *values, position, _EXAMINED),
    )
    found = [
        Found((row[0],), {"id": row[0], "msgId": row[3], "timestamp": rfc3339(row[4]), "detail": row[1]})
        for row in rows
        if row[2] and read.subject.beside(row[1])
    ]
    return _few(found, _on(rows))


def lanes(tx: Transaction, read: Reading, position: str) -> Looked:
    """Deliveries of messages without a payload that are in order by a key in which the subject stands, and blocks of such orders."""
    after = msgspec.json.decode(position, type=tuple[str, str, int]) if position else ("", "", -1)
    rows = tx.rows(
        "SELECT d.endpoint_id, d.lane, d.sequence, d.due_at, d.message_id FROM delivery d "
        "WHERE d.lane IS NOT NULL AND (d.endpoint_id, d.lane, d.sequence) > (?, ?, ?) "
        "ORDER BY d.endpoint_id, d.lane, d.sequence LIMIT ?",
        (*after, _LANES),
    )
    found = []
    for endpoint_id, lane, _, due_at, message_id in rows:
        if read.subject.in_text(lane[1:]) and _is_empty(tx, read.reach.org_id, message_id, endpoint_id):
            found.append(Found((endpoint_id, lane, due_at, message_id), {"endpointId": endpoint_id, "orderingKey": lane[1:]}))
    for endpoint_id, lane, message_id in tx.rows("SELECT endpoint_id, lane, message_id FROM lane_block") if not position else ():
        if read.subject.in_text(lane[1:]) and _is_empty(tx, read.reach.org_id, message_id, endpoint_id):
            found.append(Found((endpoint_id, lane, None, message_id), {"endpointId": endpoint_id, "orderingKey": lane[1:]}))
    return Looked(found, msgspec.json.encode(rows[-1][:3]).decode() if len(rows) == _LANES else None)


def quarantine(tx: Transaction, read: Reading, position: str) -> Looked:
    """Requests in quarantine, by anything that came in them."""
    condition, values = _scope(read.reach, "s.app_id", None, source="s.id")
    sizes = affordable(
        tx.rows("SELECT q.id, length(q.request) FROM quarantine q WHERE q.id > ? ORDER BY q.id LIMIT ?", (position, _EXAMINED))
    )
    found = []
    for item_id, _ in sizes:
        row = tx.row(
            "SELECT q.received_at, q.source_id, q.reason, q.detail, q.request FROM quarantine q CROSS JOIN source s ON s.id = q.source_id "
            f"WHERE q.id = ? AND s.org_id = ? AND q.received_at >= ? AND q.received_at < ?{condition}",
            (item_id, *_span(read.reach), *values),
        )
        if row is None:
            continue
        at, source_id, reason, detail, sealed = row
        request = _requests.decode(read.vault.open(sealed))
        if _in_request(read.subject, request) or read.subject.beside(detail):
            said = {"id": item_id, "sourceId": source_id, "timestamp": rfc3339(at), "reason": reason}
            found.append(Found((item_id,), {**said, **_refused(tx, read, source_id, request)} if read.content else {}))
    return _few(found, _on(sizes, examined=sizes))


def arrivals(tx: Transaction, read: Reading, position: str) -> Looked:
    """The journal of what came and made no message."""
    reach = read.reach
    condition, values = _scope(reach, "s.app_id", None, source="s.id")
    after = max(position, ids.start_id(ids.ARRIVAL, reach.since_us))
    rows = tx.rows("SELECT id, source_id, facts FROM arrival WHERE id > ? ORDER BY id LIMIT ?", (after, _EXAMINED))
    found = [
        Found((item_id,), {"id": item_id, "sourceId": source_id, "facts": msgspec.json.decode(facts)})
        for item_id, source_id, facts in rows
        if read.subject.beside(facts)
        and item_id < ids.start_id(ids.ARRIVAL, reach.until_us)
        and tx.row(f"SELECT 1 FROM source s WHERE s.id = ? AND s.org_id = ?{condition}", (source_id, reach.org_id, *values)) is not None
    ]
    return _few(found, _on(rows))


def event_names(tx: Transaction, read: Reading, position: str) -> Looked:
    """What providers call events, by which one that comes again is known."""
    condition, values = _scope(read.reach, "s.app_id", None, source="s.id")
    after = msgspec.json.decode(position, type=tuple[str, bytes]) if position else ("", b"")
    rows = tx.rows(
        "SELECT source_id, key, message_id FROM deduplication WHERE (source_id, key) > (?, ?) ORDER BY source_id, key LIMIT ?",
        (*after, _EXAMINED),
    )
    found = []
    for source_id, key, message_id in rows:
        # Long names are kept as digests, which say nothing.
        if key[:1] == b"n" and read.subject.beside(key[1:]):
            of_org = f"SELECT 1 FROM source s WHERE s.id = ? AND s.org_id = ?{condition}"
            if tx.row(of_org, (source_id, read.reach.org_id, *values)) is not None:
                record = {"sourceId": source_id, "msgId": message_id, "eventId": _text(key[1:])}
                found.append(Found((source_id, key), record))
    if len(found) > _FOUND:
        return Looked(found[:_FOUND], msgspec.json.encode(found[_FOUND - 1].key).decode())
    return Looked(found, msgspec.json.encode(rows[-1][:2]).decode() if len(rows) == _EXAMINED else None)


def expectations(tx: Transaction, read: Reading, position: str) -> Looked:
    """Events that are waited for, by what they must hold."""
    reach = read.reach
    condition, values = _scope(reach, "s.app_id", None, source="s.id")
    rows = tx.rows(
        "SELECT id, source_id, wanted, uid, org_id, created_at FROM expectation WHERE id > ? ORDER BY id LIMIT ?", (position, _EXAMINED)
    )
    found = [
        Found((row[0],), {"id": row[0], "sourceId": row[1], "match": msgspec.json.decode(row[2]), "uid": row[3]})
        for row in rows
        if row[4] == reach.org_id
        and reach.since_us <= row[5] < reach.until_us
        and (read.subject.beside(row[2]) or read.subject.beside(row[3]))
        and tx.row(f"SELECT 1 FROM source s WHERE s.id = ?{condition}", (row[1], *values)) is not None
    ]
    return _few(found, _on(rows))


def stream_events(tx: Transaction, read: Reading, position: str) -> Looked:
    """Events of streams, by payload and channels. They belong to no application and no source."""
    reach = read.reach
    if reach.app_id is not None or reach.source_id is not None:
        return Looked([], None)
    numbers = {row[0]: row[1] for row in tx.rows("SELECT number, id FROM stream WHERE org_id = ?", (reach.org_id,))}
    rows = affordable(
        tx.rows(
            "SELECT key, created_at, size FROM stream_event WHERE key > ? ORDER BY key LIMIT ?",
            (int(position) if position else -1, _EXAMINED),
        )
    )
    found = []
    for key, created_at, _ in rows:
        stream_id = numbers.get(key // EVENTS_MAX)
        if stream_id is None or not reach.since_us <= created_at < reach.until_us:
            continue
        event_type, channels, payload = _row(tx, "SELECT event_type, channels, payload FROM stream_event WHERE key = ?", key)
        if read.subject.in_document(payload) or read.subject.beside(channels):
            record = {"streamId": stream_id, "number": key % EVENTS_MAX, "timestamp": rfc3339(created_at), "eventType": event_type}
            found.append(Found((key,), {**record, "payload": _text(payload)}))
    return _few(found, _on(rows, examined=rows))


def sink_failures(tx: Transaction, read: Reading, position: str) -> Looked:
    """What sinks say of their last failure: what code threw, or what was answered."""
    reach = read.reach
    if reach.app_id is not None or reach.source_id is not None:
        return Looked([], None)
    rows = tx.rows(
        "SELECT k.id, k.failure FROM stream_sink k CROSS JOIN stream s ON s.id = k.stream_id AND s.org_id = ? "
        "WHERE k.id > ? AND k.failure IS NOT NULL ORDER BY k.id LIMIT ?",
        (reach.org_id, position, _EXAMINED),
    )
    found = [Found((row[0],), {"id": row[0], "failure": row[1]}) for row in rows if read.subject.beside(row[1])]
    return _few(found, _on(rows))


def saved_views(tx: Transaction, read: Reading, position: str) -> Looked:
    """What people called views of lists, and what these look for. They belong to no application and no source."""
    reach = read.reach
    if reach.app_id is not None or reach.source_id is not None:
        return Looked([], None)
    after, until = max(position, ids.start_id(ids.SAVED_VIEW, reach.since_us)), ids.start_id(ids.SAVED_VIEW, reach.until_us)
    rows = tx.rows(
        "SELECT id, name, address FROM saved_view WHERE id > ? AND id < ? AND org_id = ? ORDER BY id LIMIT ?",
        (after, until, reach.org_id, _EXAMINED),
    )
    found = [
        Found((view_id,), {"id": view_id, "name": name, "address": address})
        for view_id, name, address in rows
        if read.subject.beside(name) or read.subject.beside(address)
    ]
    return _few(found, _on(rows))


def bin_requests(tx: Transaction, read: Reading, position: str) -> Looked:
    """Requests in bins."""
    if not read.reach.bins:
        return Looked([], None)
    sizes = affordable(tx.rows("SELECT id, length(request) FROM bin_request WHERE id > ? ORDER BY id LIMIT ?", (position, _EXAMINED)))
    found = []
    for item_id, _ in sizes:
        at, sealed = _row(tx, "SELECT received_at, request FROM bin_request WHERE id = ?", item_id)
        if read.reach.since_us <= at < read.reach.until_us:
            request = _requests.decode(read.vault.open(sealed))
            if _in_request(read.subject, request):
                found.append(Found((item_id,), {"id": item_id, "timestamp": rfc3339(at), **_request(request)}))
    return _few(found, _on(sizes, examined=sizes))


# The walks in their order, by what a task and an export call what they find. Messages come first: what has no payload any more is sent to
# nobody, so that no attempt follows that has it.
WALKS: Final[dict[str, Look]] = {
    "messages": messages,
    "attempts": attempts,
    "deadLetters": dead_letters,
    "orderingKeys": lanes,
    "quarantine": quarantine,
    "arrivals": arrivals,
    "eventNames": event_names,
    "expectations": expectations,
    "streamEvents": stream_events,
    "sinkFailures": sink_failures,
    "savedViews": saved_views,
    "binRequests": bin_requests,
}


def _numbered(
    tx: Transaction,
    read: Reading,
    table: str,
    sql: str,
    values: Sequence[Any],
    position: str,
    newest: int,
    judged: Callable[[int], tuple[bool, tuple[Any, ...], dict[str, Any]]],
) -> Looked:
    """A step along the numbers of a table."""
    first = tx.row(f"SELECT seq FROM {table} WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT 1", (int(position) if position else 0, newest))
    if first is None:
        return Looked([], None)
    edge = min(newest, first[0] + _EXAMINED - 1)
    rows = tx.rows(sql, (first[0], edge, *_span(read.reach), *values))
    part = affordable(rows)
    found, size = list[Found](), 0
    for seq, length in part:
        stands, key, record = judged(seq)
        if stands:
            found.append(Found(key, record if read.content else {}))
            size += length
            if len(found) == _FOUND or size >= _FOUND_BYTES:
                return Looked(found, str(seq))
    if len(part) < len(rows):
        return Looked(found, str(part[-1][0]))
    return Looked(found, str(edge) if edge < newest else None)


def _scope(reach: Reach, app: str, origin: str | None, *, source: str | None = None) -> tuple[str, list[Any]]:
    """Conditions for one application, and for one source by its column or by where a message came from."""
    text, values = "", list[Any]()
    if reach.app_id is not None:
        text += f" AND {app} = ?"
        values.append(reach.app_id)
    if reach.source_id is not None and (source is not None or origin is not None):
        text += f" AND {_ORIGIN.format(origin) if source is None else f'{source} = ?'}"
        values.append(_named(reach.source_id) if source is None else reach.source_id)
    return text, values


def _named(source_id: str) -> str:
    """What an origin of that source begins with, as JSON."""
    return f'{{"source_id":"{source_id}"'


def _span(reach: Reach) -> tuple[str, int, int]:
    return reach.org_id, reach.since_us, reach.until_us


def _newest(tx: Transaction, table: str) -> int:
    row = tx.row(f"SELECT COALESCE(MAX(seq), 0) FROM {table}")
    return 0 if row is None else int(row[0])


def _row(tx: Transaction, sql: str, key: Any) -> Row:
    (row,) = tx.rows(sql, (key,))
    return row


def _on(rows: Sequence[Row], *, examined: Sequence[Row] | None = None) -> str | None:
    """Where a walk along the first column goes on; one that was cut short by size has fewer rows, and goes on all the same."""
    if not rows or (examined is None and len(rows) < _EXAMINED):
        return None
    return str(rows[-1][0])


def _few(found: list[Found], position: str | None) -> Looked:
    """No more than one step may act on; the first column of a row is its key."""
    return Looked(found, position) if len(found) <= _FOUND else Looked(found[:_FOUND], str(found[_FOUND - 1].key[0]))


def _is_empty(tx: Transaction, org_id: str, message_id: str, endpoint_id: str) -> bool:
    """Has a message of this organisation no payload any more?"""
    row = tx.row(
        "SELECT m.payload IS NULL FROM endpoint e CROSS JOIN application a ON a.id = e.app_id AND a.org_id = ? "
        "LEFT JOIN message m ON m.app_id = a.id AND m.id = ? WHERE e.id = ?",
        (org_id, message_id, endpoint_id),
    )
    return row is not None and bool(row[0])


def _in_request(subject: Subject, request: CapturedRequest) -> bool:
    texts: list[str | bytes] = [request.url, request.remote, *(part for line in request.headers for part in line)]
    return subject.in_document(request.body) or any(map(subject.beside, texts))


def _refused(tx: Transaction, read: Reading, source_id: str, request: CapturedRequest) -> dict[str, Any]:
    """A request as its source's pages show it: without what proves its sender."""
    source = sources.by_id(tx, read.vault, source_id)
    shown: dict[str, Any] = {"url": None, "headers": []}
    if source is not None:
        shown = {"url": shown_url(source, request.url), "headers": [list(line) for line in shown_headers(source, request.headers)]}
    return {**_request(request), **shown}


def _request(request: CapturedRequest) -> dict[str, Any]:
    return {
        "method": request.method,
        "url": _text(request.url),
        "remote": request.remote,
        "headers": [[_text(name), _text(value)] for name, value in request.headers],
        "body": _text(request.body),
    }


def _text(value: bytes | None) -> str | dict[str, str] | None:
    """Bytes as JSON can say them: as the text that they are, exactly; what is none, in base64."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
