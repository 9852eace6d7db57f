#!/usr/bin/python3
"""What a sequential reader meets: the kernel's readahead, and its pieces."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import blob, check, eq, get, put


def readahead_of(m):
    dev = os.stat(m.path).st_dev
    return f"/sys/class/bdi/{os.major(dev)}:{os.minor(dev)}/read_ahead_kb"


def kib(m):
    with open(readahead_of(m)) as f:
        return int(f.read())


@check(plain=False, root=True)
def root_reads_a_mebibyte_ahead():
    with frond.Mount() as m:
        eq(kib(m), 1024)


@check(plain=False)
def pieces_of_any_size_make_the_same_file():
    data = blob(3 * 1024 * 1024 + 12345, 5)
    with frond.Mount() as m:
        put(m / "f", data)
        m.umount()
        for options in ("", "max_read=4096", "max_read=65536",
                        "max_read=1048576", "shared,max_read=131072"):
            m.remount(options)
            eq(get(m / "f") == data, True, options)


if __name__ == "__main__":
    frond.main()
