"""
A vault read with Python's own libraries, as far as the cases need it: the
keys, one file's chunks, and where they lie.
"""
import base64
import configparser
import hashlib
import os

from cryptography.fernet import Fernet, InvalidToken
from nacl.bindings import crypto_pwhash_alg
from nacl.bindings import crypto_pwhash_ALG_ARGON2ID13 as ARGON2ID

HEADER, CHUNK, TOKEN = 176, 4096, 4169
LAST, HOLES, MAPPED = 1 << 63, 1 << 62, 1 << 61
CLAIM = 7    # bytes


def unbase(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def fernet(key):
    return Fernet(base64.urlsafe_b64encode(key))


def open_token(key, token):
    return fernet(key).decrypt(base64.urlsafe_b64encode(token))


def seal_token(key, plain):
    return base64.urlsafe_b64decode(fernet(key).encrypt(plain))


class Keys:
    def __init__(self, backing, passphrase):
        ini = configparser.ConfigParser(interpolation=None)
        ini.read(os.path.join(backing, ".frondfs/vault.ini"))
        slot = ini["slot default"]
        key = crypto_pwhash_alg(32, passphrase.encode(), unbase(slot["salt"]),
                                int(slot["ops"]), int(slot["mem"]), ARGON2ID)
        plain = fernet(key).decrypt(slot["token"].encode())
        assert plain[:16].hex() == ini["vault"]["id"]
        self.master = plain[16:]

    def sub(self, n, length=32):
        """libsodium's crypto_kdf_derive_from_key."""
        return hashlib.blake2b(b"", digest_size=length, key=self.master,
                               salt=n.to_bytes(8, "little") + bytes(8),
                               person=b"frondfs1" + bytes(8)).digest()

    def file_key(self, header):
        assert header[:8] == b"FRONDFS1" and not any(header[161:176])
        plain = open_token(self.sub(1), header[40:161])
        assert plain[:16] == header[8:24]
        return plain[16:]


def spans(size):
    """[(offset, length of the slot)] of the chunks of a backing file."""
    q, r = divmod(size - HEADER, TOKEN)
    if r < 81 and q > 0:
        q, r = q - 1, r + TOKEN
    assert 81 <= r <= 4177 and (r > 81 or q == 0), f"no file is {size} bytes long"
    return [(HEADER + i * TOKEN, TOKEN) for i in range(q)] + [(HEADER + q * TOKEN, r)]


def token_len(slot):
    """The token in the last slot: zeros fill it up to n + 81."""
    n = slot - 81
    return 57 + ((n + 8) // 16 + 1) * 16


def read_file(keys, path):
    """A backing file's plaintext; anything that is not right raises."""
    with open(path, "rb") as f:
        data = f.read()
    key = keys.file_key(data[:HEADER])
    parts, chunks, gap, claimed, reach = [], spans(len(data)), False, True, 0
    for i, (at, n) in enumerate(chunks):
        last = i == len(chunks) - 1
        slot = data[at:at + n]
        if not last and not any(slot):
            parts.append(bytes(CHUNK))
            gap = True
            claimed = claimed and i <= reach
            continue
        used = token_len(n) if last else n
        assert not any(slot[used:]), "bytes after the last token"
        plain = open_token(key, slot[:used])
        tag = int.from_bytes(plain[:8], "big")
        assert tag & ~(LAST | HOLES | MAPPED) == i, f"chunk {i} says {tag:x}"
        assert bool(tag & LAST) == last, f"chunk {i} says {tag:x}"
        assert tag & HOLES or not (last and gap), "holes that are not said"
        assert tag & HOLES or not tag & MAPPED, f"chunk {i} says {tag:x}"
        assert claimed or not tag & MAPPED, "holes that are not claimed"
        assert last or len(plain) in (8 + CHUNK, 8 + CHUNK + CLAIM)
        if not last:
            plain, claim = plain[:8 + CHUNK], plain[8 + CHUNK:]
            reach = i + int.from_bytes(claim, "big")
        parts.append(plain[8:])
    assert len(parts[-1]) == chunks[-1][1] - 81
    return b"".join(parts)


__all__ = ["Keys", "read_file", "spans", "InvalidToken"]
