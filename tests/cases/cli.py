#!/usr/bin/python3
"""The command line: arguments, passphrases, init, passwd, info."""
import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import command
import frond
from command import FAILED, NO_PASSPHRASE, NOT_A_VAULT, QUICK, USAGE, WRONG, \
    cli, directory, mounted, mounted_with, new_vault, tree
from frond import FRONDFS, check, eq, fresh, get, passfile, put
from vaultcheck import findings


@check
def help_and_version_need_nothing():
    assert re.fullmatch(r"frondfs \d+\.\d+\.\d+\n", cli("--version"))
    for command in "init", "mount", "umount", "passwd", "info", "accept-old":
        text = cli(command, "--help", says=f"Usage: frondfs {command}")
        eq(cli("help", command), text)
        eq(cli("--help", command), text)
        assert command in cli("--help")


@check
def what_cannot_be_printed_is_a_failure():
    vault = new_vault()
    for argv in ["--help"], ["--version"], ["mount", "--help"], ["info", vault], \
            ["info", "--json", vault]:
        with open("/dev/full", "w") as full:
            p = subprocess.run([FRONDFS, *argv], stdin=subprocess.DEVNULL, stdout=full,
                               stderr=subprocess.PIPE, text=True, timeout=60)
        eq(p.returncode, FAILED, f"{argv}: {p.stderr}")
        assert "cannot write to standard output: No space" in p.stderr, p.stderr


@check
def mistakes_in_arguments_get_status_2_and_a_hint():
    cli(status=USAGE, says="Usage:")
    cli("frobnicate", status=USAGE, says="see 'frondfs --help'")
    cli("frobnicate", "x", "y", status=USAGE, says="'frobnicate'")
    cli("help", "frobnicate", status=USAGE, says="'frobnicate'")
    cli("init", status=USAGE, says="see 'frondfs init --help'")
    cli("init", "a", "b", status=USAGE)
    cli("init", "--bogus", "a", status=USAGE, says="--bogus")
    cli("init", "-x", "a", status=USAGE, says="-x")
    cli("init", "a", "--passfile", status=USAGE, says="--passfile wants a value")
    for bad in "7", "4097", "", "8x", "-8":
        cli("init", "--kdf-mem", bad, "a", status=USAGE, says="8 to 4096")
    cli("init", "--kdf-ops", "0", "a", status=USAGE, says="1 to 64")
    cli("init", "--passfile", "x", "--extpass", "y", "a", status=USAGE, says="exclude")
    cli("mount", "a", status=USAGE, says="mount point")
    cli("mount", "-o", "ro,frobnicate", "a", "b", status=USAGE, says="'frobnicate'")
    cli("mount", "-o", "idle=0", "a", "b", status=USAGE, says="'idle=0'")
    cli("mount", "-o", "allow_other,allow_root", "a", "b", status=USAGE, says="exclude")
    cli("mount", "a", "b", "-o", status=USAGE, says="-o wants a value")
    cli("umount", status=USAGE)
    cli("passwd", status=USAGE)
    cli("passwd", "--passfile", "x", "--extpass", "y", "a", status=USAGE, says="exclude")
    cli("info", status=USAGE)
    cli("accept-old", status=USAGE, says="wants a file")
    cli("accept-old", "--all", "x", status=USAGE, says="--all")


@check
def a_mistyped_command_is_told_what_was_meant():
    for typed, meant in ("unmount", "umount"), ("unmont", "umount"), ("mouht", "mount"), \
            ("int", "init"), ("inof", "info"), ("password", "passwd"), ("Mount", "mount"):
        says = f"there is no command '{typed}', did you mean '{meant}'?"
        cli(typed, "x", "y", status=USAGE, says=says)
        cli("help", typed, status=USAGE, says=says)
    for typed in "ls", "in", "create", "x" * 5000, "", "mountmountmount":
        assert "did you mean" not in cli(typed, "x", "y", status=USAGE)


