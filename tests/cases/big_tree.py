#!/usr/bin/python3
"""A tree of 1 000 000 files (with FROND_BIG=1; else of 30 000)."""
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import check, eq, get, put

BIG = bool(os.environ.get("FROND_BIG"))
N = 1000000 if BIG else frond.scale(30000, 3000)


def path(m, i):
    return m / f"{i // 10000:03}/{i // 100 % 100:02}/{i:07}"


def rss(m):
    """Resident bytes of the daemon that are its own."""
    return int(re.search(r"RssAnon:\s+(\d+)", get(f"/proc/{m.pid}/status").decode())[1]) << 10


class Clock:
    """Says how long each step took, and what the daemon then needed."""

    def __init__(self, m):
        self.m, self.began = m, time.monotonic()

    def lap(self, what):
        now = time.monotonic()
        print(f"{what}: {now - self.began:.1f} s, then {rss(self.m) >> 20} MiB", flush=True)
        self.began = now


@check(plain=False)
def a_million_files_in_ten_thousand_directories():
    with frond.Mount(nofile=1024) as m:
        clock = Clock(m)
        for i in range(N):
            if i % 100 == 0:
                os.makedirs(os.path.dirname(path(m, i)), exist_ok=True)
            put(path(m, i), b"%d" % i)
        clock.lap(f"{N} files made")
        m.remount()
        base = rss(m)
        eq(sum(len(names) for _, _, names in os.walk(m.path)), N)
        clock.lap("walked")
        for i in range(0, N, max(1, N // 2000)):
            eq(get(path(m, i)), b"%d" % i)
        assert len(os.listdir(f"/proc/{m.pid}/fd")) < 1024
        clock.lap("2000 of them read")
        out = frond.run("find", m.path, "-type", "f", "-size", "-2c")
        eq(len(out.splitlines()), 10, "one-digit files")
        clock.lap("all looked at")
        per = (rss(m) - base) / N
        # Few files would have to pay for the buffers of the threads as well.
        assert per <= 512 + len("0000000") or not BIG or frond.SLOW, f"{per:.0f} bytes each"
        frond.run("find", m.path, "-mindepth", "1", "-delete", timeout=3600)
        clock.lap("all removed")
        eq(os.listdir(m.path), [])


frond.main()
