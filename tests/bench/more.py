#!/usr/bin/python3
"""What one table does not show: growth, distance, start, and programs.

more.py [--small] [--only scale,size,several,far,programs] [--files N,...]
        [--shapes directory,tree] [--most N] [--rounds N] [--root DIR]
        [--json FILE] [SYSTEM...]

scale     what creating, stat, listing (with stat) and removing cost per file, at
          1000 to 1 000 000 files in one directory and in a tree of 100 a
          directory, each cold, and how many times as much that is as with 1000
          files just before and just after, so that a machine whose own speed
          changes does not pass for growth; the daemon's memory; how long a mount
          command takes with so many files, its key derivation (the cheapest)
          included. gocryptfs and securefs get --most (100 000) at most. "plain",
          a passthrough by paths, shows what FUSE itself adds, "direct" what the
          backing file system does
size      reading and writing at the end of sparse files of 1 MiB to 64 GiB, and
          the daemon's memory
several   one large file, written and read in parts by 1, 2 and 4 processes
far       in order, over a backing directory with 20 ms for each operation
programs  SQLite, git status, a compilation by several processes, 4 KiB at
          random in a file of 10 GiB; --rounds (3) of them, each step of all
          systems before the next, but for the 10 GiB. git status also with
          "plain", where the floor may not open as many files
--small   less of each, to see that it works. Run it as root.
--json    results are added to those that FILE has of other parts and systems,
          each as soon as it is there
"""
import argparse
import json
import multiprocessing
import os
import random
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path

from systems import (System, clocks, installed, machine, may_know, open_files, run,
                     seconds)

MIB = 1 << 20
DELAY_MS = 20
IN_ONE = 100            # files in each directory of a tree
FEW, REFERENCES = 1000, 10      # files beside which growth is measured, how often
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


def stat_files(top, count, tree):
    left = count
    for place in directories(top, count, tree):
        for n in range(min(IN_ONE if tree else count, left)):
            os.stat(f"{place}/{n}")
            left -= 1


def list_below(top):
    with os.scandir(top) as entries:
        for e in entries:
            e.stat()
            if e.is_dir():
                list_below(e.path)


def list_files(top, count, tree):
    list_below(top)


def remove_files(top, count, tree):
    """rm -r, without a program to be started."""
    shutil.rmtree(top)


PHASES = {"create": make_files, "stat": stat_files, "list": list_files,
          "remove": remove_files}


def mount_ms(system):
    """Of a mount command, with nothing of the vault in the kernel's caches."""
    times = []
    for _ in range(MOUNTS if system.name != "direct" else 0):
        system.umount()
        begin = time.monotonic()
        system.mount()
        times.append((time.monotonic() - begin) * 1000)
    return {"mount_ms": statistics.median(times)} if times else {}


def timed(system, work, tops, count, tree):
    """Microseconds per file: elapsed; of the processors, ours and the daemon's,
    which depend less on what else runs; of these, of the daemon's own code."""
    own, daemons = time.process_time(), system.processor_seconds()
    user = system.user_seconds()
    took = seconds(lambda: [work(top, count, tree) for top in tops])
    figures = {"us": took, "cpu_us": time.process_time() - own
               + system.processor_seconds() - daemons}
    if system.daemon():
        figures["user_us"] = system.user_seconds() - user
    return {k: v * 1e6 / (count * len(tops)) for k, v in figures.items()}


def probe(system, count, tree, references):
    """Once create, stat, list and remove, each cold and between two of the same
    with few files: what it costs, how many times as much that is, and memory."""
    m = system.mount_point
    few = [[m / f"{when}{n}" for n in range(references)]
           for when in ("before", "after")]
    out = {"idle_kib": system.memory_kib(), "memory_kib": 0}
    for phase, work in PHASES.items():
        before = timed(system, work, few[0], FEW, tree)
        system.remount()
        costs = timed(system, work, [m / "top"], count, tree)
        out["memory_kib"] = max(out["memory_kib"], system.memory_kib())
        if phase == "create":
            out.update(mount_ms(system))
        system.remount()
        after = timed(system, work, few[1], FEW, tree)
        system.remount()
        for what, cost in costs.items():
            beside = (before[what] + after[what]) / 2
            out[f"{phase}_{what}"] = cost
            if beside > 0:
                out[f"{phase}_{what}_growth"] = cost / beside
    return out


