#!/usr/bin/python3
"""Programs that people use work inside the mount as anywhere else."""
import functools
import os
import shutil
import sqlite3
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import blob, check, eq, put, run, tool

TREES = ["/usr/include", "/usr/share/doc", "/usr/lib/python3"]


@functools.cache
def source_tree():
    """A tar of some thousands of real files, and the tree it was made of."""
    tree = frond.fresh("tree")
    os.mkdir(tree)
    want, count = frond.scale(4000, 1000), 0
    for top in TREES:
        for d, _, names in os.walk(top):
            if count >= want:
                break
            if names:
                target = os.path.join(tree, d.lstrip("/"))
                os.makedirs(target, exist_ok=True)
                files = [p for n in names if os.path.isfile(p := os.path.join(d, n))]
                if files:
                    run("cp", "-a", *files, target)
                count += len(files)
    tar = frond.fresh("tree.tar")
    run("tar", "-C", tree, "--format=posix", "-cf", tar, ".")
    return tree, tar, count


@check
def untar_a_source_tree_and_compare(m):
    tree, tar, count = source_tree()
    assert count >= 1000, count
    os.mkdir(m / "t")
    run("tar", "-C", m / "t", "-xpf", tar)
    run("diff", "-r", "--no-dereference", tree, m / "t")
    out = run("rsync", "-aHcni", "--delete", tree + "/", m / "t/")
    eq(out.strip(), "", "what rsync would change")
    run("tar", "-C", m / "t", "-df", tar)
    run("rm", "-r", m / "t")


@check(plain=False)
def rsync_there_and_back_leaves_no_difference():
    with frond.Mount() as m:
        tree, _, _ = source_tree()
        odd = os.path.join(tree, "odd")
        os.makedirs(odd + "/deep/" + "n" * 255)
        put(odd + "/file", blob(100001))
        os.link(odd + "/file", odd + "/hard link")
        os.symlink("t" * 3900, odd + "/long link")
        os.mkfifo(odd + "/fifo")
        os.setxattr(odd + "/file", "user.comment", b"a comment")
        run("setfacl", "-m", "u:12345:rw", odd + "/file")
        run("setfacl", "-d", "-m", "g:12345:rx", odd)
        with open(odd + "/sparse", "wb") as f:
            f.truncate(1 << 24)
            f.seek(1 << 23)
            f.write(b"middle")
        os.chmod(odd + "/file", 0o4751)
        os.utime(odd, ns=(1, 123456789))
        flags = "-aHAXS"
        run("rsync", flags, tree + "/", m / "t")
        eq(run("rsync", flags + "cni", "--delete", tree + "/", m / "t/").strip(), "", "there")
        m.remount()
        back = frond.fresh("back")
        run("rsync", flags, m / "t/", back)
        eq(run("rsync", flags + "cni", "--delete", tree + "/", back + "/").strip(), "", "back")
        eq(run("rsync", flags + "i", tree + "/", m / "t/").strip(), "", "again: nothing to do")
        shutil.rmtree(back)


@check
def git_clones_commits_collects_and_checks(m):
    tool("git")
    env = dict(os.environ, GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_SYSTEM="/dev/null",
               GIT_AUTHOR_NAME="a", GIT_AUTHOR_EMAIL="a@b", GIT_COMMITTER_NAME="a",
               GIT_COMMITTER_EMAIL="a@b", HOME=frond.work())

    def git(where, *argv):
        return run("git", "-c", "safe.directory=*", "-C", where, *argv, env=env)
    os.mkdir(m / "origin")
    git(m / "origin", "init", "-q")
    for top in ("/usr/include/linux", "/usr/include/asm-generic"):
        run("cp", "-r", top, m / "origin")
    git(m / "origin", "add", "-A")
    git(m / "origin", "commit", "-qm", "first")
    git(m / ".", "clone", "-q", "--no-local", "origin", "clone")
    clone = m / "clone"
    for i in range(frond.scale(20, 5)):
        put(f"{clone}/file{i}", blob(5000, i).hex().encode())
        git(clone, "add", "-A")
        git(clone, "commit", "-qm", f"commit {i}")
    git(clone, "branch", "side", "HEAD~3")
    git(clone, "checkout", "-q", "side")
    put(f"{clone}/on-side", b"side")
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "on side")
    git(clone, "merge", "-q", "--no-edit", "-")
    git(clone, "gc", "-q", "--aggressive", "--prune=now")
    git(clone, "fsck", "--full", "--strict")
    eq(git(clone, "status", "--porcelain"), "", "status")
    run("rm", "-rf", f"{clone}/linux")
    git(clone, "checkout", "--", ".")
    eq(git(clone, "status", "--porcelain"), "")
    git(m / ".", "clone", "-q", "clone", "again")
    run("diff", "-r", "--exclude=.git", clone, m / "again")


