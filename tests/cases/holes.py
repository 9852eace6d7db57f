#!/usr/bin/python3
"""In files that have holes, each chunk that somebody zeroes is noticed: read, by
frondfs check, and by recover.py.

FROND_SEED  runs the same again
"""
import errno
import os
import random
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import ROOT, check, eq, passfile, put, run
from vaultcheck import findings

CHUNK, SLOT, START = 4096, 4169, 176
CHUNKS = 14


def verify(vault):
    """What recover.py says of it."""
    p = subprocess.run(["/usr/bin/python3", os.path.join(ROOT, "contrib/recover.py"), "verify",
                        "--passfile", passfile(), vault], capture_output=True, text=True,
                       timeout=300, check=False)
    return [line for line in p.stderr.splitlines() if "zeroed" in line or "verify" in line], \
        p.returncode


def punch(path, at, length):
    run("fallocate", "-p", "-o", str(at), "-l", str(length), path)


def write(path, at, data):
    with open(path, "rb+", buffering=0) as f:
        f.seek(at)
        f.write(data)


class File:
    """One that is changed, and what it must hold."""

    def __init__(self, path):
        self.path, self.want = path, b""
        put(path)

    def write(self, at, data):
        write(self.path, at, data)
        self.want = self.want[:at].ljust(at, b"\0") + data + self.want[at + len(data):]

    def punch(self, at, length):
        punch(self.path, at, length)
        length = max(0, min(length, len(self.want) - at))
        self.want = self.want[:at] + bytes(length) + self.want[at + length:]

    def truncate(self, size):
        os.truncate(self.path, size)
        self.want = self.want[:size].ljust(size, b"\0")

    def random(self, rng):
        at, length = rng.randrange(CHUNKS * CHUNK), rng.randrange(1, 5 * CHUNK)
        if rng.randrange(2):
            at -= at % CHUNK
            length += -length % CHUNK
        length = max(1, min(length, CHUNKS * CHUNK - at))
        what = rng.randrange(6)
        if what < 2:
            self.punch(at, length)
        elif what == 2:
            self.truncate(at)
        else:
            self.write(at, rng.randbytes(length).replace(b"\0", b"x"))


def sparse(f):
    """As cp --sparse and truncate make them: an island, and a hole at the end."""
    f.truncate(3 * CHUNK)
    f.write(5 * CHUNK, b"island" * 1000)
    f.truncate(CHUNKS * CHUNK)
    f.write(11 * CHUNK, b"x" * CHUNK)


def punched(f):
    f.write(0, b"data" * (CHUNKS * 1024))
    f.punch(0, 2 * CHUNK)           # the first chunk becomes one of zeros
    f.punch(4 * CHUNK, 3 * CHUNK)
    f.punch(7 * CHUNK, CHUNK)       # a hole becomes larger
    f.punch(9 * CHUNK + 5, 2 * CHUNK)


def filled(f):
    f.truncate(CHUNKS * CHUNK)
    for n in (6, 2, 9, 3, 7, 1):
        f.write(n * CHUNK, b"%4d" % n * 1024)
    f.write(10 * CHUNK + 100, b"part")


def shrunk(f):
    sparse(f)
    f.truncate(9 * CHUNK + 100)     # within a hole
    f.truncate(CHUNKS * CHUNK)


def at_random(f):
    rng = random.Random(f.path.rpartition("/")[2].partition(" ")[0] + str(SEED))
    for _ in range(30):
        f.random(rng)
    f.truncate(CHUNKS * CHUNK)


SEED = int(os.environ.get("FROND_SEED") or time.time_ns() % 10**9)
print(f"seed {SEED}: FROND_SEED={SEED} runs the same again")
STORIES = {"sparse": sparse, "punched": punched, "filled": filled, "shrunk": shrunk,
           "random-1": at_random, "random-2": at_random, "random-3": at_random}


def zero(backing, chunk):
    write(backing, START + chunk * SLOT, bytes(SLOT))


def is_hole(backing, chunk):
    with open(backing, "rb") as f:
        f.seek(START + chunk * SLOT)
        return not any(f.read(SLOT))


