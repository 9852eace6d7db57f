#!/usr/bin/python3
"""What others share, as a mount shows it."""
import errno
import mmap
import os
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import control
import frond
import post
from frond import blob, check, eq, get, put, raises, run, until
from post import Granting, Met, attach, attribute, shared


def opens(path, data):
    """Reading says ENOKEY until it says what was sent."""
    try:
        return get(path) == data
    except OSError as e:
        eq(e.errno, errno.ENOKEY)
        return False


def left(m):
    """What is in the spool but for the inbox's own records."""
    return [f for f in os.listdir(os.path.join(m.vault, ".frondfs/inbox"))
            if f not in ("lock", "shared.dir") and not f.endswith((".set", ".grant"))]


# Locked files

@check
def a_locked_file_appears_at_once_with_true_size_and_time():
    with Met() as (m, alice):
        # the kernel remembers that there is nothing
        raises(errno.ENOENT, os.stat, os.path.join(m.path, "Shared"))
        s = alice.send(m, "report.pdf", blob(100_001), k=2, n=3)
        s.post_manifest()
        path, start = shared(m), time.monotonic()
        until(lambda: os.path.exists(path), 6, "the locked file")
        took = time.monotonic() - start
        assert took < (3 if frond.SLOW else 1), f"{took:.1f} s"
        st = os.stat(path)
        eq((st.st_size, st.st_mtime), (100_001, post.FILE_MTIME))
        eq(os.listdir(os.path.dirname(path)), ["report.pdf"])
        raises(errno.ENOKEY, get, path)
        raises(errno.ENOKEY, open, path, "r+b")
        raises(errno.ENOKEY, os.truncate, path, 0)
        eq(subprocess.run(["cat", path], stderr=subprocess.PIPE, text=True,
                          env={"LC_ALL": "C"}).stderr.split(": ")[-1],
           "Required key not available\n")


@check
def it_opens_with_the_kth_share_for_who_looked_before():
    with Met() as (m, alice):
        data = blob(300_000)
        s = alice.send(m, "report.pdf", data, k=2, n=3)
        s.post_manifest()
        s.post_share(1)
        control.scan(m.path)
        path = shared(m)
        raises(errno.ENOKEY, get, path)
        text = attribute(path)
        assert "1" in text and "2" in text, text
        eq(os.listxattr(path), [])
        s.post_parts()
        control.scan(m.path)
        raises(errno.ENOKEY, get, path)
        s.post_share(3)
        until(lambda: opens(path, data), 6, "opening")
        st = os.stat(path)
        eq((st.st_size, st.st_mtime), (len(data), post.FILE_MTIME))
        raises(errno.ENODATA, attribute, path)
        # it is the owner's own
        with open(path, "r+b") as f:
            f.write(b"mine")
        eq(get(path)[:10], b"mine" + data[4:10])
        control.scan(m.path)
        eq(left(m), [])
        assert "opened" in [r[0] for r in control.log(m.path)]
        m.remount()
        eq(get(path)[:10], b"mine" + data[4:10])


@check
def who_stands_in_the_directory_stays_there():
    with Met() as (m, alice):
        alice.send(m, "one", b"1").post_all()
        control.scan(m.path)
        os.chdir(os.path.dirname(shared(m)))
        try:
            raises(errno.ENOENT, os.stat, "two")
            alice.send(m, "two", b"22").post_all()
            control.scan(m.path)
            eq(os.getcwd(), os.path.dirname(shared(m)))
            eq(get("two"), b"22")
            eq(sorted(os.listdir(".")), ["one", "two"])
        finally:
            os.chdir("/")


@check
def a_locked_file_can_be_moved_and_refused():
    with Met() as (m, alice):
        s = alice.send(m, "report.pdf", b"data", k=2, n=2)
        s.post_manifest()
        control.scan(m.path)
        os.rename(shared(m), m / "elsewhere")
        eq(os.path.getsize(m / "elsewhere"), 4)
        raises(errno.ENOKEY, get, m / "elsewhere")
        assert attribute(m / "elsewhere")
        s.post_share(1)
        s.post_parts()
        control.scan(m.path)
        raises(errno.ENOKEY, get, m / "elsewhere")
        os.unlink(m / "elsewhere")
        s.post_share(2)
        control.scan(m.path)
        assert not os.path.exists(shared(m)) and not os.path.exists(m / "elsewhere")
        assert "declined" in [r[0] for r in control.log(m.path)], control.log(m.path)


