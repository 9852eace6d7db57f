#!/usr/bin/env python3
"""Read a frondfs vault without frondfs.

    recover.py [--passfile FILE] list    BACKING
    recover.py [--passfile FILE] verify  BACKING
    recover.py [--passfile FILE] extract BACKING OUTDIR

list prints every path with its mode, owner, size and time; verify reads every
byte and names what is damaged; extract copies everything out, and puts zeros
where a chunk is damaged. Nothing in BACKING is ever changed.

It is written from frondfs-format(5) alone and needs Python 3.9 with the
packages cryptography (Debian: python3-cryptography) and either PyNaCl
(python3-nacl) or argon2-cffi (python3-argon2).

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

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.fernet import Fernet, InvalidToken
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV
except ImportError:
    sys.exit("recover.py: the Python package 'cryptography' is missing or older than "
             "37; install it (Debian: python3-cryptography)")

HEADER, CHUNK, LAST_EXTRA = 176, 4096, 81
SLOT = 4169                         # what a chunk that is not the last takes
LAST, HOLES = 1 << 63, 1 << 62      # marks in a chunk's tag
BATCH = 64                          # chunks read at a time
MIB = 1 << 20
XATTR = "user.frondfs."
ACLS = ("system.posix_acl_access", "system.posix_acl_default")


class Damage(Exception):
    """Something is not what the vault's owner put there."""

    def __init__(self, why, data=None):
        super().__init__(why)
        self.data = data            # what can be used of it all the same


class Refusal(Exception):
    """Why nothing can be done at all, in one sentence."""


# ---- text and tokens

def b64(data, pad=False):
    text = base64.urlsafe_b64encode(data)
    return text if pad else text.rstrip(b"=")


def unb64(text, pad=False):
    """The one byte string that this text spells."""
    try:
        data = base64.urlsafe_b64decode(text if pad else text + b"=" * (-len(text) % 4))
    except ValueError:
        data = None
    if data is None or b64(data, pad) != text:
        raise Damage("it is not base64url")
    return data


def fernet(key):
    return Fernet(b64(key, pad=True))


def open_token(key, token):
    """The plaintext of a token in its raw form: Fernet wants the text."""
    try:
        return key.decrypt(b64(token, pad=True))
    except InvalidToken:
        raise Damage("its token does not verify") from None


def show(path):
    """A path on one line, so that nothing in it can be taken for anything else."""
    out = []
    for c in path.decode("utf-8", "surrogateescape"):
        if c == "\\":
            out.append("\\\\")
        elif c.isprintable():
            out.append(c)
        else:
            out += [f"\\x{b:02x}" for b in c.encode("utf-8", "surrogateescape")]
    return "".join(out).replace(" -> ", " -\\x3e ")


# ---- vault.ini and keys

SETTINGS = {
    "vault": {"version": "1", "id": "[0-9a-f]{32}",
              "created": "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"},
    "slot": {"type": "passphrase", "kdf": "argon2id", "ops": "[1-9][0-9]?",
             "mem": "[1-9][0-9]{6,9}", "salt": "[A-Za-z0-9_-]{22}",
             "token": "[A-Za-z0-9_=-]{164}"}}


def read_ini(data):
    """vault.ini's id, slots, sealed bytes and seal."""
    newer = re.search(rb"^version *[=:] *([0-9]+)", data.partition(b"\n[slot ")[0], re.M)
    if newer and int(newer[1]) > 1:
        raise Refusal(f"this vault is of format version {int(newer[1])}; this program "
                      "knows version 1 only")
    whole = re.fullmatch(rb"(\[vault\]\n.*)\[seal\]\nmac = ([A-Za-z0-9_-]{43})\n", data, re.S)
    if not whole or not whole[1].endswith(b"\n"):
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
            raise Damage(f"the line '{show(line.encode())}' is not one of its own")
    vault, *slots = sections.values()
    if len(vault) != 3 or not 1 <= len(slots) <= 16 or any(len(s) != 6 for s in slots):
        raise Damage("it is not complete")
    for s in slots:
        s["ops"], s["mem"] = int(s["ops"]), int(s["mem"])
    if any(s["ops"] > 64 or not 8 * MIB <= s["mem"] <= 4096 * MIB or s["mem"] % 1024
           for s in slots) or sum(s["ops"] * s["mem"] for s in slots) > 64 * 4096 * MIB:
        raise Damage("it asks for other work than any vault does")
    return vault["id"], slots, whole[1], unb64(whole[2])


