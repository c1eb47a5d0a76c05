"""`pip install ringback` is enough: the library loads nothing else, and a framework only with its own adapter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"

PROGRAM = """
import json, sys, tempfile, pathlib, io
before = set(sys.modules)
from ringback.receiver import Receiver, SqliteInbox, Worker
from ringback.receiver import asgi, wsgi, testing, conformance
with tempfile.TemporaryDirectory() as directory:
    receiver = Receiver("stripe", "whsec_a", inbox=SqliteInbox(pathlib.Path(directory) / "inbox.db"), mode="stored")
    ran = []
    receiver.on("*")(lambda event: ran.append(event.id))
    made = testing.sign("stripe", "whsec_a", {"id": "evt_1", "type": "a"})
    environ = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in made.headers.items() if name != "content-type"}
    environ |= {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": str(len(made.body)), "wsgi.input": io.BytesIO(made.body)}
    answers = []
    wsgi.ReceiverApp(receiver)(environ, lambda status, headers: answers.append(status))
    with Worker(receiver) as worker:
        while receiver.inbox.queue.waiting():
            pass
print(json.dumps([answers, ran, sorted({name.partition(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)]))
"""


def _run(program: str) -> object:
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={"PYTHONPATH": str(SOURCE)})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_library_works_with_what_a_plain_install_has() -> None:
    answers, ran, loaded = _run(PROGRAM)  # type: ignore[misc]  # the program prints a list of three
    assert (answers, ran) == (["200 OK"], ["evt_1"])
    # msgspec looks for the second one, and does without it.
    assert set(loaded) - {"typing_extensions"} <= {"ringback", "msgspec", "cryptography", "_cffi_backend"}


def test_verifying_an_hmac_does_not_even_load_cryptography() -> None:
    made = 'import json, sys; from ringback.receiver import Receiver; Receiver("stripe", "a")'
    assert _run(f'{made}; print(json.dumps("cryptography" in sys.modules))') is False


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["serve"], "(in a clone: pip install '.[server]')\n"),
        (["token", "list"], "(in a clone: pip install '.[server]')\n"),
        (["listen", "--app", "a", "--token", "sk_plain_install", "http://localhost:1"], ", or name a server elsewhere with --url\n"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_command_of_the_server_says_what_to_install(words: list[str], hint: str, tmp_path: Path) -> None:
    # As in a plain install: what is not there is not found.
    hidden = "import sys; sys.modules.update(apsw=None, uvicorn=None); from ringback.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", hidden, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={"PYTHONPATH": str(SOURCE)}, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert f"`ringback {words[0]}` needs the server's packages" in done.stderr
    assert done.stderr.endswith(hint)


def test_commands_that_speak_to_a_server_elsewhere_or_to_a_program_need_no_more(tmp_path: Path) -> None:
    # Names of the packages that only a server has lead to files that cannot be loaded.
    for name in ("apsw", "httptools", "idna", "jinja2", "rich", "starlette", "uvicorn", "uvloop", "websockets", "yaml"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('a plain install has no {name}')\n", "utf-8")
    for words, said in (
        (["listen", "--app", "a", "--token", "t", "--url", "http://127.0.0.1:1", "http://localhost:1"], "the server did not answer"),
        (["trigger", "github", "--secret", "a", "--to", "http://127.0.0.1:1"], "does not answer: Connection refused"),
    ):
        command = [sys.executable, "-m", "ringback.cli.main", *words]
        path = f"{tmp_path}:{SOURCE}"
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={"PYTHONPATH": path}, cwd=tmp_path)
        assert (done.returncode, said in done.stderr) == (1, True), done.stderr
    modules = "import ringback.cli.handing, ringback.cli.shown, ringback.cli.feed"
    done = subprocess.run([sys.executable, "-c", modules], capture_output=True, text=True, timeout=60, env={"PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
