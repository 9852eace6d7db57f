#!/usr/bin/python3
"""
Every byte region of a backing file, tampered with in every way: what
docs/FORMAT.md calls detected is detected, in its chunk and nowhere else, what
it calls not detected is listed here as that, and nothing ends the daemon. One
victim for each row of a table; one mount reads them all. tampering_names.py
does the same to names and settings, tampering_records.py to what sharing keeps.
"""
import errno
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import blob, check, eq, get, put
from tamper import TOKEN, compare, next_second, token_part

LAST = 1003                     # bytes in the last chunk
SIZE = 3 * 4096 + LAST          # chunks 0 to 3, chunk 3 the last


def chunk_at(k):
    return 176 + 4169 * k, 4169 if k < 3 else 57 + (LAST + 8 + 16) // 16 * 16


def file_regions():
    """name -> (offset, length, the chunks that it costs)"""
    regions = {"magic": (0, 8, "file"), "file id": (8, 16, "file"),
               "hint of the directory": (24, 16, "nothing"),
               "zeros of the header": (161, 15, "file"), "header": (0, 176, "file")}
    for part in TOKEN:
        regions[f"key token's {part}"] = token_part(40, 121, part) + ("file",)
    for k in range(4):
        for part in TOKEN:
            at, n = token_part(*chunk_at(k), part)
            regions[f"chunk {k}'s {part}"] = at, n, k
    end = sum(chunk_at(3))
    regions["padding of the last chunk"] = end, 176 + 3 * 4169 + LAST + 81 - end, 3
    return regions


# action -> what the region holds then; d: the file, o: another, v: of another vault
ACTIONS = {
    "first bit flipped": lambda d, o, v, a, n: bytes([d[a] ^ 1]) + d[a + 1:a + n],
    "last bit flipped": lambda d, o, v, a, n: d[a:a + n - 1] + bytes([d[a + n - 1] ^ 128]),
    "zeroed": lambda d, o, v, a, n: bytes(n),
    "turned round": lambda d, o, v, a, n: d[a:a + n][::-1],
    "another file's": lambda d, o, v, a, n: o[a:a + n],
    "another vault's": lambda d, o, v, a, n: v[a:a + n],
    "another chunk's": lambda d, o, v, a, n: d[neighbour(a):neighbour(a) + n],
}


def neighbour(a):
    """The same place in another chunk of the same file."""
    return a + 4169 if a < 176 + 4169 else a - 4169


def file_rows():
    """(title, region, action, expected): what reading each chunk gives."""
    for region, (a, n, costs) in file_regions().items():
        for action in ACTIONS:
            if action == "another chunk's" and (a < 176 or a + n > 176 + 3 * 4169):
                continue
            yield region, action, a, n, costs


# The exceptions, each with its reason.
KNOWN = {
    # A key token of zeros is how a file says that its key is elsewhere.
    ("key token's token", "zeroed"): "ENOKEY",
    # The header of another file opens, and its key opens no chunk of this one.
    ("header", "another file's"): "0 1 2 3",
}


def expected(region, action, costs, changed):
    if not changed or costs == "nothing":
        return ""
    if (region, action) in KNOWN:
        return KNOWN[region, action]
    return "EIO" if costs == "file" else str(costs)


