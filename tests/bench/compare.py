#!/usr/bin/python3
"""The table: every workload on every file system, in interleaved rounds.

compare.py [--rounds N] [--mib N] [--files N] [--root DIR]
           [--requests] [--unsaved] [--json FILE] [SYSTEM...]

SYSTEM: frondfs, gocryptfs, securefs, floor (libfuse's plain passthrough
example, built on first use from Debian's libfuse3-dev), direct (no overlay).
Default: all that are installed. Each workload goes round all systems, which
are mounted side by side, before the next one begins, and another of them is
the first each round: so a machine whose speed drifts is fair to all. The table
shows medians, and how frondfs compares: more than 1.00 says that frondfs is
better. DIR should lie on tmpfs
(default: /dev/shm), so that code is measured and not a disk. Run as root:
caches are dropped before every reading. FILE also tells the processor seconds
of each daemon, its own and the kernel's for it, and of the programs; with
--requests what the kernel asked each daemon, which takes perf and slows it
down, and with --unsaved frondfs is without all that saves requests (unsaved.c).
"taskset -c 0 compare.py" shows what waking the other processor costs.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from systems import (HERE, Asked, System, clocks, compiled, drop_caches, installed,
                     let_users_mount, machine, output, run, seconds)

ORDINARY_USER = 65534

# name: unit; times want to be small, rates large
WORKLOADS = {
    "sequential write": "MB/s",
    "sequential read, cold, ordinary user": "MB/s",
    "sequential read, cold, root": "MB/s",
    "random read 4k, 4 jobs, cold": "IOPS",
    "random write 4k, fsync every 64": "IOPS",
    "create small files": "s",
    "untar": "s",
    "md5 of the tree, cold": "s",
    "ls -lR cold": "s",
    "ls -lR warm": "s",
    "rm -r": "s",
}


def fio(path, **options):
    words = ["fio", "--output-format=json", "--name=x", f"--filename={path}",
             "--group_reporting", "--ioengine=psync"]
    words += [f"--{k}={v}" for k, v in options.items()]
    p = subprocess.run(words, capture_output=True, text=True, check=True)
    jobs = json.loads(p.stdout)["jobs"]
    return sum(j[k]["iops"] for j in jobs for k in ("read", "write"))


def create_small(directory, count):
    directory.mkdir()
    data = b"x" * 1000
    for n in range(count):
        fd = os.open(directory / f"f{n}", os.O_CREAT | os.O_WRONLY)
        os.write(fd, data)
        os.close(fd)


def requests_of(system):
    """How many requests of each kind a frondfs mount has answered."""
    if system.name != "frondfs":
        return {}
    binary = os.environ.get("FRONDFS") or "frondfs"
    text = output(binary, "info", "--json", str(system.mount_point))
    try:
        return json.loads(text)["requests"]
    except (ValueError, KeyError):
        return {}


def in_order(path, mib, how):
    other = {"if": path, "of": "/dev/null"} if how == "read" else \
            {"if": "/dev/zero", "of": path}
    run("dd", *(f"{k}={v}" for k, v in other.items()), "bs=1M", f"count={mib}",
        *(["conv=fsync"] if how == "write" else []))


def ordinary_read(root, name, args):
    """Mounted and read by somebody who may not raise the kernel's readahead."""
    system = System(name, root, user=ORDINARY_USER)
    try:
        system.mount()
        script = f"dd if=/dev/zero of={system.mount_point}/big bs=1M count={args.mib} conv=fsync"
        system._run("sh", "-c", script)
        system.umount()
        drop_caches(root)
        system.mount()
        took = seconds(system._run, "dd", f"if={system.mount_point}/big",
                       "of=/dev/null", "bs=1M")
        return args.mib * 1.048576 / took
    finally:
        system.remove()


def unpack(directory, tarball):
    directory.mkdir()
    run("tar", "-C", directory, "-xf", tarball)


def steps(system, args, tarball):
    """Every workload once, in the order in which they need one another, and
    whether it begins with nothing in any cache."""
    m = system.mount_point
    big, tree, small = m / "big", m / "tree", m / "small"
    mb = args.mib * 1.048576
    return [
        ("sequential write", False,
         lambda: mb / seconds(in_order, big, args.mib, "write")),
        ("sequential read, cold, root", True,
         lambda: mb / seconds(in_order, big, args.mib, "read")),
        ("random read 4k, 4 jobs, cold", True,
         lambda: fio(big, rw="randread", bs="4k", numjobs=4, norandommap=1,
                     size=f"{args.mib}M", io_size=f"{max(args.mib // 16, 1)}M")),
        ("random write 4k, fsync every 64", False,
         lambda: fio(big, rw="randwrite", bs="4k", fsync=64,
                     size=f"{args.mib}M", io_size=f"{max(args.mib // 8, 1)}M")),
        ("create small files", False,
         lambda: seconds(create_small, small, args.files)),
        ("untar", False, lambda: seconds(unpack, tree, tarball)),
        ("md5 of the tree, cold", True, lambda: seconds(
            run, "sh", "-c", 'find "$0" -type f -print0 | xargs -0 md5sum', tree)),
        ("ls -lR cold", True, lambda: seconds(run, "ls", "-lR", tree)),
        ("ls -lR warm", False, lambda: seconds(run, "ls", "-lR", tree)),
        ("rm -r", False, lambda: seconds(run, "rm", "-rf", tree, small)),
    ]


