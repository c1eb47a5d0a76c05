"""Are there bins for strangers? Whoever can reach them may write to them, so that not every server has them."""

from __future__ import annotations

from urllib.parse import urlsplit

from ringback.config import Settings
from ringback.policy.addresses import is_this_machine


def bins_open(settings: Settings) -> bool:
    """May strangers write to bins, and listen for them? Unless it is set: only where no stranger comes."""
    if settings.bins != "auto":
        return settings.bins == "true"
    public = urlsplit(settings.public_url).hostname if settings.public_url else None
    return is_this_machine(settings.listen_address.host) and (public is None or is_this_machine(public))
