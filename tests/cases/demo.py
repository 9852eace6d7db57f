#!/usr/bin/python3
"""The demonstration shows what it says it does."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import BUILD, ROOT, Skip, check, eq, fresh

SHOWN = (
    "out/LICENSE is the LICENSE, to the byte", "no plaintext in .secure",
    "report.md: Required key not available", "to the byte",
    "    Thank you, that was all", "[ Open the chat with bob's bot ]",
    "the ferns are yours", "    Thank you, the sealed message has arrived",
    "plant more ferns", "plan: Key has been revoked", "The log is whole", "cleaned up",
)


@check(plain=False)
def the_demonstration_runs_to_its_end():
    if frond.SLOW:
        raise Skip("it runs no code that other cases do not run")
    work = fresh("demo")
    os.mkdir(work)
    state = fresh("state")
    p = subprocess.run(["sh", os.path.join(ROOT, "contrib/demo.sh")], timeout=300, text=True,
                       env=dict(os.environ, BUILD=BUILD, TMPDIR=work, XDG_STATE_HOME=state),
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, check=False)
    eq(p.returncode, 0, p.stdout[-2000:])
    at = 0
    for words in SHOWN:
        found = p.stdout.find(words, at)
        assert found >= 0, f"{words!r} is not shown, or not in its place: {p.stdout[at:]}"
        at = found
    eq(os.listdir(work), [])
    assert not os.path.exists(state), os.listdir(state)


frond.main()
