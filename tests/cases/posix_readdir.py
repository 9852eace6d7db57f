#!/usr/bin/python3
"""Reading a directory: nothing twice, nothing missed, offsets that hold."""
import ctypes
import os
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import check, eq, put

libc = ctypes.CDLL(None, use_errno=True)
libc.fdopendir.restype = ctypes.c_void_p
libc.readdir.restype = ctypes.c_void_p
libc.readdir.argtypes = libc.closedir.argtypes = [ctypes.c_void_p]
libc.rewinddir.argtypes = libc.telldir.argtypes = [ctypes.c_void_p]
libc.telldir.restype = ctypes.c_long
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]


class Dir:
    """DIR * of the C library, to say telldir and seekdir."""

    def __init__(self, path):
        self.dir = libc.fdopendir(os.open(path, os.O_RDONLY | os.O_DIRECTORY))

    def read(self):
        p = libc.readdir(self.dir)
        return ctypes.string_at(p + 19).decode() if p else None

    def rest(self):
        return list(iter(self.read, None))

    def tell(self):
        return libc.telldir(self.dir)

    def seek(self, at):
        libc.seekdir(self.dir, at)

    def rewind(self):
        libc.rewinddir(self.dir)

    def close(self):
        libc.closedir(self.dir)


def fill(m, n):
    for i in range(n):
        put(m / f"stay-{i:05}")
    return {f"stay-{i:05}" for i in range(n)}


def once(names, want):
    eq(len(names), len(set(names)), "names told")
    missing = want - set(names)
    assert not missing, f"{len(missing)} missed, {sorted(missing)[:3]} ..."


@check
def dot_and_dotdot_are_there_once(m):
    fill(m, 3)
    d = Dir(m / ".")
    eq(sorted(d.rest()), [".", "..", "stay-00000", "stay-00001", "stay-00002"])
    d.close()


@check
def seekdir_goes_back_to_where_telldir_was(m):
    want = fill(m, 3000)
    d = Dir(m / ".")
    marks = []
    names = []
    while True:
        at = d.tell()
        name = d.read()
        if name is None:
            break
        marks.append((at, name))
        names.append(name)
    once(names, want)
    for at, name in marks[::97] + marks[-3:]:
        d.seek(at)
        eq(d.read(), name, f"after seekdir({at})")
    d.rewind()
    once(d.rest(), want)
    d.close()


@check
def entries_that_stay_are_told_once_while_others_come_and_go(m):
    want = fill(m, frond.scale(4000, 500))
    stop = threading.Event()

    def churn(k):
        i = 0
        while not stop.is_set():
            i += 1
            put(m / f"come-{k}-{i % 50}")
            if i % 3 == 0:
                os.rename(m / f"come-{k}-{i % 50}", m / f"went-{k}-{i % 20}")
            if i % 2 == 0:
                for name in (f"come-{k}-{(i - 9) % 50}", f"went-{k}-{i % 7}"):
                    if os.path.exists(m / name):
                        os.unlink(m / name)
    threads = [threading.Thread(target=churn, args=(k,)) for k in range(2)]
    for t in threads:
        t.start()
    try:
        for _ in range(frond.scale(20, 4)):
            d = Dir(m / ".")
            names = d.rest()
            d.close()
            stay = [n for n in names if n.startswith("stay")]
            once(stay, want)
    finally:
        stop.set()
        for t in threads:
            t.join()


@check
def removing_while_reading_removes_everything(m):
    want = fill(m, 3000)
    d = Dir(m / ".")
    told = []
    while (name := d.read()) is not None:
        if name[0] != ".":
            os.unlink(m / name)
            told.append(name)
    d.close()
    once(told, want)
    eq(os.listdir(m / "."), [])


@check
def rewinddir_shows_what_came_since(m):
    want = fill(m, 100)
    d = Dir(m / ".")
    once(d.rest(), want)
    put(m / "fresh")
    os.unlink(m / "stay-00007")
    d.rewind()
    eq(set(d.rest()) - {".", ".."}, (want | {"fresh"}) - {"stay-00007"})
    d.close()


@check
def a_new_listing_shows_every_change_at_once(m):
    for i in range(200):
        put(m / f"n{i}")
        assert f"n{i}" in os.listdir(m / "."), f"n{i} made, not shown"
        if i % 2:
            os.unlink(m / f"n{i}")
            assert f"n{i}" not in os.listdir(m / "."), f"n{i} removed, still shown"


@check
def types_and_stat_of_a_listing_are_right(m):
    put(m / "file", b"12345")
    os.mkdir(m / "dir")
    os.symlink("file", m / "link")
    os.mkfifo(m / "fifo")
    for e in os.scandir(m / "."):
        st = os.lstat(e.path)
        eq(e.inode(), st.st_ino, e.name)
        eq(e.is_file(follow_symlinks=False), e.name == "file")
        eq(e.is_dir(follow_symlinks=False), e.name == "dir")
        eq(e.is_symlink(), e.name == "link")
    out = frond.run("ls", "-l", m / "file")
    assert " 5 " in out, out


frond.main()
