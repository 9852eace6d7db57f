#!/usr/bin/env python3
"""Read a frondfs vault without frondfs.

    recover.py [--passfile FILE] list    BACKING
    recover.py [--passfile FILE] verify  BACKING
    recover.py [--passfile FILE] extract BACKING OUTDIR

list prints every path with its mode, owner, size and time; verify reads every
byte and names what is damaged; extract copies everything out, with zeros where
a chunk is damaged. Files that others sent and whose key is not all here yet are
locked: each command says so and goes on. What a mount that did not end has left
in its journal is not looked at: it is said that there is some. Nothing in BACKING is ever
changed. Written from
frondfs-format(5) alone, over stock libraries: cryptography (37 or newer) and
PyNaCl, which pip has for any Python 3. Those that Debian installs
(python3-cryptography, python3-nacl) are found by /usr/bin/python3 only, not by
another one that PATH may have in front.

Exit status: 0 all is well; 1 something is damaged, unreadable or could not be
restored (it is named); 2 nothing was done: wrong passphrase, no vault, usage.
"""
import argparse
import base64
import contextlib
import errno
import getpass
import hashlib
import hmac
import os
import re
import resource
import signal
import stat
import struct
import sys
import time
import warnings

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.fernet import Fernet, InvalidToken
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV
    from nacl.pwhash import argon2id
except ImportError as e:
    print(f"recover.py: {sys.executable}: {e}; the packages cryptography (37 or newer) and PyNaCl "
          "are needed. On Debian, 'apt install python3-cryptography python3-nacl', and "
          "run this file with /usr/bin/python3; elsewhere, 'python3 -m pip install cryptography "
          "pynacl'", file=sys.stderr)
    sys.exit(2)

HEADER, CHUNK, LAST_EXTRA = 176, 4096, 81
SLOT = 4169                         # what a chunk that is not the last takes
LAST, HOLES, MAPPED = 1 << 63, 1 << 62, 1 << 61     # marks in a chunk's tag
CLAIM = 7                           # behind a full chunk: how many holes may follow
BATCH = 64                          # chunks read at a time
MIB = 1 << 20
XATTR = "user.frondfs."
OURS = re.compile(rb"\.dirid|\.frondfs|\.tmp-.*|@[\w-]{43}\.name|@[0-9a-f]{32}\.link", re.S)
# What synchronising services and editors add to the name of a copy.
ADDED = re.compile(rb"~| \(.+\)| [0-9]{1,3}| - (?i:copy).*|\.sync-conflict-.*|\.(?i:conflict).*"
                   rb"|_conflict-.*|-[A-Z0-9][A-Z0-9-]{1,14}", re.S)
ACLS = "system.posix_acl_access", "system.posix_acl_default"
SETTINGS = {
    "vault": {"version": "[12]", "id": "[0-9a-f]{32}",
              "created": "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"},
    "slot": {"type": "passphrase", "kdf": "argon2id", "ops": "[1-9][0-9]?",
             "mem": "[1-9][0-9]{6,9}", "salt": "[A-Za-z0-9_-]{22}",
             "token": "[A-Za-z0-9_=-]{164}"}}


class Damage(Exception):
    """Something is not what the vault's owner put there."""


class Foreign(Exception):
    """Something that somebody else put there."""


class Locked(Exception):
    """A file whose key is elsewhere: somebody sends it, and it is not all here yet."""


class Refusal(Exception):
    """Why nothing can be done at all, in one sentence."""


def b64(data, pad=False):
    text = base64.urlsafe_b64encode(data)
    return text if pad else text.rstrip(b"=")


def unb64(text, pad=False):
    """The bytes that this text, and no other, spells."""
    with contextlib.suppress(ValueError):
        data = base64.urlsafe_b64decode(text if pad else text + b"=" * (-len(text) % 4))
        if b64(data, pad) == text:
            return data
    raise Damage("it is not base64url")


def fernet(key):
    return Fernet(b64(key, pad=True))


