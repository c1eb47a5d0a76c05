"""Which messages of a window are found? Asked of the API itself."""

from __future__ import annotations

from typing import Any

import pytest

from ringback.cli.feed import Place
from ringback.cli.past import Window, found
from ringback.clock import rfc3339
from tests.api.history import DAY_US, SECOND_US, History


class Asking:
    """The API as a command asks it; counts the questions."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.asked = 0

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        self.asked += 1
        answer = self.history.api.get(path.removeprefix("/api/v1"))
        return answer.status_code, answer.json()


@pytest.fixture
def history(api: Any) -> History:
    return History(api)


def test_all_of_a_window_is_found_however_far_back_it_begins_and_however_many_pages_it_has(history: History) -> None:
    made = [history.message(age_us=days * DAY_US + n * SECOND_US).id for days in (300, 200, 61, 60, 30) for n in range(200, 0, -1)]
    made.append(history.message().id)
    asking = Asking(history)
    window = Window(since=rfc3339(history.now_us - 301 * DAY_US), until=rfc3339(history.now_us))
    ids = [one.id for one in found(asking, Place(history.app_id, "shop"), window)]
    assert ids == made
    assert asking.asked < 20
    window = Window(
        since=rfc3339(history.now_us - 61 * DAY_US - 200 * SECOND_US), until=rfc3339(history.now_us - 60 * DAY_US - 101 * SECOND_US)
    )
    assert [one.id for one in found(asking, Place(history.app_id, "shop"), window)] == made[400:700]
