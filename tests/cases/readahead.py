#!/usr/bin/python3
"""What a sequential reader meets: the kernel's readahead, and its pieces."""
import mmap
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import blob, check, eq, get, put, scale


def readahead_of(m):
    dev = os.stat(m.path).st_dev
    return f"/sys/class/bdi/{os.major(dev)}:{os.minor(dev)}/read_ahead_kb"


def kib(m):
    with open(readahead_of(m)) as f:
        return int(f.read())


@check(plain=False, root=True)
def root_reads_a_mebibyte_ahead():
    # Now and then, while other mounts come and go, the kernel keeps its own.
    seen = []
    while 1024 not in seen and len(seen) < 3:
        with frond.Mount() as m:
            seen.append(kib(m))
    assert 1024 in seen, seen


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


@check(plain=False)
def what_was_read_ahead_is_forgotten_when_it_is_written():
    # Each piece is a request of its own (O_DIRECT), and while it is compared
    # the next ones are being read ahead: what is written there must be seen.
    piece, count = 128 << 10, 64
    with frond.Mount() as m:
        want = [blob(piece, 1000 + k) for k in range(count)]
        put(m / "f", b"".join(want))
        reader = os.open(m / "f", os.O_RDONLY | os.O_DIRECT)
        writer = os.open(m / "f", os.O_RDWR)
        buffer = mmap.mmap(-1, piece)
        for lap in range(scale(10, 2)):
            for k in range(count):
                os.preadv(reader, [buffer], k * piece)
                eq(buffer[:] == want[k], True, f"lap {lap}, piece {k}")
                ahead = k + 1 + (k + lap) % 4
                if k % 3 == 0 and ahead < count:
                    time.sleep(0.002)
                    want[ahead] = blob(piece, lap * count + k)
                    os.pwrite(writer, want[ahead], ahead * piece)
        os.close(writer)
        os.close(reader)


@check(plain=False)
def a_reader_in_order_stops_at_a_cut_and_goes_on_behind_it():
    piece = 128 << 10
    data = blob(32 * piece, 3)
    with frond.Mount("max_read=131072") as m:
        for cut in (5, 9, 17):
            put(m / "f", data)
            m.remount()
            with open(m / "f", "rb", buffering=0) as f:
                eq(f.read(4 * piece) == data[:4 * piece], True, "before")
                os.truncate(m / "f", cut * piece + 7)
                rest = b"".join(iter(lambda: f.read(piece), b""))
                eq(rest == data[4 * piece:cut * piece + 7], True, "up to the cut")
                with open(m / "f", "ab") as more:
                    more.write(data[:3 * piece])
                rest = b"".join(iter(lambda: f.read(piece), b""))
                eq(rest == data[:3 * piece], True, "behind the cut")


@check(plain=False)
def many_readers_in_order_meet_neither_one_another_nor_a_seek():
    piece = 128 << 10
    with frond.Mount("max_read=131072") as m:
        data = [blob(3 * (1 << 20) + 1000 * n, n) for n in range(24)]
        for n, text in enumerate(data):
            put(m / f"f{n}", text)
        m.remount()
        fds = [os.open(m / f"f{n}", os.O_RDONLY) for n in range(24)]
        for at in range(0, 3 << 20, piece):
            for n, fd in enumerate(fds):
                k = (at + n * piece) % (3 << 20) if n % 5 == 4 else at
                eq(os.pread(fd, piece, k) == data[n][k:k + piece], True, (n, k))
        for fd in fds:
            os.close(fd)


if __name__ == "__main__":
    frond.main()