@check
def sqlite_under_wal_with_concurrent_writers(m):
    path = m / "db.sqlite"
    n = frond.scale(150, 30)
    db = sqlite3.connect(path)
    eq(db.execute("pragma journal_mode=wal").fetchone()[0], "wal")
    db.execute("create table t(who int, n int, body blob, primary key(who, n))")
    db.commit()
    db.close()
    job = ("import sqlite3,sys,os\n"
           "db=sqlite3.connect(sys.argv[1],timeout=120)\n"
           "who=int(sys.argv[2])\n"
           f"for i in range({n}):\n"
           "    with db:\n"
           "        db.execute('insert into t values(?,?,?)',(who,i,os.urandom(i*13%4000)))\n"
           "        if i%5==4: db.execute('delete from t where who=? and n=?',(who,i-2))\n"
           "    db.execute('select count(*),sum(length(body)) from t').fetchone()\n")
    procs = [subprocess.Popen([sys.executable, "-c", job, path, str(k)]) for k in range(4)]
    eq([p.wait() for p in procs], [0] * 4)
    db = sqlite3.connect(path)
    eq(db.execute("pragma integrity_check").fetchone()[0], "ok")
    eq(db.execute("select count(*) from t").fetchone()[0], 4 * (n - n // 5))
    db.execute("pragma wal_checkpoint(truncate)")
    db.execute("vacuum")
    eq(db.execute("pragma integrity_check").fetchone()[0], "ok")
    eq(db.execute("pragma journal_mode=delete").fetchone()[0], "delete")
    with db:
        db.execute("delete from t where who=1")
    eq(db.execute("pragma integrity_check").fetchone()[0], "ok")
    db.close()


@check
def tar_keeps_sparse_files_sparse(m):
    for i, (size, spots) in enumerate((
            (1 << 28, (0, 5000, 1 << 27)), (100 << 20, ()), (50 << 20, ((50 << 20) - 3,)))):
        with open(m / f"s{i}", "wb") as f:
            f.truncate(size)
            for at in spots:
                f.seek(at)
                f.write(b"yes")
    run("tar", "-C", m / ".", "--sparse", "-cf", m / "t.tar", "s0", "s1", "s2")
    assert os.stat(m / "t.tar").st_size < 1 << 20, "holes were found"
    os.mkdir(m / "out")
    run("tar", "-C", m / "out", "--sparse", "-xf", m / "t.tar")
    os.sync()
    for i in range(3):
        assert os.stat(m / f"out/s{i}").st_blocks * 512 < 1 << 20, "holes were made"
        run("cmp", m / f"s{i}", m / f"out/s{i}")


@check
def an_archive_made_inside_is_read_outside(m):
    run("cp", "-r", "/usr/include/linux", m / "linux")
    run("tar", "-C", m / ".", "-czf", m / "l.tgz", "linux")
    outside = frond.fresh("outside")
    os.mkdir(outside)
    run("tar", "-C", outside, "-xzf", m / "l.tgz")
    run("diff", "-r", "/usr/include/linux", outside + "/linux")
    run("find", m / "linux", "-name", "*.h", "-exec", "sed", "-i", "s/a/A/g", "{}", "+")
    run("find", outside + "/linux", "-name", "*.h", "-exec", "sed", "-i", "s/a/A/g", "{}", "+")
    run("diff", "-r", m / "linux", outside + "/linux")


frond.main()
