#!/usr/bin/python3
"""A tree of 1 000 000 files (with FROND_BIG=1; else of 30 000)."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import check, eq, get, put

N = 1000000 if os.environ.get("FROND_BIG") else frond.scale(30000, 3000)


def path(m, i):
    return m / f"{i // 10000:03}/{i // 100 % 100:02}/{i:07}"


@check(plain=False)
def a_million_files_in_ten_thousand_directories():
    with frond.Mount(nofile=1024) as m:
        for i in range(N):
            if i % 100 == 0:
                os.makedirs(os.path.dirname(path(m, i)), exist_ok=True)
            put(path(m, i), b"%d" % i)
        m.remount()
        eq(sum(len(names) for _, _, names in os.walk(m.path)), N)
        for i in range(0, N, max(1, N // 2000)):
            eq(get(path(m, i)), b"%d" % i)
        assert len(os.listdir(f"/proc/{m.pid}/fd")) < 1024
        out = frond.run("find", m.path, "-type", "f", "-size", "-2c")
        eq(len(out.splitlines()), 10, "one-digit files")
        frond.run("find", m.path, "-mindepth", "1", "-delete")
        eq(os.listdir(m.path), [])


frond.main()
