"""Logs hide secrets whatever they are handed; metrics count what happened and read as Prometheus wants them."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from ringback.clock import SystemClock
from ringback.model.attempts import ErrorClass
from ringback.telemetry import events, prometheus
from ringback.telemetry.log import configure_logging, log, mask_secrets
from ringback.telemetry.loop_lag import watch_loop
from tests.waiting import until

SECRETS = ["sk_0123456789abcdef", "appsk_0123456789abcdef", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsk_abcdefghijkl"]


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield io.StringIO()
    root.handlers = handlers
    root.setLevel(level)
    logging.getLogger("ringback").setLevel(logging.NOTSET)


def test_a_line_is_one_json_object_with_time_level_and_event_first(stream: io.StringIO) -> None:
    configure_logging("info", "auto", stream)
    log(events.DISK_LOW, free_bytes=1, least_bytes=2)
    line = json.loads(stream.getvalue())
    assert list(line) == ["timestamp", "level", "event", "free_bytes", "least_bytes"]
    assert line["timestamp"].endswith("Z") and line["level"] == "error" and line["event"] == "disk.low"


def test_what_is_below_the_level_is_not_written(stream: io.StringIO) -> None:
    configure_logging("warning", "json", stream)
    log(events.SERVER_STARTED, url="http://x")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("format", ["json", "human"])
@pytest.mark.parametrize("secret", SECRETS)
def test_secrets_in_texts_and_tracebacks_are_masked(stream: io.StringIO, format: str, secret: str) -> None:
    configure_logging("info", format, stream)
    try:
        raise ValueError(f"no key {secret}")
    except ValueError as error:
        log(events.TASK_FAILED, failure=error, task=f"call with {secret}", error={"deep": [f"Bearer {secret}"]})
    logging.getLogger("uvicorn.error").error("header %s", secret)
    assert "task.failed" in stream.getvalue() and "ValueError" in stream.getvalue()
    assert secret not in stream.getvalue() and secret[-8:] not in stream.getvalue()


def test_a_traceback_shows_no_local_variables(stream: io.StringIO) -> None:
    configure_logging("info", "human", stream)
    payload = "card 4111"
    try:
        raise ValueError(len(payload))
    except ValueError as error:
        log(events.TASK_FAILED, failure=error, task="t")
    assert "Traceback" in stream.getvalue() and "4111" not in stream.getvalue()


@pytest.mark.parametrize("format", ["json", "human"])
def test_strangers_text_forges_no_line_and_steers_no_terminal(stream: io.StringIO, format: str) -> None:
    configure_logging("info", format, stream)
    log(events.SERVER_STARTED, url="/x\n2026-01-01 ERROR forged \x1b[2J")
    assert stream.getvalue().count("\n") == 1 and "\x1b" not in stream.getvalue()


def test_users_and_passwords_in_urls_are_masked() -> None:
    assert mask_secrets({"url": "https://user:pass@example.com/x"}) == {"url": "https://****@example.com/x"}


@given(
    st.sampled_from(["token", "Authorization", "client_secret", "payload", "body", "set-cookie", "webhook-signature"]),
    st.recursive(st.text() | st.binary() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)),
)
def test_whatever_stands_under_a_telling_key_is_masked(key: str, value: object) -> None:
    assert mask_secrets({"outer": {key: value}}) == {"outer": {key: "****"}}


@given(st.recursive(st.none() | st.text() | st.binary() | st.floats(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_any_field_can_be_written_down(value: object) -> None:
    masked = mask_secrets({"field": value})
    assert json.dumps(masked)


def test_a_field_that_contains_itself_does_not_hang_the_log() -> None:
    cycle: list[object] = []
    cycle.append(cycle)
    assert "list" in json.dumps(mask_secrets({"field": cycle}))


def test_every_log_event_has_its_own_name_and_a_level_that_exists() -> None:
    catalogue = events.catalogue()
    assert len({event.name for event in catalogue}) == len(catalogue) > 0
    assert {event.level for event in catalogue} <= {"debug", "info", "warning", "error"}


def samples(metrics: prometheus.Metrics, now_us: int = 0) -> dict[tuple[str, str], float]:
    text = prometheus.Exposition(metrics).render(now_us).decode()
    families = text_string_to_metric_families(text)
    return {(sample.name, ",".join(sample.labels.values())): sample.value for family in families for sample in family.samples}


def test_what_is_counted_is_exposed() -> None:
    metrics = prometheus.Metrics(started_us=5_000_000)
    metrics.messages_accepted += 3
    metrics.count_attempt(200, None)
    metrics.count_attempt(204, None)
    metrics.count_attempt(503, None)
    metrics.count_attempt(0, ErrorClass.DNS)
    metrics.oldest_due_us = 7_000_000
    exposed = samples(metrics, now_us=9_500_000)
    assert exposed["ringback_messages_accepted_total", ""] == 3
    assert exposed["ringback_attempts_total", "delivered"] == 2
    assert exposed["ringback_attempts_total", "http_5xx"] == 1
    assert exposed["ringback_attempts_total", "dns"] == 1
    assert exposed["ringback_oldest_due_seconds", ""] == 2.5
    assert exposed["ringback_start_time_seconds", ""] == 5


@given(st.lists(st.floats(min_value=0, max_value=10, allow_nan=False)))
def test_a_histogram_counts_every_value_once(values: list[float]) -> None:
    metrics = prometheus.Metrics(started_us=1)
    for value in values:
        metrics.commit_seconds.observe(value)
    exposed = samples(metrics)
    assert exposed["ringback_commit_seconds_count", ""] == len(values)
    for bound in prometheus.COMMIT_BUCKETS_S:
        assert exposed["ringback_commit_seconds_bucket", str(bound)] == sum(value <= bound for value in values)


@given(st.integers(0, 999), st.sampled_from([None, *ErrorClass]))
def test_every_end_of_an_attempt_is_counted_once(status: int, error: ErrorClass | None) -> None:
    metrics = prometheus.Metrics(started_us=1)
    metrics.count_attempt(status, error)
    assert sum(metrics.attempts.values()) == 1


def test_a_loop_that_is_held_shows_as_lag() -> None:
    metrics = prometheus.Metrics(started_us=1)
    clock = SystemClock()

    async def scenario() -> None:
        watch = asyncio.create_task(watch_loop(metrics, clock))
        await until(lambda: metrics.loop_lag_s > 0)
        until_s = clock.monotonic_s() + 0.2
        while clock.monotonic_s() < until_s:
            pass
        await until(lambda: metrics.loop_lag_s > 0.1)
        watch.cancel()

    asyncio.run(scenario())
    assert 0.1 < metrics.loop_lag_s < 5


def test_a_histogram_tells_what_a_share_of_its_values_stays_within() -> None:
    histogram = prometheus.Histogram((1.0, 2.0, 4.0))
    assert histogram.below(0.5) is None and histogram.count == 0
    for value in (0.5, 1.5, 1.5, 3.0):
        histogram.observe(value)
    assert (histogram.below(0.25), histogram.below(0.5), histogram.below(0.99)) == (1.0, 2.0, 4.0)
    histogram.observe(100.0)
    assert histogram.below(0.99) == float("inf") and histogram.count == 5