@check
def what_is_moved_over_a_locked_file_refuses_it():
    with Met() as (m, alice):
        s = alice.send(m, "report.pdf", b"data", k=1, n=1)
        s.post_manifest()
        control.scan(m.path)
        os.rename(put(m / "new", b"better"), shared(m))
        s.post_all()
        control.scan(m.path)
        eq(get(shared(m)), b"better")
        assert "declined" in [r[0] for r in control.log(m.path)]


@check
def an_expired_set_says_so():
    with Met() as (m, alice):
        s = alice.send(m, "report.pdf", b"data", k=2, n=2, expires=int(time.time()) + 2)
        s.post_manifest()
        control.scan(m.path)
        raises(errno.ENOKEY, get, shared(m))
        time.sleep(2.1)
        control.scan(m.path)
        raises(errno.EKEYEXPIRED, get, shared(m))
        raises(errno.EKEYEXPIRED, open, shared(m), "r+b")
        m.remount()
        raises(errno.EKEYEXPIRED, get, shared(m))


@check
def a_withdrawn_set_is_gone_for_who_looked_at_it():
    with Met() as (m, alice):
        s = alice.send(m, "report.pdf", b"data", k=2, n=2)
        s.post_manifest()
        control.scan(m.path)
        eq(os.path.getsize(shared(m)), 4)
        s.revoke(2)
        control.scan(m.path)
        assert not os.path.exists(shared(m)) or \
            raises((errno.EKEYREVOKED,), get, shared(m))
        s.post_all()
        control.scan(m.path)
        assert not os.path.exists(shared(m)) or \
            raises((errno.EKEYREVOKED,), get, shared(m))


@check
def an_unknown_sender_is_shown_once_the_card_is_there():
    with frond.Mount() as m:
        control.identity(m.path)
        alice = post.Person("alice")
        alice.send(m, "report.pdf", b"data").post_all()
        control.scan(m.path)
        names = os.listdir(os.path.join(m.path, "Shared"))
        eq([n.split("-")[0] for n in names], ["unverified"])
        waiting = os.path.join(m.path, "Shared", names[0])
        entry, = os.listdir(waiting)
        raises(errno.ENOKEY, get, os.path.join(waiting, entry))
        alice.meet(m)
        until(lambda: os.path.exists(shared(m)), 10, "the card noticed")
        until(lambda: opens(shared(m), b"data"), 5)
        assert not os.path.exists(os.path.join(waiting, entry))


@check
def many_files_arrive_while_the_tree_is_being_read():
    with Met() as (m, alice):
        n, stop, errors = frond.scale(60, 10), threading.Event(), []

        def look():
            while not stop.is_set():
                for d, _, files in os.walk(m.path):
                    for f in files:
                        try:
                            get(os.path.join(d, f))
                        except OSError as e:
                            if e.errno not in (errno.ENOKEY, errno.ENOENT):
                                errors.append(e)
        readers = [threading.Thread(target=look) for _ in range(3)]
        for r in readers:
            r.start()
        for i in range(n):
            alice.send(m, f"file{i}", blob(5000, i)).post_all()
        until(lambda: all(os.path.exists(shared(m, name=f"file{i}")) for i in range(n)), 60)
        control.scan(m.path)
        stop.set()
        for r in readers:
            r.join()
        eq(errors, [])
        for i in range(n):
            eq(get(shared(m, name=f"file{i}")), blob(5000, i))


# Granted files

@check
def a_granted_file_is_the_senders_and_read_only():
    with Granting(blob(200_000)) as g:
        path = g.open()
        st, theirs = os.stat(path), os.stat(g.a.backing(g.a / "plan"))
        eq((st.st_size, st.st_mtime_ns), (200_000, theirs.st_mtime_ns))
        eq(st.st_mode & 0o777, 0o444)
        eq(get(path), blob(200_000))
        if os.geteuid() == 0:
            for how in ("r+b", "wb", "ab"):
                raises(errno.EROFS, open, path, how)
        for change in ((os.truncate, path, 0), (os.chmod, path, 0o600), (os.utime, path),
                       (os.setxattr, path, "user.x", b"1"),
                       (os.removexattr, path, "user.x")):
            raises((errno.EROFS, errno.EACCES), *change)
        eq(os.listxattr(path), [])
        raises(errno.ENODATA, os.getxattr, path, "user.x")
        assert attribute(path)
        with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            eq(mapped[:], blob(200_000))
        run("cmp", path, g.a / "plan")
        fd = os.open(path, os.O_RDONLY)
        raises(errno.EBADF, control.file_key, fd)
        os.close(fd)


