"""Views are kept by organisation, each under a name of its own."""

from __future__ import annotations

import pytest

from ringback.model.dashboard import SavedView
from ringback.store.operations import saved_views
from tests.store.conformance.shelf import Shelf


def test_views_are_listed_by_name_and_deleted_and_seen_by_their_organisation_alone(tell):
    async def story(shelf: Shelf) -> None:
        made = [
            SavedView("view_1", "org_1", "b", "/audit?object=x"),
            SavedView("view_2", "org_1", "a", "/tasks"),
            SavedView("view_3", "org_2", "a", "/tasks"),
        ]
        for view in made:
            await shelf.store.write(lambda tx, view=view: saved_views.insert(tx, view))
        assert await shelf.store.read(lambda tx: saved_views.all_of(tx, "org_1")) == [made[1], made[0]]
        assert await shelf.store.read(lambda tx: saved_views.by_id(tx, "org_1", "view_1")) == made[0]
        assert await shelf.store.read(lambda tx: saved_views.by_id(tx, "org_2", "view_1")) is None
        await shelf.store.write(lambda tx: saved_views.delete(tx, "view_1"))
        assert await shelf.store.read(lambda tx: saved_views.all_of(tx, "org_1")) == [made[1]]

    tell(story)


def test_a_name_is_that_of_one_view(tell):
    async def story(shelf: Shelf) -> None:
        await shelf.store.write(lambda tx: saved_views.insert(tx, SavedView("view_1", "org_1", "a", "/tasks")))
        with pytest.raises(Exception, match="UNIQUE"):
            await shelf.store.write(lambda tx: saved_views.insert(tx, SavedView("view_2", "org_1", "a", "/audit")))

    tell(story)
