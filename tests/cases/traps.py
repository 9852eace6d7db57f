#!/usr/bin/python3
"""
Mistakes that a FUSE file system of this kind is apt to make and that no other
case has by its name. The others: truncation at open and O_TMPFILE in
posix_open and posix_unlinked, locks that outlive their owner in locks, set-id
bits in multi_user, short reads over damage in damage, times in posix_meta.
"""
import errno
import os
import random
import resource
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
import tokens
from frond import blob, check, eq, get, put, raises, run


def last_tag(keys, path):
    with open(path, "rb") as f:
        data = f.read()
    at, n = tokens.spans(len(data))[-1]
    key = keys.file_key(data[:tokens.HEADER])
    plain = tokens.open_token(key, data[at:at + tokens.token_len(n)])
    return int.from_bytes(plain[:8], "big")


@check(plain=False)
def files_filled_out_of_order_keep_no_holes_mark():
    # Write-back hands a plain dd over with passing gaps; a file that has none
    # in the end must not say "holes", or zeroed chunks would pass unnoticed.
    with frond.Mount("writeback=on") as m:
        run("dd", "if=/dev/urandom", f"of={m / 'dd'}", "bs=1M", "count=24")
        order = list(range(64))
        random.Random(3).shuffle(order)
        fd = os.open(m / "shuffled", os.O_CREAT | os.O_RDWR, 0o644)
        for i in order:
            os.pwrite(fd, blob(10000, i), i * 10000)
            if i % 9 == 0:
                os.fsync(fd)
        os.close(fd)
        fd = os.open(m / "really", os.O_CREAT | os.O_RDWR, 0o644)
        os.pwrite(fd, b"end", 1000000)
        os.close(fd)
        paths = {n: m.backing(m / n) for n in ("dd", "shuffled", "really")}
        m.umount()
        keys = tokens.Keys(m.vault, frond.PASSPHRASE)
        tags = {n: last_tag(keys, p) for n, p in paths.items()}
        eq({n: bool(t & tokens.HOLES) for n, t in tags.items()},
           {"dd": False, "shuffled": False, "really": True})


@check(plain=False)
def a_gap_filled_after_a_remount_loses_its_mark_or_keeps_reading_right():
    with frond.Mount() as m:
        with open(m / "f", "wb") as f:
            f.seek(500000)
            f.write(b"end")
        m.remount()
        with open(m / "f", "rb+") as f:
            f.write(blob(500000))
        m.remount()
        eq(get(m / "f"), blob(500000) + b"end")


def is_in_place(keys, backing, size):
    try:
        return len(tokens.read_file(keys, backing)) == size
    except Exception:  # pylint: disable=broad-except
        return False  # on its way


@check(plain=False)
def what_was_fsynced_or_written_through_is_in_the_backing_file():
    # Neither FLUSH nor RELEASE arrive: the length must be committed anyway.
    for options in ("writeback=on", "writeback=off"):
        with frond.Mount(options) as m:
            keys = tokens.Keys(m.vault, frond.PASSPHRASE)
            fd = os.open(m / "f", os.O_CREAT | os.O_WRONLY, 0o644)
            for n in (1, 4095, 4096, 5000, 100000):
                os.write(fd, blob(n, n))
                os.fsync(fd)
                # durable in the journal at once, and soon in its place
                frond.until(lambda: is_in_place(keys, m.backing(m / "f"), os.fstat(fd).st_size),
                            10, "the file in its place")
            os.close(fd)
            put(m / "g", blob(10000))
            if options == "writeback=off":
                time.sleep(5)
                eq(tokens.read_file(keys, m.backing(m / "g")), blob(10000))


@check(plain=False)
def keys_of_open_files_stay_within_the_locked_memory_limit():
    if frond.SLOW:
        raise frond.Skip("a sanitizer locks no memory")
    with frond.Mount(nofile=1024) as m:
        fds = [os.open(m / f"f{i}", os.O_CREAT | os.O_RDWR, 0o644)
               for i in range(frond.may_open(3000))]
        for fd in fds:
            os.write(fd, b"x")
        with open(f"/proc/{m.pid}/status") as f:
            locked = int(next(line for line in f if line.startswith("VmLck")).split()[1])
        for fd in fds:
            os.close(fd)
        assert 0 < locked <= 8192, f"{locked} kB locked"


