#!/usr/bin/python3
"""What the redo journal costs, against -o journal=off, in interleaved rounds.

journal_cost.py [--rounds N] [--mib N] [--files N] [--root DIR] [--ext4 MIB]
                [--json FILE] [--expect]

The table shows, for each workload, the medians of both, the median of the
rounds' ratios (more than 1.00: the journal is faster), and the least and the
largest of them, which tells how much the machine's own speed varies; last, the
ratio of the daemon's processor time alone, which others who are at work disturb
less. DIR should lie on tmpfs (default: /dev/shm), where code is measured. With --ext4
all of it lies in an ext4 image of that size, a file below DIR, which should
then lie on a disk: there fsync costs something. --expect: end with 1 where a
ratio is less than it has to be. Run as root: caches are dropped.
"""
import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from compare import create_small, fio, in_order, make_tarball
from systems import System, machine, run, seconds

# name: unit, the least that is allowed
WORKLOADS = {
    "sequential write, new file": ("MB/s", 0.97),
    "sequential overwrite": ("MB/s", 0.6),
    "sequential read, cold": ("MB/s", 0.97),
    "random overwrite 4k, fsync every 64": ("IOPS", 1.0),
    "create small files": ("s", 0.97),
    "untar": ("s", 0.97),
    "md5 of the tree, cold": ("s", 0.97),
    "rm -r": ("s", 0.97),
}
WAYS = ("on", "off")


def overwrite(path, mib):
    run("dd", "if=/dev/zero", f"of={path}", "bs=1M", f"count={mib}",
        "conv=notrunc,fsync")


def cpu_s(pid):
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def round_of(system, args, tarball, note):
    m = system.mount_point
    big, tree, small = m / "big", m / "tree", m / "small"
    mb = args.mib * 1.048576
    note("sequential write, new file",
         lambda: mb / seconds(in_order, big, args.mib, "write"))
    system.remount()
    note("sequential read, cold", lambda: mb / seconds(in_order, big, args.mib, "read"))
    note("sequential overwrite", lambda: mb / seconds(overwrite, big, args.mib))
    system.remount()
    note("random overwrite 4k, fsync every 64",
         lambda: fio(big, rw="randwrite", bs="4k", fsync=64, size=f"{args.mib}M",
                     io_size=f"{max(args.mib // 16, 1)}M"))
    system.remount()
    note("create small files", lambda: seconds(create_small, small, args.files))
    tree.mkdir()
    note("untar", lambda: seconds(run, "tar", "-C", tree, "-xf", tarball))
    system.remount()
    note("md5 of the tree, cold", lambda: seconds(
        run, "sh", "-c", 'find "$0" -type f -print0 | xargs -0 md5sum', tree))
    note("rm -r", lambda: seconds(run, "rm", "-rf", tree, small))


def rounds(args, root, results):
    tarball = make_tarball(root, args.tree)
    options = os.environ.get("FROND_OPTS")
    for number in range(args.rounds):
        for way in WAYS if number % 2 else reversed(WAYS):
            os.environ["FROND_OPTS"] = ",".join(
                filter(None, (options, f"journal={way}")))

            def note(workload, measure):
                pid = system.daemon()
                before = cpu_s(pid)
                value = measure()
                took = cpu_s(pid) - before
                print(f"# journal={way}: {workload}: {value:.2f}, {took:.2f} s",
                      file=sys.stderr)
                results.setdefault(workload, {}).setdefault(way, []).append(
                    (value, took))

            system = System("frondfs", root)
            try:
                round_of(system.mount(), args, tarball, note)
            finally:
                system.remove()


def ratios(workload, of):
    slower_is_more = WORKLOADS[workload][0] == "s"
    return [off[0] / on[0] if slower_is_more else on[0] / off[0]
            for on, off in zip(of["on"], of["off"])]


def table(results):
    """Prints it; which workloads are slower than they may be."""
    bad = []
    print(f"{'workload':<38}{'':>5}{'on':>11}{'off':>11}{'ratio':>8}"
          f"{'least':>8}{'most':>8}{'wanted':>8}{'CPU':>8}")
    for workload, (unit, wanted) in WORKLOADS.items():
        of = results[workload]
        r = ratios(workload, of)
        middle = statistics.median(r)
        values = [statistics.median(v for v, _ in of[way]) for way in WAYS]
        cpu = [sum(t for _, t in of[way]) for way in WAYS]
        print(f"{workload:<38}{unit:>5}{values[0]:>11.2f}{values[1]:>11.2f}"
              f"{middle:>8.2f}{min(r):>8.2f}{max(r):>8.2f}{wanted:>8.2f}"
              f"{cpu[1] / max(cpu[0], 0.01):>8.2f}")
        if middle < wanted:
            bad.append(workload)
    return bad


def on_ext4(args, place, results):
    """The same within an image file."""
    image, top = place / "image", place / "top"
    top.mkdir()
    run("truncate", "-s", f"{args.ext4}M", image)
    run("mkfs.ext4", "-q", "-F", image)
    run("mount", "-o", "loop", image, top)
    try:
        rounds(args, str(top), results)
    finally:
        run("umount", top)


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--tree", default="/usr/share/doc",
                        help="the directory that is unpacked")
    parser.add_argument("--root", default="/dev/shm")
    parser.add_argument("--ext4", type=int, metavar="MIB")
    parser.add_argument("--json")
    parser.add_argument("--expect", action="store_true")
    return parser.parse_args()


def main():
    args = parse()
    if os.geteuid() != 0:
        sys.exit("journal_cost.py: run it as root, it has to drop caches")
    place = Path(tempfile.mkdtemp(prefix="frond-journal-", dir=args.root))
    results = {}
    try:
        if args.ext4:
            on_ext4(args, place, results)
        else:
            rounds(args, str(place), results)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    bad = table(results)
    if args.json:
        Path(args.json).write_text(json.dumps(
            {"machine": machine(), "rounds": args.rounds, "mib": args.mib,
             "files": args.files, "ext4": bool(args.ext4), "results": results},
            indent=1))
    if bad and args.expect:
        sys.exit("slower than it may be: " + ", ".join(bad))


if __name__ == "__main__":
    main()
