#!/usr/bin/python3
"""A storm over files with holes: several write, punch, zero, allocate, cut, copy,
map, sync and reopen them, and the mount is killed or unmounted at any moment. All
of it is there afterwards, and nothing looks damaged or put back.

FROND_SEED  does the same again, but what happens at once differs each time
"""
import ctypes
import errno
import mmap
import os
import random
import signal
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import check, eq, get, put, until
from vaultcheck import findings

CHUNK, CHUNKS = 4096, 60
KEEP_SIZE, PUNCH, ZERO = 1, 3, 0x10
SEED = int(os.environ.get("FROND_SEED") or time.time_ns() % 10**9)
print(f"seed {SEED}: FROND_SEED={SEED} does the same again", flush=True)
MOUNTS = ["", "writeback=off", "writeback=off", "remember=off"]
# A kill tears chunks of these, and their files do without a map of the holes.
NO_JOURNAL = ["journal=off", "shared"]
# What a mount that has been killed says, and the directory below it.
GONE = (errno.ENOTCONN, errno.ECONNABORTED, errno.ENODEV, errno.EIO, errno.ENOENT)
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]


def fallocate(fd, mode, at, n):
    if LIBC.fallocate(fd, mode, at, n) < 0:
        raise OSError(ctypes.get_errno(), "fallocate")


def whole(n, want):
    """Only what is killed in the middle does a part."""
    if n != want:
        raise OSError(errno.EIO, f"{n} bytes of {want}")


def over(old, at, data):
    return old[:at].ljust(at, b"\0") + data + old[at + len(data):]


