#!/usr/bin/python3
"""What cmake --install puts in place works with mount(8), and goes again."""
import os
import re
import shlex
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import command
import frond
from command import NOBODY, QUICK, as_nobody, directory, new_vault, owned_by_nobody, \
    with_fuse_for_all
from frond import BUILD, ROOT, check, eq, fresh, get, passfile, put, run

HELPERS = "mount.frondfs", "mount.fuse.frondfs"


def installed():
    """A directory in which the build tree is installed, and the prefix in it."""
    frond.tool("cmake")
    if not os.path.exists(f"{BUILD}/cmake_install.cmake"):
        raise frond.Skip("there is a program, but no build tree")
    root = directory("root")
    run("cmake", "--install", BUILD, env=dict(os.environ, DESTDIR=root))
    cache = get(f"{BUILD}/CMakeCache.txt").decode()
    prefix = re.search("^CMAKE_INSTALL_PREFIX:PATH=(.*)$", cache, re.M)[1]
    return root, root + prefix


def linked_in_sbin(prefix):
    """In this mount namespace /sbin holds nothing but links to the helpers."""
    sbin = directory("sbin")
    for name in HELPERS:
        os.symlink(f"{prefix}/sbin/{name}", f"{sbin}/{name}")
    run("mount", "--bind", sbin, os.path.realpath("/sbin"))


@check(root=True)
def mount_8_and_fstab_mount_and_unmount_vaults():
    _, prefix = installed()

    def as_root():
        vault, point, secret = new_vault(), directory(), passfile()
        for kind in "frondfs", "fuse.frondfs":
            run("mount", "-t", kind, "-o", f"passfile={secret}", vault, point)
            put(f"{point}/file", kind.encode())
            options = run("findmnt", "-no", "OPTIONS", point)
            assert "nosuid" in options and "nodev" in options, options
            run("umount", point)
        assert not os.path.ismount(point)

    def as_user():
        vault, point = owned_by_nobody("backing"), owned_by_nobody("mnt")
        as_nobody("init", "--passfile", passfile(), *QUICK, vault)
        blank = str.maketrans({" ": "\\040"})
        table = put(fresh("fstab"), " ".join(
            text.translate(blank) for text in
            (vault, point, "fuse.frondfs", f"noauto,user,nosuid,nodev,passfile={passfile()}", "0", "0")
        ).encode() + b"\n")
        run("mount", "--bind", table, "/etc/fstab")
        # mount(8) does not say where that is
        home = owned_by_nobody("home")
        lines = get("/etc/passwd").decode().splitlines()
        lines = [f"nobody:x:{NOBODY}:{NOBODY}:nobody:{home}:/bin/sh" if f":x:{NOBODY}:" in line
                 else line for line in lines]
        run("mount", "--bind", put(fresh("passwd"), "\n".join([*lines, ""]).encode()),
            "/etc/passwd")

        def use():
            del os.environ["XDG_STATE_HOME"]
            eq(run("mount", point), "", "words of mount(8)")
            put(f"{point}/file", b"content")
            eq(get(f"{point}/file"), b"content")
            run("umount", point)
            eq(os.listdir(point), [])
            assert os.listdir(f"{home}/.local/state/frondfs"), "nothing is remembered"
        frond.in_child(use, uid=NOBODY, gid=NOBODY)

    def body():
        linked_in_sbin(prefix)
        as_root()
        as_user()
    with_fuse_for_all(body)


@check
def it_says_how_mount_8_finds_its_helpers_elsewhere():
    _, prefix = installed()
    script = f"{ROOT}/tools/frondfs/mount_helpers.cmake"
    env = {k: v for k, v in os.environ.items() if k != "DESTDIR"}

    def advice():
        return run("cmake", f"-Dsbin={prefix}/sbin", "-P", script, env=env)

    def body():
        linked_in_sbin(prefix)
        eq(advice(), "", "nothing is left to do")
    text = advice()
    eq(shlex.split(text.partition("sudo ")[2]),
       ["ln", "-s", *(f"{prefix}/sbin/{name}" for name in HELPERS), "/sbin/"])
    if os.geteuid() == 0:
        with_fuse_for_all(body)


@check
def init_of_an_installed_program_names_the_installed_recover_py():
    _, prefix = installed()
    text = run(f"{prefix}/bin/frondfs", "init", "--passfile", passfile(), *QUICK,
               fresh("backing"))
    recover = os.path.realpath(f"{prefix}/share/frondfs/recover.py")
    assert f"python3 '{recover}' list" in text, text


@check
def systemd_understands_the_units():
    frond.tool("systemd-analyze")
    root, prefix = installed()
    units, where = directory("units"), prefix[len(root):]
    for name in "frondfs@", "tgshare-agent@":
        text = get(f"{prefix}/lib/systemd/user/{name}.service").decode()
        for program in set(re.findall(rf"{where}/bin/\S+", text)):
            assert os.access(root + program, os.X_OK), program
            text = text.replace(program, "/bin/true")
        put(f"{units}/{name}.service", text.encode())
    said = subprocess.run(
        ["systemd-analyze", "--user", "--man=no", "verify",
         f"{units}/frondfs@a.service", f"{units}/tgshare-agent@a.service"],
        env=dict(os.environ, XDG_RUNTIME_DIR=units), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False)
    eq((said.returncode, said.stdout), (0, ""))


@check
def units_name_the_programs_where_they_are_installed():
    frond.tool("cmake")
    if not os.path.exists(f"{BUILD}/cmake_install.cmake"):
        raise frond.Skip("there is a program, but no build tree")
    prefix = f"{directory('root')}/100% of it"
    env = {k: v for k, v in os.environ.items() if k != "DESTDIR"}
    run("cmake", "--install", BUILD, "--prefix", prefix, env=env)
    for name in "frondfs@", "tgshare-agent@":
        text = get(f"{prefix}/lib/systemd/user/{name}.service").decode()
        for program in re.findall("^Exec.*=(\\S+)", text, re.M):
            program = program.replace("%%", "%").replace("\\x20", " ")
            assert program.startswith(prefix) and os.access(program, os.X_OK), program


@check
def removing_what_the_manifest_lists_uninstalls_all():
    root, prefix = installed()
    listed = get(f"{BUILD}/install_manifest.txt").decode().splitlines()
    assert f"{prefix[len(root):]}/bin/frondfs" in listed, listed
    for path in listed:
        os.unlink(root + path)
    left = [os.path.join(d, n) for d, _, names in os.walk(root) for n in names]
    eq(left, [], "files left")
    # and with two directories, as README.md says, all that bears our name
    ours = [os.path.join(prefix, name) for name in ("share/frondfs", "share/doc/frondfs")]
    frond.run("find", *ours, "-type", "d", "-empty", "-delete")
    left = [os.path.join(d, n) for d, names, _ in os.walk(root) for n in names if "frond" in n]
    eq(left, [], "directories left")


command.main()
