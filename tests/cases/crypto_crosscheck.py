#!/usr/bin/python3
"""The crypto layer against Python's libraries, in both directions.

Fernet (raw and text) and AES-SIV against `cryptography`, Argon2id against
`argon2`, subkeys against hashlib's BLAKE2b; each on every backend this build
and this CPU have. Prints its seed; SEED=n repeats a run.
"""
import base64
import hashlib
import os
import random
import subprocess
import sys

try:
    import argon2.low_level
    from cryptography.exceptions import InvalidTag
    from cryptography.fernet import Fernet
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV
except ImportError as missing:
    print("skipped:", missing)
    sys.exit(77)

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("BUILD") or os.path.join(ROOT, "build/dev")
TOOL = os.path.join(BUILD, "tests/crypto_tool")
EBADMSG = -74
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))
rng = random.Random(SEED)
# Around block and lane edges, a full chunk, the longest.
LENGTHS = list(range(0, 130)) + [4095, 4096, 4104, 4105, 65000]


class Refused(Exception):
    pass


class Tool:
    def __init__(self, backend):
        self.process = subprocess.Popen(
            [TOOL, backend], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True)

    def ask(self, command, *fields):
        words = [f.hex() or "-" for f in fields]
        try:
            print(command, *words, file=self.process.stdin, flush=True)
        except BrokenPipeError:
            pass
        line = self.process.stdout.readline()
        if not line:
            raise EOFError(f"crypto_tool died at {command}")
        status, answer = line.split()
        if status == "err":
            raise Refused(int(answer))
        return answer

    def bytes(self, command, *fields):
        answer = self.ask(command, *fields)
        return b"" if answer == "-" else bytes.fromhex(answer)

    def close(self):
        self.process.stdin.close()
        return self.process.wait()


def same(what, got, want):
    if got != want:
        sys.exit(f"FAILED (seed {SEED}): {what}: got {got!r}, want {want!r}")


def refused(what, call):
    try:
        call()
    except Refused as why:
        same(what, why.args[0], EBADMSG)
    else:
        sys.exit(f"FAILED (seed {SEED}): {what} was taken")


def number(n):
    return n.to_bytes(8, "big")


def flipped(data):
    at = rng.randrange(len(data))
    bit = 1 << rng.randrange(8)
    return data[:at] + bytes([data[at] ^ bit]) + data[at + 1:]


def fernet(tool):
    for length in LENGTHS:
        key, plain = rng.randbytes(32), rng.randbytes(length)
        head = rng.randrange(min(length, 8) + 1)
        stamp, iv = rng.randrange(1 << 40), rng.randbytes(16)
        python = Fernet(base64.urlsafe_b64encode(key))
        want = python._encrypt_from_parts(plain, stamp, iv)
        raw = base64.urlsafe_b64decode(want)
        got = tool.bytes("seal", key, number(stamp), iv, plain[:head],
                         plain[head:])
        same(f"token of {length} bytes", got, raw)
        free = tool.bytes("seal", key, number(stamp), b"", plain[:head],
                          plain[head:])
        same("random IV differs", free[9:25] != iv, True)
        same(f"Python opens a token of {length} bytes",
             python.decrypt(base64.urlsafe_b64encode(free)), plain)
        same(f"open {length} bytes", tool.bytes("open", key, raw), plain)
        text = tool.ask("seal-text", key, plain)
        same(f"Python opens a text of {length} bytes",
             python.decrypt(text.encode(), ttl=120), plain)
        same(f"open a text of {length} bytes",
             tool.bytes("open-text", key, want), plain)
        bad = flipped(raw)
        refused(f"{raw.hex()} with a bit flipped: {bad.hex()}",
                lambda: tool.bytes("open", key, bad))
        # The signing half: another encryption key alone passes the MAC.
        other = flipped(key[:16]) + key[16:]
        refused("token under another key",
                lambda: tool.bytes("open", other, raw))


def siv(tool):
    for length in list(range(1, 300)) + [4096]:
        key, ad = rng.randbytes(64), rng.randbytes(rng.randrange(1, 40))
        plain = rng.randbytes(length)
        want = AESSIV(key).encrypt(plain, [ad])
        same(f"SIV of {length} bytes", tool.bytes("siv-seal", key, ad, plain),
             want)
        same(f"open SIV of {length} bytes",
             tool.bytes("siv-open", key, ad, want), plain)
        bad = flipped(want)
        refused("SIV with a bit flipped",
                lambda: tool.bytes("siv-open", key, ad, bad))
        refused("SIV with another datum",
                lambda: tool.bytes("siv-open", key, flipped(ad), want))
        try:
            AESSIV(key).decrypt(bad, [ad])
            sys.exit("FAILED: Python takes what is damaged")
        except InvalidTag:
            pass


def kdf(tool):
    for ops, mem in ((1, 8 << 20), (2, 9 << 20), (3, 16 << 20)):
        words, salt = rng.randbytes(rng.randrange(40)), rng.randbytes(16)
        want = argon2.low_level.hash_secret_raw(
            words, salt, time_cost=ops, memory_cost=mem >> 10, parallelism=1,
            hash_len=32, type=argon2.low_level.Type.ID)
        same(f"Argon2id {ops} {mem}",
             tool.bytes("passphrase", words, salt, number(ops), number(mem)),
             want)
    for which in range(1, 9):
        master = rng.randbytes(32)
        for length in (32, 64):
            want = hashlib.blake2b(
                b"", digest_size=length, key=master,
                salt=which.to_bytes(8, "little").ljust(16, b"\0"),
                person=b"frondfs1".ljust(16, b"\0")).digest()
            same(f"subkey {which}", tool.bytes(
                "subkey", master, number(which), number(length)), want)


def main():
    print("seed", SEED)
    for backend in ("openssl", "ipsecmb"):
        tool = Tool(backend)
        try:
            fernet(tool)
        except EOFError:
            if backend != "openssl" and tool.close() == 77:
                print(f"{backend}: not here, skipped")
                continue
            raise
        siv(tool)
        kdf(tool)
        same(f"{backend}: exit status", tool.close(), 0)
        print(f"{backend}: agrees with Python")


main()
