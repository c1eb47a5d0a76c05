"""Do names that hang stay out of the way of names that answer?"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from ringback.delivery.failure import CannotConnect
from ringback.delivery.resolver import Resolver, ResolverSettings, start_daemon
from ringback.model.attempts import ErrorClass
from tests.delivery.conftest import Run
from tests.delivery.hostile import OK, answering, serving
from tests.delivery.sending import attempt, request, transport
from tests.waiting import until

# What a healthy name may take while a thousand hang; far below any timeout.
PROMPT_S = 1.0


class Dns:
    """Names that start with `hang` block until the test is over; `none` has no address; all others are at 127.0.0.1."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> list[tuple[object, ...]]:
        self.asked.append(host)
        if host.startswith("hang"):
            self.over.wait(60)
        if host.startswith("none"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


@pytest.fixture
def dns() -> Iterator[Dns]:
    opened = Dns()
    yield opened
    opened.over.set()


def test_askers_of_one_name_share_one_lookup_and_its_answer_is_kept(run: Run, dns: Dns) -> None:
    async def story() -> None:
        resolver = Resolver(lookup=dns)
        assert await asyncio.gather(*(resolver.resolve("a.example") for _ in range(20))) == [("127.0.0.1",)] * 20
        assert await resolver.resolve("a.example") == ("127.0.0.1",)
        assert dns.asked == ["a.example"]

    run(story())


def test_an_answer_is_asked_for_again_when_it_is_old(run: Run, dns: Dns) -> None:
    async def story() -> None:
        resolver = Resolver(lookup=dns, settings=ResolverSettings(keep_s=0.0))
        await resolver.resolve("a.example")
        await resolver.resolve("a.example")
        assert len(dns.asked) == 2

    run(story())


def test_a_name_without_address_fails_and_is_not_asked_for_again_at_once(run: Run, dns: Dns) -> None:
    async def story() -> None:
        resolver = Resolver(lookup=dns)
        for _ in range(3):
            with pytest.raises(CannotConnect, match=r"none\.example does not resolve") as failure:
                await resolver.resolve("none.example")
            assert failure.value.error is ErrorClass.DNS
        assert dns.asked == ["none.example"]

    run(story())


def test_a_name_that_hangs_fails_after_its_deadline(run: Run, dns: Dns) -> None:
    async def story() -> None:
        resolver = Resolver(lookup=dns, settings=ResolverSettings(timeout_s=0.2))
        with pytest.raises(CannotConnect, match=r"did not resolve within 0\.2 s"):
            await resolver.resolve("hang.example")

    run(story())


def test_an_asker_that_gives_up_leaves_the_lookup_to_the_others(run: Run) -> None:
    asked, go = threading.Event(), threading.Event()

    def lookup(host: str, port: int) -> list[tuple[object, ...]]:
        asked.set()
        go.wait(20)
        return [(("127.0.0.1", port),)]

    async def story() -> None:
        resolver = Resolver(lookup=lookup)
        first = asyncio.ensure_future(resolver.resolve("a.example"))
        second = asyncio.ensure_future(resolver.resolve("a.example"))
        await until(asked.is_set)
        first.cancel()
        go.set()
        assert await second == ("127.0.0.1",)

    run(story())


def test_a_late_answer_is_kept_for_the_next_asker(run: Run, dns: Dns) -> None:
    answered = threading.Event()

    def start_thread(work: Callable[[], None]) -> None:
        start_daemon(lambda: (work(), answered.set()))

    async def story() -> None:
        resolver = Resolver(lookup=dns, settings=ResolverSettings(timeout_s=0.1, keep_failure_s=0.0), start_thread=start_thread)
        with pytest.raises(CannotConnect):
            await resolver.resolve("hang.example")
        dns.over.set()
        await until(answered.is_set)
        # What the thread has left to the loop comes first.
        await asyncio.sleep(0)
        assert await resolver.resolve("hang.example") == ("127.0.0.1",)
        assert dns.asked == ["hang.example"]

    run(story())


def test_a_thousand_names_that_hang_do_not_delay_a_name_never_seen_before(run: Run, dns: Dns) -> None:
    async def story() -> None:
        resolver = Resolver(lookup=dns)
        hanging = [asyncio.ensure_future(resolver.resolve(f"hang{i}.example")) for i in range(1_000)]
        await until(lambda: len(dns.asked) >= 16)
        for i in range(5):
            async with asyncio.timeout(PROMPT_S):
                assert await resolver.resolve(f"healthy{i}.example") == ("127.0.0.1",)
        # Started a few at a time, not all at once.
        assert len(dns.asked) < 500
        for task in hanging:
            task.cancel()

    run(story())


def test_hanging_names_that_keep_coming_do_not_overtake_a_healthy_one_for_ever(run: Run, dns: Dns) -> None:
    async def story() -> None:
        resolver, loop = Resolver(lookup=dns), asyncio.get_running_loop()
        hanging: list[asyncio.Future[tuple[str, ...]]] = []

        def three_more() -> None:
            hanging.extend(asyncio.ensure_future(resolver.resolve(f"hang{len(hanging) + i}.example")) for i in range(3))
            if len(hanging) < 900:
                loop.call_later(0.005, three_more)

        three_more()
        await until(lambda: len(hanging) > 100)
        async with asyncio.timeout(3 * PROMPT_S):
            assert await resolver.resolve("healthy.example") == ("127.0.0.1",)
        for task in hanging:
            task.cancel()

    run(story())


def test_names_that_hang_for_good_do_not_delay_names_that_answered_before(run: Run, dns: Dns) -> None:
    async def story() -> None:
        # All of the threads for unknown names are taken, not only those that count.
        resolver = Resolver(lookup=dns, settings=ResolverSettings(slow_s=0.0005, keep_s=0.0, timeout_s=15.0))
        await resolver.resolve("healthy.example")
        hanging = [asyncio.ensure_future(resolver.resolve(f"hang{i}.example")) for i in range(1_500)]
        await until(lambda: len(dns.asked) >= 1 + 1_024)
        async with asyncio.timeout(PROMPT_S):
            await resolver.resolve("healthy.example")
        for task in hanging:
            task.cancel()

    run(story())


def test_names_that_hung_lately_share_few_threads_from_then_on(run: Run, dns: Dns) -> None:
    async def story() -> None:
        resolver = Resolver(lookup=dns, settings=ResolverSettings(timeout_s=0.3, keep_failure_s=0.0))
        names = [f"hang{i}.example" for i in range(20)]
        await asyncio.gather(*(resolver.resolve(name) for name in names), return_exceptions=True)
        threads = len(dns.asked)
        for _ in range(3):
            await asyncio.gather(*(resolver.resolve(name) for name in names), return_exceptions=True)
        assert len(dns.asked) <= threads + 4

    run(story())


def test_a_lookup_that_breaks_gives_its_place_back(run: Run) -> None:
    def lookup(host: str, port: int) -> list[tuple[object, ...]]:
        raise ValueError("embedded null")

    async def story() -> None:
        resolver = Resolver(lookup=lookup, settings=ResolverSettings(slow_s=10.0))
        for i in range(30):
            with pytest.raises(CannotConnect, match="does not resolve: embedded null"):
                await resolver.resolve(f"a{i}.example")

    run(story())


def test_a_machine_without_threads_fails_the_name_and_not_the_loop(run: Run, dns: Dns) -> None:
    def no_threads(work: object) -> None:
        raise RuntimeError("can't start new thread")

    async def story() -> None:
        resolver = Resolver(lookup=dns, settings=ResolverSettings(slow_s=10.0), start_thread=no_threads)
        for i in range(30):
            with pytest.raises(CannotConnect, match="cannot be looked up: can't start new thread"):
                await resolver.resolve(f"a{i}.example")

    run(story())


def test_the_memory_for_names_is_bounded(run: Run, dns: Dns) -> None:
    async def story() -> None:
        resolver = Resolver(lookup=dns, settings=ResolverSettings(max_names=10))
        for i in range(30):
            await resolver.resolve(f"a{i}.example")
        assert resolver.known_names == 10

    run(story())


def test_deliveries_go_on_while_a_thousand_endpoints_hang_in_dns(run: Run, dns: Dns) -> None:
    async def story() -> None:
        resolver = Resolver(lookup=dns)
        async with serving(answering(OK)) as server, transport(resolver=resolver, request_timeout_s=15.0) as client:
            assert (await attempt(client, request(server.port, "warm.example"))).status == 200
            hanging = [asyncio.ensure_future(attempt(client, request(server.port, f"hang{i}.example"))) for i in range(1_000)]
            await until(lambda: len(dns.asked) >= 9)
            warm = [await attempt(client, request(server.port, "warm.example")) for _ in range(50)]
            fresh = await attempt(client, request(server.port, "fresh.example"))
            assert {e.status for e in warm} == {200}
            assert max(e.duration_us for e in warm) < PROMPT_S * 1e6
            assert (fresh.status, fresh.duration_us < PROMPT_S * 1e6) == (200, True)
            await client.close()
            # Cut by that, or past the deadline of a lookup before.
            assert {(await task).error for task in hanging} <= {ErrorClass.RESET, ErrorClass.DNS}

    run(story())
