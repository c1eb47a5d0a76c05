from __future__ import annotations

import pytest

from ringback.app.transports import Room, room


@pytest.mark.parametrize(
    ("max_in_flight", "files", "found"),
    [
        (2_048, 16_384, Room(4_096, 2_048)),
        (2_048, 1_024, Room(464, 348)),
        (10, 1_024, Room(464, 10)),
        (2_048, 20, Room(8, 6)),
        (65_536, 16_384, Room(8_144, 6_108)),
        (1, 0, Room(8, 1)),
    ],
)
def test_deliveries_take_no_more_than_half_of_the_files_that_the_process_may_open(max_in_flight: int, files: int, found: Room) -> None:
    assert room(max_in_flight, files) == found
