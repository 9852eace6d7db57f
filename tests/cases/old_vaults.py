#!/usr/bin/python3
"""Vaults that earlier programs made still open, and can be used.

tests/vaults has one from before there was a journal, and the first of format version
2. FROND_MAKE=FILE makes one like them with the program in BUILD.
"""
import os
import stat
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import control
import frond
from frond import ROOT, blob, check, eq, fresh, get, passfile, put, run
from vaultcheck import findings

KEPT = os.path.join(ROOT, "tests/vaults")
LONG = "long name " * 22
FILES = {"empty": 0, "small": 700, "edge": 4096, "several": 9000, LONG: 5, "d/e/inner": 6000,
         "d/é ü": 3}
LINKS = {"link": "target", "d/long link": "t" * 4000}
HOLE = 1 << 20


def fill(m):
    os.makedirs(m / "d/e")
    os.mkdir(m / "bare")
    for name, size in FILES.items():
        put(m / name, blob(size, name))
    with open(m / "holes", "wb") as f:
        f.seek(HOLE)
        f.write(b"an island")
        f.truncate(2 * HOLE)
    for name, target in LINKS.items():
        os.symlink(target, m / name)
    os.link(m / "small", m / "d/linked")
    os.mkfifo(m / "fifo")
    for name in ("small", "d"):
        os.setxattr(m / name, "user.note", b"value")
        os.setxattr(m / name, "user." + "n" * 200, b"another")
    control.identity(m.path)
    control.log_append(m.path, "sent", "a file")


def look(top):
    """Everything that a mount, or a plain directory, shows."""
    seen = {}
    for d, dirs, files in os.walk(top):
        for name in dirs + files:
            path = os.path.join(d, name)
            kind = stat.S_IFMT(os.lstat(path).st_mode)
            seen[os.path.relpath(path, top)] = \
                os.readlink(path) if kind == stat.S_IFLNK else \
                get(path) if kind == stat.S_IFREG else kind
    return seen


def wanted():
    seen = {name: blob(size, name) for name, size in FILES.items()}
    seen |= LINKS | {name: stat.S_IFDIR for name in ("d", "d/e", "bare")}
    seen |= {"d/linked": seen["small"], "fifo": stat.S_IFIFO,
             "holes": bytes(HOLE) + b"an island" + bytes(HOLE - 9)}
    return seen


def unpacked(name):
    top = fresh("old")
    os.mkdir(top)
    run("tar", "-C", top, "--xattrs", "--xattrs-include=user.*", "-xzf",
        os.path.join(KEPT, name))
    return os.path.join(top, "vault")


def names():
    return sorted(n for n in os.listdir(KEPT) if n.endswith(".tar.gz"))


@check(plain=False)
def earlier_vaults_show_what_was_put_into_them():
    assert names(), "none is there"
    for name in names():
        vault = unpacked(name)
        eq(findings(vault)[0], [], name)
        with frond.Mount("ro", vault=vault) as m:
            eq(look(m.path), wanted(), name)
        with frond.Mount(vault=vault) as m:
            eq(look(m.path), wanted(), name)
            for at in ("small", "d"):
                eq({a: os.getxattr(m / at, a) for a in os.listxattr(m / at)},
                   {"user.note": b"value", "user." + "n" * 200: b"another"}, at)
            eq(os.stat(m / "small").st_nlink, 2)
            eq([r[:2] for r in control.log(m.path)], [("sent", "a file")])
            eq(control.log_verify(m.path).fault, 0)
            eq(control.identity(m.path).hex(), get(f"{KEPT}/{name}.identity").decode().strip())


@check(plain=False)
def a_second_reader_reads_earlier_vaults():
    for name in names():
        out = fresh("out")
        run("/usr/bin/python3", os.path.join(ROOT, "contrib/recover.py"), "extract",
            "--passfile", passfile(), unpacked(name), out)
        eq({n: v for n, v in look(out).items() if n != "fifo"},
           {n: v for n, v in wanted().items() if n != "fifo"}, name)


@check(plain=False)
def earlier_vaults_are_written_to():
    for name in names():
        vault = unpacked(name)
        want = wanted()
        with frond.Mount(vault=vault) as m:
            with open(m / "several", "rb+") as f:
                f.seek(4000)
                f.write(b"changed" * 20)
                f.seek(0, os.SEEK_END)
                f.write(b"grown")
            want["several"] = want["several"][:4000] + b"changed" * 20 + \
                want["several"][4140:] + b"grown"
            with open(m / "holes", "rb+") as f:
                f.write(b"filled")
            want["holes"] = b"filled" + want["holes"][6:]
            os.rename(m / LONG, m / ("other " * 40))
            want["other " * 40] = want.pop(LONG)
            os.unlink(m / "link")
            del want["link"]
            put(m / "bare/new", b"new")
            want["bare/new"] = b"new"
            control.log_append(m.path, "sent", "another")
            m.remount()
            eq(look(m.path), want, name)
            eq([r[1] for r in control.log(m.path)], ["a file", "another"])
        eq(findings(vault)[0], [], name)


def make(path):
    with frond.Mount() as m:
        fill(m)
        eq(look(m.path), wanted())
        identity = control.identity(m.path).hex()
        m.umount()
        top = fresh("top")
        os.mkdir(top)
        os.rename(m.vault, os.path.join(top, "vault"))
        run("tar", "-C", top, "--xattrs", "--xattrs-include=user.*", "--sparse", "--owner=0",
            "--group=0", "-czf", path, "vault")
        put(path + ".identity", identity.encode() + b"\n")
        m.vault = os.path.join(top, "vault")
        m.mount()


if os.environ.get("FROND_MAKE"):
    make(os.environ["FROND_MAKE"])
else:
    frond.main()
