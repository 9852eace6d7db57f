"""
Cards, envelopes, manifests and bundles, built and opened from the documented
layout alone with PyNaCl and hashlib: a second implementation, to test the
first against. Integers are big-endian.

`sharing.py` prints what tests/unit/sharing_vectors.h holds.
"""
import base64
import hashlib
import struct

from nacl import bindings as sodium

CARD, SHARE, MANIFEST, ACK, REVOKE, CUSTODY = range(1, 7)
RECEIVED, OPENED, IN_CUSTODY, RELEASED, DECLINED = range(1, 6)
SEND, GRANT = 1, 2
FILE, DIR = 1, 2
CARD_PREFIX, TEXT_PREFIX, BUNDLE_MAGIC = "tgcard1.", "tgshare1.", b"FRONDBN1"
ENVELOPE, PART = 1, 2
HEADER, CHUNK, TOKEN, LAST_EXTRA = 176, 4096, 4169, 81


def blake2b(data, size=32, key=b""):
    return hashlib.blake2b(data, digest_size=size, key=key).digest()


def base(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unbase(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def backing_len(size):
    """How long the sealed copy of size plaintext bytes is."""
    last = (size - 1) // CHUNK if size else 0
    return HEADER + last * TOKEN + (size - last * CHUNK) + LAST_EXTRA


# Identities

def kdf(seed, number, context):
    """libsodium's crypto_kdf_derive_from_key, 32 bytes."""
    return hashlib.blake2b(key=seed, digest_size=32, person=context.ljust(16, b"\0"),
                           salt=struct.pack("<Q", number).ljust(16, b"\0")).digest()


class Identity:
    def __init__(self, seed):
        self.sign_public, self.sign_secret = \
            sodium.crypto_sign_seed_keypair(kdf(seed, 1, b"frondid1"))
        self.box_secret = kdf(seed, 2, b"frondid1")
        self.box_public = sodium.crypto_scalarmult_base(self.box_secret)
        self.public = self.sign_public + self.box_public

    def sign(self, kind, index, set_id, recipient, created, payload):
        text = statement(kind, index, set_id, self.public, recipient, created, payload)
        return sodium.crypto_sign(text, self.sign_secret)[:64]


def fingerprint(public):
    digest = blake2b(b"frondfs fingerprint" + public, 64)
    return " ".join("%05d" % (int.from_bytes(digest[i:i + 5], "big") % 100000)
                    for i in range(0, 40, 5))


def statement(kind, index, set_id, sender, recipient, created, payload):
    return (b"frondfs-share-v1" + bytes([kind, index]) + set_id + sender + recipient +
            struct.pack(">Q", created) + blake2b(payload))


def verify(signature, text, sign_public):
    """Raises nacl.exceptions.BadSignatureError."""
    sodium.crypto_sign_open(signature + text, sign_public)


# Cards

def counted(text, size=1):
    data = text if isinstance(text, bytes) else text.encode()
    return len(data).to_bytes(size, "big") + data


def card(identity, name, address=""):
    body = counted(name) + counted(address) + identity.public
    return CARD_PREFIX + base(body + identity.sign(CARD, 0, bytes(16), bytes(64), 0, body))


def parse_card(text):
    """name, address, public"""
    assert text.startswith(CARD_PREFIX)
    r = Reader(unbase(text[len(CARD_PREFIX):]))
    name, address, public = r.counted(), r.counted(), r.take(64)
    body = r.data[:r.at]
    signature = r.take(64)
    r.end()
    verify(signature, statement(CARD, 0, bytes(16), public, bytes(64), 0, body), public[:32])
    return name.decode(), address.decode(), public


# Envelopes

def box_seal(message, public, ephemeral=None):
    """libsodium's crypto_box_seal; ephemeral: a secret key, for known answers."""
    secret = ephemeral or sodium.randombytes(32)
    epk = sodium.crypto_scalarmult_base(secret)
    return epk + sodium.crypto_box(message, blake2b(epk + public, 24), public, secret)


def seal_inner(inner, recipient, routing=None, ephemeral=None):
    return (b"\1" + (routing or sodium.randombytes(16)) +
            box_seal(inner, recipient[32:], ephemeral))


def seal(sender, recipient, kind, index, set_id, created, payload, **known):
    """sender: an Identity; recipient: the 64 public bytes."""
    signature = sender.sign(kind, index, set_id, recipient, created, payload)
    inner = (bytes([kind, index]) + set_id + sender.public +
             struct.pack(">Q", created) + payload + signature)
    return seal_inner(inner, recipient, **known)


def open_envelope(me, data):
    """A dict; raises when it is not for me, or not by whom it says."""
    assert data[0] == 1, "version"
    r = Reader(sodium.crypto_box_seal_open(data[17:], me.box_public, me.box_secret))
    kind, index, set_id, sender = r.int(1), r.int(1), r.take(16), r.take(64)
    created, payload = r.int(8), r.take(len(r.data) - r.at - 64)
    verify(r.take(64), statement(kind, index, set_id, sender, me.public, created, payload),
           sender[:32])
    return dict(kind=kind, index=index, set_id=set_id, sender=sender, created=created,
                payload=payload)


def to_text(envelope):
    return TEXT_PREFIX + base(envelope + blake2b(envelope)[:4])


def from_text(text):
    """Of a text that is nothing but the envelope."""
    assert text.startswith(TEXT_PREFIX)
    data = unbase(text[len(TEXT_PREFIX):])
    assert base(data) == text[len(TEXT_PREFIX):] and blake2b(data[:-4])[:4] == data[-4:]
    return data[:-4]


# Payloads

def ack(state, index=0):
    return bytes([state, index])


def custody(expires, recipient_card, inner):
    return struct.pack(">Q", expires) + counted(recipient_card, 2) + inner


def parse_custody(payload):
    """expires, card text, inner envelope"""
    r = Reader(payload)
    return r.int(8), r.counted(2).decode(), r.take(len(payload) - r.at)


def commit_share(nonce, set_id, index, packed):
    return blake2b(b"share" + set_id + bytes([index]) + packed, key=nonce)


def commit_secret(nonce, set_id, secret):
    return blake2b(b"secret" + set_id + secret, key=nonce)


def code(set_id, sender, recipient, secret_commitment):
    digest = blake2b(b"frondfs set" + set_id + sender + recipient + secret_commitment)
    return "%06d" % (int.from_bytes(digest[:8], "big") % 10**6)


# Manifests: dicts with the names of the fields below

def in_order(path):
    return [0 if c == ord("/") else c + 1 for c in path.encode("utf-8", "surrogateescape")]


def raw(text):
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def manifest_entry(kind, e):
    out = struct.pack(">BHqI", e["type"], e["mode"], e["mtime_s"], e.get("mtime_ns", 0))
    out += counted(raw(e["path"]), 2)
    if e["type"] != FILE:
        return out
    out += struct.pack(">Q", e["size"]) + e["file_id"] + counted(e.get("key_token", b""))
    if kind == GRANT:
        return out + counted(raw(e["backing_path"]), 2)
    out += struct.pack(">I", len(e["parts"]))
    return out + b"".join(struct.pack(">Q", n) + digest for n, digest in e["parts"])


def manifest(m, sort=True):
    """m: kind, k, nonce, shares [(commitment, direct, holder)], secret_commitment,
    name, entries; expires, replaces, vault_id, no_content, folder, note by default
    absent. sort=False: the order of the list, to build what lies."""
    flags = bool(m.get("no_content")) | bool(m.get("folder")) << 1
    out = bytes([1, m["kind"], flags, m["k"], len(m["shares"])]) + m["nonce"]
    out += m["secret_commitment"] + struct.pack(">Q", m.get("expires", 0))
    out += m.get("replaces", bytes(16))
    if m["kind"] == GRANT:
        out += m["vault_id"]
    for commitment, direct, holder in m["shares"]:
        out += commitment + bytes([direct]) + counted(holder)
    out += counted(raw(m["name"])) + counted(raw(m.get("note", "")), 2)
    entries = sorted(m["entries"], key=lambda e: in_order(e["path"])) if sort \
        else m["entries"]
    out += struct.pack(">I", len(entries))
    return out + b"".join(manifest_entry(m["kind"], e) for e in entries)


def parse_manifest(data):
    """The dict again. Reads what is well-formed; judges nothing else."""
    r = Reader(data)
    assert r.int(1) == 1, "version"
    kind, flags, k, n = (r.int(1) for _ in range(4))
    m = dict(kind=kind, no_content=bool(flags & 1), folder=bool(flags & 2), k=k,
             nonce=r.take(32), secret_commitment=r.take(32), expires=r.int(8),
             replaces=r.take(16))
    if kind == GRANT:
        m["vault_id"] = r.take(16)
    m["shares"] = [(r.take(32), bool(r.int(1)), r.counted().decode()) for _ in range(n)]
    m["name"], m["note"] = r.text(1), r.text(2)
    m["entries"] = [parse_entry(r, kind) for _ in range(r.int(4))]
    r.end()
    return m


def parse_entry(r, kind):
    e = dict(type=r.int(1), mode=r.int(2), mtime_s=r.int(8, True), mtime_ns=r.int(4),
             path=r.text(2))
    if e["type"] != FILE:
        return e
    e.update(size=r.int(8), file_id=r.take(16), key_token=r.counted())
    if kind == GRANT:
        e["backing_path"] = r.text(2)
    else:
        e["parts"] = [(r.int(8), r.take(32)) for _ in range(r.int(4))]
    return e


def cut(sealed, part_len):
    """The parts of a sealed copy, as a manifest names them, and their bytes."""
    pieces = [sealed[i:i + part_len] for i in range(0, len(sealed), part_len)]
    return [(len(p), blake2b(p)) for p in pieces], pieces


# Bundles

def bundle(records):
    """records: (type, bytes)"""
    return BUNDLE_MAGIC + b"".join(bytes([t]) + counted(data, 8) for t, data in records)


def parse_bundle(data):
    r = Reader(data)
    assert r.take(8) == BUNDLE_MAGIC
    records = []
    while r.at < len(data):
        records.append((r.int(1), r.counted(8)))
    return records


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        assert 0 <= n <= len(self.data) - self.at, "too short"
        self.at += n
        return self.data[self.at - n:self.at]

    def int(self, n, signed=False):
        return int.from_bytes(self.take(n), "big", signed=signed)

    def counted(self, n=1):
        return self.take(self.int(n))

    def text(self, n):
        return self.counted(n).decode("utf-8", "surrogateescape")

    def end(self):
        assert self.at == len(self.data), "bytes left over"


# Known answers for the unit tests: every random thing is a hash of its name.

def some(name, size):
    return blake2b(name.encode(), size)


def known_entry(kind, path, size, part_len, **more):
    e = dict(type=FILE, path=path, size=size, mode=0o640, mtime_s=1700000000,
             mtime_ns=123456789, file_id=some(path + " id", 16), **more)
    if kind == GRANT:
        e["backing_path"] = "AAAA/" + base(some(path + " backing", 24))
        return e
    e["parts"] = [(min(part_len, backing_len(size) - at), some(f"{path} part {at}", 32))
                  for at in range(0, backing_len(size), part_len)]
    return e


def known_manifests():
    set_id, nonce = some("set", 16), some("nonce", 32)
    shares = [(commit_share(nonce, set_id, i, some(f"packed {i}", 42)), i == 1, holder)
              for i, holder in enumerate(["bob", "carol", "d\u00e4ve"], 1)]
    common = dict(k=2, nonce=nonce, shares=shares,
                  secret_commitment=commit_secret(nonce, set_id, some("secret", 32)))
    token = lambda path: {"key_token": some(path + " token a", 60) + some(path + " token b", 61)}
    directory = lambda path: dict(type=DIR, path=path, mode=0o750, mtime_s=-5)
    yield "MANIFEST_SENT", dict(common, kind=SEND, name="report.pdf", note="Hi Bob,\nread this.",
                                entries=[known_entry(SEND, "report.pdf", 100000, 50000)])
    yield "MANIFEST_FOLDER", dict(
        common, kind=SEND, name="plans", folder=True, no_content=True, expires=1800000000,
        entries=[known_entry(SEND, "a", 0, 1 << 20, **token("a")), directory("b"),
                 known_entry(SEND, "b/\u00fc", 4096, 4000, **token("b/\u00fc")),
                 known_entry(SEND, "b!", 4097, 1 << 20, **token("b!"))])
    yield "MANIFEST_GRANTED", dict(common, kind=GRANT, name="plan.odt", vault_id=some("vault", 16),
                                   replaces=some("set before", 16),
                                   entries=[known_entry(GRANT, "plan.odt", 12345, 0)])


def known_answers():
    alice, bob = Identity(some("alice", 32)), Identity(some("bob", 32))
    set_id, payload = some("set", 16), some("packed 1", 42)
    known = dict(routing=some("routing", 16), ephemeral=some("ephemeral", 32))
    envelope = seal(alice, bob.public, SHARE, 1, set_id, 1700000000, payload, **known)
    assert open_envelope(bob, from_text(to_text(envelope)))["payload"] == payload
    assert parse_card(card(alice, "Alice", "@bot")) == ("Alice", "@bot", alice.public)
    yield "ALICE_SEED", some("alice", 32)
    yield "BOB_SEED", some("bob", 32)
    yield "ALICE_PUBLIC", alice.public
    yield "ALICE_SIGN_SECRET", alice.sign_secret
    yield "ALICE_BOX_SECRET", alice.box_secret
    yield "ALICE_FINGERPRINT", fingerprint(alice.public)
    yield "BOB_FINGERPRINT", fingerprint(bob.public)
    yield "ALICE_CARD", card(alice, "Alice \u00c4.", "@alice_share_bot")
    yield "BOB_CARD", card(bob, "bob")
    yield "SET_ID", set_id
    yield "PAYLOAD", payload
    yield "STATEMENT", statement(SHARE, 1, set_id, alice.public, bob.public, 1700000000, payload)
    yield "SIGNATURE", alice.sign(SHARE, 1, set_id, bob.public, 1700000000, payload)
    yield "ENVELOPE_BYTES", envelope
    yield "ENVELOPE_TEXT", to_text(envelope)
    yield "CUSTODY_PAYLOAD", custody(1800000000, card(bob, "bob"), envelope)
    yield "NONCE", some("nonce", 32)
    yield "SECRET", some("secret", 32)
    yield "COMMITTED_SHARE", commit_share(some("nonce", 32), set_id, 1, payload)
    yield "COMMITTED_SECRET", commit_secret(some("nonce", 32), set_id, some("secret", 32))
    yield "CODE", code(set_id, alice.public, bob.public,
                       commit_secret(some("nonce", 32), set_id, some("secret", 32)))
    for name, m in known_manifests():
        yield name, manifest(m)
        back = parse_manifest(manifest(m))
        assert manifest(back) == manifest(m) and back["name"] == m["name"]


def as_c(name, value):
    """Bytes in lower-case hex; text as it is."""
    text = value.hex() if isinstance(value, bytes) else value
    lines = [f'\t"{text[i:i + 64]}"' for i in range(0, len(text), 64)]
    return " \\\n".join([f"#define KNOWN_{name}"] + lines) + "\n"


def main():
    print("/* Made by tests/lib/sharing.py, which knows the formats by their\n"
          " * description alone. Bytes stand in hex. */\n"
          "/* clang-format off */\n"
          "#ifndef FROND_SHARING_VECTORS_H\n#define FROND_SHARING_VECTORS_H\n")
    for name, value in known_answers():
        print(as_c(name, value))
    print("#endif")


if __name__ == "__main__":
    main()
