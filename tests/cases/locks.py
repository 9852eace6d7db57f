#!/usr/bin/python3
"""flock and fcntl locks, between processes, and what happens on their death."""
import errno
import fcntl
import os
import signal
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import check, eq, in_child, put, raises

OFD_SETLK, OFD_SETLKW = 37, 38
BUSY = (errno.EAGAIN, errno.EACCES)


def lock(fd, kind, start=0, length=0, cmd=fcntl.F_SETLK):
    return fcntl.fcntl(fd, cmd, struct.pack("hhqqi", kind, os.SEEK_SET, start, length, 0))


def holder(path, take):
    """A process that takes a lock and keeps it; end it to see what happens."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            fd = os.open(path, os.O_RDWR)
            take(fd)
            os.write(w, b"!")
            signal.pause()
        finally:
            os._exit(1)
    os.close(w)
    eq(os.read(r, 1), b"!", "the other process has its lock")
    os.close(r)
    return pid


def end(pid, how=signal.SIGKILL):
    os.kill(pid, how)
    os.waitpid(pid, 0)


def try_lock(path, *args, **kw):
    """Try from a process of its own."""
    def go():
        fd = os.open(path, os.O_RDWR)
        lock(fd, *args, **kw)
    return in_child(go)


def _conflicts(m, tells_pid=False):
    put(m / "f", bytes(100))
    fd = os.open(m / "f", os.O_RDWR)
    lock(fd, fcntl.F_WRLCK, 10, 10)
    raises(BUSY, try_lock, m / "f", fcntl.F_RDLCK, 19, 1)
    raises(BUSY, try_lock, m / "f", fcntl.F_WRLCK, 0, 0)
    try_lock(m / "f", fcntl.F_WRLCK, 20, 10)
    try_lock(m / "f", fcntl.F_WRLCK, 0, 10)
    lock(fd, fcntl.F_RDLCK, 10, 10)
    try_lock(m / "f", fcntl.F_RDLCK, 10, 10)
    raises(BUSY, try_lock, m / "f", fcntl.F_WRLCK, 10, 10)
    lock(fd, fcntl.F_UNLCK, 12, 3)      # splits it
    try_lock(m / "f", fcntl.F_WRLCK, 12, 3)
    raises(BUSY, try_lock, m / "f", fcntl.F_WRLCK, 15, 1)
    pid = in_child(lambda: struct.unpack("hhqqi", lock(
        os.open(m / "f", os.O_RDWR), fcntl.F_WRLCK, 0, 0, fcntl.F_GETLK))[4])
    if tells_pid:
        eq(pid, os.getpid(), "who has it")
    os.close(fd)
    try_lock(m / "f", fcntl.F_WRLCK)


@check
def fcntl_locks_exclude_by_range(m):
    _conflicts(m, tells_pid=True)


@check
def an_fcntl_lock_dies_with_its_owner(m):
    # FLUSH answered ENOSYS would keep it for ever where handlers exist.
    put(m / "f", b"x")
    for how in (signal.SIGKILL, signal.SIGTERM):
        pid = holder(m / "f", lambda fd: lock(fd, fcntl.F_WRLCK))
        raises(BUSY, try_lock, m / "f", fcntl.F_WRLCK)
        end(pid, how)
        frond.until(lambda: not _refused(m / "f"), 3, "the lock gone")


def _refused(path):
    try:
        try_lock(path, fcntl.F_WRLCK)
        return False
    except OSError:
        return True


@check
def closing_any_descriptor_drops_posix_locks(m):
    put(m / "f", b"x")
    fd = os.open(m / "f", os.O_RDWR)
    lock(fd, fcntl.F_WRLCK)
    os.close(os.open(m / "f", os.O_RDONLY))
    try_lock(m / "f", fcntl.F_WRLCK)
    os.close(fd)


@check
def waiting_for_a_lock_ends_when_it_is_free(m):
    put(m / "f", b"x")
    pid = holder(m / "f", lambda fd: (lock(fd, fcntl.F_WRLCK), signal.setitimer(
        signal.ITIMER_REAL, 0.4)))
    start = time.monotonic()
    try_lock(m / "f", fcntl.F_WRLCK, cmd=fcntl.F_SETLKW)
    waited = time.monotonic() - start
    os.waitpid(pid, 0)
    assert 0.1 < waited < 10, waited


@check
def a_deadlock_is_noticed_or_a_wait_can_be_interrupted(m):
    put(m / "f", b"x")
    pid = holder(m / "f", lambda fd: lock(fd, fcntl.F_WRLCK))

    def go():
        class Rang(Exception):
            pass

        def ring(*_):
            raise Rang
        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        try:
            lock(os.open(m / "f", os.O_RDWR), fcntl.F_WRLCK, cmd=fcntl.F_SETLKW)
        except Rang:
            return "interrupted"
    eq(in_child(go), "interrupted")
    end(pid)
    try_lock(m / "f", fcntl.F_WRLCK)


@check
def open_file_description_locks(m):
    put(m / "f", b"x")
    a, b = (os.open(m / "f", os.O_RDWR) for _ in "ab")
    lock(a, fcntl.F_WRLCK, 0, 10, OFD_SETLK)
    raises(BUSY, lock, b, fcntl.F_WRLCK, 5, 10, OFD_SETLK)
    lock(b, fcntl.F_WRLCK, 10, 10, OFD_SETLK)
    os.close(a)
    lock(b, fcntl.F_WRLCK, 0, 10, OFD_SETLK)
    os.close(b)


@check
def flock_shares_and_excludes(m):
    put(m / "f", b"x")
    a, b = (os.open(m / "f", os.O_RDWR) for _ in "ab")
    now = fcntl.LOCK_NB
    fcntl.flock(a, fcntl.LOCK_SH | now)
    fcntl.flock(b, fcntl.LOCK_SH | now)
    raises(errno.EWOULDBLOCK, fcntl.flock, b, fcntl.LOCK_EX | now)
    fcntl.flock(a, fcntl.LOCK_UN)
    fcntl.flock(b, fcntl.LOCK_EX | now)
    raises(errno.EWOULDBLOCK, fcntl.flock, a, fcntl.LOCK_SH | now)
    os.close(b)
    fcntl.flock(a, fcntl.LOCK_EX | now)
    os.close(a)


@check
def a_flock_dies_with_its_owner(m):
    put(m / "f", b"x")
    pid = holder(m / "f", lambda fd: fcntl.flock(fd, fcntl.LOCK_EX))
    fd = os.open(m / "f", os.O_RDWR)
    raises(errno.EWOULDBLOCK, fcntl.flock, fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    end(pid)
    fcntl.flock(fd, fcntl.LOCK_EX)
    os.close(fd)


@check
def counting_under_a_lock_loses_nothing(m):
    put(m / "n", b"0")
    rounds = frond.scale(200, 20)

    def count(take):
        for _ in range(rounds):
            fd = os.open(m / "n", os.O_RDWR)
            take(fd)
            n = int(os.pread(fd, 100, 0))
            os.pwrite(fd, b"%d" % (n + 1), 0)
            os.close(fd)
    for take in (lambda fd: fcntl.flock(fd, fcntl.LOCK_EX),
                 lambda fd: lock(fd, fcntl.F_WRLCK, cmd=fcntl.F_SETLKW)):
        put(m / "n", b"0")
        pids = []
        for _ in range(4):
            pid = os.fork()
            if pid == 0:
                try:
                    count(take)
                    os._exit(0)
                finally:
                    os._exit(1)
            pids.append(pid)
        for pid in pids:
            eq(os.waitpid(pid, 0)[1], 0)
        eq(int(frond.get(m / "n")), 4 * rounds)


@check(plain=False)
def the_same_holds_under_shared():
    with frond.Mount("shared") as m:
        for fn in (_conflicts, an_fcntl_lock_dies_with_its_owner, flock_shares_and_excludes,
                   a_flock_dies_with_its_owner, closing_any_descriptor_drops_posix_locks,
                   open_file_description_locks, counting_under_a_lock_loses_nothing):
            m.sub = fn.__name__
            os.mkdir(os.path.join(m.path, m.sub))
            fn(m)


frond.main()
