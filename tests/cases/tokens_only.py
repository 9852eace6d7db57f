#!/usr/bin/python3
"""The backing directory holds Fernet tokens and nothing that tells."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
import tokens
from frond import blob, check, eq, put

SECRET = b"PLAINTEXT-THAT-MUST-NOT-SHOW"


def backing_files(vault):
    for d, _, names in os.walk(os.fsencode(vault)):
        for name in names:
            yield os.path.join(d, name)


def whole(path):
    if os.path.islink(path):
        return os.readlink(path)
    if not os.path.isfile(path):
        return b""
    with open(path, "rb") as f:
        data = f.read()
    for name in os.listxattr(path):
        data += name.encode() + os.getxattr(path, name)
    return data


def fill(m):
    text = SECRET.decode()
    os.mkdir(m / f"dir-{text}")
    put(m / f"dir-{text}/file-{text}", SECRET * 3000)
    put(m / f"small-{text}", SECRET)
    put(m / f"{text}{'x' * (255 - len(text))}", SECRET)
    os.symlink(f"/target/{text}", m / f"link-{text}")
    os.symlink(f"{text}/" * 140, m / f"longlink-{text}")
    os.mkfifo(m / f"fifo-{text}")
    os.setxattr(m / f"small-{text}", f"user.{text}", SECRET)
    os.setxattr(m / f"dir-{text}", f"user.{text}", SECRET)
    # What was there once is not left behind either.
    with open(m / "overwritten", "wb+") as f:
        f.write(SECRET * 1000)
        f.flush()
        os.fsync(f.fileno())
        f.truncate(10)
    os.unlink(m / "overwritten")


@check(plain=False)
def nothing_of_contents_names_targets_or_attributes_shows():
    with frond.Mount() as m:
        fill(m)
        kept = os.open(m / "unlinked-and-open", os.O_CREAT | os.O_RDWR)
        os.write(kept, SECRET * 1000)
        os.unlink(m / "unlinked-and-open")
        os.fsync(kept)
        os.sync()
        for path in backing_files(m.vault):
            for part in (SECRET, SECRET[:12], b"overwritten", b"fifo"):
                assert part not in path[len(os.fsencode(m.vault)):], path
                assert part not in whole(path), path
        os.close(kept)
        m.umount()
        for path in backing_files(m.vault):
            assert SECRET[:12] not in whole(path), path


@check(plain=False)
def every_chunk_opens_with_a_stock_fernet():
    with frond.Mount() as m:
        want = {}
        for n in (0, 1, 7, 8, 9, 4095, 4096, 4097, 8192, 50000, 1 << 20):
            path = m / f"f{n}"
            put(path, blob(n, n))
            want[m.backing(path)] = blob(n, n)
        with open(m / "sparse", "wb+") as f:
            f.seek(100000)
            f.write(b"end")
        want[m.backing(m / "sparse")] = bytes(100000) + b"end"
        with open(m / "f50000", "rb+") as f:
            f.seek(20000)
            f.write(b"in the middle")
            f.truncate(45000)
        changed = bytearray(blob(50000, 50000)[:45000])
        changed[20000:20013] = b"in the middle"
        want[m.backing(m / "f50000")] = bytes(changed)
        m.umount()
        keys = tokens.Keys(m.vault, frond.PASSPHRASE)
        for path, data in want.items():
            eq(tokens.read_file(keys, path), data, os.fsdecode(path))


@check(plain=False)
def the_length_alone_tells_the_size_and_stat_reads_nothing():
    with frond.Mount() as m:
        for n in (0, 1, 4095, 4096, 4097, 12345):
            put(m / f"f{n}", blob(n))
        paths = {m / f"f{n}": m.backing(m / f"f{n}") for n in (0, 1, 4095, 4096, 4097, 12345)}
        m.umount()
        # Damage everything but the length: stat must not care.
        for path in paths.values():
            with open(path, "rb+") as f:
                size = os.fstat(f.fileno()).st_size
                f.write(os.urandom(size))
        m.mount()
        for n in (0, 1, 4095, 4096, 4097, 12345):
            eq(os.stat(m / f"f{n}").st_size, n)
        eq(len(list(os.scandir(m.path))), 6)
        m.umount()


@check(plain=False)
def ivs_and_keys_are_never_used_twice():
    with frond.Mount() as m:
        for i in range(20):
            put(m / f"f{i}", SECRET * 1000)     # the same content each time
        paths = [m.backing(m / f"f{i}") for i in range(20)]
        m.umount()
        ivs, ids, tokens_seen = set(), set(), 0
        for path in paths:
            data = whole(path)
            ids.add(data[8:24])
            for at, _ in tokens.spans(os.stat(path).st_size):
                eq(data[at], 0x80, "a token's version")
                ivs.add(data[at + 9:at + 25])
                tokens_seen += 1
        eq((len(ivs), len(ids)), (tokens_seen, 20))


@check(plain=False)
def names_in_the_backing_directory_have_the_documented_shape():
    with frond.Mount() as m:
        fill(m)
        m.umount()
        shape = re.compile(rb"(\.dirid|[A-Za-z0-9_-]{23,255}|@[A-Za-z0-9_-]{43}(\.name)?|"
                           rb"@[0-9a-f]{32}\.link)\Z")
        for d, dirs, names in os.walk(os.fsencode(m.vault)):
            if b".frondfs" in dirs:
                dirs.remove(b".frondfs")
            for name in dirs + names:
                assert shape.match(name), name
            eq(os.stat(os.path.join(d, b".dirid")).st_size, 32)


frond.main()
