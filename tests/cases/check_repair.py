#!/usr/bin/python3
"""frondfs check --repair puts right what can be, and loses nothing."""
import hashlib
import os
import shutil
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import control
import frond
from frond import blob, check, eq, fresh, get, put, until
from vaultcheck import (COPY, HEADER, LONG, SLOT, contents, dirid, findings, flip, frondfs_check,
                        repaired, stored, vault)


# ---- repairs

@check(plain=False)
def a_lost_directory_id_comes_back_from_whatever_mentions_it():
    """bare: its attributes; d/e: a file's header; d: its child; the root: all of these."""
    whole = contents(vault()[0])
    for name, damage in (("bare", frond.lose_dirid), ("d/e", lambda p: put(p, get(p)[:5])),
                         ("d", frond.lose_dirid), ("", lambda p: put(p, bytes(32))),
                         ("d/e/f", lambda p: put(p, b"")), ("d/e/f", lambda p: flip(p, 3)),
                         ("d", lambda p: flip(p, 15)), ("", lambda p: flip(p, 0))):
        top, where = vault()
        path = dirid(where.get(name, top))
        good = get(path)
        damage(path)
        eq(findings(top, status=4)[0], [("damaged", "dirid", name)])
        ruins = [hashlib.sha256(get(path)).hexdigest()] if os.path.exists(path) else []
        repaired(top, [("repaired", "dirid", name)], lost=ruins)
        eq(get(path), good)
        eq(contents(top), whole, name)
        eq(os.stat(path).st_mode & 0o777, 0o644)


