"""What do traces cost? CPU per delivery without them, with one trace in a hundred, and with all, in interleaved runs on this machine.

`python -m benchmarks.tracing [ROUNDS] [SECONDS]`. The collector is a process that reads and forgets; it is not counted. Another source tree
may be compared with (`--against DIRECTORY`, which holds `src`): what traces cost where they are off.
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import pathlib
import statistics
import subprocess
import sys
import tempfile
import typing

from benchmarks import server, tools
from benchmarks.server import ROOT, Server, _cpu_s


def collect() -> None:
    """Be the collector: print the port, answer every export, until the input ends."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: typing.Any) -> None:
            pass

    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(serving.server_port, flush=True)
    serving.serve_forever()


@contextlib.contextmanager
def collector() -> typing.Iterator[str]:
    """A collector in a process of its own: its URL."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.tracing", "--collect"], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.wait()


class Runs:
    """One server, and what its runs cost, microseconds per delivery: the server's own process, and that with all that it has started."""

    def __init__(self, name: str, running: Server, sink: tools.Sink) -> None:
        self.name, self.running, self.sink = name, running, sink
        self.path = f"/ok/{name.replace(' ', '-')}"
        self.app = tools.endpoint(running, sink.url + self.path)
        self.own: list[float] = []
        self.all: list[float] = []
        self.rates: list[float] = []

    def run(self, seconds: float, *, counted: bool = True) -> None:
        """Publish for so long."""
        before = _cpu_s(self.running.process.pid)
        burst = tools.burst(self.running, self.sink, self.app, self.path, seconds=seconds)
        spent = _cpu_s(self.running.process.pid) - before
        assert burst.lost == 0, f"{self.name} lost {burst.lost}"
        if counted:
            self.own.append(spent * 1e6 / burst.delivered)
            self.all.append(burst.cpu_us)
            self.rates.append(burst.rate)


def main() -> None:
    """Start the servers, run them in turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("rounds", nargs="?", type=int, default=5)
    parser.add_argument("seconds", nargs="?", type=float, default=3.0)
    parser.add_argument("--against", help="a directory with another version's `src`")
    parser.add_argument("--collect", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.collect:
        collect()
    with tempfile.TemporaryDirectory(prefix="ringback-bench-") as name, collector() as url, contextlib.ExitStack() as stack:
        sink = tools.Sink()
        stack.callback(sink.close)
        settings = {"off": {}, "one in a hundred": {"otel_endpoint": url, "otel_sample_ratio": "0.01"}, "all": {"otel_endpoint": url}}
        if arguments.against:
            settings = {"the other": {"PYTHONPATH": f"{arguments.against}/src"}} | settings
        all_runs = []
        for number, (label, chosen) in enumerate(settings.items()):
            running = server.start(pathlib.Path(name) / f"{number}.db", chosen)
            stack.callback(running.stop)
            all_runs.append(Runs(label, running, sink))
        for runs in all_runs:
            runs.run(0.5, counted=False)
        for _ in range(arguments.rounds):
            for runs in all_runs:
                runs.run(arguments.seconds)
        print(f"{'traces':<18}{'server us':>10}{'of off':>8}{'lowest':>10}{'of off':>8}{'with exporter':>15}{'deliveries/s':>14}")
        off = next(runs for runs in all_runs if runs.name == "off").own
        for runs in all_runs:
            own, whole, rate = (statistics.median(values) for values in (runs.own, runs.all, runs.rates))
            least = min(runs.own)
            shares = f"{own:>10.1f}{own / statistics.median(off):>8.2f}{least:>10.1f}{least / min(off):>8.2f}"
            print(f"{runs.name:<18}{shares}{whole:>15.1f}{rate:>14,.0f}")


if __name__ == "__main__":
    main()
