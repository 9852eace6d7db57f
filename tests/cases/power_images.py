#!/usr/bin/python3
"""The power fails: images of ext4, XFS and btrfs, taken while a vault on them
is written, are mounted and looked at; and disks that go away for good."""
import contextlib
import errno
import fcntl
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import Skip, blob, check, eq, get, put, run

CHUNK = 4096
CHUNKS = 60             # of the file that is overwritten
RECORD = 700
MIB = 1 << 20
# the smallest that mkfs makes, and what it wants to be told
KINDS = {
    "ext4": (64 * MIB, ["mkfs.ext4", "-q", "-F"], ""),
    "xfs": (320 * MIB, ["mkfs.xfs", "-q", "-f"], "nouuid"),
    "btrfs": (160 * MIB, ["mkfs.btrfs", "-q", "-f"], ""),
}
GOING_DOWN = 0x8004587d     # _IOR('X', 125, __u32): FS_IOC_SHUTDOWN
WITHOUT_LOG = 2             # and what is not on disk is lost


devices = {}


def mount_image(image, where, *options):
    """By a loop device of its own: one that is just going would not do."""
    os.makedirs(where, exist_ok=True)
    devices[where] = run("losetup", "--show", "-f", image).strip()
    options = [word for word in options if word]
    try:
        run("mount", *(["-o", ",".join(options)] if options else []), devices[where], where)
    except AssertionError:
        run("losetup", "-d", devices.pop(where))
        raise


def umount(where):
    frond.until(lambda: subprocess.run(["umount", where], stderr=subprocess.DEVNULL)
                .returncode == 0, 20, f"umount {where}")
    run("losetup", "-d", devices.pop(where))


@contextlib.contextmanager
def shelf():
    """A directory whose files can be copied in an instant, as they are then:
    XFS clones them, and nothing is written to one meanwhile."""
    for tool in ("losetup", "mkfs.xfs"):
        frond.tool(tool)
    frond.own_mounts()
    if subprocess.run(["losetup", "-f"], capture_output=True).returncode:
        raise Skip("no loop devices")
    memory = "/dev/shm"
    roomy = os.path.isdir(memory) and shutil.disk_usage(memory).free > 2 << 30
    top = tempfile.mkdtemp(prefix="frond power ", dir=memory if roomy else frond.work())
    where = os.path.join(top, "shelf")
    try:
        with open(os.path.join(top, "image"), "wb") as f:
            f.truncate(3 << 30)
        run("mkfs.xfs", "-q", "-f", os.path.join(top, "image"))
        mount_image(os.path.join(top, "image"), where)
        yield where
    finally:
        if where in devices:
            umount(where)
        shutil.rmtree(top, ignore_errors=True)


def record(i):
    return (f"record {i} ".encode() * 100)[:RECORD]