@check
def a_granted_file_is_as_fresh_as_a_second():
    with Granting() as g:
        path = g.open()
        eq(get(path), b"first")
        reader = os.open(path, os.O_RDONLY)

        def changes():
            took = []
            for n, size in enumerate((5, 6, 100_000, 3, 0, 20_000)):
                data = blob(size, n + 1)
                with open(g.a / "plan", "r+b") as f:
                    f.truncate(size)
                    f.write(data)
                start = time.monotonic()
                until(lambda: os.path.getsize(path) == size and get(path) == data, 30)
                took.append(time.monotonic() - start)
                # who has it open reads it as it is, too
                eq(os.pread(reader, 1 << 20, 0), data)
            return took
        frond.soon(changes, 6 if frond.SLOW else 1.5)
        os.close(reader)


@check
def a_granted_file_is_read_while_its_owner_writes_it():
    with Granting(bytes(256 * 1024)) as g:
        path, stop = g.open(), threading.Event()

        def write():
            with open(g.a / "plan", "r+b", buffering=0) as f:
                n = 0
                while not stop.is_set():
                    n = (n + 1) % 256
                    f.seek(0)
                    f.write(bytes([n]) * (256 * 1024))
                    os.fsync(f.fileno())
        writer = threading.Thread(target=write)
        writer.start()
        try:
            end = time.monotonic() + frond.scale(5, 1)
            while time.monotonic() < end:
                data = get(path)
                eq(len(data), 256 * 1024)
                for at in range(0, len(data), 4096):
                    assert len(set(data[at:at + 4096])) == 1, "half a chunk"
        finally:
            stop.set()
            writer.join()


@check
def a_grant_waits_for_its_shares_and_for_the_attached_directory():
    with Granting(k=2, n=2) as g:
        g.set.post_manifest()
        g.set.post_share(1)
        control.scan(g.b.path)
        path = shared(g.b, name="plan")
        raises(errno.ENOKEY, get, path)
        eq(os.path.getsize(path), 5)
        g.set.post_share(2)
        control.scan(g.b.path)
        raises(errno.ENOMEDIUM, get, path)
        assert attribute(path)
        attach(g.b, "alice", g.a.vault)
        until(lambda: get(path) == b"first" if os.access(path, os.R_OK) else False, 3)
        g.b.remount()
        eq(get(path), b"first")


@check
def a_granted_file_is_found_where_it_moved():
    with Granting() as g:
        path = g.open()
        eq(get(path), b"first")
        os.mkdir(g.a / "deeper")
        os.rename(g.a / "plan", g.a / "deeper/renamed")

        def found():
            try:
                return get(path) == b"first"
            except OSError as e:
                assert e.errno in (errno.ENOENT, errno.ESTALE), e
                return False
        until(found, 20)


@check
def a_new_key_revokes_a_grant():
    with Granting(blob(50_000)) as g:
        path = g.open()
        reader = os.open(path, os.O_RDONLY)
        eq(os.pread(reader, 10, 0), blob(50_000)[:10])
        fd = os.open(g.a / "plan", os.O_RDWR)
        control.rekey(fd)
        os.close(fd)
        raises(errno.EKEYREVOKED, os.pread, reader, 10, 0)
        os.close(reader)
        time.sleep(1.1)
        raises(errno.EKEYREVOKED, get, path)
        eq(get(g.a / "plan"), blob(50_000))
        assert "rekeyed" in [r[0] for r in control.log(g.a.path)]
        g.b.remount()
        raises(errno.EKEYREVOKED, get, path)
        # who keeps access gets a new set instead of the old one
        again = g.alice.grant(g.b, g.a, "plan", replaces=g.set.id)
        again.post_all()
        control.scan(g.b.path)
        until(lambda: os.access(path, os.R_OK) and get(path) == blob(50_000), 5)
        eq(os.listdir(os.path.dirname(path)), ["plan"])


@check
def a_word_from_the_sender_revokes_and_time_expires():
    with Granting(expires=int(time.time()) + 8) as g:
        path = g.open()
        reader = os.open(path, os.O_RDONLY)
        eq(get(path), b"first")
        until(lambda: time.time() > g.set.manifest["expires"] + 0.1, 20)
        raises(errno.EKEYEXPIRED, os.pread, reader, 1, 0)
        raises(errno.EKEYEXPIRED, get, path)
        os.close(reader)
    with Granting() as g:
        path = g.open()
        eq(get(path), b"first")
        g.set.revoke()
        control.scan(g.b.path)
        raises(errno.EKEYREVOKED, get, path)


