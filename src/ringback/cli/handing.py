"""What does a program on this machine get of a message? A POST as an endpoint gets it, signed by Standard Webhooks."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from typing import TYPE_CHECKING

from ringback import __version__
from ringback.cli.outgoing import Answered, send
from ringback.clock import SECOND_US, SystemClock
from ringback.delivery.seal import PROTECTED
from ringback.errors import OperatorError
from ringback.signing.secret import parse_secret
from ringback.signing.standard import Signer

if TYPE_CHECKING:
    from ringback.cli.feed import Item


class Handing:
    """Hands messages to one program. Raises OperatorError for a secret that cannot sign."""

    def __init__(self, target: str, secret: str, timeout_s: float) -> None:
        self.target = target
        self._timeout_s = timeout_s
        try:
            self._signer = Signer([parse_secret(secret)])
        except ValueError as error:
            raise OperatorError(f"--secret: {error}") from error

    def post(self, item: Item) -> Answered:
        """The program's answer, whatever it is. Blocks; raises OSError when there is none in time."""
        body = item.body or b""
        at = str(SystemClock().now_us() // SECOND_US)
        signature = self._signer.sign(item.id.encode(), at.encode(), body).decode()
        # What the provider sent goes along, as with deliveries: only the framing and the signature are ours.
        passed = {name: value for name, value in item.headers.items() if name.lower() not in PROTECTED}
        ours = {"webhook-id": item.id, "webhook-timestamp": at, "webhook-signature": signature}
        return send("POST", self.target, {"user-agent": f"ringback/{__version__}", **passed, **ours}, body, self._timeout_s)


def derived_secret(token: str, what: str) -> str:
    """A secret to sign `what` with that nobody keeps and that is the same the next time: it follows from the token."""
    return f"whsec_{b64encode(hmac.digest(token.encode(), what.encode(), hashlib.sha256)).decode()}"
