"""Spans reach the collector whole; and what does not reach it is counted, told, and holds up nobody."""

from __future__ import annotations

import io
import json
import logging
import os
import pathlib
import signal
import subprocess
import sys
import typing

import pytest

from ringback.clock import SystemClock
from ringback.telemetry.log import configure_logging
from ringback.telemetry.otel import Exporter
from ringback.telemetry.otel_process import Target
from ringback.telemetry.spans import Span, SpanKind
from tests.acceptance.collector import Collector
from tests.waiting import wait_until

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def logged() -> typing.Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    configure_logging("info", "json", stream)
    yield stream
    root.handlers = handlers
    root.setLevel(level)
    logging.getLogger("ringback").setLevel(logging.NOTSET)


class ImpatientClock(SystemClock):
    """A clock that is asked rarely and goes on by much each time: rests are over when somebody looks."""

    def __init__(self, step_s: float = 100.0) -> None:
        self.step_s = step_s
        self.later_s = 0.0

    def monotonic_s(self) -> float:  # type: ignore[override]  # the machine's has no self
        self.later_s += self.step_s
        return super().monotonic_s() + self.later_s


def span(number: int, **more: typing.Any) -> Span:
    return Span(f"span {number}", SpanKind.CLIENT, TRACE, f"{number + 1:016x}", PARENT, 1_000_000, 2_500_000, {"n": number}, **more)


def lines(stream: io.StringIO) -> list[dict[str, typing.Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def exporter_to(url: str, clock: SystemClock | None = None) -> Exporter:
    return Exporter(Target(url, {"authorization": "Bearer x"}, "shop", "1.2.3"), clock or SystemClock())


def test_a_span_arrives_as_it_was_made_and_another_process_follows_one_that_died(logged: io.StringIO) -> None:
    collector = Collector()
    exporter = exporter_to(collector.url, ImpatientClock())
    exporter.start()
    whole = span(1, failed=True, state="a=1", events=(("connect", 1_200_000, {"us": 5}),), links=((TRACE, PARENT),))
    exporter.emit(whole)
    wait_until(lambda: collector.spans)
    (seen,) = collector.spans
    assert (seen.name, seen.kind, seen.trace_id, seen.span_id, seen.parent_id) == ("span 1", "CLIENT", TRACE, f"{2:016x}", PARENT)
    assert (seen.span.start_time_unix_nano, seen.span.end_time_unix_nano) == (1_000_000_000, 2_500_000_000)
    assert seen.failed and seen.state == "a=1" and seen.attributes == {"n": 1} and seen.links == [(TRACE, PARENT)]
    assert [(event.name, event.time_unix_nano) for event in seen.span.events] == [("connect", 1_200_000_000)]
    assert collector.headers[0]["authorization"] == "Bearer x"
    assert (collector.resource["service.name"], collector.resource["service.version"]) == ("shop", "1.2.3")

    assert exporter.pid is not None
    os.kill(exporter.pid, signal.SIGKILL)
    numbers = iter(range(2, 10_000))
    wait_until(lambda: exporter.emit(span(next(numbers))) or len(collector.spans) > 1, what="spans arrive again")
    wait_until(lambda: "traces.resumed" in logged.getvalue())
    assert next(line["event"] for line in lines(logged)) == "traces.lost"
    exporter.close(5)
    collector.close()


def test_a_process_that_always_dies_is_started_less_and_less_often(
    logged: io.StringIO, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = tmp_path / "started"
    (tmp_path / "opentelemetry.py").write_text(f"open({str(started)!r}, 'a').write('.'), exit(1)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    clock = ImpatientClock(4.0)
    exporter = exporter_to("http://127.0.0.1:9", clock)
    for number in range(30 * 256):
        exporter.emit(span(number))
    exporter.start()
    exporter.close(60)
    assert clock.later_s > 30 * 4, "each time its rest of two seconds would have been over"
    assert 3 <= len(started.read_text()) <= 12


def test_nothing_is_imported_that_lies_where_the_server_was_started(
    logged: io.StringIO, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "opentelemetry.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    collector = Collector()
    exporter = exporter_to(collector.url)
    exporter.start()
    exporter.emit(span(1))
    wait_until(lambda: collector.spans or logged.getvalue())
    assert logged.getvalue() == ""
    exporter.close(5)
    collector.close()


def test_the_process_ends_with_a_server_that_is_killed_though_the_collector_hangs() -> None:
    collector = Collector(status=0)
    program = """if True:
        import sys
        from ringback.clock import SystemClock
        from ringback.telemetry.otel import Exporter
        from ringback.telemetry.otel_process import Target
        from ringback.telemetry.spans import Span, SpanKind
        exporter = Exporter(Target(sys.argv[1], {}, None, "1", timeout_s=600.0), SystemClock())
        exporter.start()
        exporter.emit(Span("a", SpanKind.CLIENT, "1" * 32, "1" * 16, "", 1, 2, {}))
        sys.stdin.read()
    """
    server = subprocess.Popen([sys.executable, "-c", program, collector.url], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until(lambda: collector.bodies)
    server.kill()
    # The process has inherited it: it comes to its end when both are gone. And nothing is said of that.
    assert server.communicate(timeout=30) == (None, b"")
    collector.close()


def test_no_more_spans_wait_than_there_is_room_for_and_the_rest_is_told(logged: io.StringIO) -> None:
    collector = Collector()
    exporter = Exporter(Target(collector.url, {}, None, "1"), SystemClock(), room=600)
    for number in range(607):
        exporter.emit(span(number))
    exporter.start()
    wait_until(lambda: len(collector.spans) == 600)
    wait_until(lambda: logged.getvalue())
    (line,) = lines(logged)
    assert (line["event"], line["lost"]) == ("traces.lost", 7)
    exporter.close(5)
    collector.close()


def test_the_end_waits_for_a_collector_that_hangs_only_so_long(logged: io.StringIO) -> None:
    collector = Collector(status=0)
    exporter = exporter_to(collector.url)
    exporter.start()
    exporter.emit(span(1))
    wait_until(lambda: collector.bodies)
    pid = exporter.pid
    assert pid is not None
    exporter.close(0.1)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    collector.close()


@pytest.mark.parametrize("status", [503, 400, None])
def test_what_a_collector_refuses_or_is_not_there_for_is_lost_and_told(logged: io.StringIO, status: int | None) -> None:
    collector = Collector(status or 200)
    if status is None:
        collector.close()
    exporter = Exporter(Target(collector.url, {}, None, "1", timeout_s=0.5), SystemClock())
    exporter.start()
    exporter.emit(span(1))
    wait_until(lambda: logged.getvalue())
    (line,) = lines(logged)
    assert (line["event"], line["lost"]) == ("traces.lost", 1)
    exporter.close(5)
    if status is not None:
        collector.close()
