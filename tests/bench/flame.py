#!/usr/bin/python3
"""Where a mount's time goes: a flame graph of the daemon for each workload.

flame.py [--mib N] [--files N] [--root DIR] [--json FILE] PICTURES-DIR

Samples the daemon alone, its system calls included, with perf (apt install
linux-perf), and writes PICTURES-DIR/flame-WORKLOAD.svg. Stacks are whole where
the build keeps frame pointers:
  cmake -B DIR -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS=-fno-omit-frame-pointer
and FRONDFS=DIR/tools/frondfs/frondfs. As root; DIR of --root on tmpfs.
"""
import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from compare import create_small, fio, in_order
from report import svg, text
from systems import System, run

SAMPLES_PER_S = 997
WIDTH, ROW = 1180, 16
LEAST = 0.005           # of all samples: what has less is not drawn
COLOURS = (("kernel", "#e0b080"), ("libcrypto", "#8fb4dc"), ("IPSec", "#8fb4dc"),
           ("libsodium", "#8fb4dc"), ("frondfs", "#8cc79c"), ("", "#d0d0d0"))


def frames_of(sample):
    """Outermost first, as (function, object)."""
    out = []
    for line in sample.splitlines():
        found = re.match(r"\s+[0-9a-f]+ (.+) \((.+)\)$", line)
        if found:
            where = "kernel" if found[2].startswith("[k") else Path(found[2]).name
            name = where if found[1] == "[unknown]" else found[1]
            out.append((name.partition("+")[0], where))
    return tuple(reversed(out))


def profile(pid, work):
    """Counts of stacks of the daemon while work() runs: its processor time."""
    with tempfile.TemporaryDirectory() as place:
        data = f"{place}/perf.data"
        recorder = subprocess.Popen(
            ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(SAMPLES_PER_S),
             "-g", "-p", str(pid), "-o", data],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        work()
        recorder.send_signal(signal.SIGINT)
        recorder.wait()
        told = subprocess.run(["perf", "script", "-i", data, "-F", "ip,sym,dso"],
                              capture_output=True, text=True, check=True).stdout
    return Counter(filter(None, map(frames_of, told.split("\n\n"))))


def colour(where):
    return next(c for word, c in COLOURS if word in where)


def draw(title, stacks):
    """Each box as wide as its share; what called it lies below."""
    total, parts, deepest = sum(stacks.values()), [], 0
    boxes = {}
    left = 0
    for stack, count in sorted(stacks.items()):
        for depth in range(len(stack)):
            box = boxes.setdefault((depth, stack[:depth + 1]), [left, 0])
            box[1] += count
        left += count
    for (depth, stack), (start, count) in boxes.items():
        if count < LEAST * total:
            continue
        width = WIDTH * count / total
        deepest = max(deepest, depth)
        parts.append((depth, 10 + WIDTH * start / total, width, *stack[-1],
                      100 * count / total))
    height = 50 + ROW * (deepest + 1)
    out = [text(10, 20, title, size=14)]
    for depth, x, width, name, where, share in parts:
        y = height - 10 - ROW * (depth + 1)
        name = name.replace("&", "&amp;").replace("<", "&lt;")
        out.append(f'<g><title>{name} ({where}) {share:.1f} %</title><rect x="{x:.1f}" '
                   f'y="{y}" width="{max(width - 0.5, 0.3):.1f}" height="{ROW - 1}" '
                   f'fill="{colour(where)}"/></g>')
        room = int(width / 6.2)
        if room >= 4:
            out.append(text(x + 2, y + 11, name[:room], size=10))
    return svg(WIDTH + 20, height, out)


def shares(stacks):
    """The innermost functions that take most, in percent of all samples."""
    total, own = sum(stacks.values()), Counter()
    for stack, count in stacks.items():
        own[stack[-1][0]] += count
    return [(name, round(100 * n / total, 1)) for name, n in own.most_common(8)]


WAKING = ("schedule", "__schedule", "finish_task_switch", "try_to_wake_up",
          "__wake_up", "folio_wake_bit")
REQUESTS = ("fuse_dev", "__x64_sys_poll")
LIBRARIES = ("libcrypto", "libIPSec", "libsodium")


def part_of(stack):
    """What a sample belongs to, in a few words: the first that fits."""
    names = [name for name, _ in stack]
    if any(name.startswith("fernet_") for name in names) or \
            any(where.startswith(LIBRARIES) for _, where in stack):
        return "encryption"
    if any(name.startswith(WAKING) for name in names):
        return "waking, being woken"
    if any(name.startswith(REQUESTS) for name in names):
        return "taking requests, answering"
    if any(where == "kernel" for _, where in stack):
        return "backing files, other calls"
    return "the rest of its own code"


def parts(stacks):
    """In percent of all samples."""
    total, of = sum(stacks.values()), Counter()
    for stack, count in stacks.items():
        of[part_of(stack)] += count
    return {name: round(100 * n / total, 1) for name, n in of.most_common()}


def workloads(system, args):
    m = system.mount_point
    mib, half = args.mib, f"{args.mib // 2}M"
    return {
        "sequential write": lambda: in_order(m / "big", mib, "write"),
        "sequential read": lambda: in_order(m / "big", mib, "read"),
        "random read": lambda: fio(m / "big", rw="randread", bs="4k", numjobs=4,
                                   norandommap=1, size=f"{mib}M", io_size=half),
        "random write": lambda: fio(m / "big", rw="randwrite", bs="4k", fsync=64,
                                    size=f"{mib}M", io_size=half),
        "create": lambda: create_small(m / "small", args.files),
        "read small files": lambda: run(
            "sh", "-c", 'find "$0" -type f -print0 | xargs -0 md5sum', m / "small"),
        "list": lambda: run("ls", "-lR", m),
        "remove": lambda: run("rm", "-rf", m / "small"),
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--files", type=int, default=10000)
    parser.add_argument("--root", default="/dev/shm")
    parser.add_argument("--json")
    parser.add_argument("pictures", type=Path)
    args = parser.parse_args()
    if os.geteuid() != 0 or not shutil.which("perf"):
        sys.exit("flame.py: run it as root, with perf (apt install linux-perf)")
    args.pictures.mkdir(parents=True, exist_ok=True)
    root = tempfile.mkdtemp(prefix="frond-flame-", dir=args.root)
    system, results = System("frondfs", root), {}
    try:
        system.mount()
        for name, work in workloads(system, args).items():
            if name != "create":
                system.remount()
            stacks = profile(system.daemon(), work)
            busy = sum(stacks.values()) / SAMPLES_PER_S
            title = f"{name}: {busy:.2f} processor seconds of the daemon"
            picture = f"flame-{name.replace(' ', '-')}.svg"
            (args.pictures / picture).write_text(draw(title, stacks))
            results[name] = {"picture": picture, "seconds": busy,
                             "parts": parts(stacks), "top": shares(stacks)}
            print(f"{title}; " + ", ".join(f"{f} {p} %" for f, p in shares(stacks)[:5]))
    finally:
        system.remove()
        shutil.rmtree(root, ignore_errors=True)
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
