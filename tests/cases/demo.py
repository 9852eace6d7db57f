#!/usr/bin/python3
"""The demonstration shows what it says it does; and scripts asked for help do nothing."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import BUILD, ROOT, Skip, check, eq, fresh, get, put

SHOWN = (
    "out/LICENSE is the LICENSE, to the byte", "no plaintext in .secure",
    "report.md: Required key not available", "to the byte",
    "    Thank you, that was all", "[ Open the chat with bob's bot ]",
    "the ferns are yours", "    Thank you, the sealed message has arrived",
    "plant more ferns", "plan: Key has been revoked", "The log is whole", "cleaned up",
)


@check
def help_and_mistakes_do_nothing():
    results = fresh("results")
    os.mkdir(results)
    put(os.path.join(results, "table.json"), b"hours of work")

    def script(path, *args, **env):
        top = fresh("where it would work")
        os.mkdir(top)
        p = subprocess.run(["sh", os.path.join(ROOT, path), *args], timeout=60, text=True,
                           env=dict(os.environ, BUILD=BUILD, TMPDIR=top, OUT=results, **env),
                           stdin=subprocess.DEVNULL, capture_output=True, check=False)
        eq((os.listdir(top), get(os.path.join(results, "table.json"))), ([], b"hours of work"))
        return p.returncode, p.stdout, p.stderr

    for path in ("contrib/demo.sh", "tests/bench/run.sh"):
        name = os.path.basename(path)
        for option in ("--help", "-h"):
            status, out, err = script(path, option)
            eq((status, err), (0, ""), (path, option))
            assert out.startswith(name) and "set -eu" not in out, out
        for wrong in (["--nonsense"], [""], ["a", "b"]):
            status, out, err = script(path, *wrong)
            eq((status, out, err.count("\n")), (2, "", 1), (path, wrong))
            assert err.startswith(name + ": ") and "--help" in err, err
        eq(os.listdir(results), ["table.json"])
    for wrong in ([], [""], ["a", "b"]):
        eq(script("contrib/demo.sh", "--keep", *wrong),
           (2, "", "demo.sh: --keep wants one folder; see 'demo.sh --help'\n"))
    # one that fails before it has results
    assert script("tests/bench/run.sh", "--small", FRONDFS="/bin/false", SYSTEMS="frondfs")[0]


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
