#!/usr/bin/python3
"""The programs are built so that faults are hard to use, and alike anywhere.

FROND_REPRODUCIBLE=1 builds all of it again in another place and compares.
"""
import functools
import json
import os
import platform
import re
import shlex
import shutil
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import BUILD, ROOT, SLOW, check, eq, fresh, get, run

PROGRAMS = [f"{BUILD}/tools/{name}/{name}" for name in ("frondfs", "tgshare")]


@functools.cache
def readelf(what, program):
    return run(frond.tool("readelf"), "-W", what, program)


def each(fn):
    """A check of every program; sanitizers bring flags of their own."""
    def checks():
        if SLOW:
            raise frond.Skip("built with a sanitizer")
        for program in PROGRAMS:
            fn(program)
    checks.__name__ = fn.__name__
    return check(checks, plain=True)


@each
def addresses_are_chosen_anew_for_each_run(program):
    assert "DYN (Position-Independent" in readelf("-h", program)
    assert "TEXTREL" not in readelf("-d", program)


@each
def tables_of_functions_are_read_only_once_loaded(program):
    assert "GNU_RELRO" in readelf("-l", program)
    assert re.search(r"FLAGS_1.*\bNOW\b", readelf("-d", program))


@each
def nothing_is_writable_and_executable(program):
    segments = re.findall(r"^ +(LOAD|GNU_STACK) .* ([R ][W ][E ]) ", readelf("-l", program),
                          re.M)
    assert any(kind == "GNU_STACK" for kind, _ in segments), segments
    for kind, flags in segments:
        assert flags != "RWE" and (kind, flags[2]) != ("GNU_STACK", "E"), segments


@each
def libraries_come_from_the_system_only(program):
    assert not re.search(r"R(UN)?PATH", readelf("-d", program))


@each
def stacks_and_buffers_are_guarded(program):
    if frond.run("sed", "-n", "s/^CMAKE_BUILD_TYPE:STRING=//p",
                 f"{BUILD}/CMakeCache.txt").strip() == "Debug":
        raise frond.Skip("a build for debuggers")
    symbols = readelf("--dyn-syms", program)
    assert "__stack_chk_fail" in symbols
    for function in "memcpy", "snprintf", "vsnprintf":
        assert f"__{function}_chk" in symbols, function


@each
def big_frames_are_probed_and_jumps_land_on_marks(program):
    if platform.machine() != "x86_64":
        raise frond.Skip("not x86-64")
    code = run(frond.tool("objdump"), "-d", "--no-show-raw-insn", program)
    assert re.search(r"sub +\$0x1000,%rsp", code), "no frame is probed"
    # of a function that is ours and of one that is called by its address
    start = re.search(r"<main>:\n(.*)", code)
    if start:
        assert "endbr64" in start[1], start[0]
    assert code.count("endbr64") > 100


@each
def no_place_and_no_day_is_built_in(program):
    held = get(program)
    for place in {ROOT, BUILD, os.path.realpath(ROOT), os.path.realpath(BUILD)}:
        assert f"{place}/".encode() not in held, place
    for shape in "%b %e %Y", "%Y-%m-%d":
        assert time.strftime(shape).encode() not in held, shape


@check
def a_file_that_is_compiled_elsewhere_gives_the_same_bytes():
    if SLOW:
        raise frond.Skip("built with a sanitizer")
    if not os.path.exists(f"{BUILD}/compile_commands.json"):
        raise frond.Skip("there is a program, but no build tree")
    entry = next(e for e in json.loads(get(f"{BUILD}/compile_commands.json"))
                 if e["file"] == f"{ROOT}/fs/base/xio.c")
    place = fresh("elsewhere")
    shutil.copytree(f"{ROOT}/fs/base", f"{place}/fs/base")
    made = f"{place}/out.o"

    def moved(word):
        return word.replace(BUILD, f"{place}/b").replace(ROOT, place)
    words = shlex.split(entry["command"])
    old = os.path.join(entry["directory"], words[words.index("-o") + 1])
    new = [moved(word) for word in words]
    for option, value in (("-o", made), ("-MF", f"{made}.d")):
        if option in new:
            new[new.index(option) + 1] = value
    os.makedirs(f"{place}/b")
    run(*new, cwd=f"{place}/b")
    eq(get(made), get(old), "object file")


@check
def two_builds_are_alike():
    if not os.environ.get("FROND_REPRODUCIBLE"):
        raise frond.Skip("long: FROND_REPRODUCIBLE=1")
    made = []
    for place in fresh("one"), fresh("another place"):
        shutil.copytree(ROOT, f"{place}/src",
                        ignore=lambda d, names: {"build", ".git"} & set(names))
        run("cmake", "-S", f"{place}/src", "-B", f"{place}/out", "-G", "Ninja",
            "-DCMAKE_BUILD_TYPE=Release", "-DFROND_TESTS=OFF")
        run("ninja", "-C", f"{place}/out")
        run("cmake", "--install", f"{place}/out", env=dict(os.environ, DESTDIR=f"{place}/root"))
        made.append({os.path.relpath(p, f"{place}/root"):
                     os.readlink(p) if os.path.islink(p) else get(p)
                     for d, _, names in os.walk(f"{place}/root")
                     for n in names for p in [os.path.join(d, n)]})
    eq(sorted(made[0]), sorted(made[1]))
    eq([name for name in made[0] if made[0][name] != made[1][name]], [], "files that differ")


frond.main()
