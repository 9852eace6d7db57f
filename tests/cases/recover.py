#!/usr/bin/python3
"""recover.py reads what the mount wrote, byte for byte, and names damage."""
import base64
import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import frond
from frond import FRONDFS, ROOT, blob, check, eq, fresh, get, passfile, put, run

RECOVER = os.path.join(ROOT, "contrib/recover.py")
HEADER, SLOT = 176, 4169
EDGES = [0, 1, 15, 16, 4095, 4096, 4097, 8191, 8192, 8193, 64 * 4096, 64 * 4096 + 1,
         (1 << 20) + 5]


def recover(command, backing, *args, status=0, passphrase=frond.PASSPHRASE):
    """What recover.py prints on both outputs."""
    p = subprocess.run(["/usr/bin/python3", RECOVER, "--passfile", passfile(passphrase),
                        command, backing, *args], stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
    out = p.stdout.decode()
    assert p.returncode == status, f"{command}: status {p.returncode}, not {status}:\n{out}"
    return out


def set_acl(path, *entries):
    run(frond.tool("setfacl"), "-m", ",".join(entries), path)


def unescape(text):
    """The bytes behind a path that recover.py printed."""
    out = bytearray()
    for plain, escape in re.findall(r"([^\\]+)|\\(\\|x[0-9a-f]{2})", text):
        out += plain.encode() if plain else \
            b"\\" if escape == "\\" else bytes([int(escape[1:], 16)])
    return bytes(out)


def make_files(top):
    for n in EDGES:
        put(os.path.join(top, b"size-%d" % n), blob(n, n))
    with open(os.path.join(top, b"holes"), "wb") as f:
        f.seek(10 * 4096 + 100)
        f.write(b"an island")
        f.seek(5 << 30)
        f.write(b"the end")
    with open(os.path.join(top, b"only-a-hole"), "wb") as f:
        f.truncate(1 << 42)
    with open(os.path.join(top, b"punched"), "wb") as f:
        f.write(blob(100000, 3))
        f.flush()
        run(frond.tool("fallocate"), "-p", "-o", "8192", "-l", "40960", os.fsdecode(f.name))


def make_names(top):
    names = [b"x", b"n" * 175, b"n" * 176, b"n" * 255, bytes(range(1, 47)),
             bytes(range(48, 255)), b"\xff" * 255, b"two\nlines", b"back\\slash",
             b"a -> b", " na\u00efve \u2603 ".encode(), b"...", b"-rf", b"@" + b"A" * 43,
             b".dirid", b".frondfs-not", b".tmp-0"]
    for n, name in enumerate(names):
        put(os.path.join(top, name), b"content %d\n" % n)
    deep = top
    for name in (b"d" * 255, b"e" * 200, b"f"):
        deep = os.path.join(deep, name)
        os.mkdir(deep)
        put(os.path.join(deep, b"leaf"), name)
    os.mkdir(os.path.join(top, b"empty"))


def make_links(top):
    for n in (1, 10, 2950, 3000, 4095):
        os.symlink(b"t" * n, os.path.join(top, b"to-%d" % n))
    os.symlink(b"\xff\n -> \x01", os.path.join(top, b"odd target"))
    os.symlink(b"t" * 4095, os.path.join(top, b"L" * 255))
    os.link(os.path.join(top, b"size-4097"), os.path.join(top, b"empty", b"hard"))
    os.link(os.path.join(top, b"n" * 255), os.path.join(top, b"another" * 30))
    os.link(os.path.join(top, b"to-4095"), os.path.join(top, b"empty", b"hard link"),
            follow_symlinks=False)


def make_rest(top):
    for name in (b"size-1", b"empty", b"n" * 255):
        path = os.path.join(top, name)
        os.setxattr(path, b"user.comment", b"\0\xff\n" * 100)
        os.setxattr(path, b"user.empty", b"")
        os.setxattr(path, b"user." + b"x" * 160, b"as long as fits")
        os.setxattr(path, b"user." + b"x" * 161, b"one more")
        os.setxattr(path, b"user." + b"\xfe" * 250, b"the longest")
    set_acl(os.path.join(top, b"size-15"), "u:1234:rw", "g:77:r")
    set_acl(os.path.join(top, b"empty"), "u:1234:rwx", "d:g:77:rx")
    os.mkfifo(os.path.join(top, b"fifo"))
    for n, mode in enumerate((0o4755, 0o2750, 0o600, 0o444)):
        path = put(os.path.join(top, b"mode-%d" % n), b"m")
        if os.geteuid() == 0:
            os.chown(path, 1000 + n, 2000 + n)
        os.chmod(path, mode)
        os.utime(path, ns=(10**18 + n, -5 * 10**17 + 123456789 * n))
    if os.geteuid() == 0:
        os.mknod(os.path.join(top, b"null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.chmod(os.path.join(top, b"empty"), 0o1775)
    os.utime(os.path.join(top, b"empty"), ns=(0, 1))


def make_tree(top):
    top = os.fsencode(top)
    make_files(top)
    make_names(top)
    make_links(top)
    make_rest(top)


def extents(path):
    """Where the file has data, to the byte, whatever the file system says."""
    with open(path, "rb") as f:
        end, at, found = f.seek(0, 2), 0, []
        while at < end:
            try:
                start = os.lseek(f.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            at = os.lseek(f.fileno(), start, os.SEEK_HOLE)
            f.seek(start)
            while start < at:
                block = f.read(min(4096, at - start))
                if block.strip(b"\0"):
                    found.append((start, block))
                start += len(block)
        return end, found


def describe(top):
    """Everything about a tree that must come back."""
    tree, inodes = {}, {}
    top = os.fsencode(top)
    for dirpath, dirs, files in os.walk(top):
        for name in [b"."] * (dirpath == top) + dirs + files:
            path = os.path.join(dirpath, name)
            st = os.lstat(path)
            rel = os.path.relpath(path, top)
            size = st.st_size if not stat.S_ISDIR(st.st_mode) else 0
            what = [st.st_mode, st.st_uid, st.st_gid, size, st.st_mtime_ns, st.st_rdev]
            if not stat.S_ISDIR(st.st_mode):
                what.append(st.st_nlink)
                inodes.setdefault((st.st_dev, st.st_ino), []).append(rel)
            if stat.S_ISLNK(st.st_mode):
                what.append(os.readlink(path))
            elif stat.S_ISREG(st.st_mode):
                what.append(extents(path))
            if not stat.S_ISLNK(st.st_mode):
                what.append({a: os.getxattr(path, a) for a in os.listxattr(path)})
            tree[rel] = what
    for paths in inodes.values():
        for rel in paths:
            tree[rel].append(sorted(paths))
    return tree


def same_trees(got, want):
    eq(sorted(got), sorted(want), "paths")
    for path in want:
        eq(got[path], want[path], path)


_full = None


def full_vault():
    """A backing directory of everything, and what the mount said of it."""
    global _full
    if _full is None:
        m = frond.Mount()
        make_tree(m.path)
        m.remount()
        seen = describe(m.path)
        m.umount()
        _full = m.vault, seen
    return _full


@check(plain=False)
def extract_restores_what_the_mount_shows():
    backing, seen = full_vault()
    out = fresh("out")
    eq(recover("extract", backing, out).splitlines()[-1],
       f"{len({tuple(w[-1]) if isinstance(w[-1], list) else p for p, w in seen.items()})} "
       "entries read; faults: none")
    same_trees(describe(out), seen)
    hole = os.stat(os.path.join(out, "only-a-hole"))
    assert hole.st_blocks < 100, "the hole was filled"


@check(plain=False)
def list_prints_what_the_mount_shows():
    backing, seen = full_vault()
    lines = recover("list", backing).splitlines()
    eq(len(lines), len(seen) - 1, "lines")
    for line in lines:
        mode, nlink, uid, gid, size, when, rest = line.split(" ", 6)
        path, _, target = rest.partition(" -> ")
        want = seen[unescape(path)]
        eq(mode, stat.filemode(want[0]), path)
        eq((int(uid), int(gid)), (want[1], want[2]), path)
        eq(size, "1,3" if path == "null" else str(want[3]), path)
        eq(when[20:29], f"{want[4] % 10**9:09}", path)
        if stat.S_ISLNK(want[0]):
            eq(unescape(target), want[7], path)
            eq(int(nlink), want[6], path)


@check(plain=False)
def verify_finds_nothing_wrong_and_changes_nothing():
    backing, _ = full_vault()
    before = run("find", backing, "-printf", "%p %s %T@ %C@ %i\n")
    assert recover("verify", backing).endswith("faults: none\n")
    eq(run("find", backing, "-printf", "%p %s %T@ %C@ %i\n"), before)


# ---- damage

def small_vault():
    """A backing directory, and what the mount's names are called in it."""
    with frond.Mount() as m:
        for name in ("one", "two"):
            put(m / name, blob(5 * 4096 + 77, name))
        put(m / "full", blob(4 * 4096, 9))
        with open(m / "holes", "wb") as f:
            f.seek(3 * 4096)
            f.write(b"data")
        os.symlink("target", m / "link")
        os.setxattr(m / "one", "user.a", b"1")
        os.mkdir(m / "dir")
        put(m / "dir/inner", b"i")
        names = {name: os.fsdecode(os.path.basename(m.backing(m / name)))
                 for name in ("one", "two", "full", "holes", "dir")}
    names["link"], = (e.name for e in os.scandir(m.vault) if e.is_symlink())
    return m.vault, names


_small = None


def tampered(change):
    """A copy of the small vault after change(path of a name)."""
    global _small
    if _small is None:
        _small = small_vault()
    vault, names = _small
    copy = fresh("copy")
    run("cp", "-a", vault, copy)
    change(lambda name: os.path.join(copy, names[name]))
    return copy


def damaged(change, *wanted, status=1):
    """verify must say so, in these words, and of nothing else."""
    copy = tampered(change)
    out = recover("verify", copy, status=status)
    faults = [line for line in out.splitlines() if line.startswith("recover.py: ")]
    eq(len(faults), len(wanted), out)
    for fault, want in zip(faults, wanted):
        assert re.match("recover.py: " + want, fault), f"{fault!r}, not {want!r}"
    return copy


def edit(path, at, data):
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(data)


def flip(path, at):
    edit(path, at, bytes([get(path)[at] ^ 1]))


def swap(path, one, two):
    data = get(path)
    a, b = HEADER + one * SLOT, HEADER + two * SLOT
    edit(path, a, data[b:b + SLOT])
    edit(path, b, data[a:a + SLOT])


@check(plain=False)
def a_flipped_bit_costs_its_chunk_and_extract_goes_on():
    for chunk in range(6):
        for at in (0, 1, 9, 30, 80):
            copy = damaged(lambda p: flip(p("one"), HEADER + chunk * SLOT + at),
                           f"one: chunk {chunk}: its token does not verify")
        out = fresh("out")
        recover("extract", copy, out, status=1)
        want = bytearray(blob(5 * 4096 + 77, "one"))
        end = min(len(want), (chunk + 1) * 4096)
        want[chunk * 4096:end] = bytes(end - chunk * 4096)
        eq(get(os.path.join(out, "one")), bytes(want))
        eq(get(os.path.join(out, "two")), blob(5 * 4096 + 77, "two"))
        eq(get(os.path.join(out, "dir/inner")), b"i")


@check(plain=False)
def a_cut_is_noticed_at_every_kind_of_place():
    whole = HEADER + 5 * SLOT + 77 + 81
    for size in (whole - 1, whole - 77, whole - 82, HEADER + 5 * SLOT, HEADER + 5 * SLOT - 1,
                 HEADER + 4 * SLOT + 1, HEADER + 4 * SLOT + 100, HEADER + SLOT, HEADER + 81):
        damaged(lambda p: os.truncate(p("one"), size), r"one: chunk \d: ")
    damaged(lambda p: os.truncate(p("one"), HEADER), "one: chunk 0: no file has this length")
    damaged(lambda p: os.truncate(p("one"), HEADER - 1), "one: its header is damaged")
    damaged(lambda p: os.truncate(p("one"), 0), "one: its header is damaged")


@check(plain=False)
def what_is_in_front_of_a_cut_is_restored():
    for size in (HEADER + 3 * SLOT, HEADER + 3 * SLOT + 5, HEADER + 3 * SLOT + 80):
        copy = tampered(lambda p: os.truncate(p("one"), size))
        out = fresh("out")
        recover("extract", copy, out, status=1)
        eq(get(os.path.join(out, "one")), blob(5 * 4096 + 77, "one")[:3 * 4096], size)


@check(plain=False)
def chunks_elsewhere_are_noticed():
    damaged(lambda p: swap(p("one"), 1, 3), "one: chunk 1: chunk 3 stands there",
            "one: chunk 3: chunk 1 stands there")
    damaged(lambda p: edit(p("one"), HEADER + SLOT, get(p("two"))[HEADER + SLOT:][:SLOT]),
            "one: chunk 1: its token")
    damaged(lambda p: edit(p("one"), HEADER, get(p("one"))[HEADER + SLOT:][:SLOT]),
            "one: chunk 0: chunk 1 stands there")
    # a whole chunk taken out, and one added behind the end
    damaged(lambda p: put(p("full"), get(p("full"))[:HEADER + SLOT]
                          + get(p("full"))[HEADER + 2 * SLOT:]),
            "full: chunk 1: chunk 2 stands there", "full: chunk 2: chunk 3 stands there")
    damaged(lambda p: put(p("full"), get(p("full")) + get(p("full"))[HEADER + 3 * SLOT:]),
            "full: chunk 3: .*the last one", "full: chunk 4: ", "full: chunk 5: no file")
    two = HEADER + 2 * SLOT
    damaged(lambda p: os.truncate(p("full"), two), "full: chunk 1: .* cut behind it")


@check(plain=False)
def a_zeroed_chunk_is_noticed_where_no_hole_may_be():
    damaged(lambda p: edit(p("one"), HEADER + 2 * SLOT, bytes(SLOT)),
            "one: chunk 2: it was zeroed")
    copy = tampered(lambda p: edit(p("holes"), HEADER + 3 * SLOT, bytes(4 + 81)))
    assert "holes: chunk 3: its token" in recover("verify", copy, status=1)


@check(plain=False)
def what_stands_behind_the_last_token_is_noticed():
    damaged(lambda p: edit(p("one"), HEADER + 5 * SLOT + 77 + 80, b"\1"),
            "one: chunk 5: something stands behind its token")


@check(plain=False)
def exchanged_headers_are_noticed():
    def exchange(p):
        one, two = get(p("one"))[:HEADER], get(p("two"))[:HEADER]
        edit(p("one"), 0, two)
        edit(p("two"), 0, one)

    out = recover("verify", tampered(exchange), status=1)
    for name in ("one", "two"):
        for chunk in range(6):
            assert f"{name}: chunk {chunk}: its token does not verify" in out, out
    assert "one: the attribute user.frondfs." in out, out
    for at in (0, 7, 8, 23, 40, 100, 160, 161, 175):
        damaged(lambda p: flip(p("one"), at), "one: .*header")


@check(plain=False)
def damaged_names_links_and_attributes_are_named():
    def rename(p):
        path = p("one")
        os.rename(path, path[:-3] + ("AAA" if not path.endswith("AAA") else "BBB"))

    def relink(p):
        text = os.readlink(p("link"))
        os.unlink(p("link"))
        os.symlink(text[:60] + ("A" if text[60] != "A" else "B") + text[61:], p("link"))

    def exchange_attributes(p):
        name, = (a for a in os.listxattr(p("one")) if a.startswith("user.frondfs."))
        os.setxattr(p("two"), name, os.getxattr(p("one"), name))

    def give_second_name(p):
        text = os.path.basename(p("one")).encode()
        digest = hashlib.blake2b(text, digest_size=32).digest()
        alias = os.path.join(os.path.dirname(p("one")),
                             "@" + base64.urlsafe_b64encode(digest).decode().rstrip("="))
        os.link(p("one"), alias)
        put(alias + ".name", text)

    damaged(give_second_name, r"\.: the entry @.* is damaged: its .name")
    damaged(rename, r"\.: the entry .* is damaged")
    damaged(relink, "link: its token does not verify")
    damaged(exchange_attributes, "two: the attribute .* it belongs to something else")
    damaged(lambda p: os.rename(p("one"), os.path.join(p("dir"), os.path.basename(p("one")))),
            "dir: the entry .* is damaged: its name was not made here")
    damaged(lambda p: frond.lose_dirid(os.path.join(p("dir"), ".dirid")), "dir: .dirid is missing")
    damaged(lambda p: put(os.path.join(p("dir"), ".dirid"), bytes(32)), "dir: its .dirid")
    # what somebody else put there is said to be there, and that is all
    damaged(lambda p: put(p("one") + "+", b"x"), r"\.: .* is not the vault's", status=0)


@check(plain=False)
def copies_that_services_made_are_read_as_the_mount_shows_them():
    def copies(p):
        for name, added in (("one", " (conflicted copy 2026-11-21)"), ("full", "~"),
                            ("two", ".sync-conflict-20261121-120000-ABCDEFG"),
                            ("full", "-DESKTOP-4F1"), ("full", "_conflict-20261121-120000")):
            shutil.copy(p(name), p(name) + added)
        inner, = (e.path for e in os.scandir(p("dir")) if e.name != ".dirid")
        shutil.copy(inner, inner + " 2")
        put(p("one") + " (1", b"foreign")

    copy, out = tampered(copies), fresh("out")
    recover("extract", copy, out)
    eq(get(os.path.join(out, "one (conflicted copy 2026-11-21)")), blob(5 * 4096 + 77, "one"))
    with frond.Mount(vault=copy) as m:
        eq(sorted(os.listdir(out)), sorted(os.listdir(m.path)))
        eq(sorted(os.listdir(os.path.join(out, "dir"))), sorted(os.listdir(m / "dir")))
    flip = tampered(copies)
    out = recover("verify", flip)
    eq(len(re.findall("is not the vault's", out)), 1, out)


def lock(path):
    """What stands for a file until its key has come: no key token, no chunks."""
    size = os.stat(path).st_size
    edit(path, 40, bytes(121))
    os.truncate(path, HEADER)
    os.truncate(path, size)


@check(plain=False)
def a_locked_file_is_named_and_costs_nothing_else():
    copy = tampered(lambda p: lock(p("one")))
    out = os.path.join(fresh("locked"), "out")
    for command, *to in (("list",), ("verify",), ("extract", out)):
        said = recover(command, copy, *to)
        eq(re.findall("recover.py: .*", said),
           ["recover.py: one: locked: its key is not in this vault"], said)
    eq(sorted(os.listdir(out)), ["dir", "full", "holes", "link", "two"])
    eq(get(os.path.join(out, "two")), blob(5 * 4096 + 77, "two"))
    # Its length is still shown, and a mere mistake is no lock.
    assert re.search(r" 20557 \S+ one$", recover("list", copy), re.M)
    damaged(lambda p: edit(p("one"), 40, bytes(120)), "one: .* does not verify")


@check(plain=False)
def a_vault_that_cannot_be_opened_is_refused_in_one_sentence():
    def refused(change, word, **kw):
        copy = tampered(change)
        out = recover("verify", copy, status=2, **kw)
        eq(len(out.splitlines()), 1, out)
        assert word in out, out

    def ini(p):
        return os.path.join(os.path.dirname(p("one")), ".frondfs/vault.ini")

    def sub(old, new):
        return lambda p: put(ini(p), get(ini(p)).replace(old, new, 1))

    refused(lambda p: None, "passphrase", passphrase="wrong")
    refused(sub(b"version = 2", b"version = 3"), "version 3")
    refused(sub(b"ops = 1\n", b"ops = 99\n"), "damaged")
    refused(sub(b"ops = 1\n", b"ops = 1\nops = 1\n"), "damaged")
    refused(sub(b"ops = 1\n", b"ops = 1 \n"), "damaged")
    refused(sub(b"created = 2", b"created = 3"), "changed")
    refused(sub(b"\n[seal]", b"[seal]"), "changed")
    refused(lambda p: put(ini(p), get(ini(p)) + b"\n"), "damaged")
    refused(lambda p: os.unlink(ini(p)), "not a vault")
    vault = tampered(lambda p: None)
    out = put(fresh("file"), b"")
    assert "cannot write" in recover("extract", vault, out, status=2)
    assert "not empty" in recover("extract", vault, vault, status=2)


@check(plain=False)
def without_a_terminal_it_asks_for_a_passfile_and_says_no_more():
    p = subprocess.run(["/usr/bin/python3", RECOVER, "list", tampered(lambda p: None)],
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, start_new_session=True, timeout=60, text=True)
    eq(p.returncode, 2, p.stdout)
    assert re.fullmatch("recover.py: there is no terminal .* --passfile\n", p.stdout), p.stdout


@check(plain=False)
def a_python_without_the_libraries_is_told_what_is_missing():
    for extra in [], ["--help"]:
        p = subprocess.run(["/usr/bin/python3", "-S", RECOVER, *extra], check=False,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        eq((p.returncode, p.stdout, p.stderr.count("\n")), (2, "", 1), p.stderr)
        for words in ("/usr/bin/python3: No module named 'cryptography'", "python3-nacl", "pip install"):
            assert words in p.stderr, p.stderr


@check(plain=False)
def the_example_in_the_documents_is_a_vault():
    """FORMAT.md's bytes, put on disk as it says, read by both readers."""
    text = get(os.path.join(ROOT, "docs/FORMAT.md")).decode().partition("\n## An example\n")[2]
    blocks = ["\n".join(line[4:] for line in block.split("\n")) + "\n"
              for block in re.findall(r"(?:^    .*\n|^\n(?=    ))+", text, re.M)]
    ini = next(b for b in blocks if "[vault]" in b).strip("\n") + "\n"
    dirid, stored = (bytes.fromhex(b.replace("\n", " "))
                     for b in blocks if re.fullmatch(r"[0-9a-f\s]+", b)
                     and (len(b.split()) == 2 or "46524f4e44465331" in b))
    backing = fresh("example")
    os.makedirs(os.path.join(backing, ".frondfs"))
    put(os.path.join(backing, ".frondfs/vault.ini"), ini.encode())
    put(os.path.join(backing, ".dirid"), dirid)
    name = re.search("called `([A-Za-z0-9_-]+)`", text)[1]
    put(os.path.join(backing, name), stored)
    passphrase = re.search("Passphrase `(.*?)`", text)[1]
    out = fresh("out")
    recover("extract", backing, out, passphrase=passphrase)
    eq(os.listdir(out), ["hello.txt"])
    eq(get(os.path.join(out, "hello.txt")), b"Hello, fern.\n")
    mnt = fresh("mnt")
    os.mkdir(mnt)
    run(FRONDFS, "mount", "--passfile", passfile(passphrase), "-o", "ro", backing, mnt)
    try:
        eq(get(os.path.join(mnt, "hello.txt")), b"Hello, fern.\n")
    finally:
        run(FRONDFS, "umount", mnt)


if __name__ == "__main__":
    frond.main()
