#!/usr/bin/python3
"""
Everything that is on disk beside files, tampered with in every way: ids of
directories, names, long names, links, extended attributes, vault.ini. Each row
of a table says what was done, and what is to be seen of it.
"""
import errno
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import check, eq, fresh, get, put, raises
from tamper import TOKEN, compare, flip, token_part
from vaultcheck import findings

# A change of the .dirid of a directory with "f" and "sub/g" in it: change(dirid,
# the one of another directory), and what listing it gives.
DIRIDS = {
    "id flipped": (lambda d, o: flip(d, 3), "EIO"),
    "id zeroed": (lambda d, o: bytes(16) + d[16:], "EIO"),
    "all zeroed": (lambda d, o: bytes(32), "EIO"),
    "cut to nothing": (lambda d, o: b"", "EIO"),
    "cut to the id": (lambda d, o: d[:16], "EIO"),
    "cut by a byte": (lambda d, o: d[:31], "EIO"),
    "a byte more": (lambda d, o: d + b"\0", "EIO"),
    "another directory's": (lambda d, o: o, "EIO"),
    "removed": (lambda d, o: None, "EIO"),
    # Not detected, and harmless: it is a hint for repair.
    "parent flipped": (lambda d, o: flip(d, 20), ""),
}


def listed(path):
    """What is there of "f" and "sub/g", in words."""
    try:
        names = sorted(os.listdir(path))
    except OSError as e:
        return errno.errorcode[e.errno]
    eq((names, get(os.path.join(path, "f"))), (["f", "sub"], b"f"))
    return "" if get(os.path.join(path, "sub/g")) == b"g" else "another g"


@check(plain=False)
def ids_of_directories():
    ids_of_directories_are_damaged(lambda at: None)


@check(plain=False)
def the_attribute_alone_is_not_believed_either():
    with frond.Mount() as m:
        os.mkdir(m / "d")
        put(m / "d/f", b"f")
        at = m.backing(m / "d")
        m.umount()
        if "user.frondfs-dirid" not in os.listxattr(at):
            raise frond.Skip("the file system has no attributes")
        os.setxattr(at, "user.frondfs-dirid", flip(os.getxattr(at, "user.frondfs-dirid"), 3))
        os.unlink(os.path.join(at, b".dirid"))
        m.mount()
        raises(errno.EIO, os.listdir, m / "d")
        raises(errno.EIO, put, m / "d/new", b"lost")
        eq(os.path.exists(os.path.join(at, b".dirid")), False)
        m.umount()
        eq(findings(m.vault, "--repair", status=1)[0], [("repaired", "dirid", "d")])
        m.mount()
        eq(get(m / "d/f"), b"f")


@check(plain=False)
def ids_of_directories_without_attributes():
    ids_of_directories_are_damaged(frond.lose_aside)


def ids_of_directories_are_damaged(before):
    with frond.Mount() as m:
        for i in range(len(DIRIDS)):
            os.makedirs(m / f"{i}/sub")
            put(m / f"{i}/f", b"f")
            put(m / f"{i}/sub/g", b"g")
        os.mkdir(m / "other")
        put(m / "other/f", b"f")
        at = [m.backing(m / str(i)) for i in range(len(DIRIDS))]
        other = get(os.path.join(m.backing(m / "other"), b".dirid"))
        m.umount()
        for path, (change, _) in zip(at, DIRIDS.values()):
            before(path)
            path = os.path.join(path, b".dirid")
            new = change(get(path), other)
            frond.lose_dirid(path) if new is None else put(path, new)
        m.mount()
        compare([f"{title}: {got!r}, should be {want!r}"
                 for i, (title, (_, want)) in enumerate(DIRIDS.items())
                 if (got := listed(m / str(i))) != want])
        for i, (_, want) in enumerate(DIRIDS.values()):
            if want:
                raises(errno.EIO, os.stat, m / f"{i}/f")
                raises(errno.EIO, put, m / f"{i}/new", b"lost")
            line = f"{i}: the directory's id (.dirid) is missing or damaged"
            # once, and again where the kernel has forgotten the directory meanwhile
            times = sum(f" {line}" in said for said in m.log().splitlines())
            assert bool(want) <= times <= 2 * bool(want), (line, times)
        assert f'"frondfs check --repair" of {m.vault}\n' in m.log(), m.log()
        eq(listed(m / "other") if os.path.isdir(m / "other/sub") else
           get(m / "other/f"), b"f", "the directory beside them")


def exchange(a, b):
    os.rename(a, a + b"~")
    os.rename(b, a)
    os.rename(a + b"~", b)


def renamed(change):
    def do(a, b):
        d, name = os.path.split(a)
        os.rename(a, os.path.join(d, change(name)))
    return do


