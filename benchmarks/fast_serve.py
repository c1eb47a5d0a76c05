"""`ringback serve` in a day that takes some minutes: the wall clock runs faster, and begins in the past. For pictures, and nothing else.

python -m benchmarks.fast_serve SPEED HOURS ARGUMENT...
"""

from __future__ import annotations

import sys
import time


def main() -> int:
    """Serve with a clock that began HOURS ago and runs SPEED times as fast."""
    speed, hours = float(sys.argv[1]), float(sys.argv[2])
    real, began = time.time_ns, time.time_ns()

    def shifted() -> int:
        passed = real() - began
        # It never overtakes the time of now.
        return min(began - int(hours * 3_600e9) + int(passed * speed), real())

    # Before ringback is imported: its clock asks `time` for the time. What waits goes by the monotonic clock, and is not hurried.
    time.time_ns = shifted
    time.time = lambda: shifted() / 1e9
    from ringback.cli.main import main as ringback

    return ringback(["serve", *sys.argv[3:]])


if __name__ == "__main__":
    sys.exit(main())
