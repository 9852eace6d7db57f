#!/usr/bin/python3
"""After a crash: what is finished, what is kept, and what asks the user."""
import errno
import os
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import Skip, blob, check, eq, fresh, get, passfile, put, run
from vaultcheck import HEADER, SLOT, findings

CHUNK = 4096
OLD_VAULT = 11
RESERVE = ".9"          # of the journal's files the one that holds nothing
OLD, NEW = blob(40 * CHUNK, 1), blob(9 * CHUNK, 2)


def journal(m):
    return os.path.join(m.vault, ".frondfs/journal")


def has_session(m):
    return os.path.exists(os.path.join(journal(m), "session"))


def crash(m, *names):
    """Overwrite chunks 5 to 13 of each, fsync, and end the daemon before they are in place."""
    while True:
        if m.proc is None:
            m.mount()
        fds = [os.open(m / name, os.O_RDWR) for name in names]
        for fd in fds:
            os.pwrite(fd, NEW, 5 * CHUNK)
            os.fsync(fd)
        m.kill9()
        for fd in fds:
            frond.close_dead(fd)
        if any(os.stat(os.path.join(journal(m), n)).st_size > len(NEW)
               for n in os.listdir(journal(m)) if not n.endswith(RESERVE)):
            return      # else so slow a machine that all was in its place already


def crashed(*names, options=""):
    """A vault with these files, and what a crash leaves of them; where they lie."""
    m = frond.Mount(options)
    for name in names:
        put(m / name, OLD)
    where = {name: os.fsdecode(m.backing(m / name)) for name in names}
    m.umount()
    m.mount()
    crash(m, *names)
    return m, where


WHOLE = OLD[:5 * CHUNK] + NEW + OLD[14 * CHUNK:]


