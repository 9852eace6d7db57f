#!/usr/bin/python3
"""What one table does not show: growth, distance, start, and programs.

more.py [--small] [--only scale,size,far,programs] [--most N] [--rounds N]
        [--root DIR] [--json FILE] [SYSTEM...]

scale     what creating, stat, listing (with stat) and removing cost per file, at
          1000 to 1 000 000 files in one directory and in a tree of 100 a
          directory, each cold; the daemon's memory; how long a mount command
          takes with so many files, its key derivation (the cheapest) included.
          Peers get --most (100 000) at most. Hours for all, as everybody has to
          make the million, too, if --most says so
size      reading and writing at the end of sparse files of 1 MiB to 64 GiB, and
          the daemon's memory
far       in order, over a backing directory with 20 ms for each operation
programs  SQLite, git status, a compilation by several processes, 4 KiB at
          random in a file of 10 GiB; medians of --rounds (3)
--small   less of each, to see that it works. Run it as root.
--json    results are added to those that FILE has of other parts and systems
"""
import argparse
import json
import os
import random
import resource
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path

from systems import System, installed, machine, run, seconds

MIB = 1 << 20
DELAY_MS = 20
IN_ONE = 100            # files in each directory of a tree
MOUNTS = 9
AT_ONCE_MIB = 256       # of a big file


def put(path, data):
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    os.write(fd, data)
    os.close(fd)


