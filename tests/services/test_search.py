"""Searching messages: what is found, what is found no more, and what becomes of an index that is late, broken or another's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from ringback.clock import SystemClock
from ringback.engine.indexer import Indexer
from ringback.errors import NotFound, Refused, StoreFailure
from ringback.model.applications import TokenKind
from ringback.model.messages import Origin
from ringback.policy.search_query import BadQuery
from ringback.services.tokens import DEFAULT_ORG_ID, Principal
from ringback.store.operations import retention
from ringback.store.sqlite.search_file import SHARD
from ringback.store.sqlite.searching import search_path
from tests.api.conftest import Api
from tests.api.history import DAY_US, SECOND_US
from tests.services.searched import PLENTY, Searched


@pytest.fixture
def history(tmp_path: Path) -> Iterator[Searched]:
    with asyncio.Runner() as runner:
        database = tmp_path / "ringback.db"
        api = Api(runner, database)
        searched = Searched(api, database)
        yield searched
        searched.close()
        api.close()


def test_words_phrases_beginnings_and_what_is_excluded(history):
    first = history.said({"order": "ord_123", "buyer": "jane.doe@example.com", "city": "Zürich"})
    second = history.said({"order": "ord_124", "buyer": "joe@example.com", "note": "paid late, 東京タワー"})
    history.follow()
    for text, expected in {
        "ord_123": [first],
        "ORD_12*": [second, first],
        "jane.doe@example.com": [first],
        "example.com": [second, first],
        "zurich": [first],
        "ZÜRICH": [first],
        '"paid late"': [second],
        '"late paid"': [],
        "東京": [second],
        "京タ": [second],
        "buyer -zurich": [second],
        "order joe": [second],
        "order nobody": [],
        "-zurich": [second],
        "": [second, first],
    }.items():
        assert history.found(text) == expected, text


def test_properties(history):
    paid = history.said("a", event_type="order.paid", tags=("vip", "x"), channels=("eu",))
    made = history.said("a", event_type="order.made", tags=("x",))
    other = history.said("a", event_type="orders.paid", channels=("us", "eu"), event_id="evt-9")
    history.follow()
    for text, expected in {
        "type:order.paid": [paid],
        "type:order.*": [made, paid],
        "type:order*": [other, made, paid],
        "type:order.paid,order.made": [made, paid],
        "-type:order.*": [other],
        "a -type:order.paid": [other, made],
        "tag:vip": [paid],
        "tag:x tag:vip": [paid],
        "tag:vip,x": [made, paid],
        "tag:vi": [],
        "channel:eu -tag:vip": [other],
        "id:evt-9": [other],
        "evt-9": [other],
        f"id:{made}": [made],
        paid: [paid],
        f"id:{paid} tag:vip a": [paid],
        f"id:{paid} tag:none": [],
        f"id:{paid} b": [],
        f"id:{paid} -a": [],
    }.items():
        assert history.found(text) == expected, text


def test_what_a_provider_called_it_is_found_too(history):
    known = history.said("a", origin=Origin("src_1", "evt_1QrXYZ", "charge.succeeded"))
    history.follow()
    assert history.found("evt_1QrXYZ") == history.found("charge.succeeded") == [known]


def test_escapes_are_what_they_stand_for(history):
    known = history.said(rb'{"city": "K\u00f6ln", "text": "one\ntwo"}')
    history.follow()
    assert history.found("köln") == history.found('"one two"') == [known]
    assert history.found("u00f6ln") == []


def test_times(history):
    old = history.said("a", age_us=3 * DAY_US)
    young = history.said("a", age_us=60 * SECOND_US)
    history.follow()
    assert history.found("a after:2d") == [young]
    assert history.found("a before:2d") == [old]
    assert history.found("a after:4d before:2d") == [old]
    assert history.found("after:4d before:3d") == [old] or history.found("after:4d before:71h") == [old]


def test_how_messages_stand(history):
    second = history.endpoint("second")
    messages = {name: history.message(payload=f'"{name}"'.encode()) for name in ("delivered", "failed", "retrying", "waiting")}
    history.attempt(messages["delivered"])
    history.attempt(messages["failed"], code=500, dead="http_500")
    history.attempt(messages["retrying"], code=500, retry_in_us=DAY_US)
    half = history.message(history.endpoint_id, second)
    history.attempt(half)
    other = history.api.made("/app", {"name": "Other", "uid": "other"})["id"]
    unmatched = history.message(app_id=other, payload=b'"unmatched"')
    history.api.run(history.api.store.write(lambda tx: tx.run("UPDATE message SET matched = 0 WHERE id = ?", (unmatched.id,))))
    history.api.run(history.api.store.write(lambda tx: tx.run("DELETE FROM delivery WHERE message_id = ?", (unmatched.id,))))
    history.follow()
    for name, message in messages.items():
        expected = [message.id] if name != "waiting" else [half.id, message.id]
        assert history.found(f"status:{name}") == expected, name
    assert history.found("status:unmatched") == [unmatched.id]
    assert history.found("status:failed,retrying") == [messages["retrying"].id, messages["failed"].id]
    assert history.found("status:delivered failed") == []


def test_pages_go_on_where_the_last_one_ended(history):
    known = [history.said(f"word {n}") for n in range(25)]
    history.follow()
    met: list[str] = []
    cursor = None
    while True:
        answer = history.ask("word", limit=10, cursor=cursor)
        met += [hit.message.id for hit in answer.hits]
        if answer.done:
            break
        cursor = answer.cursor
        # What comes meanwhile is newer, and in nobody's way.
        history.said("word again")
        history.follow()
    assert met == known[::-1]
    with pytest.raises(Refused):
        history.ask("word", cursor="msg_1")


def test_nobody_finds_what_is_not_theirs(history):
    mine = history.said("secret")
    other = history.api.made("/app", {"name": "Other", "uid": "other"})["id"]
    theirs = history.said("secret", app_id=other)
    history.follow()
    customer = Principal(TokenKind.APP, DEFAULT_ORG_ID, other, "key_2")
    stranger = Principal(TokenKind.ORG, "org_other", None, "key_3")
    assert history.found("secret") == [theirs, mine]
    assert history.found("secret", customer) == history.found("app:other secret") == history.found("secret", app="other") == [theirs]
    assert history.found("secret", stranger) == history.found(mine, stranger) == history.found(f"id:{mine}", customer) == []
    with pytest.raises(NotFound):
        history.ask("secret", customer, app="shop")
    with pytest.raises(NotFound):
        history.ask("app:shop secret", customer)
    with pytest.raises(NotFound):
        history.ask("app:shop secret", stranger)


def test_a_query_that_cannot_be_read_is_refused_in_words(history):
    with pytest.raises(BadQuery, match="did you mean type"):
        history.ask("typ:order.paid")


def test_the_answer_says_how_far_behind_the_index_is(history):
    first = history.said("word")
    history.follow()
    assert (history.ask("word").lag, history.ask("word").behind_since_us) == (0, None)
    late = [history.said("word") for _ in range(450)]
    history.api.run(history.indexer.turn())
    answer = history.ask("word", limit=1)
    assert answer.lag == 250
    assert answer.behind_since_us is not None
    # By its id a message is found at once.
    assert history.found(late[-1]) == [late[-1]]
    history.follow()
    assert history.ask("word").lag == 0
    assert first in history.found("word", limit=100) or not history.ask("word", limit=100).done


# -- what is forgotten


def test_expunged_content_is_found_no_more_and_leaves_the_file(history):
    gone = history.said({"name": "quetzalcoatl"}, event_type="order.paid", tags=("vip",))
    kept = history.said({"name": "xochipilli"}, event_type="order.paid")
    history.follow()
    assert history.found("quetzalcoatl") == [gone]
    assert history.holds("quetzalcoatl")
    assert history.holds("xochipilli")
    assert history.api.delete(f"/app/shop/msg/{gone}/content").status_code == 204
    # At once, although the index has not heard of it.
    assert history.found("quetzalcoatl") == []
    history.follow()
    assert not history.holds("quetzalcoatl")
    assert history.holds("xochipilli")
    assert history.rows("SELECT * FROM search_gone") == []
    # What it is, is known all the same.
    assert history.found("type:order.paid") == [kept, gone]
    assert history.found(gone) == history.found("tag:vip") == [gone]


def test_content_that_is_expunged_before_it_is_indexed_never_is(history):
    gone = history.said("quetzalcoatl")
    history.api.delete(f"/app/shop/msg/{gone}/content")
    history.follow()
    assert not history.holds("quetzalcoatl")


def test_a_payload_past_its_time_is_found_no_more(history):
    history.said("quetzalcoatl", expires_at=history.now_us - 1)
    history.follow()
    assert history.found("quetzalcoatl") == []
    history.api.run(history.api.store.write(lambda tx: retention.expire_payloads(tx, history.now_us, 10)))
    history.follow()
    assert not history.holds("quetzalcoatl")


def test_what_retention_removes_leaves_the_file(history):
    history.said("quetzalcoatl", age_us=5 * DAY_US)
    kept = history.said("xochipilli")
    history.follow()
    assert history.api.run(history.api.store.write(lambda tx: retention.purge_messages(tx, history.now_us - DAY_US, 10))) == (1, None)
    assert history.rows("SELECT * FROM search_gone") == []
    history.follow()
    assert not history.holds("quetzalcoatl")
    assert history.found("xochipilli") == [kept]


def test_a_deleted_application_is_found_no_more_and_leaves_the_file(history):
    history.said("xochipilli")
    other = history.api.made("/app", {"name": "Other", "uid": "other"})["id"]
    history.said("quetzalcoatl", app_id=other)
    # The newest is another's: nothing but the log says what is gone.
    history.said("xochipilli")
    history.follow()
    assert history.holds("quetzalcoatl")
    history.api.delete("/app/other")
    assert history.found("quetzalcoatl") == []
    while history.api.run(history.api.store.write(lambda tx: retention.purge_application(tx, 10))):
        continue
    history.follow()
    assert not history.holds("quetzalcoatl")
    assert len(history.found("xochipilli")) == 2


def test_numbers_that_are_given_again_name_the_new_message(history):
    first = history.said("first")
    other = history.api.made("/app", {"name": "Other", "uid": "other"})["id"]
    for n in range(3):
        history.said(f"quetzalcoatl {n}", app_id=other)
    history.follow()
    history.api.delete("/app/other")
    while history.api.run(history.api.store.write(lambda tx: retention.purge_application(tx, 10))):
        continue
    again = [history.said(f"xochipilli {n}") for n in range(5)]
    history.follow()
    assert history.found("xochipilli") == again[::-1]
    assert history.found("quetzalcoatl") == []
    assert not history.holds("quetzalcoatl")
    assert history.found("first") == [first]


def test_a_table_goes_with_its_last_message_and_searches_cross_tables(history):
    old = history.said("quetzalcoatl word", age_us=5 * DAY_US)
    history.api.run(history.api.store.write(lambda tx: tx.run("UPDATE message SET seq = ? WHERE id = ?", (SHARD - 1, old))))
    young = [history.said("word") for _ in range(3)]
    history.follow()
    assert history.found("word") == [*young[::-1], old]
    assert history.found("word", limit=2, cursor=history.ask("word", limit=2).cursor) == [young[0], old]
    history.api.run(history.api.store.write(lambda tx: retention.purge_messages(tx, history.now_us - DAY_US, 10)))
    history.follow()
    assert history.found("word") == young[::-1]
    connection = apsw.Connection(search_path(str(history.database)))
    assert list(connection.execute("SELECT shard FROM shard")) == [(1,)]
    connection.close()


def test_an_index_that_grows_too_large_lets_go_of_the_oldest(history):
    old = history.said("quetzalcoatl")
    history.api.run(history.api.store.write(lambda tx: tx.run("UPDATE message SET seq = ? WHERE id = ?", (SHARD - 1, old))))
    young = history.said("xochipilli")
    history.follow()
    assert history.index is not None
    assert history.api.run(history.index.tidy(1)) is True
    assert history.found("xochipilli") == [young]
    assert history.found("quetzalcoatl") == []
    # The newest table stays, however large.
    assert history.api.run(history.index.tidy(1)) is False


# -- an index that is not as it should be


def test_a_file_that_is_missing_or_broken_is_made_anew(history, caplog):
    known = history.said("word")
    history.follow()
    path = Path(search_path(str(history.database)))
    for spoil in (path.unlink, lambda: path.write_bytes(b"no database at all" * 1_000)):
        history.close()
        spoil()
        for suffix in ("-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        history.open()
        for _ in range(3):
            history.api.run(history.indexer.turn())
        history.follow()
        assert history.found("word") == [known]
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_of_another_database_is_made_anew(history):
    known = history.said("word")
    history.follow()
    history.close()
    history.api.run(history.api.store.write(lambda tx: tx.run("UPDATE search_switch SET key = 'another'")))
    history.open()
    for _ in range(3):
        history.api.run(history.indexer.turn())
    history.follow()
    assert history.found("word") == [known]


def test_switched_off_it_leaves_no_file_and_no_log_and_searches_are_refused(history):
    gone = history.said("quetzalcoatl")
    history.follow()
    history.close()
    history.open(wanted=False)
    assert not Path(search_path(str(history.database))).exists()
    with pytest.raises(Refused) as refused:
        history.ask("quetzalcoatl")
    assert refused.value.code == "search_disabled"
    history.api.delete(f"/app/shop/msg/{gone}/content")
    assert history.rows("SELECT * FROM search_gone") == []
    # On again, it is made of what there is now.
    history.open()
    history.follow()
    assert not history.holds("quetzalcoatl")
    assert history.found(gone) == [gone]


def test_a_search_while_the_index_is_made_anew_says_so(history):
    history.close()
    Path(search_path(str(history.database))).unlink(missing_ok=True)
    history.open()
    with pytest.raises(StoreFailure, match="search index"):
        history.ask("word")


def test_a_disk_that_is_nearly_full_stops_the_index_and_nothing_else(history, caplog):
    history.follow()
    known = history.said("word")
    history.free = 999
    for _ in range(3):
        assert history.api.run(history.indexer.turn()) > 1
    assert history.found("word") == []
    history.free = PLENTY
    history.follow()
    assert history.found("word") == [known]


def test_an_index_that_cannot_be_written_is_tried_again_less_and_less_often(history):
    history.said("word")
    history.close()
    path = Path(search_path(str(history.database)))
    path.unlink(missing_ok=True)
    path.mkdir()
    history.open()
    rests = [history.api.run(history.indexer.turn()) for _ in range(4)]
    assert rests == [1.0, 2.0, 4.0, 8.0]
    path.rmdir()
    history.api.run(history.indexer.turn())
    history.follow()
    assert len(history.found("word")) == 1


class TickingClock(SystemClock):
    """Whatever is done takes 5 ms."""

    reads = 0

    def monotonic_s(self) -> float:
        self.reads += 1
        return 0.005 * self.reads


def test_a_busy_server_is_left_alone_longer(history):
    indexer = Indexer(history.index, history.api.store, TickingClock(), history.metrics, lambda: (history.free, 0), 1 << 40)
    for _ in range(1_000):
        history.said("word")
    calm = history.api.run(indexer.turn())
    history.metrics.messages_accepted += 1_000_000
    assert history.api.run(indexer.turn()) > 10 * calm
