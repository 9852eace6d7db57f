#!/usr/bin/python3
"""Many readers that ask for holes at once, while the kernel holds writes back."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import check, eq

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


@check(plain=False)
def what_was_just_written_is_data():
    with frond.Mount("writeback=on") as m:
        fd = os.open(m / "f", os.O_CREAT | os.O_RDWR)
        os.ftruncate(fd, 1 << 20)
        os.pwrite(fd, b"z" * 4096, 512 << 10)
        eq(os.lseek(fd, 4096, os.SEEK_DATA), 512 << 10)
        os.pwrite(fd, b"z" * 4096, 2 << 20)
        eq(os.lseek(fd, (1 << 20) + 4096, os.SEEK_DATA), 2 << 20, "beyond the old end")
        os.close(fd)


frond.main()
