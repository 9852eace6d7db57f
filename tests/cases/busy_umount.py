#!/usr/bin/python3
"""Unmounting what is in use is refused; a lazy one lets the users finish."""
import glob
import mmap
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import blob, check, eq, get, put, run, until


def refused(m):
    p = subprocess.run([frond.FRONDFS, "umount", m.path], stdout=-1, stderr=subprocess.STDOUT,
                       text=True)
    return p.returncode != 0 and len(p.stdout.strip().splitlines()) == 1


@check(plain=False)
def an_open_file_a_mapping_or_a_working_directory_keep_it_mounted():
    with frond.Mount() as m:
        put(m / "f", blob(50000))
        fd = os.open(m / "f", os.O_RDWR)
        assert refused(m), "an open file"
        eq(os.pread(fd, 50000, 0), blob(50000))
        os.write(fd, b"still works")
        a = mmap.mmap(fd, 50000)
        os.close(fd)
        assert refused(m), "a mapping"
        a[100:105] = b"still"
        a.close()
        p = subprocess.Popen(["sleep", "100"], cwd=m.path)
        assert refused(m), "a working directory"
        p.kill()
        p.wait()
        m.remount()
        eq(get(m / "f")[:11] + get(m / "f")[100:105], b"still worksstill")


@check(plain=False)
def a_refusal_in_the_middle_of_work_harms_nothing():
    with frond.Mount() as m:
        p = subprocess.Popen(["dd", "if=/dev/zero", f"of={m / 'zeros'}", "bs=64k",
                              f"count={frond.scale(2000, 300)}"], stderr=subprocess.DEVNULL)
        q = subprocess.Popen(["cp", "-a", "/usr/include/linux", m / "copy"])
        tries = 0
        # cp alone has nothing open for a moment now and then
        with open(m / "held", "wb"):
            while p.poll() is None or q.poll() is None:
                assert refused(m), "two programs at work"
                tries += 1
        eq((p.returncode, q.returncode), (0, 0))
        assert tries > 1, "the test never met the mount in use"
        run("diff", "-r", "/usr/include/linux", m / "copy")
        eq(os.stat(m / "zeros").st_size, frond.scale(2000, 300) * 65536)


@check(plain=False)
def a_lazy_unmount_lets_open_files_finish():
    m = frond.Mount()
    fd = os.open(m / "f", os.O_CREAT | os.O_RDWR, 0o644)
    os.write(fd, blob(100000))
    frond.detach(m.path)
    assert not os.path.exists(m / "f"), "detached"
    eq(os.pread(fd, 100000, 0), blob(100000))
    os.pwrite(fd, b"after", 100000)
    os.fsync(fd)
    assert m.proc.poll() is None, "the daemon serves the open file"
    os.close(fd)
    m.reap()
    with m.mount():
        eq(get(m / "f"), blob(100000) + b"after")


@check(plain=False)
def sigterm_ends_the_daemon_in_good_order():
    for signal in ("terminate", "kill"):
        m = frond.Mount()
        put(m / "f", blob(100000))
        os.sync()
        if signal == "terminate":
            m.proc.terminate()
            m.reap()
            assert not os.path.ismount(m.path)
        else:
            m.kill9()
        with m.mount():
            eq(get(m / "f"), blob(100000))


def processes_of(m):
    """The daemon and what it forked: pid and state."""
    found = {}
    for path in glob.glob("/proc/[0-9]*"):
        try:
            if m.path.encode() in get(f"{path}/cmdline").split(b"\0"):
                stat = get(f"{path}/stat")
                found[os.path.basename(path)] = stat[stat.rindex(b")") + 2:][:1].decode()
        except OSError:
            pass
    return {pid: state for pid, state in found.items() if state != "Z"}


def write_in_order(fd, data):
    for at in range(0, len(data), 1 << 20):
        os.write(fd, data[at:at + (1 << 20)])


def write_every_other_page(fd, data):
    """Each page is a request of its own, so that many wait for their turn."""
    os.ftruncate(fd, len(data))
    for at in range(4096, len(data), 8192):
        os.pwrite(fd, data[at:at + 4096], at)


def write_mapped(fd, data):
    os.ftruncate(fd, len(data))
    with mmap.mmap(fd, 0) as a:
        a[:] = data


@check(plain=False)
def sigterm_while_in_use_loses_nothing_that_was_written_before():
    size = frond.scale(200, 40) << 20
    data = blob(size)
    holes = bytearray(data)
    for at in range(0, size, 8192):
        holes[at:at + 4096] = bytes(4096)
    for write, want in ((write_in_order, data), (write_every_other_page, bytes(holes)),
                        (write_mapped, data)):
        m = frond.Mount("writeback=on")
        fd = os.open(m / "f", os.O_CREAT | os.O_RDWR, 0o200)
        write(fd, data)
        m.proc.terminate()
        m.reap()
        frond.close_dead(fd)
        frond.detach(m.path)
        with m.mount():
            eq(get(m / "f"), want, write.__name__)


@check(plain=False)
def sigkill_after_sigterm_leaves_nothing_stuck_in_the_kernel():
    m = frond.Mount("writeback=on")
    put(m / "safe", blob(100000))
    os.sync()
    caught = 0
    for turn in range(frond.scale(30, 8)):
        fd = os.open(m / "f", os.O_CREAT | os.O_RDWR, 0o644)
        piece = blob(1 << 20, turn)
        for _ in range(64):
            os.write(fd, piece)
        m.proc.terminate()
        time.sleep(turn % 10 * 0.002)
        m.proc.kill()
        caught += m.proc.wait(20) == -9
        until(lambda: not processes_of(m), 20, "the end of all that it forked")
        frond.close_dead(fd)
        m.drop()
        m.mount()
        eq(get(m / "safe"), blob(100000))
    assert caught, "it always ended before it was killed"
    m.umount()


@check(plain=False)
def what_was_written_without_fsync_is_there_after_unmounting():
    for options in ("writeback=on", "writeback=off"):
        with frond.Mount(options) as m:
            for i in range(200):
                put(m / f"f{i}", blob(i * 501, i))
            m.remount()
            for i in range(200):
                eq(get(m / f"f{i}"), blob(i * 501, i))


frond.main()