def dumps_core(pid):
    os.kill(pid, signal.SIGSEGV)
    return os.WCOREDUMP(os.waitpid(pid, 0)[1])


@check(plain=False, root=True)
def a_crash_of_the_daemon_dumps_no_core():
    if frond.SLOW:
        raise frond.Skip("the sanitizer takes the signal")
    limit, here = resource.getrlimit(resource.RLIMIT_CORE), os.getcwd()
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)
    os.chdir(frond.work())
    try:
        if not dumps_core(subprocess.Popen(["sleep", "100"]).pid):
            raise frond.Skip("nothing dumps core here")
        with frond.Mount() as m:
            put(m / "f", b"x")
            assert not dumps_core(m.pid)
            m.drop()
    finally:
        os.chdir(here)
        resource.setrlimit(resource.RLIMIT_CORE, limit)


@check(plain=False)
def the_passphrase_is_in_no_argument_and_no_variable():
    with frond.Mount() as m:
        seen = get(f"/proc/{m.pid}/environ") + get(f"/proc/{m.pid}/cmdline")
        assert frond.PASSPHRASE.encode() not in seen


@check(plain=False)
def names_that_differ_only_in_case_or_form_are_different_files():
    names = ["readme", "README", "ReadMe", "\u00e4", "a\u0308", "\u212b", "\u00c5", "ss", "\u00df"]
    with frond.Mount() as m:
        for name in names:
            put(m / name, name.encode())
        m.remount()
        eq(sorted(os.listdir(m.path)), sorted(names))
        for name in names:
            eq(get(m / name), name.encode())
        stored = [n for n in os.listdir(m.vault) if not n.startswith(".")]
        eq(len({n.lower() for n in stored}), len(names), "on a case-insensitive system")


@check(plain=False)
def writes_to_one_file_go_on_while_another_is_slow():
    # One slow fsync must not hold up everybody (no lock across the I/O).
    with frond.Mount() as m:
        put(m / "a", bytes(32 << 20))
        pid = os.fork()
        if pid == 0:
            fd = os.open(m / "a", os.O_RDWR)
            for _ in range(3):
                os.pwrite(fd, os.urandom(32 << 20), 0)
                os.fsync(fd)
            os._exit(0)
        longest = 0.0
        while os.waitpid(pid, os.WNOHANG)[0] == 0:
            start = time.monotonic()
            put(m / "b", b"small")
            os.stat(m / "b")
            longest = max(longest, time.monotonic() - start)
            time.sleep(0.01)
        assert longest < (20 if frond.SLOW else 5), f"{longest:.1f} s for a small file"


@check(plain=False)
def a_directory_is_never_without_its_id():
    with frond.Mount() as m:
        for i in range(300):
            os.mkdir(m / f"d{i}")
            if i % 2:
                os.rmdir(m / f"d{i}")
        for d, _, names in os.walk(m.vault):
            if ".frondfs" not in d:
                assert ".dirid" in names, d
        eq([n for n in os.listdir(m.vault) if n.startswith(".tmp-")], [], "left behind")


@check(plain=False)
def strangers_that_keep_a_directory_are_named_in_the_log():
    with frond.Mount() as m:
        os.mkdir(m / "d")
        os.mkdir(m / "other")
        place = os.fsdecode(m.backing(m / "d"))
        put(os.path.join(place, "conflicted copy.txt"), b"foreign")
        stranger = f'"{place}/conflicted copy.txt"'
        eq(os.listdir(m / "d"), [])
        eq(m.log().count(f"leaves out {stranger}"), 1, m.log())
        raises(errno.ENOTEMPTY, os.rmdir, m / "d")
        eq(m.log().count(f"looks empty but holds {stranger}"), 1, m.log())
        raises(errno.ENOTEMPTY, os.rename, m / "other", m / "d")
        eq(m.log().count(f"looks empty but holds {stranger}"), 2, m.log())
        # What a listing shows needs no word.
        put(m / "d/seen")
        raises(errno.ENOTEMPTY, os.rmdir, m / "d")
        eq(m.log().count("looks empty"), 2, m.log())
        os.unlink(m / "d/seen")
        os.unlink(os.path.join(place, "conflicted copy.txt"))
        os.rmdir(m / "d")
        put(os.path.join(m.vault, "note.txt"))
        eq(os.listdir(m.path), ["other"])
        assert f'"{m.vault}/note.txt"' in m.log(), m.log()


frond.main()
