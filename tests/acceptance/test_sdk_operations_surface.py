"""Is every method of the official SDK dealt with? Either a test here calls it, or it is written down as not built, and answers so."""

from __future__ import annotations

import pytest
from svix.exceptions import HttpError

from tests.acceptance.sdk_surface import Sdk, anything_for, called, methods

# Parts of the API that this version does not have. Whoever builds one takes it out and calls it in a test; ROADMAP.md has them too.
UNBUILT = frozenset(
    {
        "authentication.get_stream_poller_token",
        "authentication.rotate_stream_poller_token",
        "authentication.stream_expire_all",
        "authentication.stream_logout",
        "authentication.stream_portal_access",
        *(f"streaming.event_type.{verb}" for verb in ("create", "delete", "get", "list", "patch", "upsert")),
        *(f"streaming.events.{verb}" for verb in ("create", "get")),
        *(f"streaming.sink.{verb}" for verb in ("create", "delete", "get", "get_secret", "list", "patch", "rotate_secret", "upsert")),
        *(f"streaming.sink.transformation.{verb}" for verb in ("get", "patch")),
        *(f"streaming.stream.{verb}" for verb in ("create", "delete", "get", "list", "patch", "upsert")),
        "streaming.sink_headers_get",
        "streaming.sink_headers_patch",
    }
)


def test_every_method_of_the_sdk_is_called_here_or_known_to_be_missing(sdk: Sdk) -> None:
    known = set(methods(sdk.svix))
    assert UNBUILT - known == set(), "the SDK has no such methods"
    assert called() & UNBUILT == set(), "tests call them: they are built"
    assert known - called() - UNBUILT == set(), "nobody calls them, and nobody says that they are missing"


@pytest.mark.parametrize("name", sorted(UNBUILT))
def test_what_is_not_built_says_so(sdk: Sdk, name: str) -> None:
    method = methods(sdk.svix)[name]
    with pytest.raises(HttpError) as missing:
        method(*anything_for(method))
    assert (missing.value.status_code, missing.value.code) == (501, "not_implemented")
