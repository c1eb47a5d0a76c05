"""Which endpoints are there? URL, headers and secrets are sealed at rest: they may hold passwords."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from ringback.model.endpoints import DisableCause, DisabledBy, Disabling, Endpoint, EndpointSecret
from ringback.model.ordering import Ordering
from ringback.policy.bins import listed_host
from ringback.policy.paging import Walk
from ringback.store.base import Row, Transaction

_COLUMNS = (
    "id, app_id, uid, url, description, disabled, event_types, channels, metadata, throttle_rate, version, headers, secrets, created_at, "
    "updated_at, ordering, payload_filter, disabled_at, disabled_by, disable_cause, disable_detail, fail_since"
)
_ENDPOINTS = "endpoint LEFT JOIN endpoint_disabling ON endpoint_id = id"
_Strings = tuple[str, ...]


class Sealer(Protocol):
    """What seals values at rest (`store.vault.Vault`)."""

    def seal(self, plain: bytes) -> bytes:
        """The value as it may be stored."""
        ...

    def open(self, sealed: bytes) -> bytes:
        """The value that was sealed. Raises OperatorError when another key sealed it."""
        ...


def insert(tx: Transaction, vault: Sealer, endpoint: Endpoint) -> None:
    """Add an endpoint; its uid must be free."""
    tx.run(
        "INSERT INTO endpoint (id, app_id, created_at, uid, url, host, description, disabled, event_types, channels, metadata, "
        "throttle_rate, version, headers, secrets, updated_at, ordering, payload_filter) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (endpoint.id, endpoint.app_id, endpoint.created_at, *_changeable(vault, endpoint)),
    )
    _keep_disabling(tx, endpoint)


def replace(tx: Transaction, vault: Sealer, endpoint: Endpoint) -> None:
    """Store what an endpoint is now."""
    tx.run(
        "UPDATE endpoint SET uid = ?, url = ?, host = ?, description = ?, disabled = ?, event_types = ?, channels = ?, metadata = ?, "
        "throttle_rate = ?, version = ?, headers = ?, secrets = ?, updated_at = ?, ordering = ?, payload_filter = ? WHERE id = ?",
        (*_changeable(vault, endpoint), endpoint.id),
    )
    _keep_disabling(tx, endpoint)


def by_ref(tx: Transaction, vault: Sealer, app_id: str, ref: str) -> Endpoint | None:
    """The live endpoint of that id or uid."""
    row = tx.row(f"SELECT {_COLUMNS} FROM {_ENDPOINTS} WHERE id = ? AND app_id = ? AND deleted_at IS NULL", (ref, app_id))
    if row is None:
        row = tx.row(f"SELECT {_COLUMNS} FROM {_ENDPOINTS} WHERE app_id = ? AND uid = ? AND deleted_at IS NULL", (app_id, ref))
    return None if row is None else _endpoint(vault, row)


def by_ids(tx: Transaction, vault: Sealer, endpoint_ids: Sequence[str]) -> dict[str, Endpoint]:
    """Those of these endpoints (at most a few hundred) that exist, deleted ones too."""
    marks = ", ".join("?" * len(endpoint_ids))
    return {row[0]: _endpoint(vault, row) for row in tx.rows(f"SELECT {_COLUMNS} FROM {_ENDPOINTS} WHERE id IN ({marks})", endpoint_ids)}


def id_of_uid(tx: Transaction, app_id: str, uid: str) -> str | None:
    """The id of the live endpoint that has this uid."""
    row = tx.row("SELECT id FROM endpoint WHERE app_id = ? AND uid = ? AND deleted_at IS NULL", (app_id, uid))
    return None if row is None else str(row[0])


def all_of(tx: Transaction, vault: Sealer, app_id: str) -> list[Endpoint]:
    """All live endpoints of an application, the oldest first."""
    rows = tx.rows(f"SELECT {_COLUMNS} FROM {_ENDPOINTS} WHERE app_id = ? AND deleted_at IS NULL ORDER BY id", (app_id,))
    return [_endpoint(vault, row) for row in rows]


def page(tx: Transaction, vault: Sealer, app_id: str, walk: Walk) -> list[Endpoint]:
    """The live endpoints of an application that a walk reads, and one more."""
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM {_ENDPOINTS} WHERE app_id = ? AND id > ? AND id < ? AND deleted_at IS NULL "
        f"ORDER BY id {walk.direction} LIMIT ?",
        (app_id, walk.above, walk.below, walk.fetch),
    )
    return [_endpoint(vault, row) for row in rows]


def delete(tx: Transaction, endpoint_id: str, now_us: int) -> None:
    """Hide an endpoint; the row stays while its history does. The dispatcher drops its deliveries as it meets them."""
    tx.run("UPDATE endpoint SET deleted_at = ? WHERE id = ?", (now_us, endpoint_id))


def first_failure_at(tx: Transaction, endpoint_id: str) -> int | None:
    """When the first message ran out of attempts since the endpoint's last success (microseconds since 1970); None = no such thing."""
    row = tx.row("SELECT first_failure_at FROM endpoint_failure WHERE endpoint_id = ?", (endpoint_id,))
    return None if row is None else int(row[0])