@check
def init_makes_a_vault_and_says_what_to_back_up():
    backing = fresh("backing")
    text = cli("init", backing, "--passfile", passfile(), *QUICK)
    assert f"{backing}/.frondfs/vault.ini" in text and "passphrase" in text
    assert os.path.exists(f"{backing}/.frondfs/vault.ini")
    empty = directory("empty")
    cli("init", "--passfile", passfile(), *QUICK, "--", empty)
    cli("info", empty, says="argon2id, 1 pass over 8 MiB")


@check
def what_init_advises_can_be_pasted():
    for name in "plain", "with blanks", "it's $HOME", "a\\b", "ü":
        backing = os.path.join(directory("advice"), name)
        text = cli("init", "--passfile", passfile(), *QUICK, backing)
        # not the one of a machine where another comes first
        recover = re.search(r"^  /usr/bin/python3 (.*) list (.*)$", text, re.M)
        eq(shlex.split(recover[2]), [backing])
        eq(os.path.realpath(shlex.split(recover[1])[0]),
           os.path.realpath(os.path.join(frond.ROOT, "contrib/recover.py")))
        mount = shlex.split(re.search(r"^To use it: +(.*) MOUNTPOINT$", text, re.M)[1])
        eq(mount, [FRONDFS, "mount", backing])
        frond.run("sh", "-c", f"{shlex.join(mount)} --passfile '{passfile()}' "
                              f"{shlex.quote(point := directory())}")
        cli("umount", point)


@check
def a_program_that_was_copied_away_names_no_file_that_is_not_there():
    alone = os.path.join(directory("bin"), "frondfs")
    shutil.copy(FRONDFS, alone)
    text = frond.run(alone, "init", "--passfile", passfile(), *QUICK, fresh("backing"))
    assert "recover.py" in text and "python3" not in text, text


@check
def init_refuses_what_is_not_empty_and_changes_nothing():
    full = directory("full")
    put(f"{full}/file")
    before = tree(full)
    # no passphrase to be had: the refusal must come first
    cli("init", *QUICK, full, status=NOT_A_VAULT, says="not empty")
    eq(tree(full), before)
    vault = new_vault()
    before = tree(vault)
    cli("init", *QUICK, vault, status=NOT_A_VAULT, says="already")
    eq(tree(vault), before)
    cli("init", *QUICK, f"{full}/file", status=NOT_A_VAULT, says="not a directory")
    cli("init", "--passfile", passfile(), *QUICK, f"{full}/no/where", status=FAILED,
        says="does not exist")
    eq(os.listdir(full), ["file"])


@check
def no_terminal_and_no_passfile_is_status_10():
    cli("init", *QUICK, fresh("backing"), status=NO_PASSPHRASE, says="--passfile FILE, or --extpass CMD")
    cli("passwd", "--passfile", passfile(), new_vault(), status=NO_PASSPHRASE,
        says="give the new one with '--new-passfile NEW'")
    cli("mount", new_vault(), directory(), status=NO_PASSPHRASE, says="--passfile FILE, or --extpass CMD")
    cli("mount", "-f", new_vault(), directory(), status=NO_PASSPHRASE, says="no terminal")


@check
def a_passfile_gives_its_first_line():
    vault = new_vault("päss word")
    point = directory()
    for content in b"p\xc3\xa4ss word", b"p\xc3\xa4ss word\n", b"p\xc3\xa4ss word\r\n", \
            b"p\xc3\xa4ss word\nsecond\n", b"p\xc3\xa4ss word\n" + b"x" * 100000:
        cli("mount", "--passfile", put(fresh("pass"), content), vault, point)
        cli("umount", point)
    for content in b"p\xc3\xa4ss word \n", b"p\xc3\xa4ss word\n"[1:], b"p\xc3\xa4ss word\r":
        cli("mount", "--passfile", put(fresh("pass"), content), vault, point,
            status=WRONG, says="wrong passphrase")


