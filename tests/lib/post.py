"""A sender of the cases' own: sets built from docs/SHARING.md alone, and put
into the spool of somebody's vault as a collector does.

    alice = post.Person("alice")
    alice.meet(m)                            # m's owner has her card now
    s = alice.send(m, "report.pdf", data, k=2, n=3)
    s.post_manifest(); s.post_parts(); s.post_share(1)
"""
import os
import re
import struct
import subprocess
import time

import control
import frond
import sharing
import tokens

FILE_MTIME = 1_700_000_000
PART = 1 << 20
PROPOSED_MODE = 0o644


def seal_chunk(key, tag, data):
    return tokens.seal_token(key, struct.pack(">Q", tag) + data)


def sealed_copy(file_id, key, data):
    """What "send" puts on its way: a backing file without its key."""
    out = [b"FRONDFS1" + file_id + bytes(sharing.HEADER - 24)]
    chunks = [data[i:i + tokens.CHUNK]
              for i in range(0, len(data), tokens.CHUNK)] or [b""]
    for i, chunk in enumerate(chunks):
        last = i == len(chunks) - 1
        token = seal_chunk(key, i | (tokens.LAST if last else 0), chunk)
        room = len(chunk) + sharing.LAST_EXTRA if last else tokens.TOKEN
        out.append(token.ljust(room, b"\0"))
    return b"".join(out)


def word_list():
    with open(os.path.join(frond.ROOT, "fs/share/slip39_wordlist.h")) as f:
        return re.findall(r'"([a-z]+)"', f.read())


def pack(words):
    """33 numbers of 10 bits, and six zero bits."""
    known = word_list()
    bits = 0
    for word in words.split():
        bits = bits << 10 | known.index(word)
    return (bits << 6).to_bytes(42, "big")


def split(secret, k, n):
    """The packed shares."""
    answer = subprocess.run([frond.helper("slip39_tool")], text=True, check=True,
                            input=f"split {k} {n} {secret.hex()}\n",
                            stdout=subprocess.PIPE).stdout
    assert answer.startswith("ok "), answer
    return [pack(words) for words in answer[3:].strip().split("|")]


def spool(vault, data, suffix):
    """As a collector does it: whole, durable, under the hash of its bytes."""
    inbox = os.path.join(vault, ".frondfs/inbox")
    os.makedirs(inbox, mode=0o700, exist_ok=True)
    owner = os.stat(vault)
    path = os.path.join(inbox, sharing.blake2b(data).hex())
    with open(path + ".tmp", "wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
        if os.geteuid() == 0:
            os.chown(f.fileno(), owner.st_uid, owner.st_gid)
            os.chown(inbox, owner.st_uid, owner.st_gid)
    os.rename(path + ".tmp", path + suffix)
    return path + suffix


class Person:
    def __init__(self, name):
        self.name = name
        self.identity = sharing.Identity(os.urandom(32))
        self.public = self.identity.public

    def meet(self, m, name=None):
        """Let m's owner have the card."""
        where = os.path.join(m.path, ".tgshare/contacts")
        os.makedirs(where, mode=0o700, exist_ok=True)
        frond.put(os.path.join(where, (name or self.name) + ".card"),
                  sharing.card(self.identity, self.name).encode() + b"\n")

    def send(self, m, name, data, **how):
        key, file_id = os.urandom(32), os.urandom(16)
        sealed = sealed_copy(file_id, key, data)
        parts, pieces = sharing.cut(sealed, how.pop("part", PART))
        entry = dict(type=sharing.FILE, path=name, size=len(data), mode=PROPOSED_MODE,
                     mtime_s=FILE_MTIME, file_id=file_id, parts=parts)
        return Set(self, m, dict(kind=sharing.SEND, name=name, entries=[entry]),
                   key, pieces, **how)

    def grant(self, m, theirs, name, **how):
        """theirs: the mount in which the file `name` lies."""
        fd = os.open(theirs / name, os.O_RDWR)
        try:
            file_id, key, size, backing = control.file_key(fd)
        finally:
            os.close(fd)
        entry = dict(type=sharing.FILE, path=name, size=size, mode=PROPOSED_MODE,
                     mtime_s=FILE_MTIME, file_id=file_id, backing_path=backing)
        vault_id = bytes(control.vault(theirs.path).vault_id)
        return Set(self, m, dict(kind=sharing.GRANT, name=name, vault_id=vault_id,
                                 entries=[entry]), key, [], **how)


class Set:
    def __init__(self, sender, m, manifest, secret, pieces, k=1, n=1, expires=0,
                 replaces=None):
        self.sender, self.vault, self.pieces = sender, m.vault, pieces
        self.to = control.identity(m.path)
        self.id = os.urandom(16)
        self.shares = split(secret, k, n)
        nonce = os.urandom(32)
        commitments = [sharing.commit_share(nonce, self.id, i + 1, packed)
                       for i, packed in enumerate(self.shares)]
        self.manifest = dict(
            manifest, k=k, nonce=nonce, expires=expires,
            shares=[(c, i == 0, "" if i == 0 else f"friend{i}")
                    for i, c in enumerate(commitments)],
            secret_commitment=sharing.commit_secret(nonce, self.id, secret))
        if replaces:
            self.manifest["replaces"] = replaces

    def post(self, kind, payload, index=0):
        """Spooled; its path."""
        envelope = sharing.seal(self.sender.identity, self.to, kind, index, self.id,
                                int(time.time()), payload)
        return spool(self.vault, envelope, ".env")

    def post_manifest(self):
        return self.post(sharing.MANIFEST, sharing.manifest(self.manifest))

    def post_share(self, index):
        return self.post(sharing.SHARE, self.shares[index - 1], index)

    def post_parts(self):
        return [spool(self.vault, piece, ".part") for piece in self.pieces]

    def post_all(self):
        self.post_manifest()
        self.post_parts()
        for index in range(1, self.manifest["k"] + 1):
            self.post_share(index)

    def revoke(self, reason=1):
        return self.post(sharing.REVOKE, bytes([reason]))


# People and their mounts

def shared(m, sender="alice", name="report.pdf"):
    return os.path.join(m.path, "Shared", sender, name)


def attribute(path):
    return os.getxattr(path, "user.frondfs.share").decode()


def attach(m, name, backing, status=0):
    p = subprocess.run([frond.FRONDFS, "attach", m.path, name, backing],
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    frond.eq(p.returncode, status, p.stdout)
    return p.stdout


class Met:
    """A mount whose owner knows alice."""

    def __init__(self, options="", **kw):
        self.m, self.alice = frond.Mount(options, **kw), Person("alice")
        control.identity(self.m.path)
        self.alice.meet(self.m)

    def __enter__(self):
        return self.m, self.alice

    def __exit__(self, *error):
        self.m.__exit__(*error)


class Granting:
    """alice's mount a, bob's mount b, and a grant of a/plan to bob."""

    def __init__(self, data=b"first", options_a="", options_b="", **how):
        self.data, self.how = data, how
        self.options = options_a, options_b

    def __enter__(self):
        self.a, self.b = frond.Mount(self.options[0]), frond.Mount(self.options[1])
        self.alice = Person("alice")
        frond.put(self.a / "plan", self.data)
        self.alice.meet(self.b)
        self.set = self.alice.grant(self.b, self.a, "plan", **self.how)
        return self

    def open(self):
        attach(self.b, "alice", self.a.vault)
        self.set.post_all()
        control.scan(self.b.path)
        self.path = shared(self.b, name="plan")
        return self.path

    def __exit__(self, *error):
        self.b.__exit__(*error)
        self.a.__exit__(*error)