def _keep_disabling(tx: Transaction, endpoint: Endpoint) -> None:
    tx.run("DELETE FROM endpoint_disabling WHERE endpoint_id = ?", (endpoint.id,))
    why = endpoint.disabling
    if endpoint.disabled and why is not None:
        tx.run(
            "INSERT INTO endpoint_disabling (endpoint_id, disabled_at, disabled_by, disable_cause, disable_detail, fail_since) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (endpoint.id, why.at, why.by, why.cause, why.detail, why.fail_since),
        )


def _changeable(vault: Sealer, endpoint: Endpoint) -> tuple[Any, ...]:
    return (
        endpoint.uid,
        vault.seal(endpoint.url.encode()),
        listed_host(endpoint.url),
        endpoint.description,
        int(endpoint.disabled),
        _text(endpoint.event_types),
        _text(endpoint.channels),
        msgspec.json.encode(endpoint.metadata).decode(),
        endpoint.throttle_rate,
        endpoint.version,
        vault.seal(msgspec.json.encode(endpoint.headers)),
        vault.seal(msgspec.json.encode(endpoint.secrets)),
        endpoint.updated_at,
        None if endpoint.ordering is None else msgspec.json.encode(endpoint.ordering).decode(),
        None if endpoint.payload_filter is None else msgspec.json.encode(endpoint.payload_filter).decode(),
    )


def _text(values: _Strings | None) -> str | None:
    return None if values is None else msgspec.json.encode(values).decode()


def _strings(text: str | None) -> _Strings | None:
    return None if text is None else msgspec.json.decode(text, type=_Strings)


def _endpoint(vault: Sealer, row: Row) -> Endpoint:
    (
        identifier,
        app_id,
        uid,
        url,
        description,
        disabled,
        event_types,
        channels,
        metadata,
        throttle_rate,
        version,
        headers,
        secrets,
        created_at,
        updated_at,
        ordering,
        payload_filter,
        *why,
    ) = row
    return Endpoint(
        id=identifier,
        app_id=app_id,
        url=vault.open(url).decode(),
        description=description,
        uid=uid,
        disabled=bool(disabled),
        event_types=_strings(event_types),
        channels=_strings(channels),
        metadata=msgspec.json.decode(metadata, type=dict[str, str]),
        throttle_rate=throttle_rate,
        version=version,
        headers=msgspec.json.decode(vault.open(headers), type=dict[str, str]),
        secrets=msgspec.json.decode(vault.open(secrets), type=tuple[EndpointSecret, ...]),
        created_at=created_at,
        updated_at=updated_at,
        disabling=None if why[0] is None else Disabling(why[0], DisabledBy(why[1]), DisableCause(why[2]), *why[3:]),
        ordering=None if ordering is None else msgspec.json.decode(ordering, type=Ordering),
        payload_filter=None if payload_filter is None else msgspec.json.decode(payload_filter),
    )
