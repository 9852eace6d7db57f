#!/usr/bin/python3
"""What a mount's ioctls let whom do, frondfs attach, and new keys."""
import ctypes
import errno
import fcntl
import mmap
import os
import random
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import control
import frond
import sharing
import tokens
from frond import blob, check, eq, get, put, raises, run
from post import Granting, attach

STRANGER = 4321


# What may be asked, and by whom

@check
def a_mount_says_which_vault_it_is():
    with frond.Mount() as m:
        v = control.vault(m.path)
        eq((v.version, v.identity, v.read_only, v.shared), (1, 0, 0, 0))
        eq(bytes(v.pub), bytes(64))
        eq(os.fsdecode(v.backing), m.vault)
        eq(os.fsdecode(v.mountpoint), m.path)
        with open(os.path.join(m.vault, ".frondfs/vault.ini")) as f:
            assert bytes(v.vault_id).hex() in f.read()
        pub = control.identity(m.path)
        eq(control.identity(m.path), pub)
        eq(bytes(control.vault(put(m / "file")).pub), pub)
        m.remount()
        eq(control.identity(m.path), pub)


@check
def other_calls_are_not_ours():
    with frond.Mount() as m:
        fd = os.open(put(m / "file"), os.O_RDWR)
        raises(errno.ENOTTY, fcntl.ioctl, fd, 0x5401, bytearray(100))
        raises(errno.ENOTTY, fcntl.ioctl, fd, control._number(99, 3, control.Vault),
               bytearray(9000))
        # a struct of another length is another call
        raises(errno.ENOTTY, fcntl.ioctl, fd, control._number(1, 2, control.Scan),
               bytearray(16))
        os.close(fd)
        raises(errno.ENOTTY, control.vault, m.vault)


CALLS = ((control.VAULT, control.Vault), (control.IDENTITY, control.Public),
         (control.FILE_KEY, control.FileKey), (control.SIGN, control.Sign),
         (control.SCAN, control.Scan), (control.SET_NEXT, control.Set),
         (control.RELEASE, control.Release), (control.RELEASED, control.Released),
         (control.LOG_APPEND, control.Record), (control.LOG_READ, control.Record),
         (control.LOG_VERIFY, control.LogState))


def any_bytes(rng, struct):
    """Zeros, noise, noise only here and there, or text without an end."""
    size = ctypes.sizeof(struct)
    kind = rng.randrange(4)
    if kind < 2:
        return bytearray(rng.randbytes(size) if kind else size)
    buf = bytearray(b"x" * size if kind == 3 else size)
    for _ in range(rng.randrange(1, 9)):
        buf[rng.randrange(size)] = rng.choice((0, 1, 2, 4, 16, 17, 127, 255))
    return buf


@check
def whatever_a_call_holds_it_is_answered():
    rng = random.Random(seed := int(os.environ.get("FROND_SEED") or time.time_ns() % 10**9))
    print(f"FROND_SEED={seed}")
    with frond.Mount() as m:
        control.identity(m.path)
        fds = [os.open(put(m / "file", blob(9000)), flags) for flags in (os.O_RDONLY, os.O_RDWR)]
        fds.append(os.open(m.path, os.O_RDONLY))
        met = set()
        for _ in range(frond.scale(3000, 600)):
            number, struct = rng.choice(CALLS)
            try:
                fcntl.ioctl(rng.choice(fds), number, any_bytes(rng, struct), True)
            except OSError as e:
                met.add(e.errno)
        met &= {errno.EIO, errno.EFAULT, errno.ENOTCONN, errno.ECONNABORTED, errno.ENOTTY}
        eq({errno.errorcode[code] for code in met}, set())
        eq(get(m / "file"), blob(9000))
        eq(control.log_verify(m.path).fault, 0)
        for fd in fds:
            os.close(fd)


@check
def keys_want_a_descriptor_open_for_writing():
    with frond.Mount() as m:
        put(m / "file", blob(10000))
        rd, wr = os.open(m / "file", os.O_RDONLY), os.open(m / "file", os.O_WRONLY)
        for where in (rd, m.path):
            raises(errno.EBADF, control.file_key, where)
            with control._fd(where) as fd:
                raises(errno.EBADF, control.rekey, fd)
        file_id, key, size, backing = control.file_key(wr)
        eq((file_id.hex(), size), (os.getxattr(m / "file", "user.frondfs.id").decode(), 10000))
        os.fsync(wr)
        keys = tokens.Keys(m.vault, frond.PASSPHRASE)
        path = os.path.join(m.vault, backing)
        with open(path, "rb") as f:
            eq(keys.file_key(f.read(176)), key)
        os.close(rd)
        os.close(wr)


