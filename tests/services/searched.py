"""A history whose messages can be searched, once its index has followed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import apsw

from ringback.api import search as search_api
from ringback.api.app import Settings, build
from ringback.engine.indexer import Indexer
from ringback.model.applications import TokenKind
from ringback.services.search import Found, Search
from ringback.services.tokens import DEFAULT_ORG_ID, Principal
from ringback.store.base import SearchIndex
from ringback.store.opening import open_search
from ringback.store.sqlite.searching import search_path
from ringback.telemetry.prometheus import Metrics
from tests.api.history import History

ORG = Principal(TokenKind.ORG, DEFAULT_ORG_ID, None, "key_1")
PLENTY = 1 << 40


class Searched(History):
    """A history with an index that follows when it is told."""

    def __init__(self, api: Any, database: Path) -> None:
        super().__init__(api)
        self.database = database
        self.metrics = Metrics(self.now_us)
        self.free = PLENTY
        self.open()

    def open(self, wanted: bool = True) -> None:
        url = f"sqlite:///{self.database}"
        self.index: SearchIndex | None = self.api.run(open_search(url, self.api.store, wanted=wanted, key=os.urandom(8).hex()))
        self.search = Search(self.api.store, self.index, self.clock, self.metrics)
        if self.index is not None:
            self.indexer = Indexer(self.index, self.api.store, self.clock, self.metrics, lambda: (self.free, 1_000), 1 << 40)

    def serve(self) -> None:
        """Answer the API's requests."""
        self.api.app = build(self.api.services, self.api.reader, Settings(), more=search_api.routes(self.search))

    def close(self) -> None:
        if self.index is not None:
            self.api.run(self.index.close())

    def said(self, text: Any, **more: Any) -> str:
        """A message that says so; its id."""
        payload = text if isinstance(text, bytes) else json.dumps(text if isinstance(text, dict) else {"text": text}).encode()
        return str(self.message(payload=payload, **more).id)

    def follow(self, turns: int = 500) -> None:
        """Index until nothing is left to do."""
        for _ in range(turns):
            if self.api.run(self.indexer.turn()) == 1.0:
                return
        raise AssertionError("the index never comes to rest")

    def ask(self, text: str, who: Principal = ORG, **more: Any) -> Found:
        return self.api.run(self.search.search(who, text, **more))

    def found(self, text: str, who: Principal = ORG, **more: Any) -> list[str]:
        return [hit.message.id for hit in self.ask(text, who, **more).hits]

    def holds(self, word: str) -> bool:
        """Does the index still hold a word, also of entries that were removed? Those that begin as others do are stored short."""
        connection = apsw.Connection(search_path(str(self.database)))
        try:
            tables = [f"s{shard}_data" for (shard,) in connection.execute("SELECT shard FROM shard")]
            return any(word.encode() in block for table in tables for (block,) in connection.execute(f"SELECT block FROM {table}"))
        finally:
            connection.close()