class Part:
    """A file, or with a size the part of one that somebody has to himself; and
    what it must hold: one of several, where some may not have arrived."""

    def __init__(self, path, base=0, size=None):
        self.path, self.base, self.size = path, base, size
        self.held = [bytes(size or 0)]
        self.fd = -1

    def operations(self, seed):
        """Without end: what, where, how much, and with what."""
        rng = random.Random(seed)
        hasty, tooth = rng.random() < 0.9, 0
        while True:
            if hasty and rng.random() < 0.6:
                tooth = rng.choice([tooth, tooth, rng.randrange(3)])
                yield from self.comb(rng, tooth)
            else:
                yield self.operation(rng)
            if hasty or rng.random() < 0.1:
                # at once, or while the mount is still busy with closing it
                us = rng.choice([0, rng.randrange(200), rng.randrange(2000)])
                yield "reopen", 0, us, None

    def comb(self, rng, tooth):
        """Every third chunk: holes are made, or filled."""
        kind = rng.choice(["write", "punch"])
        places = range(tooth * CHUNK, self.size or CHUNKS * CHUNK, 3 * CHUNK)
        for at in rng.choice([places, reversed(places)]):
            yield kind, at, CHUNK, rng.randbytes(CHUNK) if kind == "write" else None

    def operation(self, rng):
        most = self.size or CHUNKS * CHUNK
        kinds = ["write"] * 4 + ["punch"] * 3
        kinds += ["zero", "zero_keep", "allocate", "reserve", "copy", "map", "sync", "look"]
        kind, more = rng.choice(kinds if self.size else kinds + ["cut"]), None
        at, n = rng.randrange(most), rng.randrange(1, 30000)
        if rng.random() < 0.6:
            at, n = at // CHUNK * CHUNK, rng.choice([1, 1, 2, 3, 8, 30]) * CHUNK
        if self.size:
            n = min(n, most - at)
        if kind == "copy":
            more = rng.randrange(most) // CHUNK * CHUNK
            n = min(n, abs(more - at), most - more)
        elif kind in ("write", "map"):
            more = rng.randbytes(n) if rng.random() < 0.8 else bytes(n)
        return kind, at, n, more

    def do(self, kind, at, n, more):
        place, size = self.base + at, len(self.held[-1])
        keep = KEEP_SIZE if kind in ("zero_keep", "reserve") else 0
        if kind == "write":
            whole(os.pwrite(self.fd, more, place), n)
        elif kind == "punch":
            fallocate(self.fd, PUNCH, place, n)
        elif kind in ("zero", "zero_keep"):
            fallocate(self.fd, ZERO | keep, place, n)
        elif kind in ("allocate", "reserve"):
            fallocate(self.fd, keep, place, n)
        elif kind == "cut":
            os.ftruncate(self.fd, at)
        elif kind == "copy":
            whole(os.copy_file_range(self.fd, self.fd, n, self.base + more, place),
                  max(0, min(n, size - more)))
        elif kind == "map" and at < size:
            with mmap.mmap(self.fd, size, offset=self.base) as pages:
                pages[at:min(at + n, size)] = more[:size - at]
                pages.flush()
            os.fstat(self.fd)   # fails where pages went nowhere
        elif kind == "sync":
            os.fsync(self.fd)
        elif kind == "reopen":
            os.close(self.fd)
            time.sleep(n / 1e6)
            self.fd = os.open(self.path, os.O_RDWR)
        elif kind == "look":
            self.look()

    @staticmethod
    def after(old, kind, at, n, more):
        """What was held, with that done."""
        left = max(0, len(old) - at)
        if kind == "cut":
            return old[:at].ljust(at, b"\0")
        if kind == "allocate":
            return old.ljust(at + n, b"\0")
        data = b""
        if kind in ("write", "zero"):
            data = more or bytes(n)
        elif kind in ("punch", "zero_keep"):
            data = bytes(min(n, left))
        elif kind == "map":
            data = more[:left]
        elif kind == "copy":
            data = old[more:more + n]
        return over(old, at, data) if data else old

    def note(self, op, for_good):
        """for_good: nothing that was held before can come back."""
        self.held.append(self.after(self.held[-1], *op))
        if for_good:
            del self.held[:-1]

    def read(self):
        data = get(self.path)
        return data[self.base:self.base + self.size] if self.size else data

    def look(self):
        """Past what the kernel has of it."""
        fd = os.open(self.path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
        eq(self.read(), self.held[-1], self.path)

    def judge(self, what):
        """It must hold one of what it may hold, each byte of it; what it does hold
        is right from now on."""
        got, held = self.read(), self.held
        self.held = [got]
        if len(held) == 1:
            eq(got, held[0], f"{self.path} {what}")
        sizes = [len(one) for one in held]
        assert min(sizes) <= len(got) <= max(sizes), \
            f"{self.path} {what}: {len(got)} bytes, want one of {sizes}"
        held = [one.ljust(len(got), b"\0") for one in held]
        for at in range(0, len(got), 512):
            end = min(at + 512, len(got))
            if not any(got[at:end] == one[at:end] for one in held):
                wrong = [i for i in range(at, end) if got[i] not in {one[i] for one in held}]
                eq(wrong[:3], [], f"{self.path} {what}: wrong bytes of {len(got)}")


class Tells(ctypes.Structure):
    """What a process and who started it tell each other."""
    _fields_ = [("begun", ctypes.c_uint32), ("done", ctypes.c_uint32),
                ("stop", ctypes.c_uint32)]


class Worker:
    """A process that works on its part until it is told to stop."""

    def __init__(self, part, seed):
        self.part, self.seed, self.status = part, seed, None
        self.tells = Tells.from_buffer(mmap.mmap(-1, mmap.PAGESIZE))
        self.said = tempfile.TemporaryFile("w+", dir=frond.work())
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                self.work()
                status = 0
            except BaseException as e:
                print(f"{part.path}: {e!r:.3000}", file=self.said, flush=True)
                status = 2 if getattr(e, "errno", 0) in GONE else 1
            finally:
                os._exit(status)

    def work(self):
        self.part.fd = os.open(self.part.path, os.O_RDWR)
        for op in self.part.operations(self.seed):
            if self.tells.stop:
                break
            self.tells.begun += 1
            self.part.do(*op)
            self.part.note(op, True)
            self.tells.done += 1

    def has_ended(self):
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status is not None

    def join(self, killed=False, collects=False):
        """And note what it did. What the kernel collects may be lost until it is
        asked for it."""
        until(self.has_ended, 60, "a process hangs")
        self.said.seek(0)
        assert self.status in ((0, 2, -signal.SIGBUS) if killed else (0,)), \
            f"{self.part.path}: status {self.status}: {self.said.read()}"
        operations = self.part.operations(self.seed)
        for _, op in zip(range(self.tells.done), operations):
            self.part.note(op, not collects or op[0] in ("sync", "reopen"))
        if self.tells.begun > self.tells.done:
            self.part.note(next(operations), False)


def end(m, what):
    """Unmount it, and all is sound, though a crash leaves notes."""
    m.umount()
    for word in ("damaged", "older than", "claiming holes"):
        assert word not in m.log(), f"{what}: {m.log()}"
    eq([f for f in findings(m.vault)[0] if f[0] != "note"], [], what)


def storm(m, parts, rounds, mounts):
    rng = random.Random(SEED)
    m.umount()
    for n in range(rounds):
        options = rng.choice(mounts)
        killed = options not in NO_JOURNAL and rng.random() < 0.5
        what = f"after round {n}: '{options}'" + ", killed" * killed
        m.options = options
        m.mount()
        workers = [Worker(part, f"{SEED} {n} {i}") for i, part in enumerate(parts)]
        time.sleep(rng.uniform(0.1, 0.7))
        for w in workers:
            w.tells.stop = not killed
            if not killed or w.has_ended():
                w.join()
        if killed:
            m.kill9()
            for w in workers:
                w.join(killed, "writeback=off" not in options)
        else:
            for part in parts:
                part.judge(what)
            end(m, what)
        m.mount()
        for part in parts:
            part.judge(what + ", mounted again")
        end(m, what)


def halves(path):
    half = CHUNKS // 2 * CHUNK
    put(path)
    os.truncate(path, 2 * half)
    return [Part(path, 0, half), Part(path, half, half)]


@check(plain=False)
def files_of_their_own():
    with frond.Mount() as m:
        storm(m, [Part(put(m / f"f{i}")) for i in range(4)], frond.scale(8, 2), MOUNTS)


@check(plain=False)
def halves_of_one_file():
    with frond.Mount() as m:
        storm(m, halves(m / "f") + [Part(put(m / "g"))], frond.scale(4), MOUNTS)


@check(plain=False)
def mounts_without_a_journal_take_turns_with_others():
    with frond.Mount() as m:
        storm(m, halves(m / "f") + [Part(put(m / "g"))], frond.scale(3),
              ["writeback=off"] + NO_JOURNAL)


frond.main()