@check(root=True)
def keys_are_for_the_owner_alone():
    with frond.Mount("allow_other") as m:
        os.chmod(m.path, 0o777)
        put(m / "file", b"secret")
        os.chmod(m / "file", 0o666)

        def ask():
            fd = os.open(m / "file", os.O_RDWR)
            eq(control.vault(fd).version, 1)
            nothing = bytes(64)
            for call in ((control.file_key, fd), (control.rekey, fd),
                         (control.identity, fd), (control.scan, fd), (control.sets, fd),
                         (control.sign, fd, 4, nothing, nothing[:32]),
                         (control.release, fd, nothing, nothing[:16], 1),
                         (control.released, fd, nothing, nothing[:16], 1), (control.log, fd),
                         (control.log_append, fd, "sent"), (control.log_verify, fd)):
                raises(errno.EPERM, *call)
        frond.in_child(ask, STRANGER, STRANGER)


@check(root=True)
def whom_the_backing_directory_belongs_to_is_an_owner():
    vault = frond.new_vault(STRANGER)
    with frond.Mount("allow_other", vault=vault) as m:
        eq(frond.in_child(lambda: len(control.identity(m.path)), STRANGER, STRANGER), 64)
        raises(errno.EPERM, frond.in_child, lambda: control.identity(m.path), 1234, 1234)


@check
def only_statements_are_signed():
    with frond.Mount() as m:
        raises(errno.ENOENT, control.sign, m.path, sharing.ACK, bytes(64), bytes(32))
        me, bob = control.identity(m.path), sharing.Identity(os.urandom(32))
        payload = sharing.ack(1)
        set_id, now = os.urandom(16), int(time.time())
        sender, signature = control.sign(m.path, sharing.ACK, bob.public,
                                         sharing.blake2b(payload), set_id, created=now)
        eq(sender, me)
        sharing.verify(signature, sharing.statement(sharing.ACK, 0, set_id, me, bob.public,
                                                    now, payload), me[:32])
        for kind, index, of in ((0, 0, set_id), (99, 0, set_id), (sharing.SHARE, 0, set_id),
                                (sharing.SHARE, 17, set_id), (sharing.ACK, 1, set_id),
                                (sharing.ACK, 0, bytes(16))):
            raises(errno.EINVAL, control.sign, m.path, kind, bob.public, bytes(32), of, index)


@check
def a_tool_may_log_only_what_it_does_itself():
    with frond.Mount() as m:
        control.log_append(m.path, "sent", "report.pdf")
        for event in ("none", "received", "opened", "rekeyed", "declined"):
            raises(errno.EINVAL, control.log_append, m.path, event)
        eq([r[:2] for r in control.log(m.path)], [("sent", "report.pdf")])
        state = control.log_verify(m.path)
        eq((state.count, state.fault), (1, 0))
        # what it cannot take in, and of that only so much
        for i in range(100):
            control.log_append(m.path, "refused", f"rubbish {i}")
        eq([r[:2] for r in control.log(m.path)[1:]],
           [("refused", f"rubbish {i}") for i in range(32)])


@check
def a_read_only_mount_changes_nothing():
    with frond.Mount() as m:
        control.identity(m.path)
        m.remount("ro")
        eq(control.vault(m.path).read_only, 1)
        eq(len(control.identity(m.path)), 64)
        for call in ((control.scan,), (control.log_append, "sent"),
                     (control.released, bytes(64), bytes(16), 1)):
            raises(errno.EROFS, call[0], m.path, *call[1:])
        eq(control.log(m.path), [])


# Attaching

