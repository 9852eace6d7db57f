#!/usr/bin/python3
"""
What a mount that was killed has left in .frondfs/journal, tampered with in every
way: a vault that is mounted then has in each chunk what was there before or what
was written, and says so where that which was durable could not be brought back.

FROND_LONG=1 plays all of it, otherwise some, other ones each time (FROND_SEED).
"""
import os
import random
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import blob, check, eq, get, put
from tamper import compare, flip, flipped_parts

CHUNK, CHUNKS = 4096, 30
HEAD, RECORD = 80, 120
OLD, NEW, ELSEWHERE = (blob(CHUNKS * CHUNK, n) for n in (1, 2, 3))
# Not noticed: a journal whose beginning is not what it was looks like one that
# was emptied, and a shorter one like one that was being written. What it held is
# as it was before, then.
SILENT = re.compile(r"byte (\d{1,2}|1\d\d) of|segment (cut|emptied|zeroed)|no s|first record"
                    r"|records 1 and|another vault")
LONG, SOME = bool(os.environ.get("FROND_LONG")), 6
QUIET = "remember=off"          # the same crash, again and again


def crash(m, new):
    """Overwrite every other chunk, and end the daemon. Is all of it in the journal alone?"""
    put(m / "f", OLD)
    m.remount()
    before = get(m.backing(m / "f"))
    fd = os.open(m / "f", os.O_RDWR)
    for i in range(0, CHUNKS, 2):
        os.pwrite(fd, new[i * CHUNK:(i + 1) * CHUNK], i * CHUNK)
    os.fsync(fd)
    backing = m.backing(m / "f")
    m.kill9()
    frond.close_dead(fd)
    return backing, get(backing) == before


def crashed(new):
    """A vault that was left like that: (mount, the file's path and bytes, the journal's)."""
    m = frond.Mount(QUIET)
    backing, early = crash(m, new)
    while not early:
        m.mount()               # so slow a machine that something was in its place already
        backing, early = crash(m, new)
    journal = os.path.join(m.vault, ".frondfs/journal")
    return m, backing, get(backing), {n: get(os.path.join(journal, n))
                                      for n in os.listdir(journal)}


def segment_of(files):
    """The name of the one that has records."""
    return max((n for n in files if n != "session"), key=lambda n: len(files[n]))


def ways(mine, foreign):
    """title -> what the journal is made to hold"""
    name = segment_of(mine)
    segment, other = mine[name], foreign[segment_of(foreign)]
    session, record = mine["session"], RECORD + CHUNK + 73

    def with_segment(new):
        return mine | {name: new}
    found = {f"session's {part} flipped": mine | {"session": new}
             for part, new in flipped_parts(session).items()}
    found |= {"session cut": mine | {"session": session[:-1]},
              "session emptied": mine | {"session": b""},
              "session zeroed": mine | {"session": bytes(len(session))},
              "session longer": mine | {"session": session + b"\0"},
              "another vault's session": mine | {"session": foreign["session"]},
              "no session": {n: d for n, d in mine.items() if n != "session"},
              "no segments": {"session": session},
              "another vault's journal": foreign}
    found |= {f"byte {at} of the segment flipped": with_segment(flip(segment, at))
              for at in [*range(0, HEAD + RECORD, 4), HEAD + RECORD + 40,
                         *range(HEAD + record, HEAD + record + RECORD, 4),
                         HEAD + record + RECORD + 40, HEAD + 2 * record - 9, len(segment) - 5]}
    found |= {
        "segment cut in its head": with_segment(segment[:40]),
        "segment cut behind its head": with_segment(segment[:HEAD]),
        "segment cut in a record's head": with_segment(segment[:HEAD + 50]),
        "segment cut in a token": with_segment(segment[:HEAD + RECORD + 500]),
        "segment cut by a byte": with_segment(segment[:-1]),
        "segment emptied": with_segment(b""),
        "segment zeroed": with_segment(bytes(len(segment))),
        "first record zeroed": with_segment(segment[:HEAD] + bytes(record)
                                            + segment[HEAD + record:]),
        "records 1 and 2 exchanged": with_segment(
            segment[:HEAD] + segment[HEAD + record:HEAD + 2 * record]
            + segment[HEAD:HEAD + record] + segment[HEAD + 2 * record:]),
        "record 1 twice": with_segment(segment[:HEAD + record] + segment[HEAD:]),
        "record 2 zeroed": with_segment(segment[:HEAD + record] + bytes(record)
                                        + segment[HEAD + 2 * record:]),
        "records 2 and 3 exchanged": with_segment(
            segment[:HEAD + record] + segment[HEAD + 2 * record:HEAD + 3 * record]
            + segment[HEAD + record:HEAD + 2 * record] + segment[HEAD + 3 * record:]),
        "record 2 missing": with_segment(segment[:HEAD + record]
                                         + segment[HEAD + 2 * record:]),
        "something behind it": with_segment(segment + bytes(100)),
        "its head from another vault": with_segment(other[:HEAD] + segment[HEAD:]),
        "its records from another vault": with_segment(segment[:HEAD] + other[HEAD:]),
        "another vault's segment": with_segment(other),
        "the segment twice": mine | {name[:-1] + str((int(name[-1]) + 2) % 4): segment},
    }
    return found


def chosen(found):
    if LONG:
        return found
    rng = random.Random(seed := int(os.environ.get("FROND_SEED") or time.time_ns() % 10**9))
    print(f"FROND_SEED={seed}")
    return {title: found[title] for title in rng.sample(sorted(found), SOME)}


def put_back(m, backing, stored, journal):
    """The same files, where they were."""
    put(backing, stored)
    top = os.path.join(m.vault, ".frondfs/journal")
    for n in os.listdir(top):
        if os.path.isfile(os.path.join(top, n)):
            os.unlink(os.path.join(top, n))
    for n, data in journal.items():
        put(os.path.join(top, n), data)


def fault(m, silent=False):
    """What is wrong with what the mount shows, and says."""
    try:
        data = get(m / "f")
    except OSError as e:
        return f"the file: {e.strerror}"
    eq(len(data), len(OLD))
    lost = 0
    for at in range(0, len(OLD), CHUNK):
        part = data[at:at + CHUNK]
        wanted = NEW if at // CHUNK % 2 == 0 else OLD
        if part == wanted[at:at + CHUNK]:
            continue
        if part != OLD[at:at + CHUNK]:
            return f"chunk {at // CHUNK} holds what was never there"
        lost += 1
    if lost and not silent and "journal" not in m.log():
        return f"{lost} chunks are lost without a word"
    return None


@check(plain=False)
def what_a_crash_left_is_never_taken_for_what_it_is_not():
    stranger, *_, foreign = crashed(ELSEWHERE)
    stranger.mount()
    stranger.umount()
    m, backing, stored, mine = crashed(NEW)
    m.mount()
    eq((fault(m), get(m / "f") == OLD), (None, False), "as it was left")
    m.umount()
    wrong = []
    for title, journal in chosen(ways(mine, foreign)).items():
        put_back(m, backing, stored, journal)
        m.mount()
        if said := fault(m, SILENT.search(title)):
            wrong.append(f"{title}: {said}")
        put(m / "g", b"it goes on")
        m.umount()
    compare(wrong)
    m.mount()


frond.main()
