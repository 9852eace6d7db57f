#!/usr/bin/python3
"""
What the vault keeps in .frondfs, tampered with in every way: the identity, the
log and its head, redo files, records of the inbox. What is said of it is said;
the files stay readable, and nothing ends the daemon.
"""
import errno
import hashlib
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import control
import frond
import post
import tokens
from frond import blob, check, eq, get, put, raises
from tamper import compare, flip, flipped_parts

RECORD = 457                    # bytes of the log's tokens


def changes_of(data, foreign):
    """The ways to change a token that is a whole file."""
    ways = {f"{part} flipped": new for part, new in flipped_parts(data).items()}
    ways |= {"cut": data[:-1], "emptied": b"", "zeroed": bytes(len(data)),
             "longer": data + b"\0", "far longer": data * 1000,
             "another vault's": foreign}
    return ways


def log_changes(log, foreign):
    """What is done to a log of five records."""
    r = [log[i * RECORD:(i + 1) * RECORD] for i in range(5)]
    join = b"".join
    ways = {f"{part} of record {k} flipped": join([*r[:k], new, *r[k + 1:]])
            for k in (0, 2, 4) for part, new in flipped_parts(r[k]).items()}
    ways |= {
        "records 1 and 2 exchanged": join([r[0], r[2], r[1], *r[3:]]),
        "record 1 twice": join([r[0], r[1], r[1], *r[2:]]),
        "record 2 missing": join(r[:2] + r[3:]), "the first missing": join(r[1:]),
        "the last missing": join(r[:4]), "the last three missing": join(r[:2]),
        "the last copied behind it": log + r[4], "zeroed": bytes(len(log)),
        "record 3 zeroed": join(r[:3] + [bytes(RECORD)] + r[4:]),
        "another vault's record 3": join(r[:3] + [foreign[3 * RECORD:4 * RECORD]] + r[4:]),
        "another vault's": foreign, "emptied": b"", "cut in record 2": log[:3 * RECORD - 9],
    }
    return ways


def with_log(m):
    for i in range(5):
        control.log_append(m.path, "sent", f"file {i}")
    control.identity(m.path)
    return [os.path.join(m.vault, ".frondfs", n) for n in ("identity", "log", "log.head")]


def said(fn, *args):
    """None, or the error's name."""
    try:
        fn(*args)
    except OSError as e:
        return errno.errorcode[e.errno]
    return None


def log_fault(path):
    try:
        return control.log_verify(path).fault
    except OSError as e:
        return errno.errorcode[e.errno]


@check(plain=False)
def the_identity_and_the_log():
    with frond.Mount() as stranger:
        foreign = [get(path) for path in with_log(stranger)]
    with frond.Mount() as m:
        put(m / "f", b"readable")
        paths = with_log(m)
        m.umount()
        good = [get(path) for path in paths]
        tables = [changes_of(good[0], foreign[0]), log_changes(good[1], foreign[1]),
                  changes_of(good[2], foreign[2])]
        wrong = []
        # one identity and one log at a time, so that each mount plays two
        log_rows = [(1, t, new) for t, new in tables[1].items()] + \
            [(2, t, new) for t, new in tables[2].items()]
        identities = list(tables[0].items())
        for i, (which, title, new) in enumerate(log_rows):
            for path, data in zip(paths, good):
                put(path, data)
            put(paths[which], new)
            about, identity = identities[i % len(identities)]
            put(paths[0], identity)
            m.mount()
            eq(get(m / "f"), b"readable")
            if not log_fault(m.path):
                wrong.append(f"log{('', '.head')[which - 1]}, {title}: not noticed")
            if said(control.identity, m.path) is None:
                wrong.append(f"identity, {about}: not noticed")
            m.umount()
            if get(paths[0]) != identity:
                wrong.append(f"identity, {about}: another one was made")
        for path, data in zip(paths, good):
            put(path, data)
        m.mount()
        eq((log_fault(m.path), said(control.identity, m.path)), (0, None))
        compare(wrong)