def refused(m, *options):
    """What a mount that is refused says, and its exit status."""
    p = subprocess.run([frond.FRONDFS, "mount", "--passfile", passfile(), *options, m.vault,
                        m.path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, timeout=60, text=True)
    assert not os.path.ismount(m.path)
    return p.returncode, p.stdout


@check(plain=False)
def a_shared_mount_finishes_first_and_nothing_comes_back_later():
    m, _ = crashed("f")
    m.options = "shared"
    with m.mount():
        assert not has_session(m)
        eq(get(m / "f"), WHOLE)
        with open(m / "f", "r+b") as f:
            f.write(b"newer" * CHUNK)
        with frond.Mount("shared", vault=m.vault) as other:
            eq(get(other / "f")[:5], b"newer")
    m.options = ""
    with m.mount():
        eq(get(m / "f"), b"newer" * CHUNK + WHOLE[5 * CHUNK:])


@check(plain=False)
def a_shared_mount_waits_for_others_to_go_and_says_so():
    m, _ = crashed("f")
    kept = shutil.copytree(journal(m), fresh("journal"))
    with frond.Mount("shared", vault=m.vault) as other:
        shutil.copytree(kept, journal(m), dirs_exist_ok=True)
        status, text = refused(m, "-o", "shared,remember=off")
        assert status and "unmount all mounts" in text, text
        eq(get(other / "f"), WHOLE)
    m.options = "shared,accept-old"
    with m.mount():
        assert not has_session(m)
        eq(get(m / "f"), WHOLE)


@check(plain=False)
def what_ended_and_was_put_back_asks():
    m, _ = crashed("f")
    kept = shutil.copytree(journal(m), fresh("journal"))
    with m.mount():
        eq(get(m / "f"), WHOLE)
        time.sleep(1.1)     # tokens count seconds
        put(m / "f", OLD[::-1])
    shutil.copytree(kept, journal(m), dirs_exist_ok=True)
    for options in ((), ("-o", "shared")):
        status, text = refused(m, *options)
        eq(status, OLD_VAULT, text)
        assert "accept-old" in text, text
    p = subprocess.run([frond.FRONDFS, "check", "--repair", "--passfile", passfile(), m.vault],
                       stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    eq((p.returncode, "ended here before" in p.stderr), (8, True), p.stderr)
    with frond.Mount("ro", vault=m.vault) as r:
        eq(get(r / "f"), OLD[::-1])
    m.options = "accept-old"
    with m.mount():
        eq(get(m / "f"), OLD[::-1])
    m.options = ""
    with m.mount():
        eq(get(m / "f"), OLD[::-1])
    # nor by segments alone
    shutil.rmtree(journal(m))
    shutil.copytree(kept, journal(m))
    put(os.path.join(journal(m), "session"), b"garbage")
    findings(m.vault, "--repair", status=4)
    eq([n for n in os.listdir(journal(m)) if n.endswith(".kept")], [])


@check(plain=False)
def what_check_has_finished_is_over_too():
    m, _ = crashed("f")
    kept = shutil.copytree(journal(m), fresh("journal"))
    findings(m.vault, "--repair", status=1)
    with m.mount():
        eq(get(m / "f"), WHOLE)
    shutil.copytree(kept, journal(m), dirs_exist_ok=True)
    status, text = refused(m)
    eq(status, OLD_VAULT, text)


@check(plain=False)
def an_original_whose_copy_was_opened_first_loses_nothing():
    m, _ = crashed("f")
    shutil.copytree(m.vault, copy := fresh("copy"), symlinks=True)
    with frond.Mount(vault=copy) as c:
        eq(get(c / "f"), WHOLE)
    status, text = refused(m)
    eq((status, text.count("\n")), (OLD_VAULT, 1), text)
    for word in "another copy of this vault was opened here", "delete nothing", "accept-old":
        assert word in text, text
    m.options = "accept-old"
    with m.mount():
        eq(get(m / "f"), WHOLE)
    m.options = ""
    with m.mount():
        eq(get(m / "f"), WHOLE)


@check(plain=False)
def a_mount_that_only_reads_says_what_it_does_not_show():
    m, _ = crashed("f")
    log = fresh("log")

    def mount_to_read(vault):
        p = subprocess.run([frond.FRONDFS, "mount", "--passfile", passfile(), "-o",
                            f"ro,log={log}", vault, m.path], stdin=subprocess.DEVNULL,
                           capture_output=True, timeout=60, text=True)
        eq(p.returncode, 0, p.stderr)
        found = get(m / "f")
        run(frond.FRONDFS, "umount", m.path)
        return found, p.stderr, get(log).decode()
    found, said, logged = mount_to_read(m.vault)
    eq(found, OLD)
    for text in said, logged:
        assert "mount it once without 'ro', and that is finished" in text, (said, logged)
    with m.mount():
        eq(get(m / "f"), WHOLE)
    os.unlink(log)
    eq(mount_to_read(m.vault), (WHOLE, "", ""))


def grow_over_a_hole(path):
    """What is behind the first bytes is a hole, as the journal alone says yet."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    for at, data in ((3 * CHUNK, b"ten bytes."), (10 * CHUNK, NEW[:20000])):
        os.pwrite(fd, data, at)
        os.fsync(fd)
    return fd


@check(plain=False)
def holes_of_which_the_journal_alone_tells_are_no_damage():
    m = frond.Mount("writeback=off")
    for name in ("hurt", "whole"):
        os.close(grow_over_a_hole(m / name))
    hurt = m.backing(m / "hurt")
    m.umount()
    with open(hurt, "r+b") as f:
        f.seek(HEADER + 11 * SLOT)
        f.write(bytes(SLOT))
    m.mount()
    # some of them are not in place yet, however slow the machine is
    fds = [grow_over_a_hole(m / f"new {i}") for i in range(30)]
    m.kill9()
    for fd in fds:
        frond.close_dead(fd)
    found = [f for f in findings(m.vault, status=4)[0] if f[0] != "note"]
    eq(found, [("damaged", "zeroed", "hurt")])
    with m.mount():
        for i in range(30):
            eq(get(m / f"new {i}"), bytes(3 * CHUNK) + b"ten bytes." +
               bytes(7 * CHUNK - 10) + NEW[:20000])
    eq([f for f in findings(m.vault, status=4)[0] if f[0] != "note"], found)


@check(plain=False)
def copies_beside_a_file_stay_as_they_are():
    m, where = crashed("f")
    old = get(where["f"])
    copies = [where["f"] + " (conflicted copy 2026-11-21)", where["f"] + "~"]
    for path in copies:
        shutil.copy(where["f"], path)
    for top in (".stversions", ".snapshots/1"):
        os.makedirs(os.path.join(m.vault, top))
        copies.append(shutil.copy(where["f"], os.path.join(m.vault, top)))
    with m.mount():
        eq(get(m / "f"), WHOLE)
        for path in copies:
            eq(get(path) == old, True, path)
        eq(os.listdir(journal(m)).count("kept"), 0)


@check(plain=False)
def what_has_no_place_is_kept_reported_and_retried():
    m, where = crashed("f", "g")
    away = fresh("away")
    shutil.copy(where["g"], away)
    os.rename(where["g"], away + " original")
    shutil.move(away, where["g"])
    with m.mount():
        eq(get(m / "f"), WHOLE)
        eq(get(m / "g"), OLD)
        assert "check --repair" in m.log(), m.log()
    for args in ((), ("--repair",)):
        eq([f[:2] for f in findings(m.vault, *args, status=4)[0]], [("damaged", "kept")])
    if os.stat(away + " original").st_dev != os.stat(m.vault).st_dev:
        raise Skip("the temporary directory is on another disk")
    os.rename(away + " original", where["g"])
    eq([f[:2] for f in findings(m.vault, "--repair", status=1)[0]], [("repaired", "kept")])
    eq(findings(m.vault)[0], [])
    eq(os.listdir(journal(m)), [])
    with m.mount():
        eq(get(m / "g"), WHOLE)


@check(plain=False)
def what_has_its_place_again_is_put_there_by_a_mount():
    m, where = crashed("f", "g")
    away = os.path.join(m.vault, ".frondfs/away")     # no mount looks there
    shutil.copy(where["g"], away + "2")
    os.rename(where["g"], away)
    os.rename(away + "2", where["g"])
    with m.mount():
        eq(get(m / "g"), OLD)
    os.rename(away, where["g"])
    with m.mount():
        eq(get(m / "g"), WHOLE)
    eq(os.listdir(journal(m)), [])


@check(plain=False)
def what_a_mount_has_tried_once_it_does_not_try_again():
    m, where = crashed("g")
    away = os.path.join(m.vault, ".frondfs/away")
    shutil.copy(where["g"], away + "2")
    os.rename(where["g"], away)
    os.rename(away + "2", where["g"])
    for _ in range(2):
        with m.mount():
            eq(get(m / "g"), OLD)
    os.replace(away, where["g"])
    with m.mount():
        eq(get(m / "g"), OLD)
    eq([f[:2] for f in findings(m.vault, "--repair", status=1)[0]], [("repaired", "kept")])
    with m.mount():
        eq(get(m / "g"), WHOLE)


@check(plain=False, root=True)
def a_full_disk_holds_nothing_up():
    top = fresh("full")
    os.mkdir(top)
    run("mount", "-t", "tmpfs", "-o", "size=16m", "none", top)
    try:
        vault, fill = os.path.join(top, "vault"), os.path.join(top, "fill")
        os.mkdir(vault)
        run(frond.FRONDFS, "init", "--passfile", passfile(), "--kdf-mem", "8", "--kdf-ops", "1",
            vault)
        m = frond.Mount("writeback=off", vault=vault)
        put(m / "f", OLD)
        fd = os.open(m / "f", os.O_WRONLY | os.O_APPEND)
        os.write(fd, bytes(CHUNK) * 100)    # its end has no mark for half a second
        m.kill9()
        frond.close_dead(fd)
        with open(fill, "wb", buffering=0) as f:
            for size in (65536, 4096, 1):
                frond.raises(errno.ENOSPC, write_all, f, size)
        eq(shutil.disk_usage(top).free, 0)
        with m.mount():
            eq(get(m / "f"), OLD + bytes(CHUNK) * 100)
            os.unlink(m / "f")
        eq(findings(vault)[0], [])
    finally:
        run("umount", top)


def write_all(f, size):
    while True:
        f.write(bytes(size))


@check(plain=False)
def a_copy_of_a_crash_is_mended_elsewhere():
    m, _ = crashed("f", "g")
    copy = fresh("copy")
    run("cp", "-a", m.vault, copy)
    with frond.Mount(vault=copy) as other:
        eq(get(other / "f"), WHOLE)
        eq(get(other / "g"), WHOLE)
    eq(findings(copy)[0], [])


@check(plain=False)
def one_redo_file_that_cannot_be_finished_stops_nothing():
    m, _ = crashed("f")
    path = os.path.join(journal(m), "0" * 24 + ".rekey")
    os.mkdir(path)
    with m.mount():
        eq(get(m / "f"), WHOLE)
        assert "cannot be finished" in m.log(), m.log()
    os.rmdir(path)


def image(top):
    for tool in ("losetup", "mkfs.ext4"):
        frond.tool(tool)
    path = os.path.join(top, "disk")
    with open(path, "wb") as f:
        f.truncate(64 << 20)
    run("mkfs.ext4", "-q", "-F", path)
    return path


@check(plain=False, root=True)
def a_disk_that_was_pulled_out_is_another_mount():
    """Mounted again, it may get the number that it had: what it lost is looked for."""
    frond.own_mounts()
    top = fresh("disk")
    os.mkdir(top)
    disk, where = image(top), os.path.join(top, "mnt")
    os.mkdir(where)
    if subprocess.run(["mount", "-o", "loop", disk, where], capture_output=True).returncode:
        raise Skip("no loop devices")
    try:
        vault = os.path.join(where, "vault")
        os.mkdir(vault)
        run(frond.FRONDFS, "init", "--passfile", passfile(), "--kdf-mem", "8", "--kdf-ops", "1",
            vault)
        m = frond.Mount(vault=vault)
        put(m / "f", OLD)
        path = os.fsdecode(m.backing(m / "f"))
        os.sync()
        m.kill9()
        run("umount", where)
        run("mount", "-o", "loop", disk, where)
        with open(path, "r+b") as f:
            f.seek(HEADER + 20 * SLOT)
            f.write(bytes(SLOT))
        with m.mount():
            eq(get(m / "f"), OLD[:20 * CHUNK])
            kept = os.path.join(journal(m), "kept")
            eq(len(os.listdir(kept)), 1)
        eq([f[:2] for f in findings(vault)[0]], [("note", "cut-off")])
    finally:
        run("umount", where)


frond.main()
