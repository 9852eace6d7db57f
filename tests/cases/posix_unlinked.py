#!/usr/bin/python3
"""Files that are unlinked or renamed over while open live until closed."""
import concurrent.futures
import glob
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import blob, check, eq, get, put, until


@check
def an_unlinked_file_keeps_its_content(m):
    fd = os.open(m / "f", os.O_CREAT | os.O_RDWR, 0o644)
    os.write(fd, blob(100000))
    os.unlink(m / "f")
    eq(os.fstat(fd).st_nlink, 0)
    eq(os.pread(fd, 100000, 0), blob(100000))
    os.pwrite(fd, b"later", 200000)
    os.ftruncate(fd, 200003)
    os.fsync(fd)
    os.fchmod(fd, 0o400)
    os.utime(fd, ns=(1, 2))
    eq((os.fstat(fd).st_size, os.fstat(fd).st_mtime_ns), (200003, 2))
    eq(os.pread(fd, 10, 199999), b"\0lat")
    os.close(fd)


@check
def a_new_file_of_the_same_name_is_another(m):
    fd = os.open(m / "f", os.O_CREAT | os.O_RDWR, 0o644)
    os.write(fd, b"old")
    os.unlink(m / "f")
    put(m / "f", b"new")
    os.pwrite(fd, b"OLD", 0)
    eq((os.pread(fd, 9, 0), get(m / "f")), (b"OLD", b"new"))
    os.close(fd)


@check
def a_file_renamed_over_keeps_its_content(m):
    put(m / "a", b"a" * 9000)
    put(m / "b", b"b" * 9000)
    b = os.open(m / "b", os.O_RDWR)
    os.rename(m / "a", m / "b")
    eq((os.pread(b, 9000, 0), get(m / "b")), (b"b" * 9000, b"a" * 9000))
    os.pwrite(b, b"still", 9000)
    eq(os.fstat(b).st_size, 9005)
    os.close(b)
    eq(get(m / "b"), b"a" * 9000)


@check
def a_renamed_file_keeps_its_descriptor(m):
    fd = os.open(m / "f", os.O_CREAT | os.O_RDWR, 0o644)
    os.write(fd, b"one")
    os.mkdir(m / "d")
    os.rename(m / "f", m / "d/g")
    os.write(fd, b"two")
    os.rename(m / "d", m / "e")
    os.write(fd, b"three")
    os.close(fd)
    eq(get(m / "e/g"), b"onetwothree")


@check
def an_unlinked_one_of_two_links_leaves_the_other(m):
    fd = os.open(m / "a", os.O_CREAT | os.O_RDWR, 0o644)
    os.link(m / "a", m / "b")
    os.unlink(m / "a")
    os.write(fd, b"through the descriptor")
    eq((os.fstat(fd).st_nlink, get(m / "b")), (1, b"through the descriptor"))
    os.close(fd)


def close_and_remove(m, k, until_s):
    """The kernel tells of a close when it has long returned."""
    f, g = m / f"f{k}", m / f"g{k}"
    while time.monotonic() < until_s:
        fd = os.open(f, os.O_CREAT | os.O_RDWR, 0o644)
        os.link(f, g)
        os.close(fd)
        os.unlink(f)
        os.close(os.open(g, os.O_RDWR))
        os.unlink(g)


@check(plain=False)
def a_name_can_go_while_its_file_is_being_closed(m):
    end = time.monotonic() + frond.scale(8, 4)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        for job in [pool.submit(frond.in_child, lambda k=k: close_and_remove(m, k, end))
                    for k in range(6)]:
            job.result()
    orphans = os.path.join(m.vault, ".frondfs/orphans")
    until(lambda: not os.listdir(orphans), what="closed files' orphans gone")


@check
def links_are_counted_right_while_others_look(m):
    """getattr in the middle of link and unlink may not mislead the last one."""
    looker = os.fork()
    if looker == 0:
        while os.getppid() > 1:
            try:
                os.stat(m / "f")
            except FileNotFoundError:
                pass
            except OSError:
                os._exit(0)
        os._exit(0)
    try:
        for n in range(frond.scale(2000, 500)):
            fd = os.open(m / "f", os.O_CREAT | os.O_RDWR, 0o644)
            os.write(fd, b"hello")
            os.link(m / "f", m / "g")
            first, last = ("f", "g") if n % 2 else ("g", "f")
            os.unlink(m / first)
            eq((os.stat(m / last).st_ino, get(m / last)),
               (os.fstat(fd).st_ino, b"hello"))
            os.pwrite(fd, b"HELLO", 0)
            eq(get(m / last), b"HELLO")
            os.close(fd)
            os.unlink(m / last)
    finally:
        os.kill(looker, 9)
        os.waitpid(looker, 0)


@check
def a_descriptor_reopened_through_proc(m):
    fd = os.open(m / "f", os.O_CREAT | os.O_WRONLY, 0o644)
    os.write(fd, blob(9000))
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
    eq(os.pread(again, 9000, 0), blob(9000))
    os.unlink(m / "f")
    eq(os.pread(again, 9000, 0), blob(9000))
    os.close(fd)
    os.close(again)


@check
def a_temporary_file_without_a_name_works_or_is_refused(m):
    # O_TMPFILE: programs fall back when it is refused.
    import tempfile
    with tempfile.TemporaryFile(dir=m / ".") as f:
        f.write(blob(50000))
        f.seek(0)
        eq(f.read(), blob(50000))
    eq(os.listdir(m / "."), [])


@check(plain=False)
def more_unlinked_files_than_descriptors():
    n = frond.may_open(3000)
    with frond.Mount(nofile=1024) as m:
        fds = []
        for i in range(n):
            fd = os.open(m / f"f{i}", os.O_CREAT | os.O_RDWR, 0o600)
            os.write(fd, b"%d" % i * 1000)
            fds.append(fd)
        held = len(os.listdir(f"/proc/{m.pid}/fd"))
        assert held < 1024, f"{held} descriptors"
        for i in range(n):
            os.unlink(m / f"f{i}")
        eq(os.listdir(m.path), [])
        for i in reversed(range(n)):
            eq(os.pread(fds[i], 10000, 0), b"%d" % i * 1000, f"file {i}")
            os.pwrite(fds[i], b"again", 2)
        for i in range(0, n, 7):
            eq(os.pread(fds[i], 7, 0)[2:], b"again", f"file {i}")
        for fd in fds:
            os.close(fd)

        def gone():
            return not glob.glob(os.path.join(glob.escape(m.vault), ".frondfs/orphans/*"))
        until(gone, 10, "orphans deleted")


@check(plain=False)
def a_crash_leaves_no_orphan_after_the_next_mount():
    with frond.Mount() as m:
        fds = [os.open(m / f"f{i}", os.O_CREAT | os.O_RDWR) for i in range(50)]
        for i, fd in enumerate(fds):
            os.write(fd, blob(5000))
            os.unlink(m / f"f{i}")
        m.kill9()
        for fd in fds:
            try:
                os.close(fd)
            except OSError:
                pass        # nobody is there to be told
        m.mount()
        eq(os.listdir(m.path), [])
        eq(glob.glob(os.path.join(glob.escape(m.vault), ".frondfs/orphans/*")), [])


frond.main()
