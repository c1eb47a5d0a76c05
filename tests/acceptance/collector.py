"""Where do traces go? A collector in threads of the test that speaks OTLP/HTTP, keeps every span, and answers as the test says."""

from __future__ import annotations

import http.server
import threading
import typing

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.waiting import wait_until


class Seen:
    """A span as it came."""

    def __init__(self, span: ProtoSpan) -> None:
        self.span = span
        self.name = span.name
        self.trace_id, self.span_id, self.parent_id = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
        self.kind = ProtoSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_")
        self.state = span.trace_state
        self.failed = span.status.code == Status.STATUS_CODE_ERROR
        self.attributes: dict[str, typing.Any] = {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes}
        self.events = [event.name for event in span.events]
        self.links = [(link.trace_id.hex(), link.span_id.hex()) for link in span.links]

    def __repr__(self) -> str:
        return f"{self.name} {self.trace_id[:6]}/{self.span_id} < {self.parent_id or '-'} {self.attributes}"


class Collector:
    """Serves until closed. `status` is what exports are answered; 0 = nothing, until `close`."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.paths: set[str] = set()
        self.resource: dict[str, str] = {}
        self.spans: list[Seen] = []
        self._over = threading.Event()
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector._take(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                if not collector.status:
                    collector._over.wait(60)
                    return
                self.send_response(collector.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: typing.Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def _take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        self.paths.add(path)
        self.headers.append(headers)
        self.bodies.append(body)
        if self.status != 200:
            return
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resource = {item.key: item.value.string_value for item in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += map(Seen, scope.spans)

    def close(self) -> None:
        """Serve no more, and let go of those that wait."""
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def named(self, name: str, **attributes: typing.Any) -> list[Seen]:
        """The spans of that name with these attributes; underscores stand for dots."""
        wanted = {key.replace("__", "."): value for key, value in attributes.items()}
        return [span for span in list(self.spans) if span.name == name and wanted.items() <= span.attributes.items()]

    def of(self, message_id: str) -> list[Seen]:
        """The spans that say that they are of this message."""
        return [span for span in list(self.spans) if span.attributes.get("messaging.message.id") == message_id]

    def wait(self, name: str, count: int = 1, **attributes: typing.Any) -> list[Seen]:
        """Those spans, once there are so many."""
        wait_until(lambda: len(self.named(name, **attributes)) >= count, what=f"{count} spans {name} {attributes}")
        return self.named(name, **attributes)