def read_chunks(path, data):
    """Which chunks cannot be read, or the error of open(2)."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError as e:
        return errno.errorcode[e.errno]
    bad = []
    for k in range(4):
        try:
            got = os.pread(fd, 4096, 4096 * k)
            eq(got, data[4096 * k:4096 * (k + 1)], f"chunk {k}: wrong bytes")
        except OSError as e:
            eq(e.errno, errno.EIO)
            bad.append(str(k))
    os.close(fd)
    return " ".join(bad)


@check(plain=False)
def every_region_of_a_file():
    with frond.Mount() as stranger:
        put(stranger / "f", blob(SIZE, 1))
        foreign = get(stranger.backing(stranger / "f"))
    rows = list(file_rows())
    with frond.Mount() as m:
        put(m / "other", blob(SIZE, 2))
        os.mkdir(m / "d")
        for i in range(len(rows)):
            put(m / f"d/{i}", blob(SIZE, 3))
        other = get(m.backing(m / "other"))
        at = [m.backing(m / f"d/{i}") for i in range(len(rows))]
        m.umount()
        want = []
        for path, (region, action, a, n, costs) in zip(at, rows):
            old = get(path)
            new = ACTIONS[action](old, other, foreign, a, n)
            assert len(new) == n, (region, action)
            put(path, old[:a] + new + old[a + n:])
            want.append(expected(region, action, costs, new != old[a:a + n]))
        m.mount()
        wrong = []
        for i, (region, action, *_) in enumerate(rows):
            got = read_chunks(m / f"d/{i}", blob(SIZE, 3))
            if got != want[i]:
                wrong.append(f"{region} {action}: costs {got!r}, should {want[i]!r}")
        print(f"{len(rows)} ways")
        compare(wrong)


def read_to_the_end(path):
    """What can be read one after the other, and the error or '' at the end."""
    got = b""
    try:
        with open(path, "rb", buffering=0) as f:
            while part := f.read(4096):
                got += part
        return got, ""
    except OSError as e:
        return got, errno.errorcode[e.errno]


@check(plain=False)
def a_cut_in_every_region():
    whole = blob(SIZE, 3)
    with frond.Mount() as m:
        cuts = sorted({a for a, n, _ in file_regions().values()}
                      | {a + n // 2 for a, n, _ in file_regions().values()})
        for cut in cuts:
            put(m / str(cut), whole)
        at = {cut: m.backing(m / str(cut)) for cut in cuts}
        m.umount()
        for cut, path in at.items():
            os.truncate(path, cut)
        m.mount()
        wrong = []
        for cut in cuts:
            got, error = read_to_the_end(m / str(cut))
            if not whole.startswith(got) or error != "EIO":
                wrong.append(f"cut at {cut}: {len(got)} bytes, then {error!r}")
        compare(wrong)


# What a whole file is made to be -> what reading its chunks costs then.
WHOLE = {
    "nothing is done": (lambda d, o, v, old: d, ""),
    "chunks 1 and 2 exchanged": (lambda d, o, v, old: d[:4345] + d[8514:12683]
                                 + d[4345:8514] + d[12683:], "1 2"),
    "chunk 1 twice": (lambda d, o, v, old: d[:8514] + d[4345:], "2 3 4"),
    "chunk 1 missing": (lambda d, o, v, old: d[:4345] + d[8514:], "1 2"),
    "the body of another": (lambda d, o, v, old: d[:176] + o[176:], "0 1 2 3"),
    "another vault's": (lambda d, o, v, old: v, "EIO"),
    "something behind the end": (lambda d, o, v, old: d + b"\0", "3"),
    "a chunk of zeros behind the end": (lambda d, o, v, old: d + bytes(4169), "3 4"),
    "nothing": (lambda d, o, v, old: b"", "EIO"),
    "only zeros": (lambda d, o, v, old: bytes(len(d)), "EIO"),
    "text": (lambda d, o, v, old: b"no file of a vault\n" * 100, "EIO"),
    # Detected where the newer one was seen (rollback_chunks.py)
    "chunk 1 as it was": (lambda d, o, v, old: d[:4345] + old[4345:8514] + d[8514:],
                          "older 1"),
    "as it was": (lambda d, o, v, old: old, "older 0 older 1 older 2 older 3"),
    # Not detected: the content of another file of the same vault under this
    # one's name.
    "another file": (lambda d, o, v, old: o, "other"),
}


def looks(path, contents):
    """Which content a file has; else what cannot be read of it."""
    data, error = read_to_the_end(path)
    if not error:
        return contents.get(data, "what nobody wrote")
    bad = []
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError as e:
        return errno.errorcode[e.errno]
    now = next(iter(contents))
    for k in range((os.fstat(fd).st_size + 4095) // 4096):
        try:
            got = os.pread(fd, 4096, 4096 * k)
            if got != now[4096 * k:4096 * (k + 1)]:
                bad.append(f"wrong {k}")
        except OSError as e:
            bad.append(f"older {k}" if e.errno == errno.ESTALE else str(k))
    os.close(fd)
    return " ".join(bad)


@check(plain=False)
def chunks_and_files_out_of_place():
    now, old, others = blob(SIZE, 3), blob(SIZE, 4), blob(SIZE, 2)
    contents = {now: "", others: "other"}
    with frond.Mount() as stranger:
        put(stranger / "f", now)
        foreign = get(stranger.backing(stranger / "f"))
    with frond.Mount() as m:
        put(m / "other", others)
        for i in range(len(WHOLE)):
            put(m / str(i), old)
        m.umount()
        m.mount()
        at = [m.backing(m / str(i)) for i in range(len(WHOLE))]
        earlier = [get(path) for path in at]
        next_second()
        for i in range(len(WHOLE)):
            with open(m / str(i), "rb+") as f:
                f.write(now)
        other = get(m.backing(m / "other"))
        m.umount()
        for path, before, (change, _) in zip(at, earlier, WHOLE.values()):
            put(path, change(get(path), other, foreign, before))
        m.mount()
        compare([f"{title}: {got!r}, should be {want!r}"
                 for i, (title, (_, want)) in enumerate(WHOLE.items())
                 if (got := looks(m / str(i), contents)) != want])


# In a file whose chunk 1 is a hole: what is done to the backing file.
HOLES = {
    "a byte in the hole": (lambda d, o: d[:5000] + b"x" + d[5001:], "1"),
    "the hole filled by a chunk of the file": (
        lambda d, o: d[:4345] + d[8514:12683] + d[8514:], "1"),
    "the hole filled by another file's chunk": (
        lambda d, o: d[:4345] + o[4345:8514] + d[8514:], "1"),
    # its mark says that there are holes: without it there are none
    "the last chunk zeroed": (lambda d, o: d[:12683] + bytes(len(d) - 12683), "1 3"),
    "another chunk zeroed": (lambda d, o: d[:8514] + bytes(4169) + d[12683:], "2"),
    # which the hole needs
    "the chunk in front of the hole zeroed": (
        lambda d, o: d[:176] + bytes(4169) + d[4345:], "0 1"),
    "the hole moved": (
        lambda d, o: d[:4345] + d[8514:12683] + bytes(4169) + d[12683:], "1 2"),
}


@check(plain=False)
def holes():
    now, others = bytearray(blob(SIZE, 3)), blob(SIZE, 2)
    now[4096:8192] = bytes(4096)
    contents = {bytes(now): ""}
    with frond.Mount() as m:
        put(m / "other", others)
        for i in range(len(HOLES)):
            with open(m / str(i), "wb", buffering=0) as f:
                f.write(now[:4096])
                f.seek(8192)
                f.write(now[8192:])
        at = [m.backing(m / str(i)) for i in range(len(HOLES))]
        other = get(m.backing(m / "other"))
        m.umount()
        for path, (change, _) in zip(at, HOLES.values()):
            old = get(path)
            assert not any(old[4345:8514]), "no hole in it"
            put(path, change(old, other))
        m.mount()
        compare([f"{title}: {got!r}, should be {want!r}"
                 for i, (title, (_, want)) in enumerate(HOLES.items())
                 if (got := looks(m / str(i), contents)) != want])


frond.main()
