"""How is TLS done? Certificates verified by name, HTTP/1.1 only, sessions resumed."""

from __future__ import annotations

import ssl
from typing import Any

# Sessions kept, about 3 KB each: one for each host lately spoken to.
MAX_SESSIONS = 1_024


class ResumingContext(ssl.SSLContext):
    """A client context that remembers one session per host, so that a new connection skips the expensive half of the handshake."""

    _sessions: dict[str, ssl.SSLSession]

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """As the base class, with the host's session. Event loops start TLS through this method."""
        # Taken out: one that does not work is not tried twice, one that does is replaced by a newer one.
        session = self._known().pop(kwargs.get("server_hostname") or "", None)
        return super().wrap_bio(*args, **{"session": session, **kwargs})

    def remember(self, host: str, connection: ssl.SSLObject) -> None:
        """Keep the connection's session for the next one to that host. Call it after the first response: tickets come late."""
        session = connection.session
        if session is None or not session.has_ticket:
            return
        known = self._known()
        known.pop(host, None)
        if len(known) >= MAX_SESSIONS:
            del known[next(iter(known))]
        known[host] = session

    def _known(self) -> dict[str, ssl.SSLSession]:
        # SSLContext builds itself in __new__ and takes no further arguments.
        try:
            return self._sessions
        except AttributeError:
            self._sessions = {}
            return self._sessions


def client_context(ca_file: str | None = None) -> ResumingContext:
    """The context for deliveries: the system's authorities, or only those in `ca_file` (PEM)."""
    context = ResumingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(ca_file)
    return context
