#!/usr/bin/env python3
"""Time frondfs beside its peers on this machine, in one run.

compare.py [--rounds N] [--mib N] [--root DIR]
           [--json FILE] [SYSTEM...]

SYSTEM: frondfs, gocryptfs, floor (libfuse's plain passthrough example, built
on first use from Debian's libfuse3-dev), direct (no overlay). Default: all
that are installed. Rounds are interleaved, so that a machine whose speed
drifts is fair to all; the table shows medians, and ratios to frondfs in which
more than 1.00 says that frondfs is better. DIR should lie on tmpfs (default:
a folder in /dev/shm), so that code is measured and not a disk. Run as root:
caches are dropped before every reading.
"""
import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def run(*command, **options):
    subprocess.run([str(c) for c in command], check=True, **QUIET, **options)


def drop_caches():
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


class System:
    """One file system under test, on a fresh backing directory."""

    def __init__(self, name, root):
        self.name = name
        self.dir = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=root))
        self.backing, self.mount_point = self.dir / "b", self.dir / "m"
        self.backing.mkdir()
        self.mount_point.mkdir()
        self.passfile = self.dir / "pass"
        self.passfile.write_text("bench\n")
        if name == "direct":
            self.mount_point = self.backing
        if name == "gocryptfs":
            run("gocryptfs", "-q", "-init", "-scryptn", "10",
                "-passfile", self.passfile, self.backing)

    def mount(self):
        b, m = self.backing, self.mount_point
        if self.name == "frondfs":
            run(HERE / "mount-for-bench.sh", b, m)
        elif self.name == "gocryptfs":
            run("gocryptfs", "-q", "-passfile", self.passfile, b, m)
        elif self.name == "floor":
            run(floor_binary(), "-o", f"source={b},cache=always,timeout=3600,"
                "xattr,no_writeback", "-o", "clone_fd", m)

    def umount(self):
        if self.name != "direct":
            run("umount", self.mount_point)

    def remount(self):
        """Start cold: nothing in the kernel's caches, nor in a daemon's."""
        self.umount()
        drop_caches()
        self.mount()

    def remove(self):
        shutil.rmtree(self.dir, ignore_errors=True)


def floor_binary():
    binary = Path(tempfile.gettempdir()) / f"frond-floor-{os.getuid()}"
    source = Path("/usr/share/doc/libfuse3-dev/examples")
    if not binary.exists():
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3"],
                               check=True, capture_output=True,
                               text=True).stdout.split()
        run("cc", "-O2", "-w", source / "passthrough_ll.c", f"-I{source}",
            *flags, "-o", binary)
    return binary


def installed():
    names = ["frondfs"]
    if shutil.which("gocryptfs"):
        names.append("gocryptfs")
    if Path("/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c").exists():
        names.append("floor")
    return names + ["direct"]


def seconds(function, *args):
    start = time.monotonic()
    function(*args)
    return time.monotonic() - start


def write_big(path, mib):
    block = os.urandom(1 << 20)
    with open(path, "wb", buffering=0) as f:
        for _ in range(mib):
            f.write(block)
        os.fsync(f.fileno())


def read_big(path):
    with open(path, "rb", buffering=0) as f:
        while f.read(1 << 20):
            pass


def read_at_random(path, count):
    size = os.path.getsize(path)
    pick = random.Random(1)
    fd = os.open(path, os.O_RDONLY)
    for _ in range(count):
        os.pread(fd, 4096, pick.randrange(size // 4096) * 4096)
    os.close(fd)


def write_at_random(path, count):
    size = os.path.getsize(path)
    pick, block = random.Random(2), os.urandom(4096)
    fd = os.open(path, os.O_WRONLY)
    for n in range(count):
        os.pwrite(fd, block, pick.randrange(size // 4096) * 4096)
        if n % 64 == 63:
            os.fsync(fd)
    os.close(fd)


def create_small(directory, count):
    directory.mkdir()
    data = b"x" * 1000
    for n in range(count):
        fd = os.open(directory / f"f{n}", os.O_CREAT | os.O_WRONLY)
        os.write(fd, data)
        os.close(fd)


def make_tarball(root):
    path = Path(root) / "tree.tar"
    with tarfile.open(path, "w") as tar:
        tar.add("/usr/include", "include")
    return path


def round_of(system, args, tarball, note):
    """Every workload once, in the order in which they need one another."""
    m = system.mount_point
    big, tree, small = m / "big", m / "tree", m / "small"
    note("write MB/s", args.mib * 1.048576 / seconds(write_big, big, args.mib))
    system.remount()
    note("read cold MB/s", args.mib * 1.048576 / seconds(read_big, big))
    system.remount()
    note("random read 4k /s", 20000 / seconds(read_at_random, big, 20000))
    note("random write 4k /s", 20000 / seconds(write_at_random, big, 20000))
    note("create 5000 files s", seconds(create_small, small, 5000))
    tree.mkdir()
    note("untar s", seconds(run, "tar", "-C", tree, "-xf", tarball))
    system.remount()
    note("md5 cold s", seconds(
        run, "sh", "-c", 'find "$0" -type f -print0 | xargs -0 md5sum', tree))
    note("ls -lR warm s", seconds(run, "ls", "-lR", tree))
    note("rm -r s", seconds(run, "rm", "-rf", tree, small))


def table(results, systems):
    head = f"{'workload':<22}" + "".join(f"{s:>12}" for s in systems)
    print(head + "   frondfs to " + ", ".join(systems[1:]))
    for workload, by_system in results.items():
        medians = {s: statistics.median(v) for s, v in by_system.items()}
        line = f"{workload:<22}" + "".join(
            f"{medians[s]:>12.2f}" if s in medians else f"{'-':>12}"
            for s in systems)
        base = medians.get("frondfs")
        ratios = []
        for s in systems[1:]:
            if base and medians.get(s):
                ratio = base / medians[s]
                ratios.append(f"{1 / ratio if workload.endswith(' s') else ratio:.2f}")
        print(line + "   " + "  ".join(ratios))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--root", default="/dev/shm")
    parser.add_argument("--json")
    parser.add_argument("systems", nargs="*")
    args = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("compare.py: run it as root, it has to drop caches")
    systems = args.systems or installed()
    root = tempfile.mkdtemp(prefix="frond-bench-", dir=args.root)
    tarball = make_tarball(root)
    results = {}
    try:
        for _ in range(args.rounds):
            for name in systems:
                system = System(name, root)
                system.mount()
                try:
                    round_of(system, args, tarball,
                             lambda w, v, n=name: results.setdefault(
                                 w, {}).setdefault(n, []).append(v))
                finally:
                    system.umount()
                    system.remove()
    finally:
        shutil.rmtree(root, ignore_errors=True)
    table(results, systems)
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