def open_token(key, token):
    """The plaintext of a raw token: a Fernet library takes its text form."""
    try:
        return key.decrypt(b64(token, pad=True))
    except InvalidToken:
        raise Damage("its token does not verify") from None


def show(path):
    """A path on one line, with nothing in it that could be taken for anything else."""
    def one(c):
        if c.isprintable():
            return c.replace("\\", "\\\\")
        return "".join(f"\\x{b:02x}" for b in c.encode("utf-8", "surrogateescape"))
    return "".join(map(one, os.fsdecode(path))).replace(" -> ", " -\\x3e ")


# ---- vault.ini and keys

def read_ini(data):
    """vault.ini's version, id, slots, sealed bytes and seal."""
    newer = re.search(rb"^version *[=:] *([0-9]+)", data.partition(b"\n[slot ")[0], re.M)
    if newer and int(newer[1]) > 2:
        raise Refusal(f"this vault is of format version {int(newer[1])}; this program "
                      "knows versions 1 and 2 only")
    whole = re.fullmatch(rb"(\[vault\]\n.*\n)\[seal\]\nmac = ([A-Za-z0-9_-]{43})\n", data, re.S)
    if not whole or len(data) > 16384:
        raise Damage("its beginning or its end is not as it must be")
    sections = {}
    for line in whole[1].decode("latin-1").split("\n"):
        head = re.fullmatch(r"\[(vault|slot [A-Za-z0-9_-]{1,32})\]", line)
        key, _, value = line.partition(" = ")
        if head and head[1] not in sections:
            section = sections[head[1]] = {}
            wanted = SETTINGS[head[1][:5].strip()]
        elif key in wanted and key not in section and re.fullmatch(wanted[key], value):
            section[key] = value
        elif line:
            raise Damage(f"the line '{show(line)}' does not belong there")
    vault, *slots = sections.values()
    if len(vault) != 3 or not 1 <= len(slots) <= 16 or any(len(s) != 6 for s in slots):
        raise Damage("it is not complete")
    for s in slots:
        s["ops"], s["mem"] = int(s["ops"]), int(s["mem"])
    if any(s["ops"] > 64 or not 8 * MIB <= s["mem"] <= 4096 * MIB or s["mem"] % 1024
           for s in slots) or sum(s["ops"] * s["mem"] for s in slots) > 64 * 4096 * MIB:
        raise Damage("it asks for other work than any vault does")
    return int(vault["version"]), vault["id"], slots, whole[1], unb64(whole[2])


def unlock(vault_id, slots, passphrase):
    """The master key, from whichever slot the passphrase opens."""
    for slot in slots:
        salt = unb64(slot["salt"].encode())
        key = argon2id.kdf(32, passphrase, salt, slot["ops"], slot["mem"])
        token = unb64(slot["token"].encode(), pad=True)
        try:
            plain = open_token(fernet(key), token)
        except Damage:
            continue
        if len(plain) != 48 or plain[:16].hex() != vault_id:
            raise Damage("it has a slot of another vault")
        return plain[16:]
    raise Refusal("the passphrase opens no slot of this vault")


def subkey(master, number, length=32):
    """libsodium's crypto_kdf_derive_from_key with the context "frondfs1"."""
    return hashlib.blake2b(b"", digest_size=length, key=master,
                           salt=struct.pack("<QQ", number, 0), person=b"frondfs1").digest()


# ---- one file's content

def plain_length(size):
    """The plaintext length that a backing file's size says; None: no file has it."""
    full, rest = divmod(size - HEADER, SLOT)
    if rest < LAST_EXTRA and full > 0:
        full, rest = full - 1, rest + SLOT
    length = rest - LAST_EXTRA
    possible = size >= HEADER and (0 < length <= CHUNK or length == full == 0)
    return full * CHUNK + length if possible else None