def scale(system, args, keep_row):
    keep_row({"shape": "empty", "files": 0, **mount_ms(system)})
    most = args.most if system.name in ("gocryptfs", "securefs") else max(args.files)
    for shape in args.shapes:
        for count in args.files:
            if count > most or not may_know(system.name, count):
                continue
            times = 1 if args.small else max(1, min(5, 30000 // count))
            references = 1 if args.small else REFERENCES
            probes = [probe(system, count, shape == "tree", references)
                      for _ in range(times)]
            row = {"shape": shape, "files": count, "times": times}
            for key in probes[0]:
                row[key] = statistics.median(p[key] for p in probes if key in p)
            print(f"# {system.name}: {row}", file=sys.stderr, flush=True)
            keep_row(row)


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


def size_once(system, paths, mib, amount):
    """MB/s written and read at the end of each, and the daemon's memory."""
    for path in paths:
        with open(path, "wb") as f:
            f.truncate(mib * MIB)
    where, mb = (paths, mib * MIB, amount * MIB), len(paths) * amount * MIB / 1e6
    written = seconds(write_end, *where)
    memory = system.memory_kib()
    system.remount()
    read = seconds(read_end, *where)
    memory = max(memory, system.memory_kib())
    for path in paths:
        os.unlink(path)
    return {"write_mb_s": mb / written, "read_mb_s": mb / read, "memory_kib": memory}


def size(system, args):
    """As many files as make the same amount, the small ones read whole; all sizes
    in turn, so that the machine's own speed is no part of their order."""
    total = 32 if args.small else AT_ONCE_MIB
    sizes = (1, 1024) if args.small else (1, 16, 64, 256, 1024, 16384, 65536)
    tries = {mib: [] for mib in sizes}
    for _ in range(1 if args.small else 5):
        for mib in sizes:
            amount = min(mib, total)
            paths = [system.mount_point / f"s{n}" for n in range(total // amount)]
            tries[mib].append(size_once(system, paths, mib, amount))
    return [{"mib": mib, **{k: statistics.median(t[k] for t in of) for k in of[0]}}
            for mib, of in tries.items()]


def at_once(count, work, path, mib):
    """Each its own part of the file."""
    part = mib // count
    jobs = [multiprocessing.Process(target=work, args=(path, n * part, part))
            for n in range(count)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()


def write_part(path, at, mib):
    block = os.urandom(MIB)
    fd = os.open(path, os.O_WRONLY)
    for n in range(mib):
        os.pwrite(fd, block, (at + n) * MIB)
    os.fsync(fd)


def read_part(path, at, mib):
    fd = os.open(path, os.O_RDONLY)
    for n in range(mib):
        os.pread(fd, MIB, (at + n) * MIB)


def several(system, args):
    """MB/s of several processes in one file, and how many processors are busy."""
    rows, mib = [], 32 if args.small else 512
    for count in (1, 2, 4):
        tries = []
        for _ in range(1 if args.small else 3):
            path, figures = system.mount_point / "shared", {}
            path.touch()
            for how, work in (("write", write_part), ("read", read_part)):
                system.remount()
                began = clocks(system)
                at_once(count, work, path, mib)
                took, *busy = (b - a for a, b in zip(began, clocks(system)))
                figures.update({f"{how}_mb_s": mib * MIB / 1e6 / took,
                                f"{how}_busy": sum(busy) / took})
            path.unlink()
            tries.append(figures)
        rows.append({"processes": count, **{
            k: statistics.median(t[k] for t in tries) for k in tries[0]}})
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

    def __init__(self, root, args):
        self.part = 20 if args.small else 1
        self.rounds = 1 if args.small else args.rounds
        self.dir = Path(root) / "elsewhere"
        self.dir.mkdir()
        repository(self.dir / "git", 50000 // self.part)
        sources(self.dir / "c", 2)

    def warm_up(self):
        """Dropping caches drops programs, too, and these lie on a disk."""
        run("git", "-C", self.dir / "git", "status")
        run("make", "-B", "-j2", "-C", self.dir / "c")

    def cold(self, system, *call):
        system.remount()
        self.warm_up()
        return seconds(*call)


def steps(system, work, number):
    """What programs do, with the seconds that each takes."""
    m, part = system.mount_point, work.part
    git = ("git status of 50 000 files",
           lambda: work.cold(system, run, "git", "-C", m / "git", "status"))
    if system.name == "plain":
        return [git]
    run("rm", "-f", *(m / "c").glob("*.o"))
    return [
        ("SQLite, 10 000 transactions",
         lambda: seconds(transactions, m / f"one{number}.db", 10000 // part)),
        ("SQLite, scan of 1 000 000 rows",
         lambda: work.cold(system, scan, m / "scan.db")),
        *([git] if (m / "git").exists() else []),
        ("make -j2 of 400 files",
         lambda: work.cold(system, run, "make", "-j2", "-C", m / "c")),
    ]


def big_file(system, work, note):
    """Not of all at once: that is more than the memory holds."""
    big, mib = system.mount_point / "big", 10240 // work.part
    fill(big, mib)
    for _ in range(work.rounds):
        for how in ("reads", "writes"):
            note(system, f"10 GiB: 20 000 {how} of 4 KiB", lambda how=how: work.cold(
                system, at_random, big, 20000 // work.part, mib, how == "writes"))
    big.unlink()


def copy_repository(system, repository, files):
    """Not to the floor if it may not keep all of them open, as it would."""
    if not may_know(system.name, files):
        print(f"# floor: more than the {open_files(system.name)} files it may open",
              file=sys.stderr)
        return
    run("cp", "-r", repository, system.mount_point / "git")
    run("git", "-C", system.mount_point / "git", "status")  # notes what files are


def prepared(system, work):
    try:
        copy_repository(system, work.dir / "git", 50000 // work.part)
        if system.name != "plain":
            table_of(system.mount_point / "scan.db", 1000000 // work.part)
            sources(system.mount_point / "c", 400 // work.part)
    except Exception as e:                  # a peer that fails is a result, too
        print(f"# {system.name}: {e}", file=sys.stderr)
        return False
    return True


def in_turn(systems, work, note):
    """Each step of all of them before the next, another of them first each round."""
    for n in range(work.rounds):
        first = n % len(systems)
        turn = systems[first:] + systems[:first]
        planned = [(s, what, call) for s in turn for what, call in steps(s, work, n)]
        for step in dict.fromkeys(what for _, what, _ in planned):
            for system, what, call in planned:
                if what == step:
                    note(system, what, call)


def programs(names, root, args):
    work, told = Elsewhere(root, args), {}

    def note(system, what, call):
        try:
            told.setdefault(system.name, {}).setdefault(what, []).append(call())
        except Exception as e:              # a peer that fails is a result, too
            print(f"# {system.name}: {what}: {e}", file=sys.stderr)
            return
        print(f"# {system.name}: {what}: {told[system.name][what][-1]:.3f}",
              file=sys.stderr, flush=True)
        keep(args, "programs", system.name, told[system.name])

    systems = [System(name, root).mount() for name in names]
    try:
        ready = [system for system in systems if prepared(system, work)]
        in_turn(ready, work, note)
        for system in ready:
            if system.name != "plain":
                big_file(system, work, note)
    finally:
        for system in systems:
            system.remove()


def numbers(words):
    return [int(w) for w in words.split(",")]


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--only", default="scale,size,several,far,programs")
    parser.add_argument("--files", type=numbers)
    parser.add_argument("--shapes", default="directory,tree")
    parser.add_argument("--most", type=int, default=100000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--root", default="/dev/shm")
    parser.add_argument("--json", type=Path)
    parser.add_argument("systems", nargs="*")
    args = parser.parse_args()
    args.shapes = args.shapes.split(",")
    args.files = args.files or ([1000, 4000] if args.small else
                                [1000, 10000, 100000, 1000000])
    return args


def measure(part, name, root, args):
    if part == "far":
        return far(name, root, args) if name != "direct" else {}
    system = System(name, root)
    try:
        system.mount()
        if part == "scale":
            return scale(system, args, lambda row: keep(args, part, name, row))
        return globals()[part](system, args)
    finally:
        system.remove()


def keep(args, part, name, value):
    """At once: what took an hour is not lost with the next. Of scale it is a row,
    which takes the place of the one that is like it."""
    if not args.json:
        return
    told = json.loads(args.json.read_text()) if args.json.exists() else \
        {"results": {}}
    told["machine"], told["small"] = machine(), args.small
    known = told["results"].setdefault(part, {})
    if part == "scale":
        rows = {(r["shape"], r["files"]): r for r in known.get(name, [])}
        rows[value["shape"], value["files"]] = value
        value = sorted(rows.values(), key=lambda r: (r["shape"], r["files"]))
    known[name] = value
    args.json.write_text(json.dumps(told, indent=1))


def systems_for(part, args):
    """Those that are named, or all that the part is about."""
    extra = {"scale": ["plain"],
             "programs": [] if may_know("floor", 50000) else ["plain"]}
    return args.systems or installed() + (
        extra.get(part, []) if "floor" in installed() else [])


def main():
    args = parse()
    if os.geteuid() != 0:
        sys.exit("more.py: run it as root, it has to drop caches")
    root = tempfile.mkdtemp(prefix="frond-bench-", dir=args.root)
    try:
        for part in args.only.split(","):
            names = systems_for(part, args)
            if part == "programs":
                programs(names, root, args)
                continue
            for name in names:
                begin = time.monotonic()
                try:
                    value = measure(part, name, root, args)
                except Exception as e:      # a peer that fails is a result, too
                    print(f"# {name}: {part}: {e}", file=sys.stderr)
                    continue
                if part != "scale":
                    keep(args, part, name, value)
                print(f"{part} {name} ({time.monotonic() - begin:.0f} s): "
                      f"{json.dumps(value)}", flush=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