@check
def attach_lists_removes_and_refuses():
    with frond.Mount() as m:
        other, name = frond.new_vault(), "bob"
        assert "no contact 'bob'" in attach(m, name, other)
        listing = [frond.FRONDFS, "attach", m.path, "--list"]
        eq(run(*listing), f"bob\t{other}\n")
        eq(get(os.path.join(m.path, ".tgshare/attached/bob")).decode().strip(), other)
        eq(os.stat(os.path.join(m.path, ".tgshare/attached/bob")).st_mode & 0o777, 0o600)
        for nothing in frond.work(), os.path.join(frond.work(), "nothing"):
            says = attach(m, "carol", nothing, status=3)
            assert "of carol's vault" in says and "init" not in says, says
        attach(m, ".x", other, status=2)
        attach(m, "me", m.vault, status=1)
        within = os.path.join(m.path, "within")
        run(frond.FRONDFS, "init", "--passfile", frond.passfile(), "--kdf-mem", "8",
            "--kdf-ops", "1", within)
        attach(m, "inner", within, status=1)
        run(frond.FRONDFS, "attach", m.path, "--remove", "bob")
        eq(run(*listing), "")
        for argv, status in ((["--remove", "bob"], 1), (["--remove"], 2), (["x"], 2),
                             (["--list", "--remove", "x"], 2)):
            eq(subprocess.run([frond.FRONDFS, "attach", m.path, *argv],
                              stderr=subprocess.DEVNULL).returncode, status)
        eq(subprocess.run([frond.FRONDFS, "attach", frond.work(), "--list"],
                          stderr=subprocess.DEVNULL).returncode, 7)


# New keys

@check
def a_file_with_a_new_key_is_the_same_file():
    with frond.Mount() as m:
        data = blob(777_777)
        put(m / "file", data)
        os.link(m / "file", m / "link")
        os.setxattr(m / "file", "user.colour", b"green")
        os.utime(m / "file", (1e9, 1e9))
        fd = os.open(m / "file", os.O_RDWR)
        before, st = control.file_key(fd), os.stat(m / "file")
        control.rekey(fd)
        after = control.file_key(fd)
        eq(after[0], before[0])
        assert after[1] != before[1]
        for name in ("file", "link"):
            eq(get(m / name), data)
            now = os.stat(m / name)
            eq((now.st_ino, now.st_nlink, now.st_mtime), (st.st_ino, 2, 1e9))
        os.pwrite(fd, b"written after", 1000)
        os.close(fd)
        m.remount()
        data = data[:1000] + b"written after" + data[1013:]
        eq(get(m / "link"), data)
        eq(os.getxattr(m / "link", "user.colour"), b"green")
        run("sync", m / "link")
        m.umount()
        keys = tokens.Keys(m.vault, frond.PASSPHRASE)
        eq(tokens.read_file(keys, os.path.join(m.vault, after[3])), data)


@check
def files_are_read_and_written_while_they_get_a_new_key():
    with frond.Mount() as m:
        size = 4 << 20
        put(m / "file", bytes(size))
        stop, errors = threading.Event(), []

        def use(n):
            fd = os.open(m / "file", os.O_RDWR | os.O_DIRECT if n % 2 else os.O_RDWR)
            page = mmap.mmap(-1, 4096)
            value = 0
            try:
                while not stop.is_set():
                    value = (value + 1) % 256
                    page[:] = bytes([value]) * 4096
                    eq(os.pwrite(fd, page, n * 4096), 4096)
                    eq(os.pread(fd, 4096, n * 4096), bytes([value]) * 4096)
                    eq(len(os.pread(fd, 1 << 20, 1 << 20)), 1 << 20)
            except (OSError, AssertionError) as e:
                errors.append(e)
            os.close(fd)
        users = [threading.Thread(target=use, args=(n,)) for n in range(4)]
        for u in users:
            u.start()
        fd = os.open(m / "file", os.O_RDWR)
        rekeyers = [threading.Thread(target=lambda: [control.rekey(fd) for _ in range(
            frond.scale(10, 3))]) for _ in range(2)]
        for r in rekeyers:
            r.start()
        for r in rekeyers:
            r.join()
        stop.set()
        for u in users:
            u.join()
        os.close(fd)
        eq(errors, [])
        m.remount()
        eq(get(m / "file")[1 << 20:], bytes(3 << 20))


@check
def what_is_not_the_owners_gets_no_new_key():
    with Granting() as g:
        path = g.open()
        raises((errno.EROFS, errno.EACCES), os.open, path, os.O_RDWR)
        fd = os.open(put(g.b / "gone", b"x"), os.O_RDWR)
        os.unlink(g.b / "gone")
        raises(errno.ENOENT, control.rekey, fd)
        os.close(fd)


frond.main()