def directories(top, count, tree):
    """Where the files go: all of them into top, or some into each below it."""
    if not tree:
        return [f"{top}/one"]
    places = range(-(-count // IN_ONE))
    return [f"{top}/{n // 100}/{n % 100}" for n in places]


def make_files(top, count, tree):
    made = 0
    for place in directories(top, count, tree):
        os.makedirs(place)
        for n in range(min(IN_ONE if tree else count, count - made)):
            put(f"{place}/{n}", b"x")
            made += 1


def stat_all(top, count, tree):
    left = count
    for place in directories(top, count, tree):
        for n in range(min(IN_ONE if tree else count, left)):
            os.stat(f"{place}/{n}")
            left -= 1


def list_all(top):
    with os.scandir(top) as entries:
        for e in entries:
            e.stat()
            if e.is_dir():
                list_all(e.path)


def remove_all(top):
    """rm -r, without a program to be started."""
    shutil.rmtree(top)


def mount_ms(system):
    """Of a mount command, with nothing of the vault in the kernel's caches."""
    times = []
    for _ in range(MOUNTS if system.name != "direct" else 0):
        system.umount()
        begin = time.monotonic()
        system.mount()
        times.append((time.monotonic() - begin) * 1000)
    return {"mount_ms": statistics.median(times)} if times else {}


def timed(system, work, *args):
    """Seconds, and processor seconds of ours and the daemon's: these depend less
    on what else runs."""
    own, daemons = time.process_time(), system.processor_seconds()
    took = seconds(work, *args)
    return took, time.process_time() - own + system.processor_seconds() - daemons


def probe(system, count, tree):
    """Once create, stat, list and remove: what each costs, and memory."""
    top = system.mount_point / "top"
    out = {"idle_kib": system.memory_kib(), "memory_kib": 0}
    for name, work, *args in (("create", make_files, top, count, tree),
                              ("stat", stat_all, top, count, tree),
                              ("list", list_all, top), ("remove", remove_all, top)):
        took, busy = timed(system, work, *args)
        out[f"{name}_us"] = took / count * 1e6
        out[f"{name}_cpu_us"] = busy / count * 1e6
        out["memory_kib"] = max(out["memory_kib"], system.memory_kib())
        if name == "create":
            out.update(mount_ms(system))
        if name != "remove":
            system.remount()
    return out


def scale(system, args):
    rows = [{"shape": "empty", "files": 0, **mount_ms(system)}]
    most = args.most if system.name not in ("frondfs", "direct") else 1000000
    for shape in ("directory", "tree"):
        for count in (1000, 4000) if args.small else (1000, 10000, 100000, 1000000):
            if count > most:
                continue
            times = 1 if args.small else max(1, min(5, 30000 // count))
            probes = [probe(system, count, shape == "tree") for _ in range(times)]
            rows.append({"shape": shape, "files": count, "times": times,
                         **{k: statistics.median(p[k] for p in probes)
                            for k in probes[0]}})
            print(f"# {system.name}: {rows[-1]}", file=sys.stderr, flush=True)
    return rows


def write_end(paths, size, amount):
    block = os.urandom(MIB)
    for path in paths:
        with open(path, "r+b", buffering=0) as f:
            f.seek(size - amount)
            for _ in range(amount // MIB):
                f.write(block)
            os.fsync(f.fileno())


def read_end(paths, size, amount):
    for path in paths:
        with open(path, "rb", buffering=0) as f:
            f.seek(size - amount)
            while f.read(MIB):
                pass


def size(system, args):
    """As many files as make the same amount, the small ones read whole."""
    rows, total = [], 32 if args.small else AT_ONCE_MIB
    for mib in (1, 1024) if args.small else (1, 16, 64, 256, 1024, 16384, 65536):
        amount = min(mib, total)
        paths = [system.mount_point / f"s{n}" for n in range(total // amount)]
        tries = []
        for _ in range(1 if args.small else 3):
            for path in paths:
                with open(path, "wb") as f:
                    f.truncate(mib * MIB)
            where = paths, mib * MIB, amount * MIB
            written = seconds(write_end, *where)
            memory = system.memory_kib()
            system.remount()
            read = seconds(read_end, *where)
            tries.append((total * MIB / 1e6 / written, total * MIB / 1e6 / read,
                          max(memory, system.memory_kib())))
            for path in paths:
                os.unlink(path)
        rows.append({"mib": mib, **{k: statistics.median(v) for k, v in zip(
            ("write_mb_s", "read_mb_s", "memory_kib"), zip(*tries))}})
    return rows


def far(name, root, args):
    system = System(name, root, delay_ms=DELAY_MS)
    try:
        system.mount()
        mib = 4 if args.small else 32
        path = system.mount_point / "big"
        wrote = seconds(run, "dd", "if=/dev/zero", f"of={path}", "bs=1M",
                        f"count={mib}", "conv=fsync")
        system.remount()
        read = seconds(run, "dd", f"if={path}", "of=/dev/null", "bs=1M")
        return {"write_mb_s": mib * MIB / 1e6 / wrote,
                "read_mb_s": mib * MIB / 1e6 / read}
    finally:
        system.remove()


def transactions(path, count):
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("create table t (a integer, b text)")
    for n in range(count):
        db.execute("insert into t values (?, 'text')", (n,))
    db.close()


def table_of(path, count):
    db = sqlite3.connect(path)
    db.execute("create table t (a integer, b text)")
    db.executemany("insert into t values (?, 'some text in a row')",
                   ((n,) for n in range(count)))
    db.commit()
    db.close()


def scan(path):
    db = sqlite3.connect(path)
    db.execute("select count(*), sum(a) from t where b like '%text%'").fetchall()
    db.close()


def repository(directory, count):
    """Made where it is quick, and copied from there to each system."""
    directory.mkdir()
    for n in range(count):
        if n % 100 == 0:
            (directory / f"d{n // 100}").mkdir()
        put(directory / f"d{n // 100}/f{n}", b"%d\n" % n)
    git = ("git", "-C", directory, "-c", "user.name=x", "-c", "user.email=x@x",
           "-c", "gc.auto=0")
    run("git", "init", "-q", directory)
    run(*git, "add", ".")
    run(*git, "commit", "-qm", "x")
    run(*git, "gc", "-q")


def sources(directory, count):
    directory.mkdir()
    for n in range(count):
        put(directory / f"f{n}.c", b"#include <stdio.h>\n#include <stdlib.h>\n"
            b"#include <string.h>\nint f%d(int x) { return printf(\"%%d\", x); }\n"
            % n)
    objects = " ".join(f"f{n}.o" for n in range(count))
    put(directory / "Makefile", b"all: " + objects.encode() + b"\n")


def fill(path, mib):
    """Really full, and not left in the kernel's cache."""
    block = os.urandom(MIB)
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    for n in range(mib):
        os.write(fd, block)
        if n % 256 == 255:
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.fsync(fd)
    os.close(fd)


def at_random(path, count, mib, write):
    rng, block = random.Random(1), os.urandom(4096)
    fd = os.open(path, os.O_RDWR)
    for _ in range(count):
        at = rng.randrange(mib * MIB // 4096) * 4096
        if write:
            os.pwrite(fd, block, at)
        else:
            os.pread(fd, 4096, at)
    os.fsync(fd)
    os.close(fd)


class Elsewhere:
    """What programs work on, beside the systems that are measured."""

    def __init__(self, root, small):
        self.part = 20 if small else 1
        self.dir = Path(root) / "elsewhere"
        self.dir.mkdir()
        repository(self.dir / "git", 50000 // self.part)
        sources(self.dir / "c", 2)

    def warm_up(self):
        """Dropping caches drops programs, too, and these lie on a disk."""
        run("git", "-C", self.dir / "git", "status")
        run("make", "-B", "-j2", "-C", self.dir / "c")


def programs_once(system, work, number):
    m, part = system.mount_point, work.part
    mib = 10240 // part
    out = {"SQLite, 10 000 transactions":
           seconds(transactions, m / f"one{number}.db", 10000 // part)}

    def cold(what, *call):
        system.remount()
        work.warm_up()
        out[what] = seconds(*call)

    cold("SQLite, scan of 1 000 000 rows", scan, m / "scan.db")
    if (m / "git").exists():
        cold("git status of 50 000 files", run, "git", "-C", m / "git", "status")
    run("rm", "-f", *(m / "c").glob("*.o"))
    cold("make -j2 of 400 files", run, "make", "-j2", "-C", m / "c")
    cold("10 GiB: 20 000 reads of 4 KiB",
         at_random, m / "big", 20000 // part, mib, False)
    cold("10 GiB: 20 000 writes of 4 KiB",
         at_random, m / "big", 20000 // part, mib, True)
    return out


def copy_repository(system, repository, files):
    """Not to the floor if it may not keep all of them open, as it would."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if system.name == "floor" and hard < 2 * files:
        print(f"# floor: more than the {hard} files it may open", file=sys.stderr)
        return
    run("cp", "-r", repository, system.mount_point / "git")
    run("git", "-C", system.mount_point / "git", "status")  # notes what files are


def programs(system, args):
    m, work = system.mount_point, args.elsewhere
    table_of(m / "scan.db", 1000000 // work.part)
    copy_repository(system, work.dir / "git", 50000 // work.part)
    sources(m / "c", 400 // work.part)
    fill(m / "big", 10240 // work.part)
    rounds = []
    for n in range(1 if args.small else args.rounds):
        rounds.append(programs_once(system, work, n))
        print(f"# {system.name}: {rounds[-1]}", file=sys.stderr, flush=True)
    return {k: statistics.median(r[k] for r in rounds) for k in rounds[0]}


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--only", default="scale,size,far,programs")
    parser.add_argument("--most", type=int, default=100000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--root", default="/dev/shm")
    parser.add_argument("--json", type=Path)
    parser.add_argument("systems", nargs="*")
    return parser.parse_args()


def measure(part, name, root, args):
    if part == "far":
        return far(name, root, args) if name != "direct" else {}
    system = System(name, root)
    try:
        system.mount()
        return globals()[part](system, args)
    finally:
        system.remove()


def keep(args, part, name, value):
    """At once: what took an hour is not lost with the next."""
    if not args.json:
        return
    told = json.loads(args.json.read_text()) if args.json.exists() else \
        {"results": {}}
    told["machine"], told["small"] = machine(), args.small
    if part == "programs":
        told["rounds"] = 1 if args.small else args.rounds
    told["results"].setdefault(part, {})[name] = value
    args.json.write_text(json.dumps(told, indent=1))


def main():
    args = parse()
    if os.geteuid() != 0:
        sys.exit("more.py: run it as root, it has to drop caches")
    root = tempfile.mkdtemp(prefix="frond-bench-", dir=args.root)
    try:
        for part in args.only.split(","):
            if part == "programs":
                args.elsewhere = Elsewhere(root, args.small)
            for name in args.systems or installed():
                begin = time.monotonic()
                try:
                    value = measure(part, name, root, args)
                except Exception as e:      # a peer that fails is a result, too
                    print(f"# {name}: {part}: {e}", file=sys.stderr)
                    continue
                keep(args, part, name, value)
                print(f"{part} {name} ({time.monotonic() - begin:.0f} s): "
                      f"{json.dumps(value)}", flush=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
