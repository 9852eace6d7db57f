#!/usr/bin/python3
"""What a guess at a passphrase costs: guess.py [SECONDS [BACKING]]

Each line is measured for so long (5 s): guesses per second of CPU time on one
core, and of all cores at once, and the memory that those take. A guess is what whoever has
a copy of vault.ini must do: Argon2id with the slot's salt and parameters, and
one look whether the token opens. With BACKING its own parameters come first.
"""
import multiprocessing
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import configparser

from nacl.bindings import crypto_pwhash_alg
from nacl.bindings import crypto_pwhash_ALG_ARGON2ID13 as ARGON2ID

import tokens

SALT = os.urandom(16)
# (passes, MiB): the least that is allowed, some between, and the default
PARAMETERS = (1, 8), (1, 64), (3, 64), (3, 256), (4, 1024)
TOKEN = tokens.fernet(os.urandom(32)).encrypt(bytes(48))


def guess(n, ops, mem):
    key = crypto_pwhash_alg(32, b"guess %d" % n, SALT, ops, mem << 20, ARGON2ID)
    try:
        tokens.fernet(key).decrypt(TOKEN)
    except tokens.InvalidToken:
        return
    raise AssertionError("a wrong passphrase opened it")


def guesses(job):
    """How many a second this core manages."""
    ops, mem, seconds = job
    begin, n = time.process_time(), 0
    while n < 2 or time.process_time() < begin + seconds:
        guess(n, ops, mem)
        n += 1
    return n / (time.process_time() - begin)


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5
    cores = len(os.sched_getaffinity(0))
    parameters = list(PARAMETERS)
    if len(sys.argv) > 2:
        ini = configparser.ConfigParser(interpolation=None)
        with open(os.path.join(sys.argv[2], ".frondfs/vault.ini"), encoding="ascii") as f:
            ini.read_file(f)
        slot = ini["slot default"]
        parameters.insert(0, (int(slot["ops"]), int(slot["mem"]) >> 20))
    print(f"passes    MiB   one core/s   {cores} cores/s   MiB in use")
    for ops, mem in parameters:
        alone = guesses((ops, mem, seconds))
        with multiprocessing.Pool(cores) as pool:
            together = sum(pool.map(guesses, [(ops, mem, seconds)] * cores))
        print(f"{ops:6} {mem:6} {alone:12.2f} {together:11.2f} {mem * cores:12}", flush=True)


main()
