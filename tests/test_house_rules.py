"""The conventions of CONTRIBUTING.md that no linter knows. A rule that no tool enforces is a wish."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import inspect
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import syntax

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
TOOLS = sorted((ROOT / "benchmarks").rglob("*.py"))

# Above these a reader loses the thread; the aims are 250 and 25.
MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60
# Names for "whatever did not fit elsewhere".
FORBIDDEN_NAMES = {"base_classes", "common", "core", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}
# Numbers that need no reason: nothing, one, and the sign.
SELF_EVIDENT = {0, 1, -1}

# Modules that may reach for time, chance or the environment, and why.
EDGES = {
    # Monotonic time only measures, and only where I/O is done: the import contracts keep it out of the pure packages.
    "time.time": {"clock.py"},
    "time.time_ns": {"clock.py"},
    "random": {"ids.py", "app/parts.py", "app/doors.py"},
    "uuid": set(),
    "os.environ": {"cli/options.py"},
    "os.getenv": set(),
}


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@functools.cache
def _tree(path: Path) -> ast.Module:
    return syntax.parse(path.read_text("utf-8"))


@pytest.fixture(scope="module", autouse=True)
def _no_tree_outlives_this_module() -> Iterator[None]:
    """Each file is parsed once for all rules; two hundred megabytes of trees are nothing to keep for the tests that follow."""
    yield
    _tree.cache_clear()


def _report(broken: list[str], rule: str) -> None:
    assert not broken, f"{rule}:\n  " + "\n  ".join(broken)


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_module_says_in_its_first_line_what_it_answers() -> None:
    _report([_name(path) for path in SOURCES if not (ast.get_docstring(_tree(path)) or "").strip()], "no module docstring")


def test_modules_are_short() -> None:
    lengths = ((path, len(path.read_text("utf-8").splitlines())) for path in SOURCES + TOOLS)
    _report([f"{_name(path)}: {lines} lines" for path, lines in lengths if lines > MODULE_LINES_MAX], f"over {MODULE_LINES_MAX} lines")


def test_functions_are_short() -> None:
    broken = [
        f"{_name(path)}:{function.lineno} {function.name}: {lines} lines"
        for path in SOURCES + TOOLS
        for function in _functions(_tree(path))
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES_MAX
    ]
    _report(broken, f"functions over {FUNCTION_LINES_MAX} lines")


def test_no_module_is_named_for_what_did_not_fit_elsewhere() -> None:
    _report([_name(path) for path in SOURCES if {path.stem, path.parent.name} & FORBIDDEN_NAMES], "forbidden names")


def test_package_files_hold_names_only() -> None:
    def is_name(node: ast.stmt) -> bool:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        dunder = isinstance(node, ast.Assign) and all(
            isinstance(target, ast.Name) and target.id.startswith("__") for target in node.targets
        )
        return docstring or dunder or isinstance(node, ast.Import | ast.ImportFrom)

    packages = [path for path in SOURCES if path.name == "__init__.py"]
    _report([_name(path) for path in packages if not all(map(is_name, _tree(path).body))], "code in __init__.py")


def _numbers(node: ast.AST) -> Iterator[float]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, int | float) and not isinstance(inner.value, bool):
            yield inner.value


def _module_assignments(tree: ast.Module) -> Iterator[ast.Assign | ast.AnnAssign]:
    return (node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None)


def test_every_module_level_number_states_its_reason_above_it() -> None:
    broken = []
    for path in SOURCES:
        lines, tree = path.read_text("utf-8").splitlines(), _tree(path)
        # One comment may speak for a block of assignments without a blank line between them.
        taken = {line for node in _module_assignments(tree) for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
        for node in _module_assignments(tree):
            if not set(_numbers(node)) - SELF_EVIDENT:
                continue
            above = node.lineno - 1
            while above in taken:
                above -= 1
            if above < 1 or not lines[above - 1].lstrip().startswith("#"):
                broken.append(f"{_name(path)}:{node.lineno} {lines[node.lineno - 1].strip()[:80]}")
    _report(broken, "numbers without a reason in a comment above")


def _reaches(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and name of each reach for time, chance or the environment."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node.lineno, f"{node.value.id}.{node.attr}"


def test_time_chance_and_the_environment_are_read_at_the_edge_only() -> None:
    broken = []
    for path in SOURCES:
        inside = path.relative_to(ROOT / "src" / "ringback").as_posix()
        broken += [f"{_name(path)}:{line} {name}" for line, name in _reaches(_tree(path)) if name in EDGES and inside not in EDGES[name]]
    _report(broken, "take them as arguments (CONTRIBUTING.md)")


_IGNORE = re.compile(r"#\s*(noqa|type:\s*ignore|ruff:\s*noqa|mypy:\s*ignore|pragma:\s*no cover|fmt:\s*skip)(?P<rest>.*)")
_REASON = re.compile(r"[A-Za-z]{2,}\S* \S+")


def test_every_lint_ignore_has_its_reason_on_the_line() -> None:
    broken = []
    for path in SOURCES + TESTS + TOOLS:
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            match = _IGNORE.search(line)
            if match is None or match[1].startswith("fmt") or path == Path(__file__):
                continue
            # The reason follows the codes, after ` - ` or a second `#`.
            if not _REASON.search(re.split(r"\s-\s|#", match["rest"], maxsplit=1)[-1].removeprefix(": ")):
                broken.append(f"{_name(path)}:{number} {line.strip()}")
    _report(broken, "ignores without a reason")


def test_every_ignored_rule_in_the_configuration_has_its_reason_on_the_line() -> None:
    section = (ROOT / "pyproject.toml").read_text("utf-8").split("[tool.ruff.lint]")[1].split("[tool.mypy]")[0]
    # Entries of `ignore` are lines with one code; entries of per-file-ignores have a list of codes.
    entries = [line for line in section.splitlines() if re.match(r'\s+"[A-Z]+\d+",|"\S+" = \[', line)]
    assert entries
    _report([line for line in entries if not _REASON.search(line.partition("#")[2])], "ignored rules without a reason")


def _own_test_functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [function for function in _functions(_tree(path)) if function.name.startswith("test_")]


def _called(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _claims_something(function: ast.AST) -> bool:
    """An assertion, or a call that raises by its nature: a check, a wait, `verify`, `suppress` (no other family may be raised)."""
    asserts = any(isinstance(node, ast.Assert) for node in ast.walk(function))
    return asserts or any(
        re.match(r"_?(assert|check|expect|report|raises|fail|until|wait_until|suppress|verify)", name) for name in _called(function)
    )


def test_every_test_claims_something() -> None:
    broken = [
        f"{_name(path)}:{test.lineno} {test.name}" for path in TESTS for test in _own_test_functions(path) if not _claims_something(test)
    ]
    _report(broken, "tests that cannot fail")


def _sleeps(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or "sleep" not in (getattr(node.func, "attr", ""), getattr(node.func, "id", "")):
            continue
        # sleep(0) lets other tasks run; it waits for no length of time.
        if not (node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0):
            yield node.lineno


def test_no_test_sleeps() -> None:
    broken = [f"{_name(path)}:{line}" for path in TESTS if path.name != "waiting.py" for line in _sleeps(_tree(path))]
    _report(broken, "wait for a condition instead: tests/waiting.py")


def _endless_waits(tree: ast.Module) -> Iterator[int]:
    """Lines that wait for a thread, a process or an event of threads for as long as it takes. What is awaited is not meant."""
    awaited = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Await)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or id(node) in awaited:
            continue
        named = {keyword.arg for keyword in node.keywords}
        waits = node.func.attr in ("join", "wait", "communicate") and not node.args and "timeout" not in named
        starts = ast.unparse(node.func) in ("subprocess.run", "subprocess.call", "subprocess.check_output") and "timeout" not in named
        if waits or starts:
            yield node.lineno


def test_no_test_waits_for_a_thread_or_a_process_without_a_deadline() -> None:
    broken = [f"{_name(path)}:{line}" for path in TESTS for line in _endless_waits(_tree(path))]
    _report(broken, "give the wait a timeout, and assert that it is over")


def test_a_test_that_hangs_ends_the_run_with_the_stacks_of_all_threads(tmp_path: Path) -> None:
    hanging = tmp_path / "test_hanging.py"
    hanging.write_text("import threading\n\ndef test_hangs():\n    threading.Event().wait()\n")
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    done = subprocess.run(
        [*command, "-o", "faulthandler_timeout=2", str(hanging)], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "test_hanging.py" in done.stderr and "test_hangs" in done.stderr, done.stderr


def test_no_test_patches_our_code() -> None:
    patch = re.compile(r"unittest\.mock|monkeypatch\.setattr\(|mocker\.|import mock\b")
    broken = [_name(path) for path in TESTS if path != Path(__file__) and patch.search(path.read_text("utf-8"))]
    _report(broken, "real servers and sockets instead")


def _fingerprint() -> str:
    script = ROOT / "scripts" / "fingerprint"
    loader = importlib.machinery.SourceFileLoader("fingerprint", str(script))
    spec = importlib.util.spec_from_loader("fingerprint", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return str(module.fingerprint())


@pytest.mark.parametrize("lock", ["server", "opentelemetry", "dev"])
def test_lock_files_are_those_of_pyproject(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text("utf-8")
    assert _fingerprint() in text.splitlines()[0], "run scripts/lock"


def _locked(lock: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text("utf-8")
    return {match[1]: match[2] for match in re.finditer(r"^([a-z0-9._-]+)==(\S+)", text, re.MULTILINE)}


@pytest.mark.parametrize("lock", ["server", "opentelemetry", "dev"])
def test_every_locked_package_has_its_hashes(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text("utf-8")
    packages = re.findall(r"^[a-z0-9._-]+==[^\n]*\\\n(?:\s+--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+", text + "\n", re.MULTILINE)
    assert len(packages) == len(re.findall(r"^[a-z0-9._-]+==", text, re.MULTILINE)) > 10


def test_each_lock_holds_the_smaller_ones_at_the_same_versions() -> None:
    assert _locked("server").items() <= _locked("opentelemetry").items() <= _locked("dev").items()


def test_what_exports_traces_is_not_installed_where_nobody_wants_them() -> None:
    assert not {name for name in _locked("server") if name.startswith(("opentelemetry", "protobuf", "requests"))}


def test_uvicorn_is_pinned_because_its_protocol_is_subclassed() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]["server"]
    pin = next(requirement for requirement in declared if requirement.startswith("uvicorn"))
    assert pin == f"uvicorn=={_locked('server')['uvicorn']}"


def test_uvicorns_websocket_protocol_has_what_ours_leans_on() -> None:
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol as Base

    overridden = ("data_received", "handle_events", "handle_cont", "handle_ping", "keepalive_timeout", "shutdown", "on_task_complete")
    called = ("handle_parser_exception", "connection_made", "connection_lost", "pause_writing")
    source = inspect.getsource(Base)
    attributes = ("self.conn", "self.queue", "self.frames", "self.writable", "self.close_timeout", "self.close_sent", "self.disconnected")
    assert [name for name in (*overridden, *called) if name not in vars(Base)] == []
    assert [name for name in (*attributes, "self.handshake_complete") if f"{name} = " not in source and f"{name}: " not in source] == []


def test_scripts_are_executable() -> None:
    scripts = [*(ROOT / "scripts").iterdir(), ROOT / ".ci" / "run"]
    _report([_name(path) for path in scripts if not path.stat().st_mode & 0o111], "chmod +x")


def test_the_fingerprint_is_a_sha256() -> None:
    assert len(_fingerprint()) == hashlib.sha256().digest_size * 2


TEMPLATES = sorted((ROOT / "src" / "ringback" / "dashboard" / "templates").rglob("*.html"))
_SPOKEN_FOR = re.compile(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", re.DOTALL)
# What the pages' policy refuses, or dashboard/turning.py would take for text: code within a page, and a bare `>` within an attribute.
_INLINE = {
    "a script within the page": re.compile(r"<script\b(?![^>]*\bsrc=)[^>]*>|<script\b[^>]*>\s*[^<\s]", re.IGNORECASE),
    "a style sheet within the page": re.compile(r"<style\b", re.IGNORECASE),
    "an attribute that is a script": re.compile(r"""\s(?:on\w+|hx-on[\w:-]*)\s*=|=\s*["']?\s*javascript:""", re.IGNORECASE),
    "an attribute that is a style": re.compile(r"\sstyle\s*=", re.IGNORECASE),
    "a bare > in an attribute": re.compile(r"""<[a-z][^<>]*=\s*(?:"[^"<>]*>[^"]*"|'[^'<>]*>[^']*')""", re.IGNORECASE),
    "a comment": re.compile(r"<!--"),
}


