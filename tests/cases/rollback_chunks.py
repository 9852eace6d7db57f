#!/usr/bin/python3
"""
Chunks of a file that were put back to an older state are noticed where the newer
was seen, and nothing else is taken for such.
"""
import ctypes
import errno
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import control
import frond
import tokens
from frond import blob, check, eq, fresh, get, put, raises, scale
from tamper import next_second

CHUNK = 4096
LAST = 10                       # the index of the last chunk
SIZE = LAST * CHUNK + 100
FIRST, THEN = blob(SIZE, 1), blob(SIZE, 2)
COPY = " (conflicted copy 2026-11-21)"
FALLOC_PUNCH = 3                # with KEEP_SIZE
LIBC = ctypes.CDLL(None)


@contextmanager
def another_machine():
    here = os.environ["XDG_STATE_HOME"]
    os.environ["XDG_STATE_HOME"] = fresh("another machine")
    os.mkdir(os.environ["XDG_STATE_HOME"])
    try:
        yield
    finally:
        os.environ["XDG_STATE_HOME"] = here


def look(path):
    """What each chunk reads as: its bytes, or the error; or the error of open(2)."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError as e:
        return errno.errorcode[e.errno]
    chunks = []
    for at in range(0, os.fstat(fd).st_size, CHUNK):
        try:
            chunks.append(os.pread(fd, CHUNK, at))
        except OSError as e:
            chunks.append(errno.errorcode[e.errno])
    os.close(fd)
    return chunks


def split(data):
    return [data[at:at + CHUNK] for at in range(0, len(data), CHUNK)]


def expect(m, name, data, old=()):
    """The file has data, but for the chunks in old, which are noticed."""
    want = ["ESTALE" if i in old else part for i, part in enumerate(split(data))]
    got = look(m / name)
    assert isinstance(got, list), f"{name}: open: {got}"
    eq(len(got), len(want), name)
    wrong = [i for i, (a, b) in enumerate(zip(got, want)) if a != b]
    assert not wrong, f"{name}: chunks {wrong}: {[got[i][:20] for i in wrong]}"


def complaints(m, name=""):
    return [line for line in m.log().splitlines()
            if f"{m.sub}{name}: older than" in line]


def no_complaints(m):
    eq([line for line in m.log().splitlines() if "older" in line], [])


def slot(path, i):
    return tokens.spans(os.stat(path).st_size)[i]


def put_at(path, at, data):
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(data)


def put_back_chunk(path, old, i):
    at, n = slot(path, i)
    put_at(path, at, old[at:at + n])


def write_at(path, at, data):
    fd = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(fd, data, at)
    finally:
        os.close(fd)


def punch(path, first, count):
    fd = os.open(path, os.O_RDWR)
    assert LIBC.fallocate(fd, FALLOC_PUNCH, ctypes.c_long(first * CHUNK),
                          ctypes.c_long(count * CHUNK)) == 0
    os.close(fd)


# how a file is changed -> which chunks of the older file are older
WAYS = {
    "a chunk overwritten": (lambda p: write_at(p, 3 * CHUNK, blob(CHUNK, 3)), {3}),
    "part of a chunk overwritten": (lambda p: write_at(p, 3 * CHUNK + 9, b"x"), {3}),
    "appended to": (lambda p: put(p, blob(5 * CHUNK, 4), "ab"), {LAST}),
    "made shorter": (lambda p: os.truncate(p, 2 * CHUNK + 50), set(range(2, LAST + 1))),
    "emptied": (lambda p: os.truncate(p, 0), set(range(LAST + 1))),
    "made shorter and longer": (lambda p: (os.truncate(p, CHUNK), os.truncate(p, SIZE)),
                                set(range(LAST + 1))),
    "written anew": (lambda p: put(p, THEN), set(range(LAST + 1))),
    "grown behind a hole": (lambda p: write_at(p, 40 * CHUNK, b"island"), {LAST}),
    "punched": (lambda p: punch(p, 4, 2), {4, 5, LAST}),
}


def changed(ways, first=FIRST, options=""):
    """A vault with a file for each way, and name -> (backing path, old, new, data)."""
    m = frond.Mount(options)
    for name in ways:
        put(m / name, first)
    at = {name: m.backing(m / name) for name in ways}
    m.umount()
    old = {name: get(at[name]) for name in ways}
    next_second()
    m.mount()
    for name, change in ways.items():
        change(m / name)
    data = {name: get(m / name) for name in ways}
    m.umount()
    return m, {name: (at[name], old[name], get(at[name]), data[name]) for name in ways}


def whole_files(options=""):
    return changed({name: change for name, (change, _) in WAYS.items()}, options=options)


def put_all_back(files):
    for path, old, _, _ in files.values():
        put(path, old)


def all_noticed(m, claims=True):
    """claims: with a journal, the chunk in front of holes was sealed anew."""
    for name, (_, older) in WAYS.items():
        if name == "punched" and claims:
            older = older | {3}
        expect(m, name, FIRST, older)
        expect(m, name, FIRST, older)
        eq(len(complaints(m, name)), 1, name)
        assert "frondfs accept-old" in complaints(m, name)[0]
        assert "-o accept-old" in complaints(m, name)[0]


def noticed(m):
    """In each file, at least what has been read in its place."""
    for name in WAYS:
        assert "ESTALE" in look(m / name), name
        eq(len(complaints(m, name)), 1, name)


@check(plain=False)
def whole_files_are_noticed_where_they_are_older():
    for options in ("", "journal=off"):
        m, files = whole_files(options)
        put_all_back(files)
        with m.mount():
            all_noticed(m, not options)
            m.remount()
            all_noticed(m, not options)
            m.umount()
            for path, _, new, _ in files.values():
                put(path, new)
            m.mount()
            for name, (_, _, _, data) in files.items():
                expect(m, name, data)
            no_complaints(m)


@check(plain=False)
def parts_of_files_are_noticed():
    names = ("a chunk", "the tail", "the last chunk", "the first half")
    m, files = changed({name: lambda p: put(p, THEN) for name in names})
    half = slot(files["a chunk"][0], 5)[0]
    tail = slot(files["a chunk"][0], 7)[0]
    last = slot(files["a chunk"][0], LAST)[0]
    put_back_chunk(*files["a chunk"][:2], 5)
    for name, a, b in (("the tail", tail, None), ("the last chunk", last, None),
                       ("the first half", 176, half)):
        path, old, _, _ = files[name]
        put_at(path, a, old[a:b])
    with m.mount():
        expect(m, "a chunk", THEN, {5})
        expect(m, "the tail", THEN, range(7, LAST + 1))
        expect(m, "the last chunk", THEN, {LAST})
        expect(m, "the first half", THEN, range(5))
        for name in names:
            eq(len(complaints(m, name)), 1, name)


@check(plain=False)
def shorter_and_empty_files_are_noticed():
    m, files = changed({"short": lambda p: put(p, FIRST)}, FIRST[:2 * CHUNK + 7])
    empty, also = changed({"empty": lambda p: put(p, FIRST)}, b"")
    put_all_back(files)
    put_all_back(also)
    with m.mount():
        expect(m, "short", FIRST[:2 * CHUNK + 7], {0, 1, 2})
    with empty.mount():
        eq(os.stat(empty / "empty").st_size, 0)
        eq(look(empty / "empty"), "ESTALE")
        eq(look(empty / "empty"), "ESTALE")
        eq(len(complaints(empty, "empty")), 1)
        # what is not wanted any more goes like any other file
        os.unlink(empty / "empty")
        put(empty / "empty", b"anew")
        eq(get(empty / "empty"), b"anew")


def read_anew(fd, i):
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return os.pread(fd, CHUNK, i * CHUNK)


@check(plain=False)
def under_a_running_mount():
    m, files = changed({"seen": lambda p: put(p, THEN), "made": lambda p: put(p, THEN)})
    path, old, _, _ = files["seen"]
    with m.mount():
        fd = os.open(m / "seen", os.O_RDWR)
        eq(read_anew(fd, 4), split(THEN)[4])
        put_back_chunk(path, old, 4)
        raises(errno.ESTALE, read_anew, fd, 4)
        eq(read_anew(fd, 5), split(THEN)[5])
        os.close(fd)
        # what this mount has stored, and nothing has been kept of yet
        path = files["made"][0]
        before = get(path)
        next_second()
        fd = os.open(m / "made", os.O_RDWR)
        os.pwrite(fd, split(FIRST)[6], 6 * CHUNK)
        os.fsync(fd)
        control.file_key(fd)    # now it is in its place
        at, n = slot(path, 6)
        assert get(path)[at:at + n] != before[at:at + n]
        put_back_chunk(path, before, 6)
        raises(errno.ESTALE, read_anew, fd, 6)
        os.close(fd)
        eq((len(complaints(m, "seen")), len(complaints(m, "made"))), (1, 1))


@check(plain=False)
def what_is_older_is_not_merged_with():
    names = ("f", "longer", "shorter")
    m, files = changed({name: lambda p: put(p, THEN) for name in names})
    for name, i in zip(names, (3, LAST, 5)):
        put_back_chunk(*files[name][:2], i)
    with m.mount():
        raises(errno.ESTALE, write_at, m / "f", 3 * CHUNK + 7, b"part")
        expect(m, "f", THEN, {3})
        write_at(m / "f", 3 * CHUNK, bytes(CHUNK))
        data = THEN[:3 * CHUNK] + bytes(CHUNK) + THEN[4 * CHUNK:]
        expect(m, "f", data)
        raises(errno.ESTALE, put, m / "longer", b"more", "ab")
        raises(errno.ESTALE, os.truncate, m / "longer", SIZE + 1)
        expect(m, "longer", THEN, {LAST})
        raises(errno.ESTALE, os.truncate, m / "shorter", 5 * CHUNK + 5)
        expect(m, "shorter", THEN, {5})
        os.truncate(m / "shorter", 5 * CHUNK)
        expect(m, "shorter", THEN[:5 * CHUNK])
        m.remount()
        expect(m, "f", data)
        expect(m, "longer", THEN, {LAST})
        expect(m, "shorter", THEN[:5 * CHUNK])


@check(plain=False)
def who_saw_nothing_newer_has_nothing_to_say():
    m, files = whole_files()
    put_all_back(files)

    def fine(options=""):
        with m.remount(options):
            for name in WAYS:
                expect(m, name, FIRST)
            no_complaints(m)

    fine("remember=off")
    fine("shared")
    with another_machine():
        fine()
    with m.remount(""):
        all_noticed(m)


@check(plain=False)
def who_restored_a_backup_says_so_once():
    m, files = whole_files()
    put_all_back(files)
    for options in ("accept-old", ""):
        with m.remount(options):
            for name in WAYS:
                expect(m, name, FIRST)
            no_complaints(m)
    for path, _, new, _ in files.values():
        put(path, new)
    with m.mount():
        for name, (_, _, _, data) in files.items():
            expect(m, name, data)
        no_complaints(m)
    put_all_back(files)
    with m.mount():
        noticed(m)


@check(plain=False)
def names_of_one_file_that_a_copy_has_parted_can_be_mended():
    """As BACKUP in frondfs(1) says."""
    with frond.Mount() as m:
        os.link(put(m / "a", b"first"), m / "b")
        os.sync()
    shutil.copytree(m.vault, copy := fresh("copy"), symlinks=True)
    with frond.Mount(vault=copy) as m:
        next_second()
        put(m / "a", b"then")
        raises(errno.ESTALE, get, m / "b")
        m.remount("accept-old")
        eq((get(m / "a"), get(m / "b")), (b"then", b"first"))
        next_second()
        put(m / "a", b"once more")
        m.remount("")
        raises(errno.ESTALE, get, m / "b")
        frond.run(frond.FRONDFS, "accept-old", m / "b")
        frond.run("cp", m / "b", m / "b.new")
        frond.run("mv", m / "b.new", m / "b")
        for name, other in ("a", "b"), ("b", "a"):
            next_second()
            before = get(m / other)
            put(m / name, name.encode())
            eq(get(m / other), before)
        m.remount()
        eq((get(m / "a"), get(m / "b")), (b"a", b"b"))


@check(plain=False)
def changed_on_another_machine_is_no_alarm():
    m, files = whole_files()
    next_second()
    with another_machine():
        m.mount()
        for name in WAYS:
            data = get(m / name)
            put(m / name, FIRST if len(data) < SIZE else data[::-1])
        newest = {name: get(m / name) for name in WAYS}
        m.umount()
    with m.mount():
        for name in WAYS:
            expect(m, name, newest[name])
        no_complaints(m)
    put_all_back(files)
    with m.mount():
        noticed(m)


@check(plain=False, root=True)
def of_other_file_systems_within_nothing_is_known():
    """What is kept of them might be newer than what a power failure leaves there."""
    with frond.Mount() as m:
        os.mkdir(m / "d")
        at = os.fsdecode(m.backing(m / "d"))
        m.umount()
        dirid = get(f"{at}/.dirid")
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", at],
                          stderr=subprocess.DEVNULL).returncode:
            raise frond.Skip("no tmpfs may be mounted here")
        try:
            put(f"{at}/.dirid", dirid)
            m.mount()
            names = "d/written", "d/removed"
            for name in names:
                put(m / name, FIRST)
            files = [m.backing(m / name) for name in names]
            m.umount()
            old = [get(f) for f in files]
            next_second()
            m.mount()
            put(m / names[0], THEN)
            os.unlink(m / names[1])
            m.umount()
            for f, data in zip(files, old):
                put(f, data)
            m.mount()
            for name in names:
                expect(m, name, FIRST)
            no_complaints(m)
            m.umount()
        finally:
            frond.run("umount", "-l", at)


@check(plain=False)
def copies_by_synchronising_services_are_no_alarm():
    m = frond.Mount()
    put(m / "f", FIRST)
    os.mkdir(m / "d")
    put(m / "d/inner", FIRST)
    f, d = os.fsdecode(m.backing(m / "f")), os.fsdecode(m.backing(m / "d"))
    m.umount()
    shutil.copy2(f, f + COPY)
    run_copy = frond.run("cp", "-a", d, d + COPY)
    eq(run_copy, "")
    next_second()
    with m.mount():
        put(m / "f", THEN)
        put(m / "d/inner", THEN)
        for _ in range(3):
            expect(m, "f", THEN)
            expect(m, "f" + COPY, FIRST)
            expect(m, "d/inner", THEN)
            expect(m, f"d{COPY}/inner", FIRST)
            m.remount()
        next_second()
        write_at(m / ("f" + COPY), CHUNK, THEN[CHUNK:2 * CHUNK])
        mixed = FIRST[:CHUNK] + THEN[CHUNK:2 * CHUNK] + FIRST[2 * CHUNK:]
        for _ in range(2):
            expect(m, "f" + COPY, mixed)
            expect(m, "f", THEN)
            no_complaints(m)
            m.remount()


@check(plain=False)
def a_new_key_does_not_make_it_new():
    m, files = changed({"f": lambda p: put(p, THEN)})
    path, old, new, _ = files["f"]
    next_second()
    with m.mount():
        fd = os.open(m / "f", os.O_RDWR)
        control.rekey(fd)
        os.close(fd)
        expect(m, "f", THEN)
        m.remount()
        expect(m, "f", THEN)
        m.umount()
        keyed = get(path)
        put(path, new)
        m.mount()
        expect(m, "f", THEN, range(LAST + 1))
        eq(len(complaints(m, "f")), 1)
        m.umount()
        put(path, keyed)
        m.mount()
        # an older chunk under the newer key
        at, n = slot(path, 2)
        write_at(m / "f", 2 * CHUNK, FIRST[2 * CHUNK:3 * CHUNK])
        m.remount()
        next_second()
        before = get(path)
        write_at(m / "f", 2 * CHUNK, THEN[2 * CHUNK:3 * CHUNK])
        m.umount()
        put_at(path, at, before[at:at + n])
        m.mount()
        fd = os.open(m / "f", os.O_RDWR)
        raises(errno.ESTALE, control.rekey, fd)
        os.close(fd)
        expect(m, "f", THEN, {2})
        m.remount()
        expect(m, "f", THEN, {2})


@check(plain=False)
def a_torn_end_does_not_make_it_new():
    m, files = changed({"f": lambda p: put(p, THEN)}, options="writeback=off")
    path, old, _, _ = files["f"]
    m.mount()
    fd = os.open(m / "f", os.O_WRONLY | os.O_APPEND)
    os.write(fd, blob((1 << 22) - SIZE, 8))
    m.kill9()
    frond.close_dead(fd)
    # the crash seems to have left no more than this
    at, n = slot(path, 5)
    put_back_chunk(path, old, 4)
    os.truncate(path, at)
    with m.mount():
        expect(m, "f", THEN[:5 * CHUNK], {4})


@check(plain=False)
def a_file_is_the_same_under_all_its_names():
    m = frond.Mount()
    put(m / "a", FIRST)
    os.mkdir(m / "d")
    os.link(m / "a", m / "d/b")
    m.remount()
    old = get(m.backing(m / "a"))
    next_second()
    with m:
        write_at(m / "d/b", 3 * CHUNK, THEN[3 * CHUNK:4 * CHUNK])
        expect(m, "a", get(m / "d/b"))
        m.remount()
        os.rename(m / "a", m / "d/c")
        path = m.backing(m / "d/c")
        m.umount()
        put(path, old)
        m.mount()
        expect(m, "d/c", FIRST, {3})
        expect(m, "d/b", FIRST, {3})


def step(rng, fd, model, most):
    """One random change of a file, and of what it should be then."""
    what, at = rng.random(), rng.randrange(most)
    if what < 0.6:
        data = rng.randbytes(rng.choice((1, 100, CHUNK, 3 * CHUNK)))
        if rng.random() < 0.5:
            at -= at % CHUNK
        if at > len(model):
            model.extend(bytes(at - len(model)))
        os.pwrite(fd, data, at)
        model[at:at + len(data)] = data
    elif what < 0.75:
        data = rng.randbytes(rng.randrange(1, 20 * CHUNK))
        os.pwrite(fd, data, len(model))
        model.extend(data)
    elif what < 0.9:
        os.ftruncate(fd, at)
        model[at:] = bytes(max(0, at - len(model)))
    elif model:
        at, n = at % len(model), rng.randrange(1, 8 * CHUNK)
        n = min(n, len(model) - at)
        LIBC.fallocate(fd, FALLOC_PUNCH, ctypes.c_long(at), ctypes.c_long(n))
        model[at:at + n] = bytes(n)


def history(options, mounts, steps, seed):
    """Random changes over many mounts, some of which are killed."""
    rng, model = random.Random(seed), bytearray()
    m = frond.Mount(options)
    for n in range(mounts):
        fd = os.open(m / "f", os.O_RDWR | os.O_CREAT)
        for _ in range(steps):
            step(rng, fd, model, 200 * CHUNK)
        os.fsync(fd)
        eq(os.pread(fd, len(model), 0), bytes(model))
        os.close(fd)
        if rng.random() < 0.4:
            m.kill9()
            m.mount()
        else:
            m.remount()
        eq(get(m / "f"), bytes(model), f"mount {n}")
        no_complaints(m)
        if rng.random() < 0.3:
            next_second()
    m.umount()


@check(plain=False)
def no_history_is_taken_for_an_older_state():
    seed = int(os.environ.get("FROND_SEED") or time.time_ns() // 1000000 % 10**9)
    print(f"seed {seed}: FROND_SEED={seed} runs the same again", flush=True)
    history("", scale(14, 5), 40, seed)
    history("writeback=off", scale(8, 3), 40, seed + 1)
    history("journal=off", scale(8, 3), 40, seed + 2)


@check(plain=False)
def a_large_file_written_here_and_there():
    chunks, rng = scale(16384, 9000), random.Random(5)
    data = bytearray(blob(chunks * CHUNK, 6))
    m = frond.Mount()
    put(m / "f", data)
    path = m.backing(m / "f")
    m.umount()
    old = get(path)
    rewritten = set()
    for _ in range(3):
        next_second()
        m.mount()
        fd = os.open(m / "f", os.O_RDWR)
        for i in rng.sample(range(0, chunks, 2), chunks // 4):
            part = rng.randbytes(CHUNK)
            os.pwrite(fd, part, i * CHUNK)
            data[i * CHUNK:(i + 1) * CHUNK] = part
            rewritten.add(i)
        os.fsync(fd)
        os.close(fd)
        m.umount()
    with m.mount():
        assert get(m / "f") == data
        no_complaints(m)
    put(path, old)
    with m.mount():
        noticed = look(m / "f").count("ESTALE")
        # more stretches than are told apart: some are as old as their neighbours
        assert 1 <= noticed <= len(rewritten), (noticed, len(rewritten))


def scribble(path, seed, stop):
    """Write until the mount is gone."""
    rng = random.Random(seed)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT)
        while not stop.is_set():
            os.pwrite(fd, rng.randbytes(rng.randrange(1, 3 * CHUNK)), rng.randrange(60 * CHUNK))
            if rng.random() < 0.1:
                os.ftruncate(fd, rng.randrange(60 * CHUNK))
            if rng.random() < 0.1:
                os.fsync(fd)
    except OSError:
        pass        # killed
    finally:
        frond.close_dead(fd)


@check(plain=False)
def killed_while_it_writes_is_no_alarm():
    m = frond.Mount()
    for n in range(scale(6, 2)):
        stop = threading.Event()
        writers = [threading.Thread(target=scribble, args=(m / f"f{k}", n * 10 + k, stop))
                   for k in range(3)]
        for w in writers:
            w.start()
        time.sleep(0.7)
        m.proc.kill()
        m.proc.wait()
        stop.set()
        m.drop()
        for w in writers:
            w.join()
        m.mount()
        for k in range(3):
            got = look(m / f"f{k}")
            assert isinstance(got, list) and not [c for c in got if isinstance(c, str)], got
        no_complaints(m)
    m.umount()


frond.main()