# Redo files: written here from the documented layout alone.

def seal_file(key, header, data):
    """A backing file's bytes behind that header."""
    out, full = [header], max(0, (len(data) - 1) // 4096)
    for k in range(full):
        out.append(tokens.seal_token(key, k.to_bytes(8, "big") + data[k * 4096:(k + 1) * 4096]))
    last = data[full * 4096:]
    token = tokens.seal_token(key, (tokens.LAST | full).to_bytes(8, "big") + last)
    return b"".join(out) + token + bytes(len(last) + 81 - len(token))


def redo_file(keys, old, path, data):
    """(bytes of the redo file, length of its first part, the new header)"""
    new_key = bytes(range(32))
    header = old[:40] + tokens.seal_token(keys.sub(1), old[8:24] + new_key) + bytes(15)
    new = seal_file(new_key, header, data)
    digest = hashlib.blake2b(old[:176], digest_size=32)
    for k, (at, n) in enumerate(tokens.spans(len(old))):
        if any(old[at:at + n]):
            digest.update(k.to_bytes(8, "big") + old[at:at + n])
    record = tokens.seal_token(keys.sub(8), b"\1" + old[8:24] + len(data).to_bytes(8, "big")
                               + old[:176] + header + digest.digest() + bytes(16)
                               + len(path).to_bytes(2, "big") + path)
    return new + record + len(record).to_bytes(4, "big"), len(new), header


def redo_changes(redo, part, foreign):
    """title -> (the redo file, is it played?)"""
    record = len(redo) - part - 4
    ways = {"nothing": (redo, True),
            # The file with this id decides, wherever it is.
            "its header flipped": (flip(redo, 60), True),
            "a chunk flipped": (flip(redo, 176 + 500), False),
            "the last chunk flipped": (flip(redo, part - 20), False),
            "two chunks exchanged": (redo[:176] + redo[4345:8514] + redo[176:4345]
                                     + redo[8514:], False),
            "cut": (redo[:-1], False), "cut in half": (redo[:len(redo) // 2], False),
            "emptied": (b"", False), "zeroed": (bytes(len(redo)), False),
            "length zeroed": (redo[:-4] + bytes(4), False),
            "length immense": (redo[:-4] + b"\xff" * 4, False),
            "length off by one": (redo[:-4] + (record + 1).to_bytes(4, "big"), False),
            "a byte in front": (b"\0" + redo, False), "another vault's": (foreign, False)}
    ways |= {f"record's {name} flipped": (redo[:part] + new + redo[-4:], False)
             for name, new in flipped_parts(redo[part:-4]).items()}
    return ways


def victim(m, name):
    """A closed file with three chunks, and what is needed to play it anew."""
    data = blob(9000, 5)
    put(m / name, data)
    at = os.fsencode(m.backing(m / name))
    return at, os.path.relpath(at, os.fsencode(m.vault)), data


@check(plain=False)
def redo_files():
    with frond.Mount() as stranger:
        at, path, data = victim(stranger, "f")
        stranger.umount()
        keys = tokens.Keys(stranger.vault, frond.PASSPHRASE)
        foreign = redo_file(keys, get(at), path, data)[0]
    with frond.Mount() as m:
        first = victim(m, "0")
        m.umount()
        keys = tokens.Keys(m.vault, frond.PASSPHRASE)
        redo, part, _ = redo_file(keys, get(first[0]), *first[1:])
        count = len(redo_changes(redo, part, foreign))
        m.mount()
        victims = [victim(m, str(i)) for i in range(count)]
        m.umount()
        journal = os.path.join(m.vault, ".frondfs/journal")
        os.makedirs(journal, exist_ok=True)
        before, after, rows = [], [], []
        for i, (at, path, data) in enumerate(victims):
            redo, part, header = redo_file(keys, get(at), path, data)
            title, (new, plays) = list(redo_changes(redo, part, foreign).items())[i]
            put(os.path.join(journal, f"{i:024x}.rekey"), new)
            before.append(get(at)[:176])
            after.append(header)
            rows.append((title, plays))
        m.mount()
        wrong = []
        for i, (title, plays) in enumerate(rows):
            try:
                eq(get(m / str(i)), victims[i][2], title)
            except (OSError, AssertionError) as e:
                wrong.append(f"{title}: {e}")
            now = get(victims[i][0])[:176]
            if now != (after if plays else before)[i]:
                wrong.append(f"{title}: played: {now == after[i]}, should be {plays}")
        left = [n for n in os.listdir(journal) if n.endswith(".rekey")]
        if left:
            wrong.append(f"left: {[rows[int(n[:24], 16)][0] for n in left]}")
        compare(wrong)


# What is remembered of a set that waits for its share.

def set_changes(record, other, foreign):
    ways = changes_of(record, foreign)
    return ways | {"another set's": other, "cut in half": record[:len(record) // 2],
                   "twice": record * 2}


def announced(m, alice, names):
    """Sets of which the share alone is missing, by name; and their records."""
    sets = {name: alice.send(m, name, blob(5000, i)) for i, name in enumerate(names)}
    for s in sets.values():
        s.post_manifest()
        s.post_parts()
    control.scan(m.path)
    keys = {name: hashlib.blake2b(s.id + alice.public + b"\0", digest_size=16).hexdigest()
            for name, s in sets.items()}
    return sets, {name: os.path.join(m.vault, ".frondfs/inbox", f"{key}.set")
                  for name, key in keys.items()}


@check(plain=False)
def records_of_sets_that_wait():
    with post.Met() as (stranger, alice):
        foreign = get(announced(stranger, alice, ["f"])[1]["f"])
    with post.Met() as (m, alice):
        ways = list(set_changes(foreign, b"", b""))
        names = [f"{i} {way}" for i, way in enumerate(ways)] + ["as it was"]
        sets, records = announced(m, alice, names)
        m.umount()
        whole = get(records["as it was"])
        for name, way in zip(names, ways):
            put(records[name], set_changes(get(records[name]), whole, foreign)[way])
        m.mount()
        control.scan(m.path)
        wrong = [f"{name}: not noticed" for name in names[:-1] if
                 f"left out: {os.path.basename(records[name])}" not in m.log()]
        for s in sets.values():
            s.post_share(1)
        control.scan(m.path)
        # its place is not known any more: it is given another
        for i, name in enumerate(names):
            at = post.shared(m, name=name if i == len(ways) else name + " (2)")
            if said(get, at) or get(at) != blob(5000, i):
                wrong.append(f"{name}: {said(get, at) or 'other bytes'} at {at}")
        compare(wrong)
        assert not os.path.exists(post.shared(m, name="as it was (2)"))


@check(plain=False)
def what_lies_in_the_inbox():
    """Records, envelopes and parts of garbage are refused one by one."""
    with frond.Mount() as m:
        put(m / "f", b"readable")
        control.identity(m.path)
        m.umount()
        inbox = os.path.join(m.vault, ".frondfs/inbox")
        os.makedirs(inbox, exist_ok=True)
        keys = tokens.Keys(m.vault, frond.PASSPHRASE)
        pieces = [b"", b"\0", bytes(32), blob(100, 1), blob(5000, 2), b"FRONDFS1" * 100]
        pieces += [tokens.seal_token(keys.sub(n), plain) for n in (3, 6, 8, 9)
                   for plain in (b"", bytes(16), bytes(300), blob(700, n))]
        for i, piece in enumerate(pieces):
            for ending in ("set", "grant"):
                put(os.path.join(inbox, f"{i:032x}.{ending}"), piece)
            for ending in ("env", "part"):
                put(os.path.join(inbox, f"{i:064x}.{ending}"), piece)
        put(os.path.join(inbox, "shared.dir"), pieces[-1])
        m.mount()
        control.scan(m.path)
        eq(control.sets(m.path), [])
        eq(get(m / "f"), b"readable")
        put(m / "g", b"written")
        raises(errno.ENOENT, os.stat, m / "none")


frond.main()
