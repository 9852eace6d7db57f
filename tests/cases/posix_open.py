#!/usr/bin/python3
"""Every way of opening, reading and writing a file does what open(2) says."""
import errno
import mmap
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import blob, check, eq, get, put, raises


@check
def o_excl_refuses_what_is_there(m):
    os.close(os.open(m / "f", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    raises(errno.EEXIST, os.open, m / "f", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.symlink("nowhere", m / "dangling")
    raises(errno.EEXIST, os.open, m / "dangling", os.O_CREAT | os.O_EXCL | os.O_WRONLY)


@check
def o_trunc_empties_a_file(m):
    # With NO_OPEN_SUPPORT and ATOMIC_O_TRUNC the truncation is lost.
    for i in range(3):
        put(m / "f", blob(10000, i))
        eq(os.stat(m / "f").st_size, 10000)
        os.close(os.open(m / "f", os.O_WRONLY | os.O_TRUNC))
        eq(os.stat(m / "f").st_size, 0)
        eq(get(m / "f"), b"")
    put(m / "f", b"short")
    eq(get(m / "f"), b"short")


@check
def o_append_writes_at_the_end_whatever_the_offset(m):
    put(m / "f", b"begin")
    a = os.open(m / "f", os.O_WRONLY | os.O_APPEND)
    b = os.open(m / "f", os.O_RDWR)
    os.lseek(a, 0, os.SEEK_SET)
    os.write(a, b"-one")
    os.pwrite(b, b"BEGIN", 0)
    os.write(a, b"-two")
    os.close(a)
    os.close(b)
    eq(get(m / "f"), b"BEGIN-one-two")


@check
def o_direct_reads_and_writes(m):
    data = blob(1 << 20)
    fd = os.open(m / "f", os.O_CREAT | os.O_RDWR | os.O_DIRECT, 0o644)
    page = mmap.mmap(-1, len(data))
    page.write(data)
    eq(os.writev(fd, [page]), len(data))
    eq(get(m / "f"), data, "what was written around the cache")
    with open(m / "f", "r+b") as f:
        f.seek(4096)
        f.write(b"x" * 4096)
    back = mmap.mmap(-1, len(data))
    eq(os.preadv(fd, [back], 0), len(data))
    os.close(fd)
    eq(back[:], data[:4096] + b"x" * 4096 + data[8192:], "what was read around it")


@check(plain=False)     # others want whole sectors
def o_direct_takes_any_place_and_agrees_with_the_cache(m):
    rng, want = random.Random(1), bytearray()
    put(m / "f")
    direct, cached = (os.open(m / "f", os.O_RDWR | flag) for flag in (os.O_DIRECT, 0))
    buf = mmap.mmap(-1, 1 << 16)
    for i in range(300):
        at = rng.choice((rng.randrange(200_000), rng.randrange(50) * 4096))
        part = memoryview(buf)[rng.choice((0, 0, 1, 512)):][:rng.randrange(1, 30_000)]
        how = rng.choice(("direct", "cached", "mapped", "cut", "read"))
        end = at + len(part)
        if how == "cut":
            os.ftruncate(direct, at)
            want = want[:at].ljust(at, b"\0")
        elif how == "read":
            got = os.preadv(direct, [part], at)
            eq(bytes(part[:got]), bytes(want[at:end]), f"reading around the cache, {i}")
            eq(os.pread(cached, len(part), at), bytes(want[at:end]), f"reading, {i}")
        elif how != "mapped" or end <= len(want):
            part[:] = data = rng.randbytes(len(part))
            if how == "direct":
                eq(os.pwritev(direct, [part], at), len(part))
            elif how == "cached":
                eq(os.pwrite(cached, data, at), len(part))
            else:
                with mmap.mmap(cached, len(want)) as mapped:
                    mapped[at:end] = data
            want = want.ljust(at, b"\0")
            want[at:end] = data
        part.release()
    os.close(direct)
    os.close(cached)
    eq(get(m / "f"), bytes(want))


@check
def reads_end_at_the_end(m):
    put(m / "f", blob(5000))
    fd = os.open(m / "f", os.O_RDONLY)
    eq(len(os.pread(fd, 10000, 0)), 5000)
    eq(len(os.pread(fd, 10000, 4999)), 1)
    eq(os.pread(fd, 10, 5000), b"")
    eq(os.pread(fd, 10, 1 << 40), b"")
    os.close(fd)


@check
def sizes_around_every_edge_come_back(m):
    edges = {0, 1, 15, 16, 17, 4015, 4016, 4095, 4096, 4097, 8191, 8192, 8193,
             65536, 131071, 131072, 131073, 1 << 20}
    for n in edges:
        put(m / str(n), blob(n, n))
    for n in edges:
        eq(os.stat(m / str(n)).st_size, n, "size")
    for n in edges:
        eq(get(m / str(n)), blob(n, n), f"{n} bytes")


@check
def modes_and_kinds_are_refused_as_they_should(m):
    put(m / "f", b"x")
    r = os.open(m / "f", os.O_RDONLY)
    w = os.open(m / "f", os.O_WRONLY)
    raises(errno.EBADF, os.write, r, b"x")
    raises(errno.EBADF, os.read, w, 1)
    os.close(r)
    os.close(w)
    raises(errno.EISDIR, os.open, m / ".", os.O_WRONLY)
    raises(errno.ENOTDIR, os.open, m / "f", os.O_RDONLY | os.O_DIRECTORY)
    raises(errno.ENOTDIR, os.stat, m / "f/g")
    raises(errno.ENOENT, os.open, m / "none", os.O_RDWR)
    os.symlink("f", m / "l")
    raises(errno.ELOOP, os.open, m / "l", os.O_RDONLY | os.O_NOFOLLOW)


@check
def a_file_of_mode_0_stays_usable_through_its_descriptor(m):
    for mode in (0o200, 0):
        name = m / f"f{mode}"
        fd = os.open(name, os.O_CREAT | os.O_RDWR, mode)
        os.write(fd, blob(9000))
        os.fsync(fd)
        eq(os.pread(fd, 9000, 0), blob(9000), f"mode {mode:o}")
        os.ftruncate(fd, 5000)
        os.pwrite(fd, b"tail", 5000)
        os.close(fd)
        eq(os.stat(name).st_size, 5004)
        eq(os.stat(name).st_mode & 0o777, mode)
        os.chmod(name, 0o600)
        eq(get(name), blob(9000)[:5000] + b"tail")


@check
def a_file_made_read_only_takes_what_its_writer_writes(m):
    # git and tar create files of mode 0444 and write them then.
    fd = os.open(m / "f", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o444)
    os.write(fd, blob(70000))
    os.fchmod(fd, 0o400)
    os.pwrite(fd, b"more", 70000)
    os.close(fd)
    eq(get(m / "f"), blob(70000) + b"more")


@check
def mmap_shared_writes_reach_the_file(m):
    put(m / "f", blob(100000))
    want = bytearray(blob(100000))
    fd = os.open(m / "f", os.O_RDWR)
    with mmap.mmap(fd, 100000) as a:
        for at in (0, 4095, 4096, 50000, 99990):
            a[at:at + 10] = want[at:at + 10] = b"0123456789"
        # A write(2) shows in the mapping, the mapping in a read(2).
        os.pwrite(fd, b"written", 60000)
        want[60000:60007] = b"written"
        eq(a[60000:60007], b"written")
        eq(os.pread(fd, 10, 4096), bytes(want[4096:4106]))
        a.flush()
    os.close(fd)
    eq(get(m / "f"), bytes(want))


@check
def mmap_is_shared_between_processes(m):
    put(m / "f", bytes(8192))
    fd = os.open(m / "f", os.O_RDWR)
    a = mmap.mmap(fd, 8192)

    def other():
        g = os.open(m / "f", os.O_RDWR)
        with mmap.mmap(g, 8192) as b:
            b[5000:5005] = b"hello"
    frond.in_child(other)
    eq(a[5000:5005], b"hello")
    a.close()
    os.close(fd)


@check(plain=False)
def mmap_writes_survive_a_remount():
    with frond.Mount() as m:
        put(m / "f", bytes(50000))
        fd = os.open(m / "f", os.O_RDWR)
        a = mmap.mmap(fd, 50000)
        os.close(fd)
        a[:] = blob(50000)
        a.close()           # neither msync nor fsync
        m.remount()
        eq(get(m / "f"), blob(50000))


@check
def a_mapped_program_runs(m):
    with open("/bin/true", "rb") as src:
        put(m / "true", src.read())
    os.chmod(m / "true", 0o755)
    frond.run(m / "true")


frond.main()