@check
def bad_passfiles_are_status_10():
    vault, point = new_vault(), directory()
    for content, why in (b"", "empty"), (b"\n", "empty"), (b"\r\n", "empty"), \
            (b"\nlater\n", "empty"), (b"x" * 4097, "longer"), (b"x" * 4097 + b"\n", "longer"):
        cli("mount", "--passfile", put(fresh("pass"), content), vault, point,
            status=NO_PASSPHRASE, says=why)
    cli("mount", "--passfile", fresh("none"), vault, point, status=NO_PASSPHRASE,
        says="No such file")
    cli("mount", "--passfile", "/", vault, point, status=NO_PASSPHRASE, says="'/'")
    assert not os.path.ismount(point)


@check
def the_longest_passphrase_works():
    for end in "", "\n", "\r\n":
        backing = fresh("backing")
        cli("init", *QUICK, "--passfile", put(fresh("pass"), b"x" * 4096 + end.encode()), backing)
        with mounted_with(backing, "x" * 4096):
            pass


@check
def a_command_gives_the_passphrase():
    vault, point = new_vault("from a command"), directory()
    for command in "echo from a command", "printf 'from a command'", \
            "echo from a command; seq 100000", "test -n x && echo from a command":
        cli("mount", "--extpass", command, vault, point)
        cli("umount", point)
    cli("mount", "--extpass", "echo from a command; exit 3", vault, point,
        status=NO_PASSPHRASE, says="status 3")
    cli("mount", "--extpass", "echo from a command; kill -9 $$", vault, point,
        status=NO_PASSPHRASE, says="signal 9")
    cli("mount", "--extpass", "true", vault, point, status=NO_PASSPHRASE, says="empty")
    cli("mount", "-o", r"extpass=printf '%s\,%s' a b", new_vault("a,b"), point)
    cli("umount", point)


def arguments_may_come_in_any_order():
    vault, point = new_vault(), directory()
    cli(vault, point, "-o", f"passfile={passfile()}")
    assert os.path.ismount(point)
    cli("umount", point)
    cli("mount", vault, "--passfile", passfile(), "--", point)
    cli("umount", "--", point)
    cli("-o", f"passfile={passfile()},ro", vault, point)
    frond.raises(30, os.mkdir, f"{point}/x")    # EROFS
    cli("umount", point)


@check
def passwd_changes_the_passphrase():
    vault, point = new_vault(), directory()
    with mounted(vault, point) as p:
        put(f"{p}/file", b"kept")
        cli("passwd", "--passfile", passfile(), "--new-passfile", passfile("new"), vault,
            says="changed")
        eq(get(f"{p}/file"), b"kept")
    cli("mount", "--passfile", passfile(), vault, point, status=WRONG)
    with mounted_with(vault, "new") as p:
        eq(get(f"{p}/file"), b"kept")