def other_letter(name, at=5):
    return name[:at] + (b"B" if name[at:at + 1] == b"A" else b"A") + name[at + 1:]


# In a directory with "one" and "two": what is done to the backing names of
# them, and which contents the two names give then (None: the name is lost).
NAMES = {
    "nothing": (lambda a, b: None, (b"one", b"two")),
    "one letter changed": (renamed(other_letter), (None, b"two")),
    "the last letter changed": (renamed(lambda n: other_letter(n, len(n) - 1)),
                                (None, b"two")),
    "cut": (renamed(lambda n: n[:-4]), (None, b"two")),
    "longer": (renamed(lambda n: n + b"AAAA"), (None, b"two")),
    "moved to another directory": (
        lambda a, b: os.rename(a, os.path.join(os.path.dirname(os.path.dirname(a)),
                                               os.path.basename(a) + b"")), (None, b"two")),
    "removed": (lambda a, b: os.unlink(a), (None, b"two")),
    # Not detected: two files exchanged under their names.
    "exchanged": (exchange, (b"two", b"one")),
}


def given(path):
    try:
        return get(path)
    except FileNotFoundError:
        return None
    except OSError as e:
        return errno.errorcode[e.errno]


@check(plain=False)
def names_of_entries():
    with frond.Mount() as m:
        at = []
        for i in range(len(NAMES)):
            os.mkdir(m / str(i))
            for name in ("one", "two"):
                put(m / f"{i}/{name}", name.encode())
            at.append([m.backing(m / f"{i}/{name}") for name in ("one", "two")])
        m.umount()
        for (a, b), (change, _) in zip(at, NAMES.values()):
            change(a, b)
        m.mount()
        wrong = []
        for i, (title, (_, want)) in enumerate(NAMES.items()):
            seen = sorted(os.listdir(m / str(i)))
            got = tuple(given(m / f"{i}/{n}") for n in ("one", "two"))
            here = [n for n, data in zip(("one", "two"), want) if data is not None]
            if got != want or seen != here:
                wrong.append(f"{title}: {got}, listed {seen}")
        compare(wrong)
        eq(sorted(os.listdir(m.path)), sorted(map(str, range(len(NAMES)))))


def swap_content(a, b):
    x, y = get(a), get(b)
    put(a, y)
    put(b, x)


# The same of long names, done to the files "<entry>.name" beside the entries.
LONG = {
    "flipped": (lambda a, b: put(a, flip(get(a), 50)), (None, b"two")),
    "cut": (lambda a, b: put(a, get(a)[:-1]), (None, b"two")),
    "longer": (lambda a, b: put(a, get(a) + b"A"), (None, b"two")),
    "a line feed behind it": (lambda a, b: put(a, get(a) + b"\n"), (None, b"two")),
    "emptied": (lambda a, b: put(a, b""), (None, b"two")),
    "zeroed": (lambda a, b: put(a, bytes(len(get(a)))), (None, b"two")),
    "removed": (lambda a, b: os.unlink(a), (None, b"two")),
    "exchanged": (swap_content, (None, None)),
    "another's": (lambda a, b: put(a, get(b)), (None, b"two")),
    "a directory instead": (lambda a, b: (os.unlink(a), os.mkdir(a)), (None, b"two")),
    "a link instead": (lambda a, b: (os.unlink(a), os.symlink(b, a)), (None, b"two")),
    # Not detected: entry and name exchanged together.
    "both exchanged": (lambda a, b: exchange(a[:-5], b[:-5]), (b"two", b"one")),
}


@check(plain=False)
def long_names():
    one, two = "1" * 250, "2" * 250
    with frond.Mount() as m:
        at = []
        for i in range(len(LONG)):
            os.mkdir(m / str(i))
            put(m / f"{i}/{one}", b"one")
            put(m / f"{i}/{two}", b"two")
            at.append([m.backing(m / f"{i}/{n}") + b".name" for n in (one, two)])
        m.umount()
        for (a, b), (change, _) in zip(at, LONG.values()):
            change(a, b)
        m.mount()
        wrong = []
        for i, (title, (_, want)) in enumerate(LONG.items()):
            seen = sorted(os.listdir(m / str(i)))
            here = [n for n, data in zip((one, two), want) if data is not None]
            got = tuple(given(m / f"{i}/{n}") if n in seen else None for n in (one, two))
            if got != want or seen != here:
                wrong.append(f"{title}: {got}, {len(seen)} listed")
        compare(wrong)


def letter(text, at):
    return text[:at] + ("B" if text[at] == "A" else "A") + text[at + 1:]


