"""What is in trouble is found among everybody's, with a bound on how much is looked at."""

from __future__ import annotations

from ringback.store.base import Transaction
from ringback.store.operations import alerts
from tests.store.conformance.shelf import Shelf

_APP = "INSERT INTO application (id, org_id, name, metadata, created_at, updated_at) VALUES (?, ?, 'x', '{}', 1, 1)"
_ENDPOINT = (
    "INSERT INTO endpoint (id, app_id, url, host, description, disabled, metadata, version, headers, secrets, created_at, updated_at) "
    "VALUES (?, ?, x'', 'x', '', ?, '{}', 1, x'', x'', 1, 1)"
)
_DISABLED = (
    "INSERT INTO endpoint_disabling (endpoint_id, disabled_at, disabled_by, disable_cause, disable_detail) VALUES (?, ?, ?, 'http_410', '')"
)


def furnish(tx: Transaction) -> None:
    """Two organisations with an application and four endpoints each."""
    for org in ("org_1", "org_2"):
        tx.run(_APP, (f"app_of_{org}", org))
        for n, (by, disabled) in enumerate((("automatic", 1), ("manual", 1), ("", 0), ("automatic", 0))):
            endpoint = f"ep_{org}_{n}"
            tx.run(_ENDPOINT, (endpoint, f"app_of_{org}", disabled))
            if by:
                tx.run(_DISABLED, (endpoint, 100 + n, by))
            tx.run("INSERT INTO endpoint_failure (endpoint_id, first_failure_at) VALUES (?, ?)", (endpoint, 200 + n))
        for lane in ("a", "b"):
            blocked = "INSERT INTO lane_block (endpoint_id, lane, message_id, sequence, blocked_at) VALUES (?, ?, ?, 1, ?)"
            tx.run(blocked, (f"ep_{org}_2", lane, f"msg_{lane}", 300 + ord(lane)))


def test_each_organisation_finds_its_own_endpoints_in_trouble(tell):
    async def story(shelf: Shelf) -> None:
        await shelf.store.write(furnish)
        (off,) = await shelf.store.read(lambda tx: alerts.disabled(tx, "org_1", 10))
        assert off == alerts.Trouble("ep_org_1_0", 100, told=False, cause="http_410"), "neither by a person, nor one that is on again"
        spent = await shelf.store.read(lambda tx: alerts.spent(tx, "org_2", 10))
        assert [(one.endpoint_id, one.since_us) for one in spent] == [("ep_org_2_2", 202), ("ep_org_2_3", 203)]
        (blocked,) = await shelf.store.read(lambda tx: alerts.blocked(tx, "org_1", 10))
        assert blocked == alerts.Trouble("ep_org_1_2", 300 + ord("a"), told=False, number=2)

    tell(story)


def test_what_was_not_looked_at_is_told(tell):
    async def story(shelf: Shelf) -> None:
        await shelf.store.write(furnish)
        assert await shelf.store.read(lambda tx: alerts.spent(tx, "org_2", 10, looked=4)) == []
        assert await shelf.store.read(lambda tx: alerts.overlooked(tx, looked=4))
        assert not await shelf.store.read(alerts.overlooked)

    tell(story)


def test_since_when_an_endpoint_takes_nothing_follows_from_its_newest_attempts(tell):
    async def story(shelf: Shelf) -> None:
        assert await shelf.store.read(lambda tx: alerts.failures(tx, "ep_1")) is None
        assert await shelf.record(shelf.success(await shelf.delivery())) is None
        assert await shelf.store.read(lambda tx: alerts.failures(tx, "ep_1")) is None
        dead = [shelf.death(await shelf.delivery()) for _ in range(3)]
        for record in dead:
            assert await shelf.record(record) is None
        found = await shelf.store.read(lambda tx: alerts.failures(tx, "ep_1"))
        assert found == alerts.Failures(dead[0].attempt.started_at, whole=True, cause="http_500")

    tell(story)