def argon2id(passphrase, salt, ops, mem):
    try:
        from nacl.pwhash import argon2id as nacl
        return nacl.kdf(32, passphrase, salt, opslimit=ops, memlimit=mem)
    except ImportError:
        pass
    try:
        from argon2.low_level import Type, hash_secret_raw
    except ImportError:
        raise Refusal("neither PyNaCl nor argon2-cffi is there to derive the key; install one "
                      "(Debian: python3-nacl)") from None
    return hash_secret_raw(passphrase, salt, ops, mem // 1024, 1, 32, Type.ID)


def unlock(vault_id, slots, passphrase):
    """The master key, from whichever slot the passphrase opens."""
    for slot in slots:
        key = argon2id(passphrase, unb64(slot["salt"].encode()), slot["ops"], slot["mem"])
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
    """libsodium's crypto_kdf_derive_from_key, context "frondfs1"."""
    return hashlib.blake2b(b"", digest_size=length, key=master,
                           salt=struct.pack("<QQ", number, 0), person=b"frondfs1").digest()


# ---- one file's content

def plain_length(size):
    """The plaintext length that a backing file's size says; None: no file has it."""
    full, rest = divmod(size - HEADER, SLOT)
    if rest < LAST_EXTRA and full > 0:
        full, rest = full - 1, rest + SLOT
    length = rest - LAST_EXTRA
    if size < HEADER or not 0 <= length <= CHUNK or (length == 0 and full > 0):
        return None
    return full * CHUNK + length


class Content:
    """A regular file: its id, its length, and its chunks."""

    def __init__(self, vault, fd):
        self.fd, self.size = fd, os.fstat(fd).st_size
        header = os.pread(fd, HEADER, 0)
        if len(header) < HEADER or header[:8] != b"FRONDFS1" or any(header[161:]):
            raise Damage("its header is damaged")
        try:
            plain = open_token(vault.file_keys, header[40:161])
        except Damage:
            raise Damage("its header's key token does not verify") from None
        self.id = header[8:24]
        if len(plain) != 48 or plain[:16] != self.id:
            raise Damage("its header holds the key of another file")
        self.key = fernet(plain[16:])
        self.length = plain_length(self.size)

    def runs(self):
        """(first chunk, how many, data, fault) for the whole file, in order.

        data is None for a hole, and where nothing can be used.
        """
        if self.length is None:
            full = max(0, self.size - HEADER) // SLOT
            yield from self.full_chunks(full, False)
            yield full, 1, None, "no file has this length: it was cut, or something was added"
            return
        last = max(0, self.length - 1) // CHUNK
        length = self.length - last * CHUNK
        holes, data, fault = False, None, None
        try:
            stored = self.read(HEADER + last * SLOT, length + LAST_EXTRA)
            tag, data = self.open_chunk(last, stored, length, True)
            holes = bool(tag & HOLES)
        except Damage as e:
            data, fault = e.data, str(e)
        yield from self.full_chunks(last, holes)
        yield last, 1, data, fault

    def full_chunks(self, count, holes):
        index = 0
        while index < count:
            offset = HEADER + index * SLOT
            empty = min(count, (self.next_data(offset) - HEADER) // SLOT) - index
            if empty > 0:
                yield index, empty, None, None if holes else "it was zeroed"
                index += empty
                continue
            block = self.read(offset, min(BATCH, count - index) * SLOT)
            for at in range(0, len(block), SLOT):
                yield (index, 1, *self.try_chunk(index, block[at:at + SLOT], holes))
                index += 1

    def try_chunk(self, index, stored, holes):
        if not any(stored):
            return None, None if holes else "it was zeroed"
        try:
            return self.open_chunk(index, stored, CHUNK, False)[1], None
        except Damage as e:
            return None, str(e)

    def open_chunk(self, index, stored, length, last):
        """Tag and data of a chunk, if it is what must stand here."""
        end = 57 + ((8 + length) // 16 + 1) * 16
        if any(stored[end:]):
            raise Damage("something stands behind its token")
        plain = open_token(self.key, stored[:end])
        tag, data = int.from_bytes(plain[:8], "big"), plain[8:]
        if len(plain) >= 8 and last and tag == index and len(data) == CHUNK:
            raise Damage("the file was cut behind it", data)
        if len(plain) < 8 or (tag & ~HOLES if last else tag) != (index | LAST if last else index):
            raise Damage(f"it is chunk {tag & (1 << 56) - 1}, "
                         f"{'the last' if tag & LAST else 'not the last'}")
        if len(data) != length:
            raise Damage("it is of another length than the file says")
        return tag, data

    def read(self, offset, length):
        parts = []
        while length > 0:
            part = os.pread(self.fd, length, offset)
            if not part:
                raise Damage("the file became shorter while it was read")
            parts.append(part)
            offset, length = offset + len(part), length - len(part)
        return b"".join(parts)

    def next_data(self, offset):
        """Where the next byte lies that may not be zero."""
        try:
            return os.lseek(self.fd, offset, os.SEEK_DATA)
        except OSError as e:
            return self.size if e.errno == errno.ENXIO else offset


# ---- names, links, attributes

class Directory:
    def __init__(self, fd, path):
        self.fd, self.path = fd, path
        self.id = self.parent = bytes(16)

    def read_id(self):
        data = read_small(self.fd, b".dirid", 32)
        if len(data) != 32 or not any(data[:16]):
            raise Damage("its .dirid is damaged, so no name in it can be read")
        self.id = data[:16]


class Entry:
    def __init__(self, directory, stored, name):
        self.directory, self.stored, self.name = directory, stored, name
        self.path = directory.path + b"/" + name if directory.path else name
        self.st = os.stat(stored, dir_fd=directory.fd, follow_symlinks=False)
        self.is_dir = stat.S_ISDIR(self.st.st_mode)
        self.is_file = stat.S_ISREG(self.st.st_mode)
        self.is_link = stat.S_ISLNK(self.st.st_mode)
        self.proc_path = b"/proc/self/fd/%d/%b" % (directory.fd, stored)

    def open(self, flags=0):
        return os.open(self.stored, os.O_RDONLY | os.O_NOFOLLOW | flags,
                       dir_fd=self.directory.fd)


def read_small(dirfd, name, limit):
    """A small file's bytes; more than limit when it is longer."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=dirfd)
    except FileNotFoundError:
        raise Damage(f"{show(name)} is missing") from None
    with open(fd, "rb") as f:
        return f.read(limit + 1)


def hashed(text):
    return b"@" + b64(hashlib.blake2b(text, digest_size=32).digest())


class Vault:
    def __init__(self, path, passphrase):
        self.faults = 0
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            meta = os.open(".frondfs", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            text = read_small(meta, "vault.ini", 16384)
            os.close(meta)
        except (OSError, Damage) as e:
            why = e.strerror if isinstance(e, OSError) else e
            raise Refusal(f"'{path}' is not a vault that can be read: {why}") from None
        try:
            vault_id, slots, sealed, mac = read_ini(text)
            master = unlock(vault_id, slots, passphrase())
            seal = hashlib.blake2b(sealed, digest_size=32, key=subkey(master, 5)).digest()
            if not hmac.compare_digest(seal, mac):
                raise Damage("someone without the key changed it")
        except Damage as e:
            raise Refusal(f"'{path}/.frondfs/vault.ini' is damaged: {e}; put a copy of it "
                          "back from a backup") from None
        self.file_keys, self.symlinks, self.xattrs = (
            fernet(subkey(master, n)) for n in (1, 4, 7))
        self.names = AESSIV(subkey(master, 2, 64))
        self.root = Directory(fd, b"")

    def fault(self, path, why):
        self.faults += 1
        print(f"recover.py: {show(path) or '.'}: {why}", file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def noting(self, path):
        """Whatever goes wrong in here costs this path, and nothing else."""
        try:
            yield
        except Damage as e:
            self.fault(path, e)
        except OSError as e:
            self.fault(path, e.strerror)

    def entries(self, directory):
        """What the directory holds, sorted by plain name."""
        found = []
        for stored in map(os.fsencode, os.listdir(directory.fd)):
            if not re.fullmatch(rb"@[\w-]{43}|[\w-]{23,255}", stored, re.A):
                continue            # the vault's own files, or somebody else's
            try:
                found.append(Entry(directory, stored, self.plain_name(directory, stored)))
            except FileNotFoundError:
                continue            # it went while we looked
            except Damage as e:
                self.fault(directory.path, f"the entry {show(stored)} of the backing "
                                           f"directory is damaged: {e}")
        return sorted(found, key=lambda e: e.name)

    def plain_name(self, directory, stored):
        full = stored
        if stored[:1] == b"@":
            full = read_small(directory.fd, stored + b".name", 362)
            if hashed(full) != stored or len(full) <= 255:
                raise Damage("its .name belongs to another entry")
        name = self.open_siv(full, directory.id)
        if not 1 <= len(name) <= 255 or b"/" in name or b"\0" in name or name in (b".", b".."):
            raise Damage("it decrypts to what cannot be a name")
        return name

    def open_siv(self, text, datum):
        data = unb64(text)
        try:
            if len(data) > 16:
                return self.names.decrypt(data, [datum])
        except InvalidTag:
            pass
        raise Damage("it was not made here with this vault's key")

    def target(self, entry):
        """Where a symbolic link leads."""
        fd = entry.directory.fd
        text = os.readlink(entry.stored, dir_fd=fd)
        if re.fullmatch(rb"@[0-9a-f]{32}", text):
            text = read_small(fd, text + b".link", 5552)
        target = open_token(self.symlinks, unb64(text, pad=True))
        if not 1 <= len(target) <= 4095 or b"\0" in target:
            raise Damage("its target is none")
        return target

    def attributes(self, entry, owner):
        """Names and values of the extended attributes of a file or directory."""
        for stored in os.listxattr(entry.proc_path, follow_symlinks=False):
            if not stored.startswith(XATTR):
                continue
            with self.noting(entry.path):
                try:
                    token = os.getxattr(entry.proc_path, stored, follow_symlinks=False)
                    yield self.attribute(stored[len(XATTR):].encode(), token, owner)
                except Damage as e:
                    raise Damage(f"the attribute {stored} is damaged: {e}") from None

    def attribute(self, stored, token, owner):
        plain = open_token(self.xattrs, token)
        end = 18 + int.from_bytes(plain[16:18], "big")
        name, value = plain[18:end], plain[end:]
        if len(plain) < end or plain[:16] != owner:
            raise Damage("it belongs to something else")
        encoded = b64(self.names.encrypt(name, [b"xattr"])) if name else b""
        if stored != (encoded if len(XATTR) + len(encoded) <= 255 else hashed(encoded)):
            raise Damage("it is another attribute's")
        return name, value


# ---- commands

class Action:
    """What is done with each entry; this one only comes by."""

    def __init__(self, vault):
        self.vault = vault
        self.count = {"files": 0, "directories": 0, "links": 0, "others": 0}

    def enter(self, entry, directory):
        self.count["directories"] += 1

    def leave(self, entry, directory):
        pass

    def take(self, entry):
        kind = "files" if entry.is_file else "links" if entry.is_link else "others"
        self.count[kind] += 1


def visit(vault, directory, action):
    with vault.noting(directory.path):
        directory.read_id()
        for entry in vault.entries(directory):
            with vault.noting(entry.path):
                if not entry.is_dir:
                    action.take(entry)
                    continue
                fd = entry.open(os.O_DIRECTORY)
                try:
                    sub = Directory(fd, entry.path)
                    action.enter(entry, sub)
                    visit(vault, sub, action)
                    action.leave(entry, sub)
                finally:
                    os.close(fd)


class List(Action):
    def enter(self, entry, directory):
        self.line(entry)

    def take(self, entry):
        target = b""
        try:
            if entry.is_link:
                target = self.vault.target(entry)
        finally:
            self.line(entry, target)

    def line(self, entry, target=b""):
        st = entry.st
        size = len(target) if entry.is_link else 0
        if entry.is_file:
            size = plain_length(st.st_size)
        elif stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode):
            size = f"{os.major(st.st_rdev)},{os.minor(st.st_rdev)}"
        seconds, ns = divmod(st.st_mtime_ns, 10**9)
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        arrow = " -> " + show(target) if target else ""
        print(stat.filemode(st.st_mode), st.st_nlink, st.st_uid, st.st_gid,
              "?" if size is None else size, f"{when}.{ns:09}Z", show(entry.path) + arrow)
        if size is None:
            raise Damage("no file has the length of its backing file")


class Verify(Action):
    def enter(self, entry, directory):
        super().enter(entry, directory)

    def leave(self, entry, directory):
        self.read_attributes(entry, directory.id)

    def take(self, entry):
        super().take(entry)
        if entry.is_link:
            self.vault.target(entry)
        elif entry.is_file:
            with open(entry.open(), "rb", 0) as f:
                content = Content(self.vault, f.fileno())
                for first, count, _, fault in content.runs():
                    self.note(entry, first, count, fault)
            self.read_attributes(entry, content.id)

    def read_attributes(self, entry, owner):
        for _ in self.vault.attributes(entry, owner):
            pass

    def note(self, entry, first, count, fault):
        if fault:
            chunk = f"chunk {first}" if count == 1 else f"chunks {first} to {first + count - 1}"
            self.vault.fault(entry.path, f"{chunk}: {fault}")

    def summary(self):
        counts = ", ".join(f"{n} {what}" for what, n in self.count.items())
        print(f"{counts}: {self.vault.faults or 'nothing'} damaged")


class Extract(Verify):
    def __init__(self, vault, out):
        super().__init__(vault)
        self.top = make_out(out)
        self.fds = [self.top]       # of the copies of the directories we are in
        self.copied = {}            # (device, inode) -> path of the first copy

    def enter(self, entry, directory):
        self.count["directories"] += 1
        os.mkdir(entry.name, 0o700, dir_fd=self.fds[-1])
        self.fds.append(os.open(entry.name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self.fds[-1]))

    def leave(self, entry, directory):
        os.close(self.fds.pop())
        self.restore(entry, directory.id)

    def take(self, entry):
        st = entry.st
        key = (st.st_dev, st.st_ino)
        if st.st_nlink > 1 and key in self.copied:
            os.link(self.copied[key], entry.name, src_dir_fd=self.top, dst_dir_fd=self.fds[-1],
                    follow_symlinks=False)
            return
        Action.take(self, entry)
        owner = bytes(16)
        if entry.is_file:
            owner = self.copy_file(entry)
        elif entry.is_link:
            os.symlink(self.vault.target(entry), entry.name, dir_fd=self.fds[-1])
        else:
            os.mknod(entry.name, stat.S_IFMT(st.st_mode) | 0o600, st.st_rdev,
                     dir_fd=self.fds[-1])
        self.copied[key] = entry.path
        self.restore(entry, owner)

    def copy_file(self, entry):
        with open(entry.open(), "rb", 0) as f:
            content = Content(self.vault, f.fileno())
            fd = os.open(entry.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600,
                         dir_fd=self.fds[-1])
            with open(fd, "wb", 0) as out:
                end = 0
                for first, count, data, fault in content.runs():
                    self.note(entry, first, count, fault)
                    if data is not None:
                        os.pwrite(fd, data, first * CHUNK)
                        end = first * CHUNK + len(data)
                out.truncate(max(end, content.length or 0))
        return content.id

    def restore(self, entry, owner):
        """Owner, mode, attributes, ACLs and times of the copy, in this order:
        each would undo something of those behind it."""
        fd, st = self.fds[-1], entry.st
        copy = b"/proc/self/fd/%d/%b" % (fd, entry.name)
        if os.geteuid() == 0:
            os.chown(entry.name, st.st_uid, st.st_gid, dir_fd=fd, follow_symlinks=False)
        if not entry.is_link:
            os.chmod(copy, stat.S_IMODE(st.st_mode))
            attributes = list(self.vault.attributes(entry, owner))
            present = os.listxattr(entry.proc_path, follow_symlinks=False)
            attributes += [(os.fsencode(a), os.getxattr(entry.proc_path, a))
                           for a in ACLS if a in present]
            for name, value in attributes:
                try:
                    os.setxattr(copy, name, value)
                except OSError as e:
                    self.vault.fault(entry.path, f"the attribute {show(name)} could not be "
                                                 f"restored: {e.strerror}")
        os.utime(entry.name, ns=(st.st_atime_ns, st.st_mtime_ns), dir_fd=fd,
                 follow_symlinks=False)


def make_out(path):
    try:
        os.makedirs(path, exist_ok=True)
        if os.listdir(path):
            raise Refusal(f"'{path}' is not empty; name a new directory")
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as e:
        raise Refusal(f"cannot write to '{path}': {e.strerror}") from None


def read_passphrase(path):
    if path is None:
        return os.fsencode(getpass.getpass("Passphrase: "))
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
    parser.add_argument("--passfile", metavar="FILE", help="read the passphrase from its first line")
    parser.add_argument("command", choices=["list", "verify", "extract"])
    parser.add_argument("backing", metavar="BACKING")
    parser.add_argument("outdir", metavar="OUTDIR", nargs="?")
    args = parser.parse_args()
    if (args.command == "extract") != (args.outdir is not None):
        parser.error("extract, and only extract, takes an OUTDIR")
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    # Two descriptors and two stack frames for each level of directories.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sys.setrecursionlimit(20000)
    try:
        vault = Vault(args.backing, lambda: read_passphrase(args.passfile))
        if args.command == "list":
            action = List(vault)
        else:
            action = Verify(vault) if args.command == "verify" else Extract(vault, args.outdir)
        visit(vault, vault.root, action)
    except (Refusal, KeyboardInterrupt, EOFError) as e:
        print(f"recover.py: {e if isinstance(e, Refusal) else 'interrupted'}", file=sys.stderr)
        return 2
    if args.command != "list":
        action.summary()
    return 1 if vault.faults else 0


if __name__ == "__main__":
    sys.exit(main())
