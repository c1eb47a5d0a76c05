"""How fast is Ringback on this machine? Runs the scenes, prints each figure beside its target.

Figures are medians, with the lowest and highest sample behind them. The exit code is 1 when a target is missed or
not measured, so that a script can ask.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import sys
import tempfile
import time
import typing

from benchmarks import certificates, dashboard, lists, machine, scenes, tools
from benchmarks.targets import ROWS, Row, Samples

# Rounds and seconds per measurement: five interleaved runs give a median that one hiccup cannot move. The short form shows the order of
# magnitude.
FULL = {"rounds": 5, "seconds": 4.0, "backlog": 1_000_000}
QUICK = {"rounds": 1, "seconds": 2.0, "backlog": 100_000}


def main() -> None:
    """Read the arguments, play the scenes, print the table."""
    if sys.argv[1:2] == ["lists"]:
        # A table of its own: a hundred rows of one kind.
        lists.main(sys.argv[2:])
    if sys.argv[1:2] == ["dashboard"]:
        dashboard.main(sys.argv[2:])
    arguments = _arguments()
    chosen = [row for row in ROWS if not arguments.rows or row.name in arguments.rows or row.scene in arguments.rows]
    form = QUICK if arguments.quick else FULL
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ringback-bench-", dir=arguments.directory) as name:
        directory = pathlib.Path(name)
        described = machine.describe(directory)
        made = certificates.make(directory)
        sink = tools.Sink(made.chain, made.key)
        try:
            stage = scenes.Stage(
                sink,
                directory,
                made,
                rounds=arguments.rounds or int(form["rounds"]),
                seconds=arguments.seconds or form["seconds"],
                backlog=int(form["backlog"]),
                say=_say,
            )
            for scene, play in scenes.SCENES.items():
                if any(row.scene == scene for row in chosen):
                    _play(scene, play, stage)
        finally:
            sink.close()
    described["measured"] = (
        f"{stage.rounds} interleaved runs of {stage.seconds:g} s, backlog {stage.backlog:,}, {time.monotonic() - began:.0f} s in all"
    )
    _print(chosen, stage.samples, described)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(_report(chosen, stage.samples, described), indent=2) + "\n")
    if not all(row.met(stage.samples.get(row.name, [])) for row in chosen if row.limit is not None):
        sys.exit(1)


def _play(name: str, play: typing.Callable[[scenes.Stage], None], stage: scenes.Stage) -> None:
    """Play one scene; one that breaks down leaves its rows unmeasured, not those of the others."""
    _say(f"{name} ...")
    try:
        play(stage)
    except Exception as exc:
        _say(f"  BROKE OFF: {type(exc).__name__}: {exc}")


def _arguments() -> argparse.Namespace:
    names = [*scenes.SCENES, *(row.name for row in ROWS)]
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description=__doc__.partition("\n")[0],
        epilog=f"Scenes and rows: {', '.join(names)}. `lists` measures lists: `lists --help`.",
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="scenes or rows to measure; without any, all")
    parser.add_argument("--quick", action="store_true", help="one short run of everything, with a tenth of the backlog")
    parser.add_argument("--rounds", type=int, default=0, help="interleaved runs per figure")
    parser.add_argument("--seconds", type=float, default=0.0, help="length of one run")
    parser.add_argument("--directory", help="where to put the databases: the disk that is measured (default: the temporary directory)")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.rows) - set(names))
    if unknown:
        parser.error(f"no row or scene is named {', '.join(unknown)}; there are: {', '.join(names)}")
    return arguments


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _print(rows: list[Row], samples: Samples, described: dict[str, str]) -> None:
    width = max(len(name) for name in described)
    for name, text in described.items():
        print(f"{name:<{width}}  {text}")
    print()
    lines = [("row", "what", "median", "lowest - highest", "target", "")]
    for row in rows:
        found = samples.get(row.name, [])
        verdict = {True: "met", False: "NOT MET", None: ""}[row.met(found)]
        if found:
            spread = f"{_number(min(found))} - {_number(max(found))}"
            lines.append((row.name, row.what, f"{_number(statistics.median(found))} {row.unit}", spread, row.target(), verdict))
        else:
            lines.append((row.name, row.what, "-", "", row.target(), "not measured"))
    widths = [max(len(line[column]) for line in lines) for column in range(6)]
    for number, line in enumerate(lines):
        cells = [
            text.rjust(size) if column in (2, 3) else text.ljust(size) for column, (text, size) in enumerate(zip(line, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
        if number == 0:
            print("-" * (sum(widths) + 2 * 5))


def _report(rows: list[Row], samples: Samples, described: dict[str, str]) -> dict[str, object]:
    return {
        "machine": described,
        "rows": {
            row.name: {
                "what": row.what,
                "unit": row.unit,
                "target": row.target(),
                "median": statistics.median(samples[row.name]),
                "samples": samples[row.name],
                "met": row.met(samples[row.name]),
            }
            for row in rows
            if samples.get(row.name)
        },
    }


if __name__ == "__main__":
    main()
