#!/usr/bin/python3
"""Damage to what is not a file: directories, links, attributes, vault.ini."""
import errno
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import blob, check, eq, get, put, raises, run
from vaultcheck import frondfs_check

DATA = blob(50000, 99)


def edit(path, change):
    put(path, change(get(path)))


@check(plain=False)
def damaged_directories_links_and_attributes_are_noticed():
    m = frond.Mount()
    os.makedirs(m / "d/e")
    put(m / "d/f", b"x")
    put(m / "fine", b"fine")
    os.symlink("target", m / "link")
    os.setxattr(m / "fine", "user.x", b"value")
    m.umount()
    (link,) = [p for e in os.scandir(m.vault) if os.path.islink(p := e.path)]
    (sub,) = [e.path for e in os.scandir(m.vault)
              if e.is_dir(follow_symlinks=False) and e.name != ".frondfs"]
    (fine,) = [e.path for e in os.scandir(m.vault)
               if e.is_file(follow_symlinks=False) and e.name != ".dirid"]
    text = os.readlink(link)
    os.unlink(link)
    os.symlink(text[:30] + ("A" if text[30] != "A" else "B") + text[31:], link)
    edit(os.path.join(sub, ".dirid"), lambda d: d[:7])
    (name,) = [n for n in os.listxattr(fine) if n.startswith("user.frondfs")]
    value = bytearray(os.getxattr(fine, name))
    value[-1] ^= 1
    os.setxattr(fine, name, bytes(value))
    with m.mount():
        raises(errno.EIO, os.readlink, m / "link")
        raises(errno.EIO, os.listdir, m / "d")
        raises(errno.EIO, os.getxattr, m / "fine", "user.x")
        eq(get(m / "fine"), b"fine")
        eq(set(os.listdir(m.path)), {"d", "fine", "link"})


@check(plain=False)
def foreign_files_in_the_backing_directory_do_no_harm():
    with frond.Mount() as m:
        put(m / "f", DATA)
        m.umount()
        for name in ("note.txt", "conflicted copy of something", "@short", "A" * 60):
            put(os.path.join(m.vault, name), b"foreign")
        m.mount()
        eq(os.listdir(m.path), ["f"])
        eq(get(m / "f"), DATA)


@check(plain=False)
def a_lost_name_is_told_with_a_remedy_whatever_else_lies_there():
    with frond.Mount() as m:
        os.makedirs(m / "d")
        for i in range(3):
            put(m / f"{'long' * 50}{i}", DATA)
        put(m / "d/elsewhere", DATA)
        lost = {os.path.basename(os.fsdecode(m.backing(m / f"{'long' * 50}{i}")))
                for i in range(3)}
        moved = os.fsdecode(m.backing(m / "d/elsewhere"))
        m.umount()
        for name in lost:
            os.unlink(os.path.join(m.vault, name + ".name"))
        os.rename(moved, os.path.join(m.vault, os.path.basename(moved)))
        for name in (".stfolder", "note.txt"):
            put(os.path.join(m.vault, name), b"foreign")
        m.mount()
        for _ in range(3):
            eq(os.listdir(m.path), ["d"])
        lines = [line for line in m.log().splitlines() if "leaves out" in line]
        for name in lost:
            (line,) = [line for line in lines if f'"{m.vault}/{name}"' in line]
            assert "its name is lost" in line and "frondfs check --repair" in line, line
            assert "belong" not in line, line
        (line,) = [line for line in lines if os.path.basename(moved) in line]
        assert "not made in this directory" in line and "--repair" in line, line
        assert any("note.txt" in line or ".stfolder" in line for line in lines), lines
        m.umount()
        frondfs_check(m.vault, "--repair", status=1)
        m.mount()
        eq(sorted(len(get(os.path.join(d, n))) for d, _, names in os.walk(m.path)
                  for n in names), [len(DATA)] * 4)


@check(plain=False)
def a_vault_ini_changed_by_someone_is_refused():
    m = frond.Mount()
    m.umount()
    path = os.path.join(m.vault, ".frondfs/vault.ini")
    good = get(path)
    for change in (lambda t: t.replace(b"ops = 1", b"ops = 2"),
                   lambda t: re.sub(rb"created = 2", b"created = 3", t),
                   lambda t: t[:-10], lambda t: t + b"x = y\n", lambda t: b""):
        put(path, change(good))
        try:
            run(frond.FRONDFS, "mount", "-f", "--passfile", frond.passfile(),
                m.vault, m.path, timeout=60)
            raise RuntimeError("mounted with a changed vault.ini")
        except AssertionError as e:
            assert "status 0" not in str(e)
        assert not os.path.ismount(m.path)
    put(path, good)
    with m.mount():
        put(m / "works", b"again")


frond.main()
