"""Does a program on a developer's machine get what came before, once more? Real servers, and the command as a process of its own."""

from __future__ import annotations

import pathlib
import re
import subprocess
import typing

import pytest

from benchmarks.server import Server, command, environment, free_port
from ringback.cli.main import main
from tests.acceptance.provider import SECRET
from tests.acceptance.receiver import FAILED, OK, Receiver, verify
from tests.acceptance.serving import Shared


def replayed(running: Server, *words: str) -> int:
    """The exit code of the command in this process, which saves half a second for each."""
    return main(["replay", "--url", running.url, "--token", running.token, *words])


def replay(running: Server, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command(), "replay", "--url", running.url, *words],
        env=environment({"token": running.token}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def publish(running: Server, app: str, event_type: str, **more: typing.Any) -> typing.Any:
    return running.make(f"/app/{app}/msg", {"eventType": event_type, "payload": {"type": event_type}, **more})


def ids(receiver: Receiver) -> list[str]:
    return [arrival.id for arrival in receiver.arrivals]


def bodies(receiver: Receiver) -> list[bytes]:
    return [arrival.body for arrival in receiver.arrivals]


@pytest.fixture
def shop(shared: Shared) -> tuple[Server, str]:
    running = shared()
    return running, running.make("/app", {"name": "shop"})["id"]


def test_past_messages_arrive_once_more_in_order_and_signed(shop: tuple[Server, str], receiver: Receiver) -> None:
    running, app = shop
    made = [publish(running, app, f"order.{number}")["id"] for number in range(3)]
    done = replay(running, f"{receiver.url}/hooks", "--app", app, "--since", "1h")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("3 handed on, 3 of them accepted\n")
    assert ids(receiver) == made
    secret = re.search(r"whsec_\S+", done.stdout)
    assert secret is not None
    for arrival in receiver.arrivals:
        verify(arrival, secret[0])
    assert [running.call("GET", f"/app/{app}/attempt/msg/{name}")[1]["data"] for name in made] == [[], [], []]


def test_what_is_replayed_is_chosen_by_time_type_tag_channel_and_number(shop: tuple[Server, str], receiver: Receiver) -> None:
    running, app = shop
    first = publish(running, app, "order.paid", tags=["vip"])
    second = publish(running, app, "order.sent", channels=["eu"])
    third = publish(running, app, "invoice.paid", eventId="evt-3")
    for words, wanted in (
        (("--since", second["timestamp"]), [second, third]),
        (("--since", "1h", "--until", second["timestamp"]), [first, second]),
        (("--since", "1h", "--types", "order.*"), [first, second]),
        (("--since", "1h", "--types", "*.paid", "--tag", "vip"), [first]),
        (("--since", "1h", "--channel", "eu"), [second]),
        (("--since", "1h", "--limit", "2"), [first, second]),
        (("--message", "evt-3", "--message", first["id"]), [third, first]),
        (("--since", "2000-01-01", "--until", "2000-01-02"), []),
        (("--since", second["timestamp"], "--until", "9999-12-31T23:59:59.999999Z"), [second, third]),
    ):
        del receiver.arrivals[:]
        assert replayed(running, receiver.url, "--app", app, *words) == 0
        assert ids(receiver) == [message["id"] for message in wanted], words


def test_a_look_without_consequences_only_lists(shop: tuple[Server, str], receiver: Receiver) -> None:
    running, app = shop
    made = publish(running, app, "order.paid")["id"]
    done = replay(running, receiver.url, "--app", app, "--since", "1h", "--dry-run")
    assert (done.returncode, receiver.arrivals) == (0, [])
    assert re.search(rf"Z  order\.paid  {made}  22 bytes\n1 would be handed on\n\Z", done.stdout), done.stdout


def test_what_sources_received_arrives_byte_for_byte_with_its_headers_and_nothing_of_others(
    shop: tuple[Server, str], receiver: Receiver, tmp_path: pathlib.Path
) -> None:
    running, app = shop
    file = tmp_path / "body"
    made, other = (running.make(f"/app/{app}/source", {"name": name, "type": "github", "secrets": [SECRET]}) for name in ("a", "b"))
    publish(running, app, "order.paid")
    sent = [b'\n {"a": 1.0 , "b":"\\u00e9"}\n', b"\xff\x00\xfe"]
    for body in sent:
        for source in (other, made):
            file.write_bytes(body)
            assert main(["trigger", "github", "--secret", SECRET, "--to", source["ingestUrl"], "--data", str(file)]) == 0
    done = replay(running, receiver.url, "--source", made["id"], "--app", app, "--since", "1h")
    assert done.returncode == 0, done.stderr
    assert bodies(receiver) == sent
    assert {arrival.headers["x-github-event"] for arrival in receiver.arrivals} == {"push"}


def test_pauses_are_kept_when_that_is_wanted(shop: tuple[Server, str], receiver: Receiver) -> None:
    running, app = shop
    first, *_, last = (publish(running, app, "order.paid") for _ in range(4))
    done = replay(running, receiver.url, "--app", app, "--since", "1h", "--speed", "0.05")
    assert done.returncode == 0, done.stderr
    came = [float(re.sub(r".*T\d\d:\d\d:|Z", "", message["timestamp"])) for message in (first, last)]
    gone = receiver.arrivals[-1].at_s - receiver.arrivals[0].at_s
    # How long each of them takes to arrive is not the program's to say.
    assert gone >= 10 * ((came[1] - came[0]) % 60)


def test_answers_that_are_no_success_count_and_a_program_that_is_not_there_ends_it(shop: tuple[Server, str], receiver: Receiver) -> None:
    running, app = shop
    first, second = (publish(running, app, "order.paid") for _ in range(2))
    receiver.decide = lambda arrival: FAILED if arrival.id == first["id"] else OK
    done = replay(running, receiver.url, "--app", app, "--since", "1h")
    assert (done.returncode, ids(receiver)) == (1, [first["id"], second["id"]])
    assert done.stdout.endswith("2 handed on, 1 of them accepted\n")
    nobody = f"http://127.0.0.1:{free_port('127.0.0.1')}/"
    done = replay(running, nobody, "--app", app, "--since", "1h")
    assert done.returncode == 1
    assert f"{nobody} does not answer (Connection refused) to {first['id']}" in done.stderr
    assert f"--since {first['timestamp']} goes on from there" in done.stderr


def test_a_message_whose_payload_is_gone_is_told_and_passed_over(shop: tuple[Server, str], receiver: Receiver) -> None:
    running, app = shop
    first, second = (publish(running, app, "order.paid")["id"] for _ in range(2))
    assert running.call("DELETE", f"/app/{app}/msg/{first}/content")[0] == 204
    done = replay(running, receiver.url, "--app", app, "--since", "1h")
    assert (done.returncode, ids(receiver)) == (0, [second])
    assert f"{first}: its payload is gone" in done.stdout
    assert done.stdout.endswith("1 handed on, 1 of them accepted; the payloads of 1 are gone\n")


def test_a_message_that_is_named_is_found_in_whichever_application_has_it(
    shop: tuple[Server, str], receiver: Receiver, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    running, first = shop
    second = running.make("/app", {"name": "another shop"})["id"]
    file = tmp_path / "body"
    words, names = list[str](), list[str]()
    for app in (first, second):
        source = running.make(f"/app/{app}/source", {"name": "a", "type": "github", "secrets": [SECRET]})
        file.write_text(f'{{"of": "{app}"}}')
        assert main(["trigger", "github", "--secret", SECRET, "--to", source["ingestUrl"], "--data", str(file)]) == 0
        words += ["--source", source["id"]]
        names.append(running.call("GET", f"/app/{app}/msg")[1]["data"][0]["id"])
    sent = publish(running, second, "order.paid")["id"]
    assert replayed(running, receiver.url, *words, "--message", names[1], "--message", names[0]) == 0
    assert ids(receiver) == [names[1], names[0]]
    for unknown in (sent, "msg_3MeDf05YZPqKb8NRuyUuikgDqXy"):
        assert replayed(running, receiver.url, *words, "--message", unknown) == 1
        assert f"there is no message {unknown!r} of {words[1]}, {words[3]}; name one by its id or eventId" in capsys.readouterr().err
