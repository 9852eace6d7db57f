#!/usr/bin/python3
"""What one table does not show: growth, distance, start, and programs.

more.py [--small] [--only scale,size,far,start,programs] [--root DIR]
        [--json FILE] [SYSTEM...]

scale     per-file cost of creating, listing and removing 1000 to 1 000 000
          files in one directory, and the daemon's memory
size      reading and writing at the end of sparse files of 1 MiB to 64 GiB
far       in order, over a backing directory with 20 ms for each operation
start     a mount command, from its start to its end, by the vault's size; the
          key derivation is the cheapest, and is part of it
programs  SQLite, git status, a compilation by several processes, 4 KiB at
          random in a sparse file of 10 GiB
--small   less of each, to see that it works. Run it as root.
"""
import argparse
import json
import os
import random
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


def put(path, data):
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    os.write(fd, data)
    os.close(fd)


def scale(system, small):
    rows = []
    for count in (1000, 4000) if small else (1000, 10000, 100000, 1000000):
        d = system.mount_point / f"d{count}"
        d.mkdir()
        create = seconds(lambda: [put(d / str(n), b"x") for n in range(count)])
        memory = system.memory_kib()
        system.remount()
        listing = seconds(lambda: [e.stat() for e in os.scandir(d)])
        remove = seconds(run, "rm", "-rf", d)
        rows.append({"files": count, "memory_kib": memory,
                     "create_us": create / count * 1e6,
                     "list_us": listing / count * 1e6,
                     "remove_us": remove / count * 1e6})
    return rows


def size(system, small):
    rows = []
    for mib in (1, 1024) if small else (1, 64, 1024, 16384, 65536):
        path = system.mount_point / f"s{mib}"
        amount = min(mib, 16 if small else 256)
        with open(path, "wb") as f:
            f.truncate(mib * MIB)
        block = os.urandom(MIB)

        def write():
            with open(path, "r+b", buffering=0) as f:
                f.seek((mib - amount) * MIB)
                for _ in range(amount):
                    f.write(block)
                os.fsync(f.fileno())

        def read():
            with open(path, "rb", buffering=0) as f:
                f.seek((mib - amount) * MIB)
                while f.read(MIB):
                    pass
        written = amount * MIB / 1e6 / seconds(write)
        system.remount()
        rows.append({"mib": mib, "write_mb_s": written,
                     "read_mb_s": amount * MIB / 1e6 / seconds(read)})
        os.unlink(path)
    return rows


def far(name, root, small):
    system = System(name, root, delay_ms=DELAY_MS)
    try:
        system.mount()
        mib = 4 if small else 32
        path = system.mount_point / "big"
        wrote = seconds(run, "dd", "if=/dev/zero", f"of={path}", "bs=1M",
                        f"count={mib}", "conv=fsync")
        system.remount()
        read = seconds(run, "dd", f"if={path}", "of=/dev/null", "bs=1M")
        return {"write_mb_s": mib * MIB / 1e6 / wrote,
                "read_mb_s": mib * MIB / 1e6 / read}
    finally:
        system.remove()


def start(system, small):
    rows, made = [], 0
    for count in (0, 1000) if small else (0, 1000, 100000):
        for n in range(made, count):
            put(system.mount_point / f"f{n}", b"x")
        made = count
        times = []
        for _ in range(3 if small else 9):
            system.umount()
            times.append(seconds(system.mount) * 1000)
        rows.append({"files": count, "ms": statistics.median(times)})
    return rows


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
    directory.mkdir()
    for n in range(count):
        if n % 100 == 0:
            (directory / f"d{n // 100}").mkdir()
        put(directory / f"d{n // 100}/f{n}", b"%d\n" % n)
    git = ("git", "-C", directory, "-c", "user.name=x", "-c", "user.email=x@x")
    run("git", "init", "-q", directory)
    run(*git, "add", ".")
    run(*git, "commit", "-qm", "x")


def sources(directory, count):
    directory.mkdir()
    for n in range(count):
        put(directory / f"f{n}.c", b"#include <stdio.h>\n#include <stdlib.h>\n"
            b"#include <string.h>\nint f%d(int x) { return printf(\"%%d\", x); }\n"
            % n)
    objects = " ".join(f"f{n}.o" for n in range(count))
    put(directory / "Makefile", b"all: " + objects.encode() + b"\n")


def at_random(path, count, write):
    rng, block = random.Random(1), os.urandom(4096)
    fd = os.open(path, os.O_RDWR)
    for _ in range(count):
        at = rng.randrange((10 << 30) // 4096) * 4096
        if write:
            os.pwrite(fd, block, at)
        else:
            os.pread(fd, 4096, at)
    os.fsync(fd)
    os.close(fd)


def programs(system, small):
    m, part = system.mount_point, 20 if small else 1
    out = {"SQLite, 10 000 transactions s":
           seconds(transactions, m / "one.db", 10000 // part)}
    table_of(m / "scan.db", 1000000 // part)
    repository(m / "git", 50000 // part)
    sources(m / "c", 400 // part)
    with open(m / "sparse", "wb") as f:
        f.truncate(10 << 30)
    system.remount()
    out["SQLite, scan of 1 000 000 rows s"] = seconds(scan, m / "scan.db")
    out["git status of 50 000 files s"] = seconds(
        run, "git", "-C", m / "git", "status")
    out["make -j2 of 400 files s"] = seconds(run, "make", "-j2", "-C", m / "c")
    out["10 GiB: 20 000 writes of 4 KiB s"] = seconds(
        at_random, m / "sparse", 20000 // part, True)
    system.remount()
    out["10 GiB: 20 000 reads of 4 KiB s"] = seconds(
        at_random, m / "sparse", 20000 // part, False)
    return out


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--only", default="scale,size,far,start,programs")
    parser.add_argument("--root", default="/dev/shm")
    parser.add_argument("--json")
    parser.add_argument("systems", nargs="*")
    args = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("more.py: run it as root, it has to drop caches")
    root = tempfile.mkdtemp(prefix="frond-bench-", dir=args.root)
    results = {}
    try:
        for part in args.only.split(","):
            for name in args.systems or installed():
                begin = time.monotonic()
                try:
                    if part == "far":
                        value = far(name, root, args.small) \
                            if name != "direct" else {}
                    else:
                        system = System(name, root)
                        try:
                            system.mount()
                            value = globals()[part](system, args.small)
                        finally:
                            system.remove()
                except Exception as e:      # a peer that fails is a result, too
                    print(f"# {name}: {part}: {e}", file=sys.stderr)
                    continue
                results.setdefault(part, {})[name] = value
                print(f"{part} {name} ({time.monotonic() - begin:.0f} s): "
                      f"{json.dumps(value)}", flush=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    if args.json:
        Path(args.json).write_text(json.dumps(
            {"machine": machine(), "small": args.small, "results": results},
            indent=1))


if __name__ == "__main__":
    main()
