#!/usr/bin/python3
"""This project's own source is built, and its tests run, inside the mount.

FROND_BIG  set: all of it, and all unit tests, which takes a while
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import check, eq, run

PARTS = ["CMakeLists.txt", "CMakePresets.json", "LICENSE", "README.md", "CHANGELOG.md",
         "fs", "tools", "docs", "contrib", "tests"]


@check
def build_this_program_and_run_its_unit_tests(m):
    os.mkdir(m / "src")
    for part in PARTS:
        if os.path.exists(os.path.join(frond.ROOT, part)):
            run("cp", "-a", os.path.join(frond.ROOT, part), m / "src")
    clean = {k: v for k, v in os.environ.items() if not k.endswith("SAN_OPTIONS")}
    run("cmake", "-S", m / "src", "-B", m / "build", "-G", "Ninja",
        "-DCMAKE_BUILD_TYPE=Debug", env=clean)
    # The compiler asks of the mount the same for every file: what is built is
    # the programs, every library that they are made of, and a few tests. Under a
    # sanitizer, which makes the mount slow, a part of that tells as much.
    whole = bool(os.environ.get("FROND_BIG"))
    targets = ["all"] if whole else ["frondfs", "test_base", "test_siv"]
    if frond.SCALE >= 1 and not whole:
        targets += ["tgshare"]
    run("ninja", "-C", m / "build", *targets, env=clean)
    # Nothing is built twice: times in the mount are as make needs them.
    out = run("ninja", "-d", "explain", "-C", m / "build", *targets, env=clean)
    assert "no work to do" in out, out[:2000]
    out = run("ctest", "--test-dir", m / "build", "-R",
              "^unit/" if whole else "^unit/(base|siv)$", "-E", "crash|rekey",
              "--output-on-failure", env=clean)
    assert "100% tests passed" in out, out[-2000:]
    own = m / "build/tools/frondfs/frondfs"
    eq(run(own, "--version"), run(frond.FRONDFS, "--version"))


frond.main()
