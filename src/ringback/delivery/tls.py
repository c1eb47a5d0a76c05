"""How is TLS done? Certificates verified by name, HTTP/1.1 only, sessions resumed."""

from __future__ import annotations

import ssl
from typing import Any

# Sessions kept, about 3 KB each: one for each host lately spoken to.
MAX_SESSIONS = 1_024
# A server's part of a handshake has 3 to 10 KB, with the longest chains of certificates 30. OpenSSL passes over some messages without end.
HANDSHAKE_MAX_BYTES = 131_072
# Tickets and new keys come in hundreds of bytes, and a record that is not whole yet has up to 16 KiB.
SILENT_MAX_BYTES = 65_536


class EndlessTls(ssl.SSLError):
    """The server keeps us busy with TLS, and says nothing in it."""

    def __init__(self, text: str) -> None:
        super().__init__(ssl.SSL_ERROR_SSL, text)
        self.reason = text


class BoundedTls(ssl.SSLObject):
    """One TLS connection, which ends when its server sends too much that is no data: each record costs the loop time."""

    _incoming: ssl.MemoryBIO
    _bytes = 0

    def look_at(self, incoming: ssl.MemoryBIO) -> None:
        """What comes from the server comes through here."""
        self._incoming = incoming

    def do_handshake(self) -> None:
        """As the base class. Raises EndlessTls."""
        self._bytes += self._incoming.pending
        if self._bytes > HANDSHAKE_MAX_BYTES:
            raise EndlessTls(f"the server's handshake has more than {HANDSHAKE_MAX_BYTES} bytes")
        super().do_handshake()
        self._bytes = 0

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        """As the base class. Raises EndlessTls."""
        pending = self._incoming.pending
        try:
            data = super().read(len, buffer)
        except ssl.SSLWantReadError:
            self._bytes += pending
            if self._bytes > SILENT_MAX_BYTES:
                raise EndlessTls(f"the server sent {SILENT_MAX_BYTES} bytes of TLS without any data in it") from None
            raise
        self._bytes = 0
        return data


class ResumingContext(ssl.SSLContext):
    """A client context that remembers one session per host, so that a new connection skips the expensive half of the handshake."""

    sslobject_class = BoundedTls
    _sessions: dict[str, ssl.SSLSession]

    def wrap_bio(self, incoming: ssl.MemoryBIO, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """As the base class, with the host's session. Event loops start TLS through this method."""
        # Taken out: one that does not work is not tried twice, one that does is replaced by a newer one.
        session = self._known().pop(kwargs.get("server_hostname") or "", None)
        connection = super().wrap_bio(incoming, *args, **{"session": session, **kwargs})
        assert isinstance(connection, BoundedTls)
        connection.look_at(incoming)
        return connection

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