# A link's token, which is what it points to: text(own, another's) -> result.
LINKS = {f"{part} changed": (lambda t, o, at=at: letter(t, at), "EIO") for part, at in
         (("version", 0), ("timestamp", 8), ("IV", 20), ("ciphertext", 40), ("MAC", -8))}
LINKS |= {
    "cut": (lambda t, o: t[:-4], "EIO"), "longer": (lambda t, o: t + "AAAA", "EIO"),
    "no token": (lambda t, o: "/etc/passwd", "EIO"),
    "a name of a companion that is not there": (lambda t, o: "@" + "0" * 32, "EIO"),
    "a path as companion": (lambda t, o: "@../" + "0" * 29, "EIO"),
    "a file's token": (lambda t, o: "gAAAAAB" + "A" * 93, "EIO"),
    # Not detected: links exchanged.
    "another link's": (lambda t, o: o, "other"),
}
# A long link's, in the file "@....link" beside it.
COMPANIONS = {
    "flipped": (lambda d, o: flip(d, 3000), "EIO"), "cut": (lambda d, o: d[:-4], "EIO"),
    "emptied": (lambda d, o: b"", "EIO"), "zeroed": (lambda d, o: bytes(len(d)), "EIO"),
    "longer": (lambda d, o: d + b"A", "EIO"), "removed": (lambda d, o: None, "EIO"),
    "far too long": (lambda d, o: d * 100, "EIO"),
    # Not detected: links exchanged.
    "another link's": (lambda d, o: o, "other"),
}


def target(path, own, other):
    try:
        return {own: "", other: "other"}.get(os.readlink(path), "what nobody wrote")
    except OSError as e:
        return errno.errorcode[e.errno]


def the_link(d):
    """The only link in a backing directory."""
    (path,) = (e.path for e in os.scandir(d) if e.is_symlink())
    return path


def change_link(link, change, other):
    text = change(os.fsdecode(os.readlink(link)), os.fsdecode(os.readlink(other)))
    os.unlink(link)
    os.symlink(text, link)


def change_companion(link, change, other):
    path, another = (os.path.join(os.path.dirname(p), os.readlink(p) + b".link")
                     for p in (link, other))
    new = change(get(path), get(another))
    frond.lose_dirid(path) if new is None else put(path, new)


@check(plain=False)
def links():
    kinds = ((LINKS, change_link, "own", "other"),
             (COMPANIONS, change_companion, "t" * 4000, "u" * 4000))
    with frond.Mount() as m:
        at = {}
        for kind, (table, _, own, other) in enumerate(kinds):
            for name in [*map(str, range(len(table))), "other"]:
                os.mkdir(m / f"{kind}.{name}")
                os.symlink(other if name == "other" else own, m / f"{kind}.{name}/l")
                at[kind, name] = m.backing(m / f"{kind}.{name}")
        m.umount()
        for kind, (table, tamper, *_) in enumerate(kinds):
            for i, (change, _) in enumerate(table.values()):
                tamper(the_link(at[kind, str(i)]), change, the_link(at[kind, "other"]))
        m.mount()
        wrong = []
        for kind, (table, _, own, other) in enumerate(kinds):
            for i, (title, (_, want)) in enumerate(table.items()):
                got = target(m / f"{kind}.{i}/l", own, other)
                if got != want or os.listdir(m / f"{kind}.{i}") != ["l"]:
                    wrong.append(f"{title}, {len(own)} bytes: {got!r}, should be {want!r}")
        compare(wrong)


# An attribute's stored value: change(own, another attribute's of the same file,
# the same attribute's of another file) -> what reading it gives.
XATTRS = {part + " flipped": (lambda v, o, x, part=part: flip(v, token_part(0, len(v), part)[0]),
                              "EIO") for part in TOKEN}
XATTRS |= {
    "cut": (lambda v, o, x: v[:-1], "EIO"), "longer": (lambda v, o, x: v + b"x", "EIO"),
    "emptied": (lambda v, o, x: b"", "EIO"), "zeroed": (lambda v, o, x: bytes(len(v)), "EIO"),
    "another attribute's": (lambda v, o, x: o, "EIO"),
    "another file's": (lambda v, o, x: x, "EIO"),
}


def attribute(path):
    try:
        return {b"value": ""}.get(os.getxattr(path, "user.own"), "what nobody wrote")
    except OSError as e:
        return errno.errorcode[e.errno]


