#!/usr/bin/python3
"""kill -9 of the daemon, then mount again: what was fsynced is there.

FROND_KILLS  how often each check does it (a few times unless told; hundreds to be sure)
"""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import blob, check, eq, get, put


def kills(n, least):
    """Numbers of runs, each killed at another instant."""
    return range(int(os.environ.get("FROND_KILLS") or frond.scale(n, least)))


def fsynced(path, data, mode="wb"):
    with open(path, mode) as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())


def sync_dir(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


@check(plain=False)
def fsynced_files_of_every_size_are_there():
    for options in ("writeback=on", "writeback=off"):
        with frond.Mount(options) as m:
            sizes = (0, 1, 4095, 4096, 4097, 100000, 3 << 20)
            os.mkdir(m / "d")
            for n in sizes:
                fsynced(m / f"d/f{n}", blob(n, n))
            fsynced(m / "d/f4097", b"appended", "ab")
            with open(m / "d/f100000", "rb+") as f:
                f.seek(50000)
                f.write(b"in the middle")
                f.truncate(90000)
                f.flush()
                os.fsync(f.fileno())
            os.rename(m / "d/f0", m / "d/renamed")
            sync_dir(m / "d")
            m.kill9()
            m.mount()
            eq(get(m / "d/renamed"), b"")
            eq(get(m / "d/f4097"), blob(4097, 4097) + b"appended")
            want = bytearray(blob(100000, 100000)[:90000])
            want[50000:50013] = b"in the middle"
            eq(get(m / "d/f100000"), bytes(want))
            for n in (1, 4095, 4096, 3 << 20):
                eq(get(m / f"d/f{n}"), blob(n, n))


def record(i):
    return (f"record {i} ".encode() * 100)[:700]


def journalling(m, told):
    """Append records, fsync each, tell the number that is safe."""
    fd = os.open(m / "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
    i = 0
    while True:
        os.write(fd, record(i))
        os.fsync(fd)
        os.write(told, b"%8d" % i)
        i += 1


def scribbling(m, who):
    i = 0
    while True:
        with open(m / f"scribble-{who}-{i % 20}", "wb") as f:
            f.write(blob(i * 997 % 50000, i))
        if i % 7 == 3:
            os.rename(m / f"scribble-{who}-{i % 20}", m / f"moved-{who}-{i % 5}")
        i += 1


def fork(job):
    pid = os.fork()
    if pid == 0:
        try:
            job()
        except OSError:
            pass        # the mount went away, as it should
        finally:
            os._exit(0)
    return pid


@check(plain=False)
def fsynced_records_survive_a_kill_in_the_middle_of_much_writing():
    for run in kills(6, 2):
        with frond.Mount("writeback=on" if run % 2 else "writeback=off") as m:
            put(m / "before", blob(200000))
            os.sync()
            r, w = os.pipe()
            pids = [fork(lambda: journalling(m, w))]
            pids += [fork(lambda k=k: scribbling(m, k)) for k in range(3)]
            os.close(w)
            safe = -1
            end = time.monotonic() + 1 + run % 7 * 0.13
            while time.monotonic() < end:
                safe = int(os.read(r, 8))
            m.proc.kill()
            while part := os.read(r, 8):
                safe = int(part)
            m.drop()
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            os.close(r)
            m.mount()
            eq(get(m / "before"), blob(200000))
            assert safe > 0, "the test wrote nothing"
            fd = os.open(m / "log", os.O_RDONLY)
            for i in range(safe + 1):
                eq(os.pread(fd, 700, i * 700), record(i), f"record {i} of {safe}")
            os.close(fd)
            for name in os.listdir(m.path):
                get(m / name)       # what was in flight is shorter, or older
                os.unlink(m / name)
            put(m / "after", b"life goes on")
            eq(os.listdir(m.path), ["after"])


@check(plain=False)
def directories_are_whole_after_a_kill():
    for run in kills(4, 2):
        with frond.Mount() as m:
            def make():
                i = 0
                while True:
                    os.mkdir(m / f"d{i}")
                    os.mkdir(m / f"d{i}/sub")
                    put(m / f"d{i}/sub/f", b"x")
                    if i % 3 == 2:
                        os.unlink(m / f"d{i - 1}/sub/f")
                        os.rmdir(m / f"d{i - 1}/sub")
                        os.rmdir(m / f"d{i - 1}")
                    if i % 3 == 1:
                        os.rename(m / f"d{i - 1}", m / f"d{i - 1}{'n' * 240}")
                    i += 1
            pid = fork(make)
            time.sleep(0.7 + run % 7 * 0.11)
            m.kill9()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            m.mount()
            seen = 0
            for d, dirs, _ in os.walk(m.path, onerror=_raise):
                seen += len(dirs)
                put(os.path.join(d, "takes files"), b"x")
            assert seen > 3, f"only {seen} directories"
            frond.run("find", m.path, "-mindepth", "1", "-delete")
            eq(os.listdir(m.path), [])


def _raise(e):
    raise e


def asking_for_holes(path, who):
    """Keep the kernel full of what was not written back, and ask."""
    fd = os.open(path, os.O_RDWR)
    while True:
        for i in range(who, 256, 4):
            os.pwrite(fd, b"x" * 4096, i * 65536)
        os.lseek(fd, 0, os.SEEK_DATA)
        os.lseek(fd, 0, os.SEEK_HOLE)


@check(plain=False)
def a_kill_while_holes_are_asked_for_leaves_nobody_waiting():
    for run in kills(12, 5):
        with frond.Mount("writeback=on") as m:
            put(m / "f", b"y")
            pids = [fork(lambda k=k: asking_for_holes(m / "f", k)) for k in range(4)]
            time.sleep(0.3 + run % 13 * 0.037)
            m.proc.kill()
            m.proc.wait(20)     # it cannot end while one of its threads waits
            for pid in pids:
                end = time.monotonic() + 20
                while os.waitpid(pid, os.WNOHANG) == (0, 0):
                    assert time.monotonic() < end, "somebody still waits"
                    time.sleep(0.01)
            m.drop()
            m.mount()
            os.stat(m / "f")


@check(plain=False)
def the_lock_goes_with_the_daemon():
    with frond.Mount() as m:
        put(m / "f", b"x")
        m.kill9()
        m.mount()           # no "already mounted"


frond.main()
