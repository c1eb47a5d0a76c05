"""A disk that a test may fill, break and take away."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess

from tests.waiting import wait_until

# Size of the disk of these tests: a database with its WAL fits several times, and filling it takes a moment.
DISK_MIB = 24


class Disk:
    """A file system of its own, in a file."""

    def __init__(self, directory: pathlib.Path, mib: int = DISK_MIB) -> None:
        self.image = directory / "disk.img"
        self.place = directory / "disk"
        self.database = self.place / "ringback.db"
        self.filler = self.place / "filler"
        self.place.mkdir()
        self.image.write_bytes(b"")
        os.truncate(self.image, mib * 1024 * 1024)

    def make(self, *features: str) -> str:
        """Format, with options of mkfs, and mount; returns why not, or an empty text."""
        for step in (["mkfs.ext4", "-q", "-m", "0", *features, str(self.image)], ["mount", "-o", "loop", str(self.image), str(self.place)]):
            try:
                done = subprocess.run(step, capture_output=True, text=True, check=False, timeout=60)
            except FileNotFoundError as missing:
                return str(missing)
            if done.returncode != 0:
                return done.stderr.strip()
        return ""

    def fill(self) -> None:
        """Write until not a byte fits."""
        with self.filler.open("ab", buffering=0) as file:
            for size in (65536, 4096, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    continue

    def leave(self, mib: int) -> None:
        """Write until no more than so much fits."""
        self.filler.write_bytes(bytes(shutil.disk_usage(self.place).free - mib * 1024 * 1024))

    def free(self) -> None:
        """Make room again."""
        self.filler.unlink()

    def fail(self) -> None:
        """Turn read-only under open files, as the kernel does after an error of the device."""
        subprocess.run(["mount", "-o", "remount,abort", str(self.place)], check=True, capture_output=True, timeout=60)

    def repair(self) -> None:
        """Unmount, check and mount again, as an operator does."""
        subprocess.run(["umount", str(self.place)], check=True, capture_output=True, timeout=60)
        subprocess.run(["fsck.ext4", "-fy", str(self.image)], check=False, capture_output=True, timeout=60)
        subprocess.run(["mount", "-o", "loop", str(self.image), str(self.place)], check=True, capture_output=True, timeout=60)

    def unmount(self) -> None:
        """Take the disk away, once nobody looks at it."""

        def is_away() -> bool:
            subprocess.run(["umount", str(self.place)], check=False, capture_output=True, timeout=60)
            return not os.path.ismount(self.place)

        wait_until(is_away, what="the disk is taken away")