@check(plain=False)
def extended_attributes():
    with frond.Mount() as m:
        names = [str(i) for i in range(len(XATTRS))] + ["other"]
        stored = {}
        for name in names:
            (put if name != "1" else os.mkdir)(m / name)
            at = m.backing(m / name)
            bare = set(os.listxattr(at))
            os.setxattr(m / name, "user.own", b"value")
            own = set(os.listxattr(at)) - bare
            os.setxattr(m / name, "user.sibling", b"other")
            stored[name] = at, own.pop(), (set(os.listxattr(at)) - bare - own)
        m.umount()
        at, key, _ = stored["other"]
        elsewhere = os.getxattr(at, key)
        for name, (change, _) in zip(names, XATTRS.values()):
            at, key, keys = stored[name]
            (sibling,) = keys - {key}
            value = change(os.getxattr(at, key), os.getxattr(at, sibling), elsewhere)
            os.setxattr(at, key, value)
        m.mount()
        compare([f"{title}: {got!r}, should be {want!r}"
                 for i, (title, (_, want)) in enumerate(XATTRS.items())
                 if (got := attribute(m / str(i))) != want])
        for name in names:
            eq(os.getxattr(m / name, "user.sibling"), b"other", "the one beside it")


def setting(key, change):
    return lambda t, o: re.sub(rb"(?m)^(%s = )(.*)$" % key,
                               lambda m: m[1] + change(m[2]), t, count=1)


def others(key):
    """The line of another vault."""
    line = re.compile(rb"(?m)^%s = .*$" % key)
    return lambda t, o: line.sub(line.search(o)[0], t, count=1)


def changed_letter(value):
    return other_letter(value, 10 if len(value) > 20 else 0)


# vault.ini: change(text, another vault's with the same passphrase).
INI = {f"{key.decode()} changed": setting(key, changed_letter) for key in
       (b"id", b"created", b"type", b"kdf", b"salt", b"token", b"mac")}
INI |= {f"{key.decode()} of another vault": others(key) for key in
        (b"id", b"salt", b"token", b"mac")}
INI |= {
    "created earlier": setting(b"created", lambda v: b"2001" + v[4:]),
    "more passes": setting(b"ops", lambda v: b"2"),
    "more memory": setting(b"mem", lambda v: b"16777216"),
    "no passes": setting(b"ops", lambda v: b"0"),
    "immense memory": setting(b"mem", lambda v: b"1099511627776"),
    "a newer version": setting(b"version", lambda v: b"3"),
    "an older version": setting(b"version", lambda v: b"1"),
    "version 0": setting(b"version", lambda v: b"0"),
    "the slot renamed": lambda t, o: t.replace(b"[slot default]", b"[slot other]"),
    "a slot more": lambda t, o: t.replace(
        b"[seal]", o[o.index(b"[slot default]"):o.index(b"[seal]")]
        .replace(b"default", b"more") + b"[seal]"),
    "the seal removed": lambda t, o: t[:t.index(b"[seal]")],
    "a line removed": setting(b"created", lambda v: b""),
    "a line more": lambda t, o: t + b"x = y\n",
    "a comment": lambda t, o: b"# comment\n" + t, "cut": lambda t, o: t[:200],
    "emptied": lambda t, o: b"", "zeroed": lambda t, o: bytes(len(t)),
    "lines of DOS": lambda t, o: t.replace(b"\n", b"\r\n"),
    "no last line feed": lambda t, o: t[:-1], "far too long": lambda t, o: t * 50,
    "removed": lambda t, o: None,
}


@check(plain=False)
def settings():
    vault, other = frond.new_vault(), frond.new_vault()
    path, point, word = os.path.join(vault, ".frondfs/vault.ini"), fresh("mnt"), frond.passfile()
    good, foreign = get(path), get(os.path.join(other, ".frondfs/vault.ini"))
    os.mkdir(point)
    running, wrong = [], []
    for title, change in INI.items():
        copy = fresh("copy")
        shutil.copytree(vault, copy)
        at, new = os.path.join(copy, ".frondfs/vault.ini"), change(good, foreign)
        assert new != good, title
        os.unlink(at) if new is None else put(at, new)
        running.append((title, subprocess.Popen(
            [frond.FRONDFS, "mount", "-f", "--passfile", word, copy, point],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)))
        if len(running) == 4 or title == list(INI)[-1]:
            for title, p in running:
                said = p.communicate(timeout=60)[1].decode(errors="replace")
                if not 1 <= p.returncode <= 9 or not said.startswith("frondfs: "):
                    wrong.append(f"{title}: status {p.returncode}, {said!r}")
            running = []
    compare(wrong)
    assert not os.path.ismount(point)
    # Not detected where nothing is remembered: an earlier vault.ini, with the
    # passphrase that it had.
    new_word = frond.passfile("another passphrase")
    frond.run(frond.FRONDFS, "passwd", "--passfile", word, "--new-passfile", new_word, vault)
    assert get(path) != good
    put(path, good)
    with frond.Mount("remember=off", vault=vault) as m:
        put(m / "f", b"the old passphrase works again")


frond.main()
