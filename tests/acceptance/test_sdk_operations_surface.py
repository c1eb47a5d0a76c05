"""Is every method of the official SDK dealt with? A test here calls each."""

from __future__ import annotations

from tests.acceptance.sdk_surface import Sdk, called, methods


def test_every_method_of_the_sdk_is_called_here(sdk: Sdk) -> None:
    assert set(methods(sdk.svix)) - called() == set(), "nobody calls them"