@check
def a_granted_file_can_be_moved_and_removed():
    with Granting() as g:
        os.rename(g.open(), g.b / "here")
        eq(get(g.b / "here"), b"first")
        reader = os.open(g.b / "here", os.O_RDONLY)
        os.unlink(g.b / "here")
        eq(os.pread(reader, 10, 0), b"first")
        os.fstat(reader)
        os.close(reader)
        control.scan(g.b.path)
        assert not os.path.exists(g.path) and not os.path.exists(g.b / "here")
        eq(get(g.a / "plan"), b"first")


@check
def grants_work_with_shared_and_read_only_mounts():
    for options in ("shared", "writeback=off"):
        with Granting(options_a=options, options_b=options) as g:
            path = g.open()
            eq(get(path), b"first")
            put(g.a / "plan", b"and the second")
            until(lambda: os.path.getsize(path) == 14 and get(path) == b"and the second", 5)
    with Granting() as g:
        path = g.open()
        g.b.remount("ro")
        eq(get(path), b"first")
        assert attribute(path)
        raises(errno.EROFS, open, path, "r+b")


# Ends

@check
def killed_during_an_import_the_next_mount_finishes():
    with Met() as (m, alice):
        data = blob(frond.scale(24 << 20, 4 << 20))
        for i in range(4):
            name = f"big{i}"
            s = alice.send(m, name, data)
            s.post_manifest()
            s.post_parts()
            until(lambda: os.path.exists(shared(m, name=name)), 10)
            s.post_share(1)
            time.sleep(0.03 * i)
            m.kill9()
            m.mount()
            until(lambda: opens(shared(m, name=name), data), 30, "finished")
        control.scan(m.path)
        eq(sorted(os.listdir(os.path.dirname(shared(m)))), [f"big{i}" for i in range(4)])
        eq(left(m), [])


@check
def unmounting_does_not_wait_for_an_import():
    with Met() as (m, alice):
        data = blob(frond.scale(64 << 20, 8 << 20))
        s = alice.send(m, "big", data)
        s.post_all()
        time.sleep(0.1)
        start = time.monotonic()
        m.umount()
        took = time.monotonic() - start
        assert took < (10 if frond.SLOW else 3), f"{took:.1f} s"
        m.mount()
        until(lambda: os.path.exists(shared(m, name="big")) and
              opens(shared(m, name="big"), data), 60)


@check
def ending_while_things_arrive_does_not_hang():
    with Met() as (m, alice):
        alice.send(m, "first", b"data").post_all()
        control.scan(m.path)
        users = [subprocess.Popen(
            ["sh", "-c", "while :; do ls -l . .. >/dev/null 2>&1; cat * >/dev/null 2>&1; done"],
            cwd=os.path.dirname(shared(m))) for _ in range(3)]
        try:
            for i in range(frond.scale(20, 8)):
                alice.send(m, f"file{i}", blob(3000, i)).post_all()
            m.proc.terminate()
            m.reap()
        finally:
            for u in users:
                u.kill()
                u.wait()
        m.mount()
        until(lambda: len(os.listdir(os.path.dirname(shared(m)))) == frond.scale(20, 8) + 1, 30)
        control.scan(m.path)
        for i in range(frond.scale(20, 8)):
            eq(get(shared(m, name=f"file{i}")), blob(3000, i))


@check
def two_shared_mounts_take_in_each_thing_once():
    with Met("shared") as (a, alice), frond.Mount("shared", vault=a.vault) as b:
        for i in range(frond.scale(10, 4)):
            alice.send(a, f"file{i}", blob(20_000, i)).post_all()
        for m in (a, b):
            until(lambda: sorted(os.listdir(os.path.dirname(shared(m)))) == sorted(
                f"file{i}" for i in range(frond.scale(10, 4)))
                if os.path.exists(os.path.dirname(shared(m))) else False, 30)
            for i in range(frond.scale(10, 4)):
                until(lambda: opens(shared(m, name=f"file{i}"), blob(20_000, i)), 20)
        for m in (a, b):
            control.scan(m.path)
        eq(len([1 for r in control.log(a.path) if r[0] == "opened"]), frond.scale(10, 4))


@check
def looking_for_news_is_no_use_of_the_mount():
    with Met() as (m, alice):
        alice.send(m, "report.pdf", b"data", k=2, n=2).post_manifest()
        control.scan(m.path)
        time.sleep(1)

        def ticks():
            with open(f"/proc/{m.pid}/stat") as f:
                fields = f.read().rsplit(")", 1)[1].split()
            return int(fields[11]) + int(fields[12])
        before = ticks()
        time.sleep(7)
        assert ticks() - before <= 5, "it is busy though nothing happens"


frond.main()
