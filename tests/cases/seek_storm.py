#!/usr/bin/python3
"""Holes are asked for, many times at once, while the kernel holds writes back."""
import errno
import mmap
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import check, eq, put, raises, until

READERS = 40


def ask_again_and_again(path, until):
    fd = os.open(path, os.O_RDWR)
    while time.monotonic() < until:
        os.pwrite(fd, b"x" * 4096, 4096 * (os.getpid() % 64))
        eq(os.lseek(fd, 0, os.SEEK_DATA), 0, "the first data")
        eq(os.lseek(fd, 0, os.SEEK_HOLE), 1 << 20, "the end")
    os.close(fd)


@check(plain=False)
def more_seekers_than_threads_do_not_stop_the_mount():
    with frond.Mount("writeback=on") as m:
        path = m / "f"
        with open(path, "wb") as f:
            f.write(b"y" * (1 << 20))
        until = time.monotonic() + 3
        children = []
        for _ in range(READERS):
            pid = os.fork()
            if pid == 0:
                try:
                    ask_again_and_again(path, until)
                    os._exit(0)
                except BaseException as e:
                    print(e, file=sys.stderr)
                    os._exit(1)
            children.append(pid)
        eq([os.waitpid(pid, 0)[1] for pid in children], [0] * READERS, "all ended well")


def data_and_end(fd, at, size):
    """What was written at "at" is no hole; the file ends at size."""
    data = os.lseek(fd, at - 4096, os.SEEK_DATA)
    assert data <= at, f"data only at {data}, not at {at}"
    assert os.lseek(fd, at, os.SEEK_HOLE) > at, "a hole where there is data"
    assert os.lseek(fd, size - 1, os.SEEK_HOLE) == size, "the end"
    for whence in (os.SEEK_DATA, os.SEEK_HOLE):
        raises(errno.ENXIO, os.lseek, fd, size, whence)


@check(plain=False)
def what_was_just_written_is_data():
    with frond.Mount("writeback=on") as m:
        fd = os.open(m / "f", os.O_CREAT | os.O_RDWR)
        reader = os.open(m / "f", os.O_RDONLY)
        os.ftruncate(fd, 1 << 20)
        for who in (fd, reader):
            os.pwrite(fd, b"z" * 4096, 512 << 10)
            data_and_end(who, 512 << 10, 1 << 20)
        for n, who in enumerate((fd, reader)):
            os.pwrite(fd, b"z" * 4097, (2 + n) << 20)
            data_and_end(who, (2 + n) << 20, ((2 + n) << 20) + 4097)
        os.unlink(m / "f")
        os.pwrite(fd, b"z" * 4097, 5 << 20)
        data_and_end(reader, 5 << 20, (5 << 20) + 4097)
        os.close(fd)
        until(lambda: os.lseek(reader, 4096, os.SEEK_DATA) == 512 << 10, 5,
              "the holes of what was closed")
        eq(os.lseek(reader, 4 << 20, os.SEEK_DATA), 5 << 20)
        os.close(reader)


@check(plain=False)
def a_mapping_that_outlives_its_descriptor_may_still_be_written_to():
    with frond.Mount("writeback=on") as m:
        fd = os.open(m / "f", os.O_CREAT | os.O_RDWR)
        os.ftruncate(fd, 1 << 20)
        with mmap.mmap(fd, 1 << 20) as held:
            os.close(fd)
            reader = os.open(m / "f", os.O_RDONLY)
            held[600000:600005] = b"fresh"
            data_and_end(reader, 600000 // 4096 * 4096, 1 << 20)
        until(lambda: os.lseek(reader, 4096, os.SEEK_DATA) == 600000 // 4096 * 4096,
              5, "the holes of what was unmapped")
        os.close(reader)


@check(plain=False, root=True)
def callers_that_the_daemon_cannot_see_are_answered_right():
    hidden = [frond.tool("unshare"), "--pid", "--fork", "--kill-child=TERM"]
    with frond.Mount("writeback=on", wrapper=hidden) as m:
        fd = os.open(m / "f", os.O_CREAT | os.O_RDWR)
        put(m / "sparse")
        os.truncate(m / "sparse", 1 << 20)
        for n in range(1, 4):
            os.pwrite(fd, b"z" * 4097, n << 20)
            data_and_end(fd, n << 20, (n << 20) + 4097)
        reader = os.open(m / "sparse", os.O_RDONLY)
        eq(os.lseek(reader, 0, os.SEEK_HOLE), 1 << 20, "all of it is data now")
        eq(m.log().count("cannot be looked at"), 1, "said in the log")
        os.close(reader)
        os.close(fd)


frond.main()
