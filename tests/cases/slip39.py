#!/usr/bin/python3
"""Key splitting against the standard and against somebody else's code.

The 45 official vectors of SLIP-0039, and shares exchanged in both directions
with npm's `slip39`, from 1-of-1 to 16-of-16. Prints its seed; SEED=n repeats.
"""
import json
import os
import random
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("BUILD") or os.path.join(ROOT, "build/dev")
TOOL = os.path.join(BUILD, "tests/slip39_tool")
NPM_PACKAGE = "slip39@0.1.9"
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))
rng = random.Random(SEED)

# The other implementation: a line of JSON in, a line of JSON out.
NODE_PROGRAM = """
const Slip39 = require('slip39');
const answer = (q) => {
  if (q.op === 'split') {
    const s = Slip39.fromArray(Array.from(Buffer.from(q.secret, 'hex')), {
      passphrase: '', threshold: 1, groups: [[q.k, q.n, 'all']], extendableBackupFlag: q.ext});
    return s.fromPath('r/0').mnemonics;
  }
  return Buffer.from(Slip39.recoverSecret(q.shares, '')).toString('hex');
};
require('readline').createInterface({input: process.stdin}).on('line', (line) => {
  let out;
  try { out = {ok: answer(JSON.parse(line))}; } catch (e) { out = {err: String(e.message)}; }
  console.log(JSON.stringify(out));
});
"""


class Line:
    """A process that answers every line with a line."""

    def __init__(self, argv, **kw):
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, **kw)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "the process died at: " + line[:80]
        return answer.rstrip("\n")


def ours(tool, line):
    """None when it is refused."""
    status, _, rest = tool.ask(line).partition(" ")
    return rest if status == "ok" else None


def check_official_vectors(tool):
    with open(os.path.join(ROOT, "tests/vectors/slip39.json")) as f:
        vectors = json.load(f)
    assert len(vectors) == 45
    refused = 0
    for name, shares, secret, _ in vectors:
        got = ours(tool, "combine TREZOR " + "|".join(shares))
        assert got == (secret or None), f"{name}: {got}"
        refused += got is None
    assert refused == sum(1 for v in vectors if not v[2])


def check_order_and_packing_do_not_matter(tool):
    secret = rng.randbytes(32).hex()
    shares = ours(tool, f"split 5 9 {secret}").split("|")
    for _ in range(20):
        some = rng.sample(shares, 5)
        assert ours(tool, "combine - " + "|".join(some)) == secret
    for share in shares:
        assert ours(tool, "pack " + share) == share
        assert len(share.split()) == 33


def node_library(place):
    """The path of node_modules: FROND_NPM has it, or it is installed in place."""
    if os.environ.get("FROND_NPM"):
        return os.path.join(os.environ["FROND_NPM"], "node_modules")
    subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund",
                    "--prefix", place, NPM_PACKAGE], check=True,
                   stdout=subprocess.DEVNULL, timeout=300)
    return os.path.join(place, "node_modules")


def sizes():
    """(k, n): the smallest, the largest, and some between."""
    yield from [(1, 1), (2, 2), (2, 3), (16, 16), (2, 16), (15, 16)]
    for _ in range(6):
        n = rng.randrange(2, 17)
        yield rng.randrange(2, n + 1), n


def check_theirs_combine_ours(tool, node):
    for k, n in sizes():
        secret = rng.randbytes(32).hex()
        shares = ours(tool, f"split {k} {n} {secret}").split("|")
        question = {"op": "combine", "shares": rng.sample(shares, k)}
        answer = json.loads(node.ask(json.dumps(question)))
        assert answer.get("ok") == secret, f"{k} of {n}: {answer}"


def check_ours_combine_theirs(tool, node):
    for k, n in sizes():
        for ext in (0, 1):
            secret = rng.randbytes(32).hex()
            question = {"op": "split", "k": k, "n": n, "secret": secret,
                        "ext": ext}
            shares = json.loads(node.ask(json.dumps(question)))["ok"]
            some = rng.sample(shares, k)
            assert ours(tool, "combine - " + "|".join(some)) == secret


def run(place):
    tool = Line([TOOL])
    node = Line(["node", "-e", NODE_PROGRAM],
                env=dict(os.environ, NODE_PATH=node_library(place)))
    checks = [(check_official_vectors, [tool]),
              (check_order_and_packing_do_not_matter, [tool]),
              (check_theirs_combine_ours, [tool, node]),
              (check_ours_combine_theirs, [tool, node])]
    failed = 0
    for check, args in checks:
        name = check.__name__.removeprefix("check_")
        try:
            check(*args)
            print("ok", name, flush=True)
        except Exception as e:  # pylint: disable=broad-except
            print("FAIL", name, repr(e), flush=True)
            failed = 1
    for line in (tool, node):
        line.process.stdin.close()
        line.process.wait()
    return failed


print("seed", SEED)
with tempfile.TemporaryDirectory(prefix="frond-npm-") as directory:
    status = run(directory)
sys.exit(status)
