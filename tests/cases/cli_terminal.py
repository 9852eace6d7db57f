#!/usr/bin/python3
"""Questions on the terminal, and the keys that interrupt them."""
import os
import re
import signal
import sys
import termios

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import command
import frond
from command import FAILED, NO_PASSPHRASE, QUICK, WRONG, Terminal, cli, directory, \
    mounted_with, new_vault
from frond import check, eq, fresh, get, passfile, until


@check
def init_asks_twice_without_echo():
    backing = fresh("backing")
    t = Terminal("init", *QUICK, backing)
    t.answer("Passphrase", "s3cret words")
    t.answer("again", "s3cret words")
    assert "s3cret" not in t.end(says="A vault is in")
    t = Terminal("mount", backing, point := directory())
    t.answer("Passphrase", "s3cret words")
    t.end()
    assert os.path.ismount(point)
    cli("umount", point)


@check
def two_new_passphrases_that_differ_make_nothing():
    backing = fresh("backing")
    t = Terminal("init", *QUICK, backing)
    t.answer("Passphrase", "one")
    t.answer("again", "two")
    t.end(NO_PASSPHRASE, "differ")
    assert not os.path.exists(backing)
    t = Terminal("init", *QUICK, backing)
    t.answer("Passphrase", "")
    t.end(NO_PASSPHRASE, "empty")
    assert not os.path.exists(backing)


@check
def ctrl_c_at_the_prompt_ends_all_with_echo_on():
    t = Terminal("mount", new_vault(), point := directory())
    t.expect("Passphrase")
    until(lambda: not t.echo(), what="echo off")
    os.write(t.master, b"\x03")
    eq(t.end(-signal.SIGINT).partition(": ")[2].strip("^C\r\n"), "", "words about it")
    assert not os.path.ismount(point)


@check
def ctrl_z_at_the_prompt_stops_with_echo_on_and_asks_again():
    t = Terminal("mount", new_vault(), point := directory())
    t.expect("Passphrase")
    until(lambda: not t.echo(), what="echo off")
    os.write(t.master, b"half\x1a")
    status, echo = t.next_status()
    assert os.WIFSTOPPED(status) and echo, (status, echo)
    os.killpg(t.pid, signal.SIGCONT)
    t.answer("Passphrase", frond.PASSPHRASE)
    t.end()
    assert os.path.ismount(point)
    cli("umount", point)


@check
def ctrl_c_while_the_key_is_derived_leaves_nothing():
    backing = fresh("backing")
    t = Terminal("init", "--kdf-mem", "192", "--kdf-ops", "64", "--passfile", passfile(), backing)
    until(lambda: int(re.search(r"VmRSS:\s+(\d+)", get(f"/proc/{t.pid}/status").decode())[1])
          > 128 << 10, 30, "the derivation")
    os.write(t.master, b"\x03")
    t.end(-signal.SIGINT)
    assert not os.path.exists(backing)


@check
def sigterm_at_the_prompt_ends_both_processes():
    t = Terminal("mount", new_vault(), point := directory())
    t.expect("Passphrase")
    until(lambda: not t.echo(), what="echo off")
    os.kill(t.pid, signal.SIGTERM)
    assert "killed" not in t.end(-signal.SIGTERM)
    assert not os.path.ismount(point)


@check
def a_child_that_dies_without_a_word_is_reported():
    t = Terminal("mount", new_vault(), directory())
    t.expect("Passphrase")
    child = int(get(f"/proc/{t.pid}/task/{t.pid}/children"))
    before = termios.tcgetattr(t.slave)
    os.kill(child, signal.SIGKILL)
    t.expect("killed by signal 9")
    before[3] |= termios.ECHO       # nobody was left to do it
    termios.tcsetattr(t.slave, termios.TCSANOW, before)
    status, _ = t.next_status()
    eq(os.waitstatus_to_exitcode(status), FAILED)
    t.gone()


@check
def passwd_asks_for_a_new_one_only_when_the_old_one_is_right():
    vault = new_vault()
    t = Terminal("passwd", vault)
    t.answer("Present", "mistyped")
    assert "New" not in t.end(WRONG, "wrong passphrase")
    t = Terminal("passwd", "--extpass", f"echo '{frond.PASSPHRASE}'", vault)
    t.answer("New", "new")
    t.answer("again", "new")
    t.end(says="changed")
    t = Terminal("passwd", vault)
    t.answer("Present", "new")
    t.answer("New", "newer")
    t.answer("again", "newer")
    t.end()
    with mounted_with(vault, "newer"):
        pass


@check
def ctrl_c_while_the_new_passphrase_is_asked_keeps_the_old_one():
    vault = new_vault()
    before = get(f"{vault}/.frondfs/vault.ini")
    t = Terminal("passwd", vault)
    t.answer("Present", frond.PASSPHRASE)
    t.expect("New")
    until(lambda: not t.echo(), what="echo off")
    os.write(t.master, b"half\x03")
    t.end(-signal.SIGINT)
    eq(get(f"{vault}/.frondfs/vault.ini"), before)


command.main()