def chunk(i, version):
    """A chunk that says which one it is, from its beginning to its end."""
    return struct.pack("<QQ", i, version) * (CHUNK // 16)


def appending(m, told):
    fd = os.open(m / "log", os.O_CREAT | os.O_WRONLY, 0o644)
    for i in range(1 << 30):
        os.pwrite(fd, record(i), i * RECORD)
        os.fsync(fd)
        os.write(told, struct.pack("<cQ", b"a", i))


def rounds():
    """Which chunks are overwritten with version 1, 2, ..."""
    rng = random.Random(1)
    for version in range(1, 1 << 30):
        yield version, rng.sample(range(CHUNKS), 5)


def overwriting(m, told):
    fd = os.open(m / "over", os.O_WRONLY)
    for version, chunks in rounds():
        for i in chunks:
            os.pwrite(fd, chunk(i, version), i * CHUNK)
        if version % 3 == 0:
            os.fsync(fd)
            os.write(told, struct.pack("<cQ", b"o", version))


def scribbling(m, _told):
    for i in range(1 << 30):
        with open(m / f"scribble{i % 20}", "wb") as f:
            f.write(blob(i * 997 % 50000, i))
        if i % 7 == 3:
            os.replace(m / f"scribble{i % 20}", m / f"moved{i % 5}")
        os.mkdir(m / f"d{i}")
        os.rename(m / f"d{i}", m / f"{'n' * 240}{i % 9}")
        if i % 9 == 8:
            for k in range(9):
                os.rmdir(m / f"{'n' * 240}{k}")


class Load:
    """Children that write, and what they say is safe."""

    def __init__(self, m):
        self.read, told = os.pipe()
        os.set_blocking(self.read, False)
        self.safe = {b"a": -1, b"o": 0}
        self.pids = [self.child(job, m, told) for job in
                     (appending, overwriting, scribbling)]
        os.close(told)

    @staticmethod
    def child(job, m, told):
        pid = os.fork()
        if pid == 0:
            try:
                job(m, told)
            except OSError:
                pass        # the disk went away, or the mount
            finally:
                os._exit(0)
        return pid

    def listen(self):
        """What is durable by now."""
        with contextlib.suppress(BlockingIOError):
            while part := os.read(self.read, 9 * 4096):
                for at in range(0, len(part) - 8, 9):
                    who, i = struct.unpack_from("<cQ", part, at)
                    self.safe[who] = i
        return dict(self.safe)

    def end(self):
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
        for pid in self.pids:
            os.waitpid(pid, 0)
        os.close(self.read)


def new_vault_in(where):
    vault = os.path.join(where, "vault")
    os.mkdir(vault)
    run(frond.FRONDFS, "init", "--passfile", frond.passfile(), "--kdf-mem", "8",
        "--kdf-ops", "1", vault)
    return vault


def prepare(m):
    put(m / "before", blob(200000))
    put(m / "over", b"".join(chunk(i, 0) for i in range(CHUNKS)))
    os.sync()


def has_journal(vault):
    """Then what is overwritten in place is safe, too."""
    return os.path.exists(os.path.join(vault, ".frondfs/journal/session"))


def look(m, safe, journalled):
    """A vault after the power failed: what was safe before is there."""
    eq(get(m / "before"), blob(200000))
    unreadable = []
    for d, dirs, files in os.walk(m.path, onerror=_raise):
        for name in files:
            try:
                get(os.path.join(d, name))
            except OSError as e:
                unreadable.append(f"{name}: {e.strerror}")
        for name in dirs:
            put(os.path.join(d, name, "takes files"), b"x")
    if not journalled:
        return
    eq(unreadable, [])
    least = [0] * CHUNKS
    for version, chunks in rounds():
        if version > safe[b"o"]:
            break
        for i in chunks:
            least[i] = version
    fd = os.open(m / "over", os.O_RDONLY)
    for i in range(CHUNKS):
        data = os.pread(fd, CHUNK, i * CHUNK)
        version = struct.unpack_from("<QQ", data)[1]
        eq(data, chunk(i, version), f"chunk {i}")
        assert version >= least[i], f"chunk {i}: version {version}, {least[i]} was safe"
    os.close(fd)
    if safe[b"a"] >= 0:
        fd = os.open(m / "log", os.O_RDONLY)
        for i in range(safe[b"a"] + 1):
            eq(os.pread(fd, RECORD, i * RECORD), record(i), f"record {i} of {safe[b'a']}")
        os.close(fd)
    put(m / "after", b"life goes on")


def _raise(e):
    raise e


def snapshots(kind, count):
    size, mkfs, options = KINDS[kind]
    frond.tool(mkfs[0])
    with shelf() as top:
        image, where = os.path.join(top, "disk"), os.path.join(top, "mnt")
        with open(image, "wb") as f:
            f.truncate(size)
        run(*mkfs, image)
        mount_image(image, where)
        taken, load, m = [], None, None
        try:
            m = frond.Mount(vault=new_vault_in(where))
            prepare(m)
            journalled = has_journal(m.vault)
            load = Load(m)
            for n in range(count):
                time.sleep(0.35 + n * 0.13)
                safe = load.listen()
                run("cp", "--reflink=always", image, f"{image}{n}")
                taken.append((f"{image}{n}", safe))
        finally:
            if load:
                load.end()
            if m:
                m.drop()
            umount(where)
        assert taken[-1][1][b"a"] > 0, "the test wrote nothing"
        for copy, safe in taken:
            mount_image(copy, where, options)
            try:
                # what was copied ended well, here, later: a machine that has
                # seen this would ask
                with frond.Mount("remember=off", vault=os.path.join(where, "vault")) as again:
                    look(again, safe, journalled)
            finally:
                umount(where)


@check(plain=False, root=True)
def ext4_at_any_instant_holds_a_whole_vault():
    snapshots("ext4", frond.scale(3, 2))


@check(plain=False, root=True)
def xfs_at_any_instant_holds_a_whole_vault():
    snapshots("xfs", frond.scale(3, 2))


@check(plain=False, root=True)
def btrfs_at_any_instant_holds_a_whole_vault():
    snapshots("btrfs", frond.scale(3, 2))


def going_down(kind):
    """The disk is gone, and what was not on it; then there is another."""
    size, mkfs, _ = KINDS[kind]
    frond.tool(mkfs[0])
    with shelf() as top:
        image, where = os.path.join(top, "disk"), os.path.join(top, "mnt")
        with open(image, "wb") as f:
            f.truncate(size)
        run(*mkfs, image)
        mount_image(image, where)
        m = load = None
        try:
            m = frond.Mount(vault=new_vault_in(where))
            prepare(m)
            journalled = has_journal(m.vault)
            load = Load(m)
            time.sleep(0.8)
            fd = os.open(where, os.O_RDONLY)
            safe = load.listen()
            fcntl.ioctl(fd, GOING_DOWN, struct.pack("<I", WITHOUT_LOG))
            os.close(fd)
            frond.raises((errno.EIO, errno.EROFS), put, m / "no more", b"x" * 100000)
        finally:
            if load:
                load.end()
            if m:
                m.drop()
            umount(where)
        mount_image(image, where)
        try:
            with frond.Mount(vault=os.path.join(where, "vault")) as again:
                look(again, safe, journalled)
        finally:
            umount(where)


@check(plain=False, root=True)
def what_was_safe_survives_an_ext4_disk_that_goes_away():
    going_down("ext4")


@check(plain=False, root=True)
def what_was_safe_survives_an_xfs_disk_that_goes_away():
    going_down("xfs")


@check(plain=False, root=True)
def a_backing_directory_that_leaves_its_place_and_returns_is_the_same():
    _, mkfs, _ = KINDS["ext4"]
    with shelf() as top:
        image, where = os.path.join(top, "disk"), os.path.join(top, "mnt")
        with open(image, "wb") as f:
            f.truncate(KINDS["ext4"][0])
        run(*mkfs, image)
        mount_image(image, where)
        try:
            with frond.Mount(vault=new_vault_in(where)) as m:
                put(m / "f", blob(100000))
                run("umount", "-l", where)
                # nobody finds it there, and who has it goes on with it
                eq(os.listdir(where), [])
                put(m / "g", blob(50000, 2))
                run("mount", devices[where], where)
                put(m / "h", blob(60000, 3))
                eq(get(m / "f"), blob(100000))
            with frond.Mount(vault=os.path.join(where, "vault")) as m:
                eq(sorted(os.listdir(m.path)), ["f", "g", "h"])
                eq(get(m / "g"), blob(50000, 2))
                eq(get(m / "h"), blob(60000, 3))
        finally:
            umount(where)


frond.main()
