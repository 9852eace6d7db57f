#!/usr/bin/python3
"""Many processes on one file: parts in parallel, no torn chunk, no lost record."""
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import blob, check, eq, get, put


def children(jobs):
    pids = []
    for job in jobs:
        pid = os.fork()
        if pid == 0:
            try:
                job()
                os._exit(0)
            except BaseException as e:
                print(f"child: {e!r}", flush=True)
            finally:
                os._exit(1)
        pids.append(pid)
    eq([os.waitpid(p, 0)[1] for p in pids], [0] * len(pids), "children")


def both_ways(fn):
    """The same with the writeback cache and without."""
    def run_it():
        for options in ("writeback=on", "writeback=off"):
            with frond.Mount(options) as m:
                fn(m)
    run_it.__name__ = fn.__name__
    return check(run_it)


@both_ways
def different_parts_in_parallel_make_one_file(m):
    part, n = 5003, frond.scale(400, 80)

    def write(first):
        def job():
            fd = os.open(m / "f", os.O_CREAT | os.O_WRONLY, 0o644)
            order = list(range(first, n, 8))
            random.Random(first).shuffle(order)
            for i in order:
                os.pwrite(fd, blob(part, i), i * part)
                if i % 40 == 0:
                    os.fsync(fd)
            os.close(fd)
        return job
    children([write(i) for i in range(8)])
    m.remount()
    eq(get(m / "f"), b"".join(blob(part, i) for i in range(n)))


@both_ways
def overlapping_writes_never_tear_a_chunk(m):
    rounds = frond.scale(300, 40)
    put(m / "f", bytes(4 * 4096))

    def write(who):
        def job():
            fd = os.open(m / "f", os.O_RDWR)
            for i in range(rounds):
                os.pwrite(fd, bytes([who]) * 4096, i % 4 * 4096)
            os.close(fd)
        return job

    def read():
        fd = os.open(m / "f", os.O_RDONLY | os.O_DIRECT)
        import mmap
        page = mmap.mmap(-1, 4096)
        for i in range(rounds):
            eq(os.preadv(fd, [page], i % 4 * 4096), 4096)
            eq(len(set(page[:])), 1, "writers within one chunk")
        os.close(fd)
    children([write(1), write(2), write(3), write(4), read, read])
    m.remount()
    data = get(m / "f")
    for i in range(4):
        eq(len(set(data[i * 4096:(i + 1) * 4096])), 1, f"writers in chunk {i}")


@both_ways
def small_writes_into_one_chunk_keep_each_other(m):
    # Every byte is somebody's own: read-modify-write must not lose one.
    put(m / "f", bytes(3 * 4096))

    def write(who):
        def job():
            fd = os.open(m / "f", os.O_WRONLY)
            for at in range(who, 3 * 4096, 8):
                os.pwrite(fd, bytes([who + 1]), at)
            os.close(fd)
        return job
    children([write(i) for i in range(8)])
    m.remount()
    eq(get(m / "f"), bytes([1, 2, 3, 4, 5, 6, 7, 8]) * (3 * 512))


@both_ways
def eight_appenders_lose_no_record(m):
    n = frond.scale(400, 60)
    put(m / "log")

    def append(who):
        def job():
            fd = os.open(m / "log", os.O_WRONLY | os.O_APPEND)
            for i in range(n):
                line = f"{who} {i} {'x' * ((i * 37 + who) % 300)}\n".encode()
                eq(os.write(fd, line), len(line))
            os.close(fd)
        return job
    children([append(i) for i in range(8)])
    m.remount()
    records = [line.split() for line in get(m / "log").decode().splitlines()]
    eq(len(records), 8 * n)
    for who in range(8):
        mine = [r for r in records if int(r[0]) == who]
        eq([int(r[1]) for r in mine], list(range(n)), f"appender {who}")
        for r in mine:
            eq(len(r[2]) if len(r) > 2 else 0, (int(r[1]) * 37 + who) % 300)


@both_ways
def growing_and_cutting_at_once_leaves_a_sound_file(m):
    end = time.monotonic() + frond.scale(3, 1)
    put(m / "f")

    def grow():
        fd = os.open(m / "f", os.O_RDWR)
        i = 0
        while time.monotonic() < end:
            os.pwrite(fd, b"\xaa" * 3000, i * 2500 % 100000)
            i += 1

    def cut():
        fd = os.open(m / "f", os.O_RDWR)
        rng = random.Random(5)
        while time.monotonic() < end:
            os.ftruncate(fd, rng.randrange(100000))

    def read():
        fd = os.open(m / "f", os.O_RDONLY)
        while time.monotonic() < end:
            assert set(os.pread(fd, 200000, 0)) <= {0, 0xaa}
    children([grow, grow, cut, read])
    m.remount()
    data = get(m / "f")
    eq(len(data), os.stat(m / "f").st_size)
    assert set(data) <= {0, 0xaa}


@both_ways
def creators_in_one_directory_do_not_collide(m):
    n = frond.scale(300, 50)

    def make(who):
        def job():
            for i in range(n):
                put(m / f"{who}-{i}", b"%d" % i)
                if i % 3 == 0:
                    os.rename(m / f"{who}-{i}", m / f"{who}-{i}-moved")
                if i % 5 == 0:
                    os.mkdir(m / f"{who}-dir-{i}")
                if i % 7 == 1 and i % 3:
                    os.unlink(m / f"{who}-{i}")
        return job
    children([make(i) for i in range(6)])
    want = set()
    for who in range(6):
        for i in range(n):
            if i % 3 == 0:
                want.add(f"{who}-{i}-moved")
            elif i % 7 != 1:
                want.add(f"{who}-{i}")
            if i % 5 == 0:
                want.add(f"{who}-dir-{i}")
    eq(set(os.listdir(m.path)), want)
    m.remount()
    eq(set(os.listdir(m.path)), want)


@both_ways
def everybody_creates_the_same_name_and_one_wins(m):
    for i in range(frond.scale(60, 10)):
        def make(who, i=i):
            def job():
                try:
                    fd = os.open(m / f"f{i}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
                    os.write(fd, b"%d" % who)
                    os.close(fd)
                except FileExistsError:
                    pass
            return job
        children([make(w) for w in range(4)])
        assert get(m / f"f{i}") in (b"0", b"1", b"2", b"3")


frond.main()