@check(plain=False)
def a_copy_without_its_dot_files_is_not_mounted():
    top, _ = vault()
    whole = contents(top)
    for damage in (frond.lose_dirid, lambda p: put(p, b"cut")):
        damage(dirid(top))
        point = fresh("point")
        os.mkdir(point)
        p = subprocess.run([frond.FRONDFS, "mount", "--extpass", "false", top, point],
                           stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        eq(p.returncode, 5, p.stderr)
        assert f"'{top}/.dirid' is missing or damaged" in p.stderr, p.stderr
        assert f"frondfs check --repair '{top}'" in p.stderr, p.stderr
        assert p.stderr.count("\n") == 1 and not os.path.ismount(point), p.stderr
        frondfs_check(top, "--repair", status=1)
        eq(contents(top), whole)
    # the attribute stands in for it, where there is such
    frondfs_check(top)
    os.unlink(dirid(top))
    if "user.frondfs-dirid" in os.listxattr(top):
        eq(contents(top), whole)


@check(plain=False)
def a_flipped_id_comes_back_from_the_attribute_alone():
    m = frond.Mount()
    os.mkdir(m / "links")
    for n in range(3):
        os.symlink(f"{n}", m / f"links/{n}")
    at = os.fsdecode(m.backing(m / "links"))
    m.umount()
    if "user.frondfs-dirid" not in os.listxattr(at):
        raise frond.Skip("the file system has no attributes")
    whole, good = contents(m.vault), get(dirid(at))
    flip(dirid(at), 3)
    eq(findings(m.vault, status=4)[0], [("damaged", "dirid", "links")])
    repaired(m.vault, [("repaired", "dirid", "links")],
             lost=[hashlib.sha256(get(dirid(at))).hexdigest()])
    eq((contents(m.vault), get(dirid(at))), (whole, good))


@check(plain=False)
def an_id_that_only_the_attribute_has_is_put_back():
    top, where = vault()
    good = get(dirid(where["d/e"]))
    if "user.frondfs-dirid" not in os.listxattr(where["d/e"]):
        raise frond.Skip("the file system has no attributes")
    os.unlink(dirid(where["d/e"]))
    eq(findings(top)[0], [("note", "dirid-aside", "d/e")])
    eq(findings(top, "--repair", status=1)[0], [("repaired", "dirid-aside", "d/e")])
    eq(findings(top)[0], [])
    eq(get(dirid(where["d/e"])), good)


@check(plain=False)
def a_directory_id_is_proved_by_names_not_believed():
    """Files that were moved in mention other ids; one that was moved out the right one."""
    m = frond.Mount()
    for d in ("a", "b"):
        os.mkdir(m / d)
    for n in range(5):
        put(m / f"a/{n}", b"from a")
        os.rename(m / f"a/{n}", m / f"b/{n}")
    put(m / "b/own", b"from b")
    os.rename(m / "b/own", m / "a/away")
    b = os.fsdecode(m.backing(m / "b"))
    m.umount()
    whole, good = contents(m.vault), get(dirid(b))
    frond.lose_dirid(dirid(b))
    repaired(m.vault, [("repaired", "dirid", "b")])
    eq(get(dirid(b)), good)
    eq(contents(m.vault), whole)
    # a service kept a copy of it, and that is all there is
    m.mount()
    os.unlink(m / "a/away")
    m.umount()
    whole = contents(m.vault)
    shutil.copy(dirid(b), os.path.join(b, ".sync-conflict-20261121-120000-ABCDEFG.dirid"))
    frond.lose_dirid(dirid(b))
    repaired(m.vault, [("repaired", "dirid", "b"), ("note", "hidden-copy", None)])
    eq(get(dirid(b))[:16], good[:16])
    eq(contents(m.vault), whole)


@check(plain=False)
def what_has_no_name_any_more_goes_to_lost_and_found():
    top, where = vault()
    whole = contents(top)
    # Nothing mentions this id: its file came from elsewhere.
    m = frond.Mount(vault=top)
    with m:
        os.mkdir(m / "gone")
        os.rename(m / "small", m / "gone/small")
        os.mkdir(m / "tree")
        put(m / "tree/in", b"deep")
        os.rename(m / "tree", m / "gone/tree")
        os.symlink("somewhere", m / "gone/link")
        gone = os.fsdecode(m.backing(m / "gone"))
    names = {n for n in os.listdir(gone) if n != ".dirid"}
    frond.lose_dirid(dirid(gone))
    # the tree's .dirid says whose child it was when it was made: the root's
    repaired(top, [("repaired", "dirid", "gone")] + [("repaired", "name", None)] * 3)
    now = contents(top)
    eq(now["gone"], "directory")
    eq({n for n in now if n.startswith("lost+found/") and n.count("/") == 1},
       {"lost+found/" + n for n in names})
    found = {v for n, v in now.items() if n.startswith("lost+found/")}
    assert found >= {whole["small"], "somewhere", "directory",
                     hashlib.sha256(b"deep").hexdigest()}, found
    assert any(n.startswith("lost+found/") and n.endswith("/in") for n in now), now


@check(plain=False)
def an_entry_that_was_put_elsewhere_gets_its_name_there():
    top, where = vault()
    whole = contents(top)
    moved = os.path.join(where["d"], os.path.basename(where["big"]))
    os.rename(where["big"], moved)
    other = os.path.join(top, os.path.basename(where["d/e"]))
    os.rename(where["d/e"], other)
    eq(findings(top, status=4)[0], [("damaged", "name", None)] * 2)
    doc = repaired(top, [("repaired", "name", None)] * 2)
    eq({f["moved_to"] for f in doc["findings"]}, {"d/big", "e"})
    now = contents(top)
    eq(now["d/big"], whole["big"])
    eq(now["e/f/inner"], whole["d/e/f/inner"])
    # and where that name is taken, lost+found
    top, where = vault()
    with frond.Mount(vault=top) as m:
        put(m / "d/big", b"taken")
    os.rename(where["big"], os.path.join(where["d"], os.path.basename(where["big"])))
    doc = repaired(top, [("repaired", "name", None)])
    eq(doc["findings"][0]["moved_to"], "lost+found/big")
    now = contents(top)
    eq((now["lost+found/big"], now["d/big"]),
       (whole["big"], hashlib.sha256(b"taken").hexdigest()))


@check(plain=False)
def a_lost_long_name_is_proved_by_its_hash():
    whole = contents(vault()[0])
    top, where = vault()
    companion = where[LONG] + ".name"
    text = get(companion)
    os.rename(companion, where[LONG] + COPY + ".name")
    eq([f[:2] for f in findings(top, status=4)[0] if f[0] != "note"],
       [("damaged", "long-name")])
    doc = repaired(top, [("repaired", "long-name", None), ("note", "hidden-copy", None)])
    eq(get(companion), text)
    eq(contents(top), whole)
    # another entry's, or none at all: the hash does not fit, the name is lost
    for change in (os.unlink, lambda p: put(p, get(p)[:-4] + b"AAAA")):
        top, where = vault()
        ruin = hashlib.sha256(get(where[LONG] + ".name")).hexdigest()
        change(where[LONG] + ".name")
        if os.path.exists(where[LONG] + ".name"):
            ruin = hashlib.sha256(get(where[LONG] + ".name")).hexdigest()
        doc = repaired(top, [("repaired", "long-name", None)], lost=[ruin])
        eq(contents(top)["lost+found/" + os.path.basename(where[LONG])], whole[LONG])


@check(plain=False)
def what_somebody_else_put_there_stays():
    top, where = vault()
    names = ("note.txt", "A" * 60, "@" + "A" * 43, ".tmp-mine")
    for name in names:
        put(os.path.join(top, name), b"foreign")
    want = [("damaged", "long-name", None), ("damaged", "name", None),
            ("damaged", "header", None), ("damaged", "header", None),
            ("note", "foreign", None), ("note", "leftover", None)]
    eq(findings(top, status=4)[0], sorted(want, key=lambda f: f[:2]))
    findings(top, "--repair", status=4)
    for name in names:
        eq(get(os.path.join(top, name)), b"foreign")


@check(plain=False)
def what_was_being_made_or_removed_is_finished():
    top, where = vault()
    temp = [os.path.join(top, ".tmp-" + c * 24) for c in "0123456"]
    shutil.copy(where["empty"], temp[0])        # a file before it has its name
    put(temp[1], get(where[LONG] + ".name"))    # a long name
    shutil.copytree(where["bare"], temp[2])     # a directory
    put(temp[3], b"")
    shutil.copy(where["big"], temp[4])          # nobody made that so
    shutil.copytree(where["d"], temp[5])        # a directory that has something
    shutil.copy(where["small"], temp[6])
    found, _ = findings(top)
    eq(found, [("note", "leftover", None)] * 7)
    # of the copies that were made above, which are files now
    twins = [("note", "twin", None)] * 5
    doc = repaired(top, [("repaired", "leftover", None)] * 7 + twins,
                   lost=[hashlib.sha256(get(p)).hexdigest() for p in
                         (temp[0], temp[1], temp[3], dirid(temp[2]))])
    for p in temp:
        assert not os.path.lexists(p), p
    now = contents(top)
    eq(now["lost+found/unfinished-" + "4" * 24], now["big"])
    eq(now["lost+found/unfinished-" + "5" * 24 + "/linked"], now["small"])
    eq(now["lost+found/unfinished-" + "6" * 24], now["small"])
    orphans = os.path.join(top, ".frondfs/orphans")
    os.makedirs(orphans, exist_ok=True)
    shutil.copy(where["big"], orphans)
    twins = [f[:2] for f in twins]
    eq([f[:2] for f in findings(top)[0]], [("note", "orphan"), *twins])
    eq([f[:2] for f in findings(top, "--repair", status=1)[0]], [*twins, ("repaired", "orphan")])
    eq(os.listdir(orphans), [])


@check(plain=False)
def what_comes_to_lost_and_found_is_looked_into_at_once():
    """What lies in something unfinished has not been looked at before it is moved."""
    top, where = vault()
    outer = os.path.join(top, ".tmp-" + "1" * 24)
    inner = os.path.join(outer, ".tmp-" + "2" * 24)
    shutil.copytree(where["d"], outer)
    put(os.path.join(outer, ".tmp-" + "3" * 24), b"")
    shutil.copytree(where["d/e"], inner)
    shutil.copy(where["big"], os.path.join(inner, ".tmp-" + "4" * 24))
    flip(os.path.join(inner, ".tmp-" + "4" * 24), HEADER + 50)
    # linked; leaf and inner, in both copies; big
    doc = repaired(top, [("repaired", "leftover", None)] * 4 + [("note", "twin", None)] * 6
                   + [("damaged", "token", "lost+found/unfinished-" + "4" * 24)],
                   status=5, lost=[hashlib.sha256(b"").hexdigest()])
    eq({f["moved_to"] for f in doc["findings"] if "moved_to" in f},
       {"lost+found/unfinished-" + c * 24 for c in "124"})
    again, _ = findings(top, "--repair", status=4)
    eq([f for f in again if f[0] == "repaired"], [])


@check(plain=False)
def what_comes_to_light_tells_where_something_else_was_made():
    """Only a directory that was being removed mentions the one that both were in."""
    top, where = vault()
    with frond.Mount(vault=top) as m:
        os.makedirs(m / "gone/sub")
        put(m / "gone/sub/in", b"deep")
        os.mkfifo(m / "gone/fifo")
        gone, sub = (os.fsdecode(m.backing(m / p)) for p in ("gone", "gone/sub"))
    fifo, = set(os.listdir(gone)) - {".dirid", os.path.basename(sub)}
    os.rename(os.path.join(gone, fifo), os.path.join(where["d"], fifo))
    os.rename(sub, os.path.join(top, ".tmp-" + "7" * 24))
    ruin = hashlib.sha256(get(dirid(gone))).hexdigest()
    shutil.rmtree(gone)
    doc = repaired(top, [("repaired", "name", None), ("repaired", "leftover", None)], lost=[ruin])
    eq({f["moved_to"] for f in doc["findings"]}, {"d/fifo", "lost+found/unfinished-" + "7" * 24})


@check(plain=False)
def a_copy_is_looked_into_once_its_directory_is_known():
    top, where = vault()
    shutil.copy(where["d/e/leaf"], where["d/e/leaf"] + COPY)
    flip(where["d/e/leaf"] + COPY, HEADER + 50)
    put(os.path.join(where["d/e"], "note.txt"), b"foreign")
    frond.lose_dirid(dirid(where["d/e"]))
    copied = "d/e/leaf" + COPY
    repaired(top, [("repaired", "dirid", "d/e"), ("damaged", "token", copied),
                   ("note", "copy", copied), ("note", "foreign", None)], status=5)


@check(plain=False)
def attributes_are_looked_at_once_their_directory_is_known():
    """With a new one they do not open."""
    top, where = vault()
    os.rename(where["d/linked"], os.path.join(where["bare"], os.path.basename(where["d/linked"])))
    frond.lose_dirid(dirid(where["bare"]))
    repaired(top, [("repaired", "dirid", "bare"), ("repaired", "name", None)]
             + [("damaged", "xattr", "bare")] * 2, status=5)


def interrupt_rekey(m, path):
    """End the daemon while it puts new chunks in place; the old bytes, and the redo file."""
    journal = os.path.join(m.vault, ".frondfs/journal")
    backing = os.fsdecode(m.backing(path))
    for _ in range(100):
        old = get(backing)
        fd = os.open(path, os.O_RDWR)
        t = threading.Thread(target=lambda: _rekey(fd))
        t.start()
        with open(backing, "rb", buffering=0) as f:
            until(lambda: os.pread(f.fileno(), HEADER, 0) != old[:HEADER] or not t.is_alive(),
                  what="a new header")
        m.proc.kill()
        m.kill9()
        t.join()
        frond.close_dead(fd)
        left = [n for n in _list(journal) if n.endswith(".rekey")]
        if left:
            return backing, old, os.path.join(journal, left[0])
        m.mount()
    raise AssertionError("no change of key was interrupted")


@check(plain=False)
def an_interrupted_change_of_key_is_read_through_and_finished():
    m = frond.Mount()
    data = blob(12 << 20, 5)
    put(m / "f", data)
    m.remount()
    backing, old, redo = interrupt_rekey(m, m / "f")
    new, half = get(redo)[:len(old)], HEADER + 1000 * SLOT
    for state in (get(backing), old, new[:HEADER] + old[HEADER:],
                  new[:60] + old[60:], new[:half + 77] + old[half + 77:],
                  new[:HEADER] + old[HEADER:half] + bytes(50) + new[half + 50:]):
        put(backing, state)
        eq(of_keys(findings(m.vault)), [("note", "rekey")])
    put(backing, new[:half] + b"!" * 99 + old[half + 99:])
    put(redo, get(redo)[:half] + b"?" * 99 + get(redo)[half + 99:])
    eq(of_keys(findings(m.vault, status=4)), [("damaged", "token"), ("note", "rekey")])
    put(redo, new[:half + 99] + get(redo)[half + 99:])
    eq(of_keys(findings(m.vault, "--repair", status=1)), [("repaired", "rekey")])
    eq([os.path.exists(redo), findings(m.vault)[0]], [False, []])
    with m.mount():
        eq(get(m / "f"), data)


def of_keys(found):
    """All but what tells that a mount ended unexpectedly."""
    return [f[:2] for f in found[0] if f[1] != "crashed"]


def _list(path):
    return os.listdir(path) if os.path.isdir(path) else []


def _rekey(fd):
    try:
        control.rekey(fd)
    except OSError:
        pass


def crash_with_records(m, old, new):
    """Overwrite and append, and end the daemon. Does the journal hold some of it?"""
    put(m / "f", old)
    put(m / "tail", blob(5000, 9))
    m.remount()
    fd = os.open(m / "f", os.O_RDWR)
    tail = os.open(m / "tail", os.O_WRONLY | os.O_APPEND)
    os.write(tail, blob(100000, 10))
    os.fsync(tail)
    os.pwrite(fd, new, 5 * 4096)
    os.fsync(fd)
    m.kill9()
    frond.close_dead(fd)
    frond.close_dead(tail)
    journal = os.path.join(m.vault, ".frondfs/journal")
    return any(os.stat(os.path.join(journal, n)).st_size > 3 * 4096 for n in _list(journal))


@check(plain=False)
def what_a_crash_left_in_the_journal_is_no_damage():
    m = frond.Mount()
    old, new = blob(40 * 4096, 7), blob(3 * 4096, 8)
    while not crash_with_records(m, old, new):
        m.mount()       # so slow a machine that all was in its place already
    # The same bytes again, torn in their place as a power failure may.
    backing, = (e.path for e in os.scandir(m.vault)
                if e.stat().st_size == HEADER + 40 * 4169 + 8)
    before = stored(m.vault)
    data = get(backing)
    put(backing, data[:HEADER + 6 * 4169 + 7] + bytes(100) + data[HEADER + 6 * 4169 + 107:])
    found, _ = findings(m.vault)
    eq([f for f in found if f[0] != "note"], [])
    assert ("note", "crashed", None) in found, found
    put(backing, get(backing)[:HEADER + 20 * 4169 + 9] + b"!" * 9
        + get(backing)[HEADER + 20 * 4169 + 18:])
    eq([f for f in findings(m.vault, status=4)[0] if f[0] != "note"],
       [("damaged", "token", "f")])
    put(backing, get(backing)[:HEADER + 20 * 4169] + data[HEADER + 20 * 4169:])
    found, _ = findings(m.vault, "--repair", status=1)
    assert ("repaired", "crashed", None) in found, found
    eq(findings(m.vault)[0], [])
    eq(len(stored(m.vault)), len(before))
    with m.mount():
        eq(get(m / "f"), old[:5 * 4096] + new + old[8 * 4096:])
        eq(get(m / "tail"), blob(5000, 9) + blob(100000, 10))


@check(plain=False)
def copies_of_synchronising_services_are_listed():
    top, where = vault()
    shutil.copy(where["big"], where["big"] + COPY)
    shutil.copy(where["d/e/leaf"], where["d/e/leaf"] + "~")
    shutil.copy(dirid(where["d"]), dirid(where["d"]) + " (1)")
    with frond.Mount(vault=top) as m:
        put(m / "edge~", b"real")
    shutil.copy(where["edge"], where["edge"] + "~")
    want = [("note", "copy", "big" + COPY), ("note", "copy", "d/e/leaf~"),
            ("note", "hidden-copy", None), ("note", "hidden-copy", None)]
    eq(findings(top)[0], want)
    flip(where["big"] + COPY, HEADER + 50)
    eq([f for f in findings(top, status=4)[0] if f[0] == "damaged"],
       [("damaged", "token", "big" + COPY)])


frond.main()
