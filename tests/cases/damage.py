#!/usr/bin/python3
"""Whatever is detected is detected, costs its own 4096 bytes, and is said once."""
import errno
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
import tokens
from frond import blob, check, eq, get, put, raises

CHUNKS = 12
SIZE = (CHUNKS - 1) * 4096 + 1000
DATA = blob(SIZE, 99)


def span(i):
    return tokens.spans(176 + (CHUNKS - 1) * 4169 + 1000 + 81)[i]


def edit(path, change):
    """Let change(bytearray) have the backing file's bytes."""
    data = bytearray(get(path))
    changed = change(data)
    put(path, bytes(data if changed is None else changed))


def with_damage(change, options=""):
    """A mount whose file "f" was damaged while it was not mounted."""
    m = frond.Mount(options)
    put(m / "f", DATA)
    put(m / "g", blob(SIZE, 100))
    f, g = m.backing(m / "f"), m.backing(m / "g")
    m.umount()
    eq(os.stat(f).st_size, 176 + (CHUNKS - 1) * 4169 + 1000 + 81)
    other = get(g)
    edit(f, lambda d: change(d, other))
    return m.mount()


def bad_chunks(path, size=SIZE):
    """Which chunks give EIO; the others must hold what was written."""
    bad = []
    fd = os.open(path, os.O_RDONLY)
    for i in range((size + 4095) // 4096):
        try:
            got = os.pread(fd, 4096, i * 4096)
            eq(got, DATA[i * 4096:min(size, (i + 1) * 4096)], f"chunk {i}")
        except OSError as e:
            eq(e.errno, errno.EIO)
            bad.append(i)
    os.close(fd)
    return bad


def flip(i, at):
    def change(d, _):
        d[span(i)[0] + at] ^= 1
    return change


def copy_slot(source, target, foreign=False):
    def change(d, other):
        a, n = span(source)
        b, _ = span(target)
        d[b:b + n] = (other if foreign else bytes(d))[a:a + n]
    return change


def swap(i, k):
    def change(d, _):
        (a, n), (b, _) = span(i), span(k)
        d[a:a + n], d[b:b + n] = d[b:b + n], d[a:a + n]
    return change


def zero(i):
    def change(d, _):
        a, n = span(i)
        d[a:a + n] = bytes(n)
    return change


def expect(change, want):
    with with_damage(change) as m:
        eq(bad_chunks(m / "f"), want)
        eq(get(m / "g"), blob(SIZE, 100), "the other file")


@check(plain=False)
def a_flipped_bit_anywhere_in_a_token_costs_its_chunk():
    for at in (0, 1, 8, 9, 24, 25, 33, 2000, 4169 - 33, 4169 - 32, 4168):
        expect(flip(5, at), [5])


@check(plain=False)
def a_flipped_bit_in_the_first_or_last_chunk():
    expect(flip(0, 100), [0])
    expect(flip(CHUNKS - 1, 100), [CHUNKS - 1])


@check(plain=False)
def swapped_chunks_are_noticed():
    expect(swap(3, 7), [3, 7])


@check(plain=False)
def a_duplicated_chunk_is_noticed():
    expect(copy_slot(3, 4), [4])


@check(plain=False)
def a_chunk_of_another_file_is_noticed():
    expect(copy_slot(6, 6, foreign=True), [6])


@check(plain=False)
def a_zeroed_chunk_of_a_file_without_holes_is_noticed():
    expect(zero(4), [4])
    expect(zero(CHUNKS - 1), [CHUNKS - 1])


def read_all(path):
    """Sequential bytes until the end or an error; (bytes, errno or 0)."""
    got, at, fd = b"", 0, -1
    try:
        fd = os.open(path, os.O_RDONLY)
        while part := os.pread(fd, 4096, at):
            got += part
            at += len(part)
        return got, 0
    except OSError as e:
        return got, e.errno
    finally:
        if fd >= 0:
            os.close(fd)


@check(plain=False)
def a_cut_at_any_byte_is_noticed():
    end = span(CHUNKS - 1)[0] + span(CHUNKS - 1)[1]
    cuts = [end - 1, end - 16, span(CHUNKS - 1)[0] + 81, span(CHUNKS - 1)[0] + 80,
            span(CHUNKS - 1)[0] + 1, span(CHUNKS - 1)[0], span(7)[0], span(7)[0] + 2000,
            span(1)[0], span(1)[0] + 81, span(0)[0] + 81, span(0)[0] + 1, 176, 175, 40, 1, 0]
    for cut in cuts:
        with with_damage(lambda d, _: d[:cut]) as m:
            got, error = read_all(m / "f")
            eq(error, errno.EIO, f"cut at {cut}")
            eq(got, DATA[:len(got)], "what can be read is right")
            q, r = divmod(cut - 176, 4169)
            impossible = 8 < r < 82     # as a length, that is
            whole = max(q if impossible else q - 1, 0)
            assert len(got) >= whole * 4096, f"cut at {cut}: only {len(got)} readable"


@check(plain=False)
def what_was_cut_off_does_not_read_as_zeros():
    """The kernel goes on with the length that it knows."""
    with frond.Mount() as m:
        for cut, first in (span(4)[0], 3), (span(4)[0] + 2000, 4):
            put(m / "f", DATA)
            m.remount()
            eq(os.stat(m / "f").st_size, SIZE)
            os.truncate(m.backing(m / "f"), cut)
            eq(bad_chunks(m / "f"), list(range(first, CHUNKS)), f"cut at {cut}")


@check(plain=False)
def a_cut_dressed_up_as_an_end_is_noticed():
    last, n = span(CHUNKS - 1)
    for at in (1, 7, CHUNKS - 1):
        # Eight zeros make a whole chunk's slot as long as a whole last one's.
        with with_damage(lambda d, _: d[:span(at)[0]] + bytes(8)) as m:
            eq(read_all(m / "f"), (DATA[:(at - 1) * 4096], errno.EIO), f"cut at chunk {at}")
        # The true end, moved up: it is a last chunk, but of another index.
        with with_damage(lambda d, _: d[:span(at - 1)[0]] + d[last:last + n]) as m:
            eq(read_all(m / "f"), (DATA[:(at - 1) * 4096], errno.EIO), f"end at chunk {at - 1}")


@check(plain=False)
def chunks_after_the_end_are_noticed():
    def more(d, other):
        a, n = span(3)
        return bytes(d) + other[a:a + n]

    def again(d, _):
        a, n = span(CHUNKS - 1)
        return bytes(d) + bytes(d[a:a + n])
    for change in (more, again, lambda d, _: d + b"\0", lambda d, _: d + bytes(4169)):
        with with_damage(change) as m:
            got, error = read_all(m / "f")
            eq(error, errno.EIO)
            eq(got[:4096 * 11], DATA[:len(got)][:4096 * 11])


@check(plain=False)
def a_header_on_another_body_is_noticed():
    def exchange(d, other):
        d[:176] = other[:176]
    expect(exchange, list(range(CHUNKS)))


@check(plain=False)
def a_damaged_header_costs_its_file_only():
    for at in (0, 8, 41, 100, 160, 161, 175):
        def change(d, _, at=at):
            d[at] ^= 1
        with with_damage(change) as m:
            eq(read_all(m / "f"), (b"", errno.EIO), f"byte {at} flipped")
            eq(get(m / "g"), blob(SIZE, 100))


@check(plain=False)
def damage_is_logged_once_with_path_and_index():
    with with_damage(flip(5, 100)) as m:
        for _ in range(5):
            raises(errno.EIO, get, m / "f")
            eq(bad_chunks(m / "f"), [5])
        lines = [line for line in m.log().splitlines() if "chunk" in line]
        eq(len(lines), 1, f"lines of log {lines}")
        assert re.search(r"\b5\b", lines[0]), lines
        assert re.search(r"\bf\b", lines[0]), f"no path in {lines}"


@check(plain=False)
def the_log_says_once_for_a_file_what_to_do():
    def change(d, other):
        for n in (2, 5, 9):
            flip(n, 100)(d, other)
    with with_damage(change) as m:
        eq(bad_chunks(m / "f"), [2, 5, 9])
        eq(m.log().count("is damaged (4096"), 3)
        eq(m.log().count("restore the file from a backup"), 1, m.log())
        assert f'tells what else is damaged in {m.vault}\n' in m.log(), m.log()


@check(plain=False)
def a_big_read_over_damage_is_an_error_and_never_zeros():
    with with_damage(flip(5, 100)) as m:
        fd = os.open(m / "f", os.O_RDONLY)
        try:
            got = os.pread(fd, SIZE, 0)
            eq(got, DATA[:len(got)])
            assert len(got) <= 5 * 4096, "the kernel filled a short read up"
        except OSError as e:
            eq(e.errno, errno.EIO)
        os.close(fd)


@check(plain=False)
def a_damaged_chunk_can_be_written_over_and_is_well_again():
    with with_damage(flip(5, 100)) as m:
        with open(m / "f", "rb+") as f:
            f.seek(5 * 4096)
            f.write(DATA[5 * 4096:6 * 4096])
        m.remount()
        eq(get(m / "f"), DATA)


@check(plain=False)
def part_of_a_damaged_chunk_cannot_be_written():
    with with_damage(flip(5, 100), "writeback=off") as m:
        fd = os.open(m / "f", os.O_RDWR)
        raises(errno.EIO, os.pwrite, fd, b"part", 5 * 4096 + 10)
        os.close(fd)
        eq(bad_chunks(m / "f"), [5])


frond.main()
