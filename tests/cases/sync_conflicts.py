#!/usr/bin/python3
"""Copies that synchronising services leave show in the mount, under their names."""
import errno
import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import blob, check, eq, get, put, raises

SUFFIXES = [
    " (conflicted copy 2026-11-21)", " (Alice's conflicted copy 2026-11-21)",     # Dropbox
    " (Case Conflict)", " (conflicted copy 2026-11-21 120000)",                   # Nextcloud
    "_conflict-20261121-120000",                                                  # ownCloud
    ".sync-conflict-20261121-120000-ABCDEFG",                                     # Syncthing
    "~", " (1)", " (2)", " 2", " - Copy", " - Copy (2)", "-DESKTOP-4F1", ".Conflict",
    " (SFConflict bob@example.org 2026-11-21-12-00-00)",                          # Seafile
]
OLD, NEW = blob(9000, 1), blob(20000, 2)


def copy_of(m, path, suffix):
    """What a service does: the same bytes under a name with something added."""
    old = os.fsdecode(m.backing(path))
    new = old + suffix
    shutil.copy2(old, new)
    return new


@check(plain=False)
def each_services_copies_are_ordinary_files():
    for name in ("report.pdf", "a", "with-DASH", "x (1)", "n" * 175, "m" * 176, "l" * 200):
        m = frond.Mount()
        put(m / name, OLD)
        copies = {suffix: copy_of(m, m / name, suffix) for suffix in SUFFIXES
                  if len(os.path.basename(m.backing(m / name))) + len(suffix) <= 255}
        put(m / name, NEW)
        with m.remount():
            eq(sorted(os.listdir(m.path)), sorted([name] + [name + s for s in copies]))
            for suffix, backing in copies.items():
                eq(get(m / (name + suffix)), OLD, name + suffix)
                eq(os.fsdecode(m.backing(m / (name + suffix))), backing)
            eq(get(m / name), NEW)


@check(plain=False)
def a_copy_can_be_changed_renamed_and_removed():
    m = frond.Mount()
    put(m / "f", OLD)
    backing = copy_of(m, m / "f", " (1)")
    with m.remount():
        put(m / "f (1)", NEW)
        eq(get(m / "f (1)"), NEW)
        eq(get(m / "f"), OLD)
        raises(errno.EEXIST, os.open, m / "f (1)", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        os.link(m / "f (1)", m / "linked")
        os.unlink(m / "linked")
        os.rename(m / "f (1)", m / "g")
        assert not os.path.exists(backing)
        raises(errno.ENOENT, os.stat, m / "f (1)")
        eq(sorted(os.listdir(m.path)), ["f", "g"])
        # Free again: what is made now is a file like any other.
        put(m / "f (1)", b"new")
        assert " " not in os.path.basename(os.fsdecode(m.backing(m / "f (1)")))
        m.remount()
        eq((get(m / "f"), get(m / "g"), get(m / "f (1)")), (OLD, NEW, b"new"))
        os.unlink(m / "f (1)")
        copy_of(m, m / "f", " (1)")
        m.remount()
        os.unlink(m / "f (1)")
        eq(sorted(os.listdir(m.path)), ["f", "g"])


@check(plain=False)
def a_real_file_of_that_name_wins():
    m = frond.Mount()
    put(m / "f", OLD)
    put(m / "f~", NEW)
    backing = copy_of(m, m / "f", "~")
    with m.remount():
        eq(sorted(os.listdir(m.path)), ["f", "f~"])
        eq(get(m / "f~"), NEW)
        os.rename(m / "f~", m / "elsewhere")
        m.remount()
        eq(sorted(os.listdir(m.path)), ["elsewhere", "f", "f~"])
        eq(get(m / "f~"), OLD)
        os.unlink(m / "f~")
        assert not os.path.exists(backing)


@check(plain=False)
def copies_of_long_names_stay_reachable():
    m = frond.Mount()
    name, longest = "l" * 200, "x" * 250
    for n in (name, longest):
        put(m / n, OLD)
    entry = os.path.basename(os.fsdecode(m.backing(m / longest)))
    for n in (name, longest):
        copy_of(m, m / n, " (conflicted copy 2026-11-21)")
    with m.remount():
        # One that would be too long is shown as it is called.
        shown = [name + " (conflicted copy 2026-11-21)",
                 entry + " (conflicted copy 2026-11-21)"]
        eq(sorted(os.listdir(m.path)), sorted([name, longest] + shown))
        for s in shown:
            eq(get(m / s), OLD)
        # The long name goes with its file; the copy is still there.
        os.unlink(m / name)
        os.unlink(m / longest)
        m.remount()
        left = os.listdir(m.path)
        eq(len(left), 2)
        for s in left:
            eq(get(m / s), OLD)
            os.unlink(m / s)
        eq(os.listdir(m.path), [])


@check(plain=False)
def directories_and_links_that_were_copied_work():
    m = frond.Mount()
    os.mkdir(m / "d")
    put(m / "d/inner", OLD)
    os.symlink("target", m / "link")
    d = os.fsdecode(m.backing(m / "d"))
    shutil.copytree(d, d + " (1)")
    (link,) = [e.path for e in os.scandir(m.vault) if e.is_symlink()]
    os.symlink(os.readlink(link), link + " (1)")
    with m.remount():
        eq(sorted(os.listdir(m.path)), ["d", "d (1)", "link", "link (1)"])
        eq(get(m / "d (1)/inner"), OLD)
        eq(os.readlink(m / "link (1)"), "target")
        raises(errno.ENOTEMPTY, os.rmdir, m / "d (1)")
        os.unlink(m / "d (1)/inner")
        os.rmdir(m / "d (1)")
        eq(get(m / "d/inner"), OLD)


@check(plain=False)
def what_was_not_made_here_stays_hidden():
    m = frond.Mount()
    os.mkdir(m / "d")
    put(m / "f", OLD)
    backing = os.fsdecode(m.backing(m / "f"))
    for name in ("A" * 60 + " (1)", "@" + "A" * 43 + "x", "note (1)", "~", " (1)",
                 os.path.basename(backing)[:-1] + "~"):
        put(os.path.join(m.vault, name), b"foreign")
    # a copy in a directory where the name means nothing
    shutil.copy2(backing, os.path.join(os.fsdecode(m.backing(m / "d")),
                                       os.path.basename(backing) + " (1)"))
    with m.remount():
        eq(sorted(os.listdir(m.path)), ["d", "f"])
        eq(os.listdir(m / "d"), [])
        for name in ("note (1)", "f (1)", "f~", "d/f (1)"):
            raises(errno.ENOENT, os.stat, m / name)


frond.main()
