"""How does a provider sign? Stripe's way, for tests that need any believed request."""

from __future__ import annotations

import hashlib
import hmac

SECRET = "whsec_test"
NOW_S = 1_700_000_000


def event(number: int = 1, kind: str = "charge.succeeded") -> bytes:
    """An event of Stripe."""
    return b'{"id":"evt_%d","type":"%b","data":{}}' % (number, kind.encode())


def signed(body: bytes, secret: str = SECRET, at_s: int = NOW_S) -> dict[str, str]:
    """The headers of a signed event."""
    mac = hmac.new(secret.encode(), b"%d.%b" % (at_s, body), hashlib.sha256).hexdigest()
    return {"stripe-signature": f"t={at_s},v1={mac}", "content-type": "application/json; charset=utf-8"}