def passwd_that_is_killed(vault):
    """By vault.ini, which may not grow as large as that; what lies aside then."""
    size = os.stat(f"{vault}/.frondfs/vault.ini").st_size - 1

    def limits():
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    p = subprocess.run([FRONDFS, "passwd", "--passfile", passfile(), "--new-passfile",
                        passfile("new"), vault], preexec_fn=limits, check=False,
                       stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    eq(p.returncode, -signal.SIGXFSZ, p.stderr)
    eq(len(aside(vault)), 1)


def aside(vault):
    return [n for n in os.listdir(f"{vault}/.frondfs") if n.startswith(".tmp-")]


@check
def nothing_opens_with_a_passphrase_that_was_never_changed_to():
    """Nor lies about until somebody learns it."""
    vault, point = new_vault(), directory()
    passwd_that_is_killed(vault)
    with mounted(vault, point, "-o", "ro"):
        eq(len(aside(vault)), 1)
    with mounted(vault, point):
        eq(aside(vault), [])
        passwd_that_is_killed(vault)
    eq(findings(vault)[0], [("note", "vault-ini-copy", None)])
    eq(findings(vault, "--repair", status=1)[0], [("repaired", "vault-ini-copy", None)])
    eq((aside(vault), findings(vault)[0]), ([], []))
    passwd_that_is_killed(vault)
    cli("passwd", "--passfile", passfile(), "--new-passfile", passfile("new"), vault)
    eq(aside(vault), [])
    with mounted_with(vault, "new"):
        pass


@check
def passwd_takes_the_mount_point_for_the_vault():
    vault, point, link = new_vault(), directory(), fresh("link")
    os.symlink(point, link)
    with mounted(vault, point) as p:
        os.mkdir(f"{p}/dir")
        cli("passwd", f"{p}/dir", status=NOT_A_VAULT,
            says="is in a mounted vault; name its mount point")
        for name, old, new in (p, frond.PASSPHRASE, "second"), (link, "second", "new"):
            cli("passwd", "--passfile", passfile(old), "--new-passfile", passfile(new), name,
                says=f"The passphrase of {vault} is changed")
    with mounted_with(vault, "new"):
        pass


@check
def passwd_takes_the_present_passphrase_from_a_command():
    vault = new_vault()
    before = get(f"{vault}/.frondfs/vault.ini")
    cli("passwd", "--extpass", "echo wrong", "--new-passfile", passfile("new"), vault,
        status=WRONG, says="wrong passphrase")
    cli("passwd", "--extpass", "exit 3", "--new-passfile", passfile("new"), vault,
        status=NO_PASSPHRASE, says="status 3")
    eq(get(f"{vault}/.frondfs/vault.ini"), before)
    cli("passwd", "--extpass", f"echo '{frond.PASSPHRASE}'", "--new-passfile", passfile("new"),
        vault, says="changed")
    with mounted_with(vault, "new"):
        pass


@check
def info_tells_about_a_vault():
    vault, point = new_vault(), directory()
    text = cli("info", vault)
    assert "mounted:      no" in text and "version:      2" in text, text
    about = json.loads(cli("info", "--json", vault))
    eq(about["path"], os.path.realpath(vault))
    eq((about["type"], about["version"], about["mounted"]), ("vault", 2, False))
    eq(about["mountpoint"], None)
    assert re.fullmatch("[0-9a-f]{32}", about["id"]), about
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", about["created"])
    eq(about["slots"], [{"name": "default", "kdf": "argon2id", "ops": 1, "mem": 8 << 20}])
    with mounted(vault, point):
        about = json.loads(cli("info", vault, "--json"))
        eq((about["mounted"], about["mountpoint"]), (True, point))
        cli("info", vault, says=f"mounted:      yes\nmounted on:   {point}\n")
    cli("info", frond.work(), status=NOT_A_VAULT, says="neither")
    cli("info", put(fresh("file")), status=NOT_A_VAULT, says="neither")
    cli("info", fresh("none"), status=NOT_A_VAULT, says="no directory")
    os.unlink(f"{vault}/.frondfs/vault.ini")
    cli("info", vault, status=NOT_A_VAULT, says="restore that file from your backup")


@check
def info_tells_about_a_path_in_a_mount():
    vault, point = new_vault(), directory()
    with mounted(vault, point) as p:
        for size in 0, 1, 4096, 4097, 100000:
            put(f"{p}/file", frond.blob(size))
            with open(f"{p}/file", "r+b") as f:
                os.fsync(f.fileno())
            # what the journal has of it may get to its place meanwhile
            backing = json.loads(cli("info", "--json", f"{p}/file"))["backing"]
            before = os.stat(backing).st_size
            about = json.loads(cli("info", "--json", f"{p}/file"))
            eq((about["type"], about["size"]), ("file", size))
            eq(about["chunks"], max(1, -(-size // 4096)))
            eq(about["backing_size"] in (before, os.stat(backing).st_size), True)
            eq(get(about["backing"])[8:24].hex(), about["id"])
            assert about["backing"].startswith(os.path.realpath(vault) + "/")
        cli("info", f"{p}/file", says="100000 bytes")
        cli("info", f"{p}/fil", status=FAILED,
            says=f"there is no file or directory '{p}/fil'")
        cli("info", "fil", status=FAILED, says="in the mounted vault", cwd=p)
        os.mkdir(f"{p}/dir")
        about = json.loads(cli("info", "--json", f"{p}/dir"))
        eq(about["type"], "directory")
        eq(get(f"{about['backing']}/.dirid")[:16].hex(), about["id"])
        assert "size" not in about
        os.symlink("file", f"{p}/link")
        eq(json.loads(cli("info", "--json", f"{p}/link"))["type"], "symlink")
        os.mkfifo(f"{p}/fifo")
        cli("info", f"{p}/fifo", says="fifo")


@check
def a_mount_without_attributes_is_known_too():
    vault, point = new_vault(), directory()
    with mounted(vault, point, "-o", "xattr=off") as p:
        put(f"{p}/file", bytes(5000))
        os.mkdir(f"{p}/dir")
        os.mkfifo(f"{p}/dir/fifo")
        about = json.loads(cli("info", "--json", p))
        eq((about["type"], about["backing"]), ("directory", vault))
        assert about["requests"]["lookup"] > 0, about
        about = json.loads(cli("info", "--json", f"{p}/file"))
        eq((about["type"], about["backing"], about["size"], about["chunks"]),
           ("file", None, 5000, 2))
        cli("info", f"{p}/dir", says="backing file: unknown")
        cli("info", f"{p}/dir/fifo", says="fifo")
        cli("check", "--passfile", passfile(), p, says="nothing is damaged")
        cli("check", "--passfile", passfile(), f"{p}/dir", status=8,
            says="is in a mounted vault; name its mount point")


@check
def a_link_to_a_mount_point_is_as_good_as_the_mount_point():
    vault, point = new_vault(), directory()
    link, inner, dead = fresh("link"), fresh("inner"), fresh("dead")
    os.symlink(point, link)
    os.symlink(f"{point}/dir", inner)
    os.symlink("nowhere", dead)
    for options in [], ["-o", "xattr=off"]:
        with mounted(vault, point, *options) as p:
            os.makedirs(f"{p}/dir", exist_ok=True)
            about = json.loads(cli("info", "--json", link))
            eq((about["type"], about["backing"]), ("directory", vault))
            assert about["requests"]["lookup"] > 0, about
            eq(json.loads(cli("info", "--json", inner))["type"], "directory")
            cli("check", "--passfile", passfile(), link, says="nothing is damaged")
            cli("check", "--passfile", passfile(), inner, status=8,
                says="is in a mounted vault; name its mount point")
            # a link that lies in the mount is told of itself
            os.symlink(p, f"{p}/link")
            eq(json.loads(cli("info", "--json", f"{p}/link"))["type"], "symlink")
            os.unlink(f"{p}/link")
    cli("info", link, status=NOT_A_VAULT, says="neither")
    cli("info", dead, status=NOT_A_VAULT, says="no directory")
    os.symlink(vault, direct := fresh("direct"))
    eq(json.loads(cli("info", "--json", direct))["path"], os.path.realpath(vault))


@check
def info_json_carries_any_name():
    vault, point = new_vault(), directory()
    names = [b'quote"back\\slash', b"tab\tnew\nline\x01\x7f", "grüß €😀".encode(),
             b"latin\xe9", b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80",
             b"cut\xe2\x82"]
    with mounted(vault, point) as p:
        for name in names:
            path = os.fsencode(p) + b"/" + name
            put(path)
            about = json.loads(cli("info", "--json", path))
            eq(os.fsencode(about["path"]), path)
            text = cli("info", path)
            eq(text.count("\n"), 7, text)


@check
def the_backend_can_be_chosen():
    vault, point = new_vault(), directory()
    env = dict(os.environ, FRONDFS_CRYPTO="openssl")
    cli("mount", "--passfile", passfile(), vault, point, env=env)
    cli("umount", point, env=env)
    cli("info", vault, env=dict(env, FRONDFS_CRYPTO=""))
    cli("info", vault, env=dict(env, FRONDFS_CRYPTO="rot13"), status=FAILED,
        says="FRONDFS_CRYPTO=rot13")


command.main()
