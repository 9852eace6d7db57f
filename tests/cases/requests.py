#!/usr/bin/python3
"""How many requests things take: each is a way to the daemon and back."""
import array
import fcntl
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import blob, check, eq, get, put, raises, run

GETATTR, SETATTR, READ, WRITE, GETXATTR, FLUSH, CREATE = 3, 4, 15, 16, 22, 25, 35
KINDS = 64
WORDS = KINDS + 5       # and bytes read, written, chunks opened, sealed, ready
COUNTERS = 2 << 30 | WORDS * 8 << 16 | ord("F") << 8 | 13


def counters(m):
    words = array.array("Q", bytes(WORDS * 8))
    fd = os.open(m.path, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, COUNTERS, words, True)
    finally:
        os.close(fd)
    return words


def difference(m, fn):
    before = counters(m)
    fn()
    after = counters(m)
    return [b - a for a, b in zip(before, after)]


@check(plain=False)
def what_is_read_and_written_is_counted():
    data = blob(1 << 20, 1)
    with frond.Mount() as m:
        d = difference(m, lambda: put(m / "f", data))
        eq(d[KINDS + 1] >= len(data), True, "bytes written")
        eq(d[KINDS + 3] >= len(data) // 4096, True, "chunks sealed")
        m.remount()
        d = difference(m, lambda: get(m / "f"))
        eq(d[KINDS], len(data), "bytes read")
        eq(d[KINDS + 2], len(data) // 4096, "chunks opened")
        eq(d[READ] >= 4, True, "requests of at most 256 KiB")


@check(plain=False)
def a_small_file_takes_six_requests():
    def make():
        for n in range(100):
            fd = os.open(m / f"f{n}", os.O_CREAT | os.O_WRONLY, 0o644)
            os.write(fd, b"x" * 1000)
            os.close(fd)

    with frond.Mount() as m:
        put(m / "first", b"")       # here FLUSH is asked for once
        d = difference(m, make)
        eq(d[CREATE], 100, "CREATE")
        eq(d[FLUSH], 0, "FLUSH")
        eq(d[WRITE] <= 101, True, "WRITE")
        # now and then the clock ticks between a write and its close
        eq(sum(d[:KINDS]) - d[SETATTR] <= 620, True, sum(d[:KINDS]))


@check(plain=False)
def info_tells_the_counters_of_a_mount_point():
    with frond.Mount() as m:
        os.mkdir(m / "d")
        put(m / "f", b"text")
        told = json.loads(run(frond.FRONDFS, "info", "--json", m.path))
        eq((told["requests"]["mkdir"], told["requests"]["create"]), (1, 1))
        eq(told["written_bytes"], 4)
        eq(told["chunks_sealed"] >= 1, True, told["chunks_sealed"])
        below = json.loads(run(frond.FRONDFS, "info", "--json", m / "d"))
        eq("requests" in below, False)


@check(plain=False)
def attributes_that_were_missed_are_found_once_they_are_there():
    with frond.Mount() as m:
        put(m / "f", b"text")
        os.mkdir(m / "d")
        for lap in range(3):
            for path in (m / "f", m / "d"):
                for name in ("user.one", "user.two"):
                    raises(61, os.getxattr, path, name)         # ENODATA
                os.setxattr(path, "user.two", b"2")
                raises(61, os.getxattr, path, "user.one")
                eq(os.getxattr(path, "user.two"), b"2")
                os.setxattr(path, "user.one", b"1" * 3000)
                eq(os.getxattr(path, "user.one"), b"1" * 3000)
                os.removexattr(path, "user.one")
                raises(61, os.getxattr, path, "user.one")
                eq(os.listxattr(path), ["user.two"])
                os.removexattr(path, "user.two")
            if lap == 1:
                m.remount()


if __name__ == "__main__":
    frond.main()
