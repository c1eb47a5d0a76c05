"""The documents are true of the code: what exists is documented, what is made from code is fresh, what is linked exists."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests import syntax

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs" / "reference"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = _generator()


@pytest.mark.parametrize("name", GENERATOR.PAGES)
def test_the_generated_page_is_what_the_code_says(name: str) -> None:
    if name == "cli.md" and sys.version_info[:2] != (3, 11):
        pytest.skip("argparse words its help differently in other versions of Python")
    made = GENERATOR.PAGES[name]()
    assert (REFERENCE / name).read_text("utf-8") == made, "run .venv/bin/python docs/generate.py"


def test_an_operation_stands_once_in_the_reference_with_the_capability_that_it_needs() -> None:
    rows = [line for line in (REFERENCE / "http-api.md").read_text("utf-8").splitlines() if re.match(r"\| [A-Z]+ \| `/", line)]
    assert len(rows) > 200 and len(set(rows)) == len(rows)
    resend = next(row for row in rows if row.startswith("| POST ") and "/resend`" in row)
    assert resend.endswith("| org token, or the application's with `CreateAttempts` |")


def _error_codes() -> set[str]:
    """Codes that an answer may carry: `code = "…"` of error classes, and the literal codes that are raised."""
    codes = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(syntax.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                assignments = [inner for inner in node.body if isinstance(inner, ast.Assign) and isinstance(inner.value, ast.Constant)]
                codes |= {str(a.value.value) for a in assignments if getattr(a.targets[0], "id", "") == "code"}  # type: ignore[attr-defined]  # filtered above
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Refused" and isinstance(node.args[0], ast.Constant):
                codes.add(str(node.args[0].value))
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("Unavailable", "StoreFailure"):
                codes |= {str(k.value.value) for k in node.keywords if k.arg == "code" and isinstance(k.value, ast.Constant)}
    return codes


def test_every_error_code_is_documented() -> None:
    page = (REFERENCE / "errors.md").read_text("utf-8")
    assert sorted(code for code in _error_codes() if f"`{code}`" not in page) == []


def test_every_error_class_of_an_attempt_is_documented() -> None:
    from ringback.model.attempts import ErrorClass

    page = (REFERENCE / "errors.md").read_text("utf-8")
    assert [error.value for error in ErrorClass if f"`{error.value}`" not in page] == []


def _anchors(file: Path) -> set[str]:
    """What GitHub makes of a document's headings."""
    headings = [line.lstrip("#").strip().lower() for line in file.read_text("utf-8").splitlines() if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text("utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (document.parent / name).resolve() if name else document
        if not file.exists() or (anchor and anchor not in _anchors(file)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_script_and_command_in_a_shell_block_exists(document: Path) -> None:
    from ringback.cli.main import COMMANDS

    blocks = re.findall(r"```(?:bash|console|sh)\n(.*?)```", document.read_text("utf-8"), re.DOTALL)
    scripts = {word for block in blocks for word in re.findall(r"(?:^|[\s(])((?:scripts|\.ci)/[\w-]+)", block)}
    commands = {word for block in blocks for word in re.findall(r"(?:^|bin/|[\s(])ringback ([a-z]+)", block)}
    assert sorted(script for script in scripts if not (ROOT / script).exists()) == []
    assert sorted(commands - set(COMMANDS)) == []


def test_the_readme_names_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert "scripts/serve" in readme and "scripts/test" in readme


def test_the_readme_lists_each_page_once() -> None:
    listed = re.findall(r"\]\((docs/[^)#]+)\)", (ROOT / "README.md").read_text("utf-8").partition("## Documents")[2])
    assert sorted(listed) == sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md"))


def _rows(document: str, heading: str) -> list[str]:
    """The first cells of the table under a heading."""
    section = (ROOT / document).read_text("utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("| ")][1:]


def test_no_capability_of_the_roadmap_stands_in_it_twice() -> None:
    rows = [row for heading in ("Done", "Half", "Planned") for row in _rows("ROADMAP.md", heading)]
    assert len(rows) > 30
    assert sorted(row for row in set(rows) if rows.count(row) > 1) == []


def test_files_that_the_roadmap_names_exist() -> None:
    named = re.findall(r"`((?:tests|scripts|docs)/[\w./*-]+)", (ROOT / "ROADMAP.md").read_text("utf-8"))
    assert sorted(name for name in named if not list(ROOT.glob(name))) == []


def test_settings_that_documents_mention_exist() -> None:
    from ringback.config.load import _NOT_SETTINGS
    from ringback.config.settings import declared_settings

    known = {f"RINGBACK_{declared.name.upper()}" for declared in declared_settings()} | {"RINGBACK_CONFIG"}
    known |= {f"RINGBACK_{alias.upper()}" for declared in declared_settings() for alias in declared.aliases}
    mentioned = {
        (document.name, variable)
        for document in DOCUMENTS
        for variable in re.findall(r"RINGBACK_[A-Z_]*[A-Z]", document.read_text("utf-8"))
    }
    assert sorted(pair for pair in mentioned if pair[1] not in known and not _NOT_SETTINGS.fullmatch(pair[1])) == []


def _log_calls() -> list[tuple[str, str, set[str]]]:
    """Where each event is logged: place, the event's name in the catalogue, and the fields it is given."""
    calls = []
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(syntax.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "log" and node.args and isinstance(node.args[0], ast.Name):
                fields = {keyword.arg for keyword in node.keywords if keyword.arg and keyword.arg != "failure"}
                calls.append((f"{path.name}:{node.lineno}", node.args[0].id, fields))
    return calls


def test_every_log_line_carries_the_fields_of_its_event_and_no_other() -> None:
    from ringback.telemetry import events

    declared = {name: event for name, event in vars(events).items() if isinstance(event, events.LogEvent)}
    calls = [call for call in _log_calls() if call[1] in declared]
    assert [call for call in calls if call[2] != set(declared[call[1]].fields)] == []
    assert set(declared) - {name for _, name, _ in calls} == {"LIBRARY"}, "events that nobody logs"


def test_every_metric_is_written_by_somebody() -> None:
    from ringback.telemetry.prometheus import Metrics

    source = "".join(path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py") if path.name != "prometheus.py")
    written = {name for name in Metrics.__slots__ if re.search(rf"metrics\.{name}(\.observe\(| [+-]?= )", source)}
    assert set(Metrics.__slots__) - written == {"attempts", "started_us"}
    assert "metrics.count_attempt(" in source