class Content:
    """A regular file: its id, its length, and its chunks."""

    def __init__(self, vault, fd):
        self.fd, self.size = fd, os.fstat(fd).st_size
        header = os.pread(fd, HEADER, 0)
        if len(header) < HEADER or header[:8] != b"FRONDFS1" or any(header[161:]):
            raise Damage("its header is damaged")
        if not any(header[40:161]):
            raise Locked
        try:
            plain = open_token(vault.file_keys, header[40:161])
        except Damage:
            raise Damage("the key token in its header does not verify") from None
        self.id, self.version = header[8:24], vault.version
        if len(plain) != 48 or plain[:16] != self.id:
            raise Damage("its header holds the key of another file")
        self.key = fernet(plain[16:])
        self.length = plain_length(self.size)

    def runs(self):
        """(first chunk, how many, data, fault); data is None for holes and damage."""
        if self.length is None:
            full = max(0, self.size - HEADER) // SLOT
            yield from self.full_chunks(full, 0)
            yield full, 1, None, "no file has this length: it was cut, or something was added"
            return
        last = max(0, self.length - 1) // CHUNK
        rest = self.length - last * CHUNK
        tag, data, fault = 0, None, None
        stored = self.read(last, rest + LAST_EXTRA)
        try:        # first, because it says whether the file may have holes
            tag, data, _ = self.open_chunk(last, stored, rest, LAST)
        except Damage as e:
            fault = str(e)
            with contextlib.suppress(Damage):
                data = self.open_chunk(last, stored[:SLOT], CHUNK, 0)[1]
                fault = "it is whole, but the file was cut behind it"
        yield from self.full_chunks(last, tag)
        yield last, 1, data, fault

    def full_chunks(self, count, tag):
        """Those in front of the last chunk, which has this tag."""
        index, anywhere = 0, tag & (HOLES | MAPPED) == HOLES
        reach = 0       # the nearest token claims holes up to here
        while index < count:
            empty = min(count, (self.next_data(index) - HEADER) // SLOT) - index
            if empty > 0:
                holes = empty if anywhere else max(0, min(empty, reach - index))
                if holes:
                    yield index, holes, None, None
                if holes < empty:
                    yield index + holes, empty - holes, None, "it was zeroed"
                index += empty
                continue
            block = self.read(index, min(BATCH, count - index) * SLOT)
            for at in range(0, len(block), SLOT):
                stored, data = block[at:at + SLOT], None
                fault = None if anywhere or index < reach else "it was zeroed"
                if any(stored):
                    claim = 0
                    try:
                        _, data, claim = self.open_chunk(index, stored, CHUNK, 0)
                        fault = None
                    except Damage as e:
                        fault = str(e)
                    reach = index + 1 + claim if tag & MAPPED else 0
                yield index, 1, data, fault
                index += 1

    def open_chunk(self, index, stored, length, last):
        """Tag, data and claim of a chunk, if it is what must stand here."""
        end = 57 + ((8 + length) // 16 + 1) * 16
        plain = open_token(self.key, stored[:end])
        tag, data = int.from_bytes(plain[:8], "big"), plain[8:]
        if any(stored[end:]):
            raise Damage("something stands behind its token")
        marks = [0, HOLES, HOLES | MAPPED] if last else [0]
        if tag not in [index | last | m for m in marks]:
            raise Damage(f"chunk {tag & (1 << 56) - 1} stands there, "
                         + ("the last one" if tag & LAST else "which is not the last one"))
        claim = 0
        if not last and self.version > 1 and len(data) == CHUNK + CLAIM:
            data, claim = data[:CHUNK], int.from_bytes(data[CHUNK:], "big")
        if len(data) != length or len(plain) > 8 + length and not claim:
            raise Damage("it is of another length than the file says")
        return tag, data, claim

    def read(self, index, length):
        """length bytes from where this chunk begins."""
        data = os.pread(self.fd, length, HEADER + index * SLOT)
        if len(data) < length:
            raise Damage("the file became shorter while it was read")
        return data

    def next_data(self, index):
        """Where, from this chunk on, the next byte lies that may not be zero."""
        offset = HEADER + index * SLOT
        try:
            return os.lseek(self.fd, offset, os.SEEK_DATA)
        except OSError as e:
            return self.size if e.errno == errno.ENXIO else offset


# ---- names, links, attributes

def read_small(dirfd, name, limit):
    """The bytes of a small file; more than limit when it is longer."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=dirfd)
    except FileNotFoundError:
        raise Damage(f"{show(name)} is missing") from None
    with open(fd, "rb") as f:
        return f.read(limit + 1)


def hashed(text):
    """What stands for an encoded name that is too long."""
    return b"@" + b64(hashlib.blake2b(text, digest_size=32).digest())


class Entry:
    """What lies at a path, reached through the open directory that holds it."""

    def __init__(self, dirfd, stored, name, path):
        self.dirfd, self.stored, self.name, self.path = dirfd, stored, name, path
        self.st = os.stat(stored, dir_fd=dirfd, follow_symlinks=False)
        self.kind = stat.S_IFMT(self.st.st_mode)
        self.proc_path = b"/proc/self/fd/%d/%b" % (dirfd, stored)

    def open(self, flags=0):
        return os.open(self.stored, os.O_RDONLY | os.O_NOFOLLOW | flags, dir_fd=self.dirfd)


class Vault:
    def __init__(self, path, get_passphrase):
        self.faults = 0
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            text = read_small(fd, ".frondfs/vault.ini", 16384)
        except (OSError, Damage) as e:
            raise Refusal(f"'{path}' is not a vault that can be read: "
                          f"{getattr(e, 'strerror', e)}") from None
        try:
            self.version, vault_id, slots, sealed, mac = read_ini(text)
            master = unlock(vault_id, slots, get_passphrase())
            seal = hashlib.blake2b(sealed, digest_size=32, key=subkey(master, 5)).digest()
            if not hmac.compare_digest(seal, mac):
                raise Damage("someone without the key changed it")
        except Damage as e:
            raise Refusal(f"'{path}/.frondfs/vault.ini' is damaged: {e}; put it back from "
                          "a backup") from None
        self.file_keys, self.symlinks, self.xattrs = (fernet(subkey(master, n)) for n in (1, 4, 7))
        self.names = AESSIV(subkey(master, 2, 64))
        self.root = Entry(fd, b".", b".", b".")
        with contextlib.suppress(OSError):
            os.stat(".frondfs/journal/session", dir_fd=fd)
            self.say(b".frondfs/journal", "the vault is mounted, or its last mount did not end: "
                     "the newest changes may lie here and are not looked at; mounting it, or "
                     "frondfs check --repair, brings them to their place")
        with contextlib.suppress(OSError):
            left = os.open(".frondfs/journal", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
            try:
                kept = [n for n in os.listdir(left) if n.endswith(".kept") and n.count(".") == 1]
            finally:
                os.close(left)
            if kept:
                self.say(b".frondfs/journal", "changes lie here that could not be brought to "
                         "their place after a crash; frondfs check --repair tries again")

    def say(self, path, what):
        print(f"recover.py: {show(path)}: {what}", file=sys.stderr, flush=True)

    def fault(self, path, why):
        self.faults += 1
        self.say(path, why)

    @contextlib.contextmanager
    def noting(self, path):
        """Whatever goes wrong in here costs this path, and nothing else."""
        try:
            yield
        except Locked:
            self.say(path, "locked: its key is not in this vault")
        except Damage as e:
            self.fault(path, e)
        except OSError as e:
            self.fault(path, e.strerror)

    def dirid(self, fd):
        try:
            data = read_small(fd, ".dirid", 32)
        except Damage as missing:
            try:    # what a crash may leave
                data = os.getxattr(fd, "user.frondfs-dirid")
            except OSError:
                raise missing from None
        if len(data) != 32 or not any(data[:16]):
            raise Damage("its .dirid is damaged, so no name in it can be read")
        return data[:16]

    def entries(self, directory, fd, dirid):
        """What the directory holds, sorted by plain name."""
        found, others, prefix = {}, [], b"" if directory is self.root else directory.path + b"/"
        for stored in map(os.fsencode, os.listdir(fd)):
            if OURS.fullmatch(stored):
                continue
            try:
                if not re.fullmatch(rb"@[\w-]{43}|[\w-]{23,255}", stored):
                    raise Foreign("is not the vault's")
                name = self.plain_name(fd, stored, dirid)
                if name in found:
                    raise Damage("another entry has the same name")
                found[name] = Entry(fd, stored, name, prefix + name)
            except (Damage, Foreign) as e:
                others.append((stored, e))
        for stored, e in others:
            name = self.copy_name(fd, stored, dirid)
            if name and name not in found:
                found[name] = Entry(fd, stored, name, prefix + name)
            elif name or isinstance(e, Foreign):
                self.say(directory.path, f"{show(stored)} is not the vault's; left out")
            else:
                self.fault(directory.path, f"the entry {show(stored)} is damaged: {e}")
        return [found[name] for name in sorted(found)]

    def copy_name(self, fd, stored, dirid):
        """The name of a copy that somebody made beside the entry; None: it is none."""
        for cut in range(23, len(stored)):
            if ADDED.fullmatch(stored, cut) and re.fullmatch(rb"@[\w-]{43}|[\w-]{23,255}",
                                                             stored[:cut]):
                with contextlib.suppress(Damage):
                    name = self.plain_name(fd, stored[:cut], dirid) + stored[cut:]
                    return name if len(name) <= 255 else stored
                if cut == 44 and stored[:1] == b"@":
                    return stored
        return None

    def plain_name(self, fd, stored, dirid):
        full = stored
        if stored[:1] == b"@":
            full = read_small(fd, stored + b".name", 362)
            if hashed(full) != stored or len(full) <= 255:
                raise Damage("its .name belongs to another entry")
        sealed = unb64(full)
        try:
            name = self.names.decrypt(sealed, [dirid])
        except InvalidTag:
            raise Damage("its name was not made here with this vault's key") from None
        if not 1 <= len(name) <= 255 or b"/" in name or b"\0" in name or name in (b".", b".."):
            raise Damage("it decrypts to what cannot be a name")
        return name

    def target(self, link):
        """Where a symbolic link leads."""
        text = os.readlink(link.stored, dir_fd=link.dirfd)
        if re.fullmatch(rb"@[0-9a-f]{32}", text):
            text = read_small(link.dirfd, text + b".link", 5552)
        target = open_token(self.symlinks, unb64(text, pad=True))
        if not 1 <= len(target) <= 4095 or b"\0" in target:
            raise Damage("it leads to what cannot be a path")
        return target

    def attributes(self, entry, owner):
        """Names and values of all sound attributes, ACLs included."""
        for stored in os.listxattr(entry.proc_path, follow_symlinks=False):
            if stored in ACLS:
                yield stored.encode(), os.getxattr(entry.proc_path, stored, follow_symlinks=False)
            if not stored.startswith(XATTR):
                continue
            token = os.getxattr(entry.proc_path, stored, follow_symlinks=False)
            try:
                yield self.attribute(stored[len(XATTR):].encode(), token, owner)
            except Damage as e:
                self.fault(entry.path, f"the attribute {stored} is damaged: {e}")

    def attribute(self, stored, token, owner):
        plain = open_token(self.xattrs, token)
        end = 18 + int.from_bytes(plain[16:18], "big")
        name, value = plain[18:end], plain[end:]
        if not name or len(plain) < end or plain[:16] != owner:
            raise Damage("it belongs to something else")
        encoded = b64(self.names.encrypt(name, [b"xattr"]))
        if stored != (encoded if len(XATTR) + len(encoded) <= 255 else hashed(encoded)):
            raise Damage("it is another attribute's")
        return name, value


# ---- what is done with the entries

def visit(vault, directory, action):
    fd = directory.open(os.O_DIRECTORY)
    try:
        action.enter(directory)
        dirid = bytes(16)
        with vault.noting(directory.path):
            dirid = vault.dirid(fd)
            for entry in vault.entries(directory, fd, dirid):
                with vault.noting(entry.path):
                    if entry.kind == stat.S_IFDIR:
                        visit(vault, entry, action)
                    else:
                        action.take(entry)
        action.leave(directory, dirid)
    finally:
        os.close(fd)


class List:
    def __init__(self, vault):
        self.vault = vault

    def enter(self, entry):
        if entry is not self.vault.root:
            self.print(entry, 0)

    def leave(self, entry, dirid):
        pass

    def take(self, entry):
        size, target = 0, b""
        if entry.kind in (stat.S_IFCHR, stat.S_IFBLK):
            size = f"{os.major(entry.st.st_rdev)},{os.minor(entry.st.st_rdev)}"
        elif entry.kind == stat.S_IFREG:
            size = plain_length(entry.st.st_size)
        elif entry.kind == stat.S_IFLNK:
            target = self.vault.target(entry)
            size = len(target)
        self.print(entry, "?" if size is None else size, target)
        if size is None:
            raise Damage("no file has this length: it was cut, or something was added")
        # whatever else is wrong with it, verify says
        if entry.kind == stat.S_IFREG:
            with contextlib.suppress(OSError, Damage), open(entry.open(), "rb", 0) as f:
                Content(self.vault, f.fileno())

    def print(self, entry, size, target=b""):
        st = entry.st
        seconds, ns = divmod(st.st_mtime_ns, 10**9)
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{ns:09}Z"
        print(stat.filemode(st.st_mode), st.st_nlink, st.st_uid, st.st_gid, size, when,
              show(entry.path) + (" -> " + show(target) if target else ""))


class Verify:
    def __init__(self, vault):
        self.vault, self.count = vault, 0

    def enter(self, entry):
        self.count += 1

    def take(self, entry):
        self.count += 1
        owner = bytes(16)
        if entry.kind == stat.S_IFREG:
            with open(entry.open(), "rb", 0) as f:
                content = Content(self.vault, f.fileno())
                owner = content.id
                self.take_content(entry, content)
        elif entry.kind == stat.S_IFLNK:
            self.take_link(entry, self.vault.target(entry))
        else:
            self.take_other(entry, entry.st.st_rdev)
        self.finish(entry, owner)

    def leave(self, entry, dirid):
        self.finish(entry, dirid)

    def take_content(self, entry, content):
        for run in content.runs():
            self.note(entry, *run)

    def take_link(self, entry, target):
        pass

    take_other = take_link

    def finish(self, entry, owner):
        for _ in self.vault.attributes(entry, owner):
            pass

    def note(self, entry, first, count, data, fault):
        if fault:
            which = f"chunk {first}" if count == 1 else f"chunks {first}-{first + count - 1}"
            self.vault.fault(entry.path, f"{which}: {fault}")


class Extract(Verify):
    def __init__(self, vault, out):
        super().__init__(vault)
        self.fds = []               # of the copies of the directories we are in
        self.copied = {}            # (device, inode): path of the first copy
        try:
            os.makedirs(out, exist_ok=True)
            self.top = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
            if os.listdir(self.top):
                raise Refusal(f"'{out}' is not empty; name a new directory")
        except OSError as e:
            raise Refusal(f"cannot write to '{out}': {e.strerror}") from None

    def enter(self, entry):
        super().enter(entry)
        above = self.fds[-1] if self.fds else self.top
        if self.fds:
            os.mkdir(entry.name, 0o700, dir_fd=above)
        self.fds.append(os.open(entry.name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=above))

    def leave(self, entry, dirid):
        os.close(self.fds.pop())
        self.finish(entry, dirid)

    def take(self, entry):
        inode = entry.st.st_dev, entry.st.st_ino
        if inode in self.copied:
            os.link(self.copied[inode], entry.name, src_dir_fd=self.top,
                    dst_dir_fd=self.fds[-1], follow_symlinks=False)
        else:
            super().take(entry)
            if entry.st.st_nlink > 1:
                self.copied[inode] = entry.path

    def take_content(self, entry, content):
        fd = os.open(entry.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600,
                     dir_fd=self.fds[-1])
        with open(fd, "wb", 0) as out:
            end = content.length or 0
            for first, count, data, fault in content.runs():
                self.note(entry, first, count, data, fault)
                if data:
                    os.pwrite(fd, data, first * CHUNK)
                    end = max(end, first * CHUNK + len(data))
            out.truncate(end)

    def take_link(self, entry, target):
        os.symlink(target, entry.name, dir_fd=self.fds[-1])

    def take_other(self, entry, device):
        os.mknod(entry.name, entry.kind | 0o600, device, dir_fd=self.fds[-1])

    def finish(self, entry, owner):
        """Restore owner, mode, attributes and times: each undoes some of the next."""
        fd, st = self.fds[-1] if self.fds else self.top, entry.st
        if os.geteuid() == 0:
            os.chown(entry.name, st.st_uid, st.st_gid, dir_fd=fd, follow_symlinks=False)
        if entry.kind != stat.S_IFLNK:
            copy = b"/proc/self/fd/%d/%b" % (fd, entry.name)
            os.chmod(copy, stat.S_IMODE(st.st_mode))
            for name, value in self.vault.attributes(entry, owner):
                try:
                    os.setxattr(copy, name, value)
                except OSError as e:
                    self.vault.fault(entry.path, f"the attribute {show(name)} could not be "
                                                 f"restored: {e.strerror}")
        os.utime(entry.name, ns=(st.st_atime_ns, st.st_mtime_ns), dir_fd=fd,
                 follow_symlinks=False)


def read_passphrase(path):
    if path is None:
        # getpass would rather read with echo than not at all
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return os.fsencode(getpass.getpass("Passphrase: "))
        except getpass.GetPassWarning:
            raise Refusal("there is no terminal to ask for the passphrase; give a file that "
                          "has it with --passfile") from None
    try:
        with open(path, "rb") as f:
            line = f.readline()
    except OSError as e:
        raise Refusal(f"cannot read the passphrase from '{path}': {e.strerror}") from None
    if line.endswith(b"\n"):
        line = line[:-1].removesuffix(b"\r")
    if not line:
        raise Refusal(f"the first line of '{path}' is empty; a passphrase must stand there")
    return line


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s [--passfile FILE] list|verify|extract BACKING [OUTDIR]")
    parser.add_argument("--passfile", metavar="FILE", help="its first line is the passphrase")
    parser.add_argument("command", choices=["list", "verify", "extract"])
    parser.add_argument("backing", metavar="BACKING")
    parser.add_argument("outdir", metavar="OUTDIR", nargs="?")
    args = parser.parse_args()
    if (args.command == "extract") != (args.outdir is not None):
        parser.error("extract, and only extract, takes an OUTDIR")
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    # Deep trees: two descriptors and a few stack frames for each level.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    sys.setrecursionlimit(20000)
    try:
        vault = Vault(args.backing, lambda: read_passphrase(args.passfile))
        action = (List(vault) if args.command == "list" else Verify(vault)
                  if args.command == "verify" else Extract(vault, args.outdir))
        with vault.noting(vault.root.path):
            visit(vault, vault.root, action)
    except (Refusal, KeyboardInterrupt, EOFError) as e:
        print(f"recover.py: {e if isinstance(e, Refusal) else 'interrupted'}", file=sys.stderr)
        return 2
    if args.command != "list":
        print(f"{action.count} entries read; faults: {vault.faults or 'none'}")
    return 1 if vault.faults else 0


if __name__ == "__main__":
    sys.exit(main())