def bad_chunks(path, want):
    """Those that cannot be read; all others must hold what they should."""
    bad = []
    fd = os.open(path, os.O_RDONLY)
    for i in range((len(want) + CHUNK - 1) // CHUNK):
        try:
            got = os.pread(fd, CHUNK, i * CHUNK)
            eq(got, want[i * CHUNK:(i + 1) * CHUNK], f"{path}, chunk {i}")
        except OSError as e:
            eq(e.errno, errno.EIO, path)
            bad.append(i)
    os.close(fd)
    return bad


def tell(m, name):
    """One file for each of its chunks: file, number of the chunk."""
    told = []
    for i in range(CHUNKS - 1):
        f = File(m / f"{name} {i}")
        STORIES[name](f)
        told.append(f)
    return told


@check(plain=False)
def each_zeroed_chunk_is_noticed():
    with frond.Mount() as m:
        told = {name: tell(m, name) for name in STORIES}
        backing = {f.path: m.backing(f.path) for files in told.values() for f in files}
        m.umount()
        eq(findings(m.vault)[0], [])
        want, holes = {}, 0
        for files in told.values():
            for i, f in enumerate(files):
                at = backing[f.path]
                hole = [is_hole(at, n) for n in range(CHUNKS - 1)] + [False]
                holes += sum(hole)
                want[f.path] = [] if hole[i] else [i]
                for n in range(i + 1, CHUNKS):
                    if hole[i] or not hole[n]:
                        break
                    want[f.path].append(n)      # nobody claims it any more
                zero(at, i)
        assert holes > 100, "they have hardly any holes"
        m.mount()
        for files in told.values():
            for f in files:
                eq(bad_chunks(f.path, f.want), want[f.path], f.path)
        m.umount()
        damaged = sum(1 for chunks in want.values() if chunks)
        eq(len(findings(m.vault, status=4)[0]), damaged, "frondfs check")
        said, status = verify(m.vault)
        eq(status, 1)
        eq(len({line.split(":")[1] for line in said}), damaged, "recover.py")


@check(plain=False)
def a_zeroed_chunk_is_not_skipped_as_a_hole():
    with frond.Mount() as m:
        f = File(m / "f")
        sparse(f)
        at = m.backing(f.path)
        m.umount()
        zero(at, 5)
        m.mount()
        fd = os.open(f.path, os.O_RDONLY)
        eq(os.lseek(fd, 5 * CHUNK, os.SEEK_DATA), 5 * CHUNK)
        eq(os.lseek(fd, 3 * CHUNK, os.SEEK_DATA), 5 * CHUNK)
        eq(os.lseek(fd, 7 * CHUNK, os.SEEK_HOLE), 7 * CHUNK)
        os.close(fd)


@check(plain=False)
def what_one_mount_has_made_another_changes():
    with frond.Mount() as m:
        f = File(m / "f")
        sparse(f)
        rng = random.Random(SEED)
        for _ in range(frond.scale(30, 6)):
            f.random(rng)
            m.remount()
            eq(bad_chunks(f.path, f.want), [])
        m.umount()
        eq(findings(m.vault)[0], [])
        eq(verify(m.vault), ([], 0))


@check(plain=False)
def a_shared_mount_and_one_of_its_own_take_turns():
    with frond.Mount() as m:
        f = File(m / "f")
        sparse(f)
        rng = random.Random(SEED)
        for options in ("shared", "", "shared", "shared"):
            m.remount(options)
            eq(bad_chunks(f.path, f.want), [])
            f.punch(11 * CHUNK, CHUNK)
            eq(bad_chunks(f.path, f.want), [])
            for _ in range(6):
                f.random(rng)
            eq(bad_chunks(f.path, f.want), [])
        m.umount()
        eq(findings(m.vault)[0], [])
        eq(verify(m.vault), ([], 0))


def scribble(path, seed):
    rng = random.Random(seed)
    while True:
        at = rng.randrange(CHUNKS) * CHUNK
        if rng.randrange(2):
            punch(path, at, rng.randrange(1, 5) * CHUNK)
        else:
            write(path, at, b"new" * rng.randrange(1, 9000))


@check(plain=False)
def after_a_kill_all_can_be_read():
    for seed in range(frond.scale(20, 4)):
        with frond.Mount() as m:
            f = File(m / "f")
            sparse(f)
            run("sync", "-f", m.path)
            pid = os.fork()
            if pid == 0:
                try:
                    scribble(f.path, SEED + seed)
                finally:
                    os._exit(0)
            time.sleep(0.05 + 0.07 * seed % 0.4)
            m.kill9()
            os.waitpid(pid, 0)
            m.mount()
            with open(f.path, "rb") as got:
                assert len(got.read()) >= CHUNKS * CHUNK
            m.umount()
            eq(findings(m.vault)[0], [], f"seed {SEED + seed}")
            eq(verify(m.vault), ([], 0), f"seed {SEED + seed}")


frond.main()