def settle(system):
    """Until it has nothing left to do for what was asked of it, so that nobody
    else is measured meanwhile."""
    subprocess.run(["sync", "-f", str(system.mount_point)], stderr=subprocess.DEVNULL)
    end, before = time.monotonic() + 5, -1.0
    while time.monotonic() < end and system.processor_seconds() - before > 0.005:
        before = system.processor_seconds()
        time.sleep(0.2)


def remount_all(systems, root):
    for system in systems:
        system.umount()
    drop_caches(root)
    for system in systems:
        system.mount()
        settle(system)


def round_of(systems, root, args, tarball, note):
    """Each step of all of them before the next."""
    for step in zip(*(steps(s, args, tarball) for s in systems)):
        if step[0][1]:
            remount_all(systems, root)
        for system, (workload, _, measure) in zip(systems, step):
            note(system, workload, measure)
            settle(system)
    for system in systems:
        system.umount()
    for system in systems:
        note(system, "sequential read, cold, ordinary user",
             lambda s=system: ordinary_read(root, s.name, args))


class Record:
    """What was measured, by workload and system: values, frondfs's requests as it
    counts them, and either seconds (see clocks) or requests as the kernel does."""

    def __init__(self, with_requests):
        self.with_requests = with_requests
        self.told = {"results": {}, "requests": {}, "spent": {}, "asked": {}}

    def __call__(self, system, workload, measure):
        before = requests_of(system)
        try:
            value = self.watched(system, workload, measure)
        except Exception as e:      # a peer that fails is a result, too
            print(f"# {system.name}: {workload}: {e}", file=sys.stderr)
            return
        print(f"# {system.name}: {workload}: {value:.2f}", file=sys.stderr)
        self.of("results", workload).setdefault(system.name, []).append(value)
        told = {k: n - before.get(k, 0) for k, n in requests_of(system).items()}
        if told:
            self.told["requests"][workload] = {k: n for k, n in told.items() if n > 0}

    def of(self, what, workload):
        return self.told[what].setdefault(workload, {})

    def watched(self, system, workload, measure):
        if not system.daemon():
            return measure()
        if self.with_requests:
            with Asked(system) as told:
                value = measure()
            self.of("asked", workload)[system.name] = told.counts
            return value
        begin = clocks(system)
        value = measure()
        took = [after - before for before, after in zip(begin, clocks(system))]
        self.of("spent", workload).setdefault(system.name, []).append(took)
        return value


def better(workload, ours, other):
    return other / ours if WORKLOADS[workload] == "s" else ours / other


def table(results, systems):
    print(f"{'workload':<38}{'':>5}" + "".join(f"{s:>11}" for s in systems)
          + "   frondfs is better than " + ", ".join(systems[1:]) + " by")
    for workload, unit in WORKLOADS.items():
        medians = {s: statistics.median(v)
                   for s, v in results.get(workload, {}).items()}
        if not medians:
            continue
        line = f"{workload:<38}{unit:>5}" + "".join(
            f"{medians[s]:>11.2f}" if s in medians else f"{'-':>11}"
            for s in systems)
        ratios = [f"{better(workload, medians['frondfs'], medians[s]):.2f}"
                  if s in medians and "frondfs" in medians else "-"
                  for s in systems[1:]]
        print(line + "   " + "  ".join(ratios))


def make_tarball(root, source):
    path = Path(root) / "tree.tar"
    subprocess.run(["tar", "-C", str(Path(source).parent), "-cf", str(path),
                    Path(source).name], stderr=subprocess.DEVNULL)
    return path


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--files", type=int, default=10000)
    parser.add_argument("--tree", default="/usr/share/doc",
                        help="the directory that is unpacked")
    parser.add_argument("--root", default="/dev/shm")
    parser.add_argument("--requests", action="store_true")
    parser.add_argument("--unsaved", action="store_true")
    parser.add_argument("--json")
    parser.add_argument("systems", nargs="*")
    return parser.parse_args()


def main():
    args = parse()
    if os.geteuid() != 0:
        sys.exit("compare.py: run it as root, it has to drop caches")
    names = args.systems or installed()
    if args.unsaved:
        os.environ["UNSAVED"] = str(compiled("unsaved.so", HERE / "unsaved.c",
                                             "-shared", "-fPIC"))
    root = tempfile.mkdtemp(prefix="frond-bench-", dir=args.root)
    os.chmod(root, 0o755)
    tarball = make_tarball(root, args.tree)
    record = Record(args.requests)
    let_users_mount()
    try:
        for n in range(args.rounds):
            first = n % len(names)
            systems = [System(name, root) for name in names[first:] + names[:first]]
            try:
                round_of([s.mount() for s in systems], root, args, tarball, record)
            finally:
                for system in systems:
                    system.remove()
            if args.json:
                Path(args.json).write_text(json.dumps(
                    {"machine": machine(), "rounds": n + 1, "mib": args.mib,
                     "files": args.files, "units": WORKLOADS, **record.told}, indent=1))
    finally:
        shutil.rmtree(root, ignore_errors=True)
    table(record.told["results"], names)


if __name__ == "__main__":
    main()
