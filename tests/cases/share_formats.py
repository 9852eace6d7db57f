#!/usr/bin/python3
"""Cards, envelopes and manifests against a second implementation.

Random ones go both ways between fs/share and tests/lib/sharing.py, and what
one of them altered the other refuses. Prints its seed; SEED=n repeats.
"""
import errno
import os
import random
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/lib"))
import sharing  # noqa: E402  pylint: disable=wrong-import-position
from sharing import FILE, GRANT, SEND, Identity  # noqa: E402

BUILD = os.environ.get("BUILD") or os.path.join(ROOT, "build/dev")
ROUNDS = max(10, int(100 * float(os.environ.get("FROND_SCALE") or 1)))
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))
rng = random.Random(SEED)
TOOL = subprocess.Popen([os.path.join(BUILD, "tests/share_tool")], text=True,
                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def ask(*words):
    """The answer's words; bytes go as hex."""
    line = " ".join((w.hex() or "-") if isinstance(w, bytes) else str(w) for w in words)
    TOOL.stdin.write(line + "\n")
    TOOL.stdin.flush()
    return TOOL.stdout.readline().split()


def unhex(word):
    return b"" if word == "-" else bytes.fromhex(word)


def refused(answer, code=errno.EBADMSG):
    assert answer == ["error", str(code)], answer


def person():
    seed = rng.randbytes(32)
    return Identity(seed), seed


def name(longest):
    """UTF-8 of at most so many bytes."""
    text = "".join(rng.choice("aZ09 .-_'\u00e4\u674e\U0001f33f") for _ in range(longest))
    return text.encode()[:rng.randint(1, longest)].decode(errors="ignore") or "x"


def check_known_answers_are_those_of_the_description():
    with open(os.path.join(ROOT, "tests/unit/sharing_vectors.h"), encoding="ascii") as f:
        committed = f.read()
    made = subprocess.run([sys.executable, os.path.join(ROOT, "tests/lib/sharing.py")],
                          stdout=subprocess.PIPE, check=True, text=True).stdout
    assert made == committed


def check_cards_go_both_ways():
    for _ in range(ROUNDS):
        me, seed = person()
        called, address = name(64), rng.choice(["", "@" + "b" * rng.randint(1, 127), "dir:/m"])
        card = sharing.card(me, called, address)
        assert ask("write-card", seed, called.encode(), address.encode()) == [card]
        assert [unhex(w) for w in ask("card", card)] == \
            [called.encode(), address.encode(), me.public]
        assert sharing.parse_card(card) == (called, address, me.public)


def check_envelopes_go_both_ways():
    for _ in range(ROUNDS):
        (alice, alice_seed), (bob, bob_seed) = person(), person()
        kind = rng.randint(2, 6)
        index = rng.randint(1, 16) if kind in (sharing.SHARE, sharing.CUSTODY) else 0
        set_id, created = rng.randbytes(16), rng.randint(1, 2**64 - 1)
        payload = rng.randbytes(rng.choice([0, 1, 42, 5000]))
        theirs = sharing.seal(alice, bob.public, kind, index, set_id, created, payload)
        assert ask("open", bob_seed, theirs) == \
            [str(kind), str(index), set_id.hex(), str(created), alice.public.hex(),
             payload.hex() or "-"]
        ours = unhex(ask("seal", alice_seed, bob.public, kind, index, set_id, created,
                         payload)[0])
        assert sharing.open_envelope(bob, ours) == dict(
            kind=kind, index=index, set_id=set_id, created=created, payload=payload,
            sender=alice.public)
        refused(ask("open", alice_seed, theirs))
        at = rng.randrange(17, len(theirs))
        refused(ask("open", bob_seed, theirs[:at] + bytes([theirs[at] ^ 1]) + theirs[at + 1:]))


def an_entry(kind, path):
    e = dict(type=rng.choice([FILE, sharing.DIR]), path=path, mode=rng.randint(0, 0o777),
             mtime_s=rng.randint(-2**63, 2**63 - 1), mtime_ns=rng.randint(0, 999999999))
    if e["type"] != FILE:
        return e
    size = rng.choice([0, 1, 4096, 4097, rng.randint(0, 2**40)])
    sealed, parts = sharing.backing_len(size), []
    while sealed:
        parts.append((min(sealed, rng.choice([1, 4000, 2**39, 2**41])), rng.randbytes(32)))
        parts = parts[:9] + [(sealed, rng.randbytes(32))] if len(parts) == 10 else parts
        sealed -= parts[-1][0]
    e.update(mode=e["mode"] & 0o666, size=size, file_id=rng.randbytes(16),
             key_token=rng.randbytes(121))
    return dict(e, backing_path="x/@y") if kind == GRANT else dict(e, parts=parts)


def a_manifest():
    kind, n = rng.choice([SEND, GRANT]), rng.randint(1, 16)
    entries = []
    for i in range(rng.randint(0, 30)):
        above = rng.choice([""] + [e["path"] + "/" for e in entries if e["type"] != FILE])
        entries.append(an_entry(kind, above + name(20) + str(i)))
    rng.shuffle(entries)
    return dict(kind=kind, k=rng.randint(1, n), nonce=rng.randbytes(32), folder=True,
                name=name(200).strip("."), note=name(1000), vault_id=rng.randbytes(16),
                secret_commitment=rng.randbytes(32), expires=rng.randrange(2**64),
                replaces=rng.randbytes(16), no_content=kind == SEND and rng.random() < .5,
                shares=[(rng.randbytes(32), rng.random() < .5, "p" + name(60))
                        for _ in range(n)], entries=entries)


def check_manifests_have_one_encoding():
    for _ in range(ROUNDS):
        m = a_manifest()
        m["name"] = m["name"] or "x"
        data = sharing.manifest(m)
        assert ask("manifest", data) == [data.hex()], data.hex()
        assert sharing.manifest(sharing.parse_manifest(data)) == data
        if len(m["entries"]) > 1:
            shuffled = sorted(m["entries"], key=lambda e: sharing.in_order(e["path"]))
            i = rng.randrange(len(shuffled) - 1)
            shuffled[i], shuffled[i + 1] = shuffled[i + 1], shuffled[i]
            refused(ask("manifest", sharing.manifest(dict(m, entries=shuffled), sort=False)))
        refused(ask("manifest", data[:rng.randrange(1, len(data))]))
        refused(ask("manifest", data + b"\0"))


print("seed", SEED)
failed = 0
for check in (check_known_answers_are_those_of_the_description, check_cards_go_both_ways,
              check_envelopes_go_both_ways, check_manifests_have_one_encoding):
    try:
        check()
        print("ok", check.__name__.removeprefix("check_"), flush=True)
    except Exception as e:  # pylint: disable=broad-except
        print("FAIL", check.__name__.removeprefix("check_"), repr(e), flush=True)
        failed = 1
TOOL.stdin.close()
sys.exit(failed or TOOL.wait())
