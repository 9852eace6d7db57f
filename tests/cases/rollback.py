#!/usr/bin/python3
"""A vault.ini put back to an older state is noticed where the newer was seen."""
import json
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import command
import frond
from command import OK, cli, directory, new_vault
from frond import check, eq, fresh, get, passfile, put

OLD_VAULT = 11
OLD, NEW = "the old passphrase", "the new passphrase"


def at(vault):
    return f"{vault}/.frondfs/vault.ini"


def mount(vault, passphrase, *options, status=OK, says="", state=None):
    """Mount and unmount again; what was said."""
    point = directory()
    env = dict(os.environ, XDG_STATE_HOME=state) if state else None
    text = cli("mount", "--passfile", passfile(passphrase), vault, point, *options,
               status=status, says=says, env=env)
    if status == OK:
        cli("umount", point)
    assert not os.path.ismount(point)
    return text


def new_passphrase(vault, old, new, *options, status=OK, says=""):
    return cli("passwd", "--passfile", passfile(old), "--new-passfile", passfile(new),
               *options, vault, status=status, says=says)


def changed():
    """A vault whose passphrase was changed; its old vault.ini."""
    vault = new_vault(OLD)
    mount(vault, OLD)
    old = shutil.copy(at(vault), fresh("vault.ini"))
    new_passphrase(vault, OLD, NEW)
    mount(vault, NEW)
    return vault, old


def checked(vault, passphrase, *options, status=OK, state=None):
    """What a check finds, and what it says of that."""
    env = dict(os.environ, XDG_STATE_HOME=state) if state else None
    p = subprocess.run([frond.FRONDFS, "check", "--json", "--passfile", passfile(passphrase),
                        *options, vault], stdin=subprocess.DEVNULL, env=env, timeout=120,
                       capture_output=True, text=True)
    eq(p.returncode, status, p.stderr)
    return json.loads(p.stdout)["findings"], p.stderr


def state_file(vault):
    name = next(line.split(" = ")[1] for line in get(at(vault)).decode().splitlines()
                if line.startswith("id = "))
    return os.path.join(os.environ["XDG_STATE_HOME"], "frondfs", name)


@check
def an_old_passphrase_does_not_come_back_to_life():
    vault, old = changed()
    new = shutil.copy(at(vault), fresh("vault.ini"))
    shutil.copy(old, at(vault))
    for _ in range(2):
        mount(vault, OLD, status=OLD_VAULT, says="-o accept-old")
    shutil.copy(new, at(vault))
    eq(mount(vault, NEW), "")


@check
def who_restored_a_backup_says_so_once():
    vault, old = changed()
    new = shutil.copy(at(vault), fresh("vault.ini"))
    shutil.copy(old, at(vault))
    eq(mount(vault, OLD, "-o", "accept-old"), "")
    eq(mount(vault, OLD), "")
    shutil.copy(new, at(vault))
    eq(mount(vault, NEW), "", "the newer one again")
    shutil.copy(old, at(vault))
    mount(vault, OLD, status=OLD_VAULT)


@check
def a_machine_that_saw_nothing_newer_has_nothing_to_say():
    vault, old = changed()
    shutil.copy(old, at(vault))
    other = directory("other machine")
    eq(mount(vault, OLD, state=other), "")
    mount(vault, OLD, status=OLD_VAULT)
    eq(mount(vault, OLD, "-o", "remember=off"), "")


@check
def a_passphrase_changed_elsewhere_is_no_alarm():
    vault, _ = changed()
    new_passphrase(vault, NEW, "third")
    eq(mount(vault, "third"), "")


@check
def a_new_passphrase_is_remembered_before_the_next_mount():
    vault = new_vault(OLD)
    old = shutil.copy(at(vault), fresh("vault.ini"))
    new_passphrase(vault, OLD, NEW)
    shutil.copy(old, at(vault))
    mount(vault, OLD, status=OLD_VAULT)


@check
def an_old_vault_gets_no_new_passphrase_without_a_word():
    vault, old = changed()
    shutil.copy(old, at(vault))
    new_passphrase(vault, OLD, "third", status=OLD_VAULT, says="'--accept-old'")
    eq(get(at(vault)), get(old))
    new_passphrase(vault, OLD, "third", "--accept-old", says="is changed")
    eq(mount(vault, "third"), "")
    shutil.copy(old, at(vault))
    mount(vault, OLD, status=OLD_VAULT)


@check
def what_is_remembered_is_authentic_and_of_its_vault():
    vault, old = changed()
    path = state_file(vault)
    eq(os.stat(path).st_mode & 0o777, 0o600)
    eq(os.stat(os.path.dirname(path)).st_mode & 0o777, 0o700)
    good = get(path)
    for at_byte in range(0, len(good), 6):
        put(path, good[:at_byte] + bytes([good[at_byte] ^ 1]) + good[at_byte + 1:])
        mount(vault, NEW, says="begins anew")
        eq(get(path), good, "after damage")
    put(path, good[:-1])
    mount(vault, NEW, says="begins anew")
    another = new_vault(OLD)
    put(state_file(another), good)
    mount(another, OLD, says="begins anew")
    assert get(state_file(another)) != good


@check
def a_check_names_it_too():
    vault, old = changed()
    new = shutil.copy(at(vault), fresh("vault.ini"))
    eq(checked(vault, NEW)[0], [])
    shutil.copy(old, at(vault))
    for options in ((), ("--repair",)):
        found, said = checked(vault, OLD, *options, status=4)
        eq([(f["what"], f["state"], f["backing"]) for f in found],
           [("old-vault-ini", "damaged", ".frondfs/vault.ini")])
        assert "mount once with '-o accept-old'" in said, said
    # nothing of that was remembered
    mount(vault, OLD, status=OLD_VAULT)
    eq(checked(vault, OLD, state=fresh("another machine"))[0], [])
    shutil.copy(new, at(vault))
    eq(checked(vault, NEW)[0], [])
    shutil.copy(old, at(vault))
    mount(vault, OLD, "-o", "accept-old")
    eq(checked(vault, OLD)[0], [])


@check
def what_is_no_file_where_files_are_remembered_is_named():
    vault = new_vault(OLD)
    mount(vault, OLD)
    for name in (".files", ".files-journal", ".files-wal"):
        path = state_file(vault) + name
        if os.path.exists(path):
            os.unlink(path)
        os.mkfifo(path)
        said = mount(vault, OLD)
        eq(said.count(f"{path} is no file: remove it"), 1, said)
        said = cli("check", "--passfile", passfile(OLD), vault)
        eq(said.count(f"{path} is no file: remove it"), 1, said)
        os.unlink(path)
    eq(mount(vault, OLD), "")


@check
def without_a_place_to_remember_it_mounts():
    vault = new_vault(OLD)
    place = put(fresh("no directory"))
    eq(mount(vault, OLD, state=place).count("cannot remember"), 1)
    eq(cli("passwd", "--passfile", passfile(OLD), "--new-passfile", passfile(NEW), vault,
           says="is changed", env=dict(os.environ, XDG_STATE_HOME=place))
       .count("cannot remember"), 1)
    assert not os.path.isdir(place)


command.main()