def _inline(html: str) -> list[str]:
    """What a template writes into its pages that must stand in a file of its own. Tags of the template language count as text."""
    plain = _SPOKEN_FOR.sub("x", html)
    found = [what for what, sign in _INLINE.items() if sign.search(plain)]
    ends = {name: plain.count(f"</{name}>") for name in ("option", "textarea", "title")}
    return found + [f"<{name}> without its end" for name, number in ends.items() if len(re.findall(rf"<{name}\b", plain)) != number]


def test_templates_write_no_code_into_their_pages() -> None:
    broken = [f"{_name(path)}: {what}" for path in TEMPLATES for what in _inline(path.read_text("utf-8"))]
    _report(broken, "it belongs into a file of static/")


@pytest.mark.parametrize(
    "html",
    [
        "<script>go()</script>",
        "<script src=\"{{ asset('x.js') }}\">go()</script>",
        "<style>p {}</style>",
        '<p onclick="go()">',
        '<p hx-on:click="go()">',
        '<a href="javascript:go()">',
        '<p style="{{ width }}">',
        '<p title="a > b">',
        "<!-- why -->",
        "<option>one",
        "{% if x %}<textarea>{% endif %}",
    ],
)
def test_code_in_a_template_is_found(html: str) -> None:
    assert _inline(html)
