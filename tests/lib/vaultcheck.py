"""A vault with one of everything, what frondfs check says of it, and how it is damaged."""
import collections
import hashlib
import json
import os
import subprocess

import frond
from frond import FRONDFS, blob, eq, fresh, get, passfile, put, run

HEADER, SLOT = 176, 4169
SIZES = {"empty": 0, "small": 700, "edge": 8192, "big": 3 * 4096 + 5, "huge": 3 << 20}
LONG = "long name " * 22
COPY = " (conflicted copy 2026-11-21)"


def frondfs_check(path, *args, status=0, **kw):
    """Its standard output."""
    p = subprocess.run([FRONDFS, "check", "--passfile", passfile(), *args, path],
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, timeout=300, **kw)
    out = p.stdout.decode() + p.stderr.decode()
    wanted = status if isinstance(status, tuple) else (status,)
    assert p.returncode in wanted, f"status {p.returncode}, not {status}:\n{out}"
    return p.stdout.decode()


def findings(path, *args, status=0):
    """
    (state, what, plain path) of each finding, and the whole document. status: the
    exit status, or a tuple of those that will do.
    """
    doc = json.loads(frondfs_check(path, "--json", *args, status=status))
    assert doc["status"] == status or isinstance(status, tuple)
    return sorted((f["state"], f["what"], f["path"]) for f in doc["findings"]), doc


def make_tree(m):
    for name, size in SIZES.items():
        put(m / name, blob(size, name))
    with open(m / "holes", "wb") as f:
        f.seek(20 * 4096)
        f.write(b"an island")
        f.truncate(1 << 24)
    os.makedirs(m / "d/e/f")
    put(m / "d/e/leaf", b"leaf")
    put(m / "d/e/f/inner", b"inner")
    os.mkdir(m / "bare")
    put(m / LONG, b"of a long name")
    os.mkdir(m / ("x" * 240))
    put(os.path.join(m / ("x" * 240), "in it"), b"y")
    os.symlink("target", m / "link")
    os.symlink("t" * 4000, m / "long link")
    os.link(m / "small", m / "d/linked")
    os.mkfifo(m / "fifo")
    for path in (m / "small", m / "d", m / "big", m / "bare"):
        os.setxattr(path, "user.note", b"value")
        os.setxattr(path, "user." + "n" * 240, b"another")


_made = None


def vault():
    """
    A fresh copy of a vault with one of everything, and where each thing lies. On a
    machine of its own, which has not seen what became of the others.
    """
    global _made
    if _made is None:
        m = frond.Mount()
        make_tree(m)
        where = {}
        for top, dirs, files in os.walk(m.path):
            for name in dirs + files:
                path = os.path.join(top, name)
                if os.path.islink(path) or not (os.path.isfile(path) or os.path.isdir(path)):
                    continue
                rel = os.path.relpath(path, m.path)
                where[rel] = os.path.relpath(os.fsdecode(m.backing(path)), m.vault)
        m.umount()
        _made = m.vault, where
    copy = fresh("copy")
    run("cp", "-a", _made[0], copy)
    os.environ["XDG_STATE_HOME"] = fresh("state")
    return copy, {rel: os.path.join(copy, back) for rel, back in _made[1].items()}


def contents(top):
    """What a mount shows: every path, and what is there."""
    m = frond.Mount(vault=top)
    with m:
        found = {}
        for dirpath, dirs, files in os.walk(m.path):
            for name in dirs + files:
                path = os.path.join(dirpath, name)
                rel = os.path.relpath(path, m.path)
                if os.path.islink(path):
                    found[rel] = os.readlink(path)
                elif os.path.isdir(path):
                    found[rel] = "directory"
                elif os.path.isfile(path):
                    found[rel] = hashlib.sha256(get(path)).hexdigest()
        return found


def stored(top):
    """Every backing file's bytes, wherever it lies, and how often."""
    files = collections.Counter()
    for dirpath, dirs, names in os.walk(top):
        if dirpath == top:
            dirs.remove(".frondfs")
        for name in names:
            path = os.path.join(dirpath, name)
            if os.path.isfile(path) and not os.path.islink(path):
                files[hashlib.sha256(get(path)).hexdigest()] += 1
            elif os.path.islink(path):
                files["-> " + os.readlink(path)] += 1
    return files


def edit(path, at, data):
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(data)


def flip(path, at):
    edit(path, at, bytes([get(path)[at] ^ 1]))


def repaired(top, want, *, status=1, lost=()):
    """
    Repair, and see that nothing is lost, nothing is left, and all can be read. Which
    of two twins is told of is left open.
    """
    before = stored(top)
    found, doc = findings(top, "--repair", status=status)
    eq([f if f[1] != "twin" else (*f[:2], None) for f in found], sorted(want))
    after = stored(top)
    missing = before - after
    for text in lost:
        missing.pop(text, None)
    eq(missing, {}, "bytes that a repair lost")
    again, _ = findings(top, status=0 if status == 1 else 4)
    assert not [f for f in again if f[0] != "note"] or status != 1, again
    return doc


def dirid(path):
    return os.path.join(path, ".dirid")
