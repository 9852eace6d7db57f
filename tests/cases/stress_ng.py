#!/usr/bin/python3
"""
The file system stressors of stress-ng that verify what they read, many at
once on one mount. What they do in that time says nothing; what they find does.

FROND_STRESS_SECONDS  how long each group runs (2)
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import check, eq, run, tool

SECONDS = int(os.environ.get("FROND_STRESS_SECONDS") or 2)

# Those that need what no FUSE file system has (fiemap, verity, chattr flags)
# only skip, and those that spend their time elsewhere (mmapfork) are left out.
NAMES = ("access", "chdir", "chmod", "chown", "dentry", "dir", "dirdeep", "dirmany",
         "filename", "getdent", "link", "open", "rename", "symlink", "touch", "utime")
CONTENT = ("copy-file", "fallocate", "fcntl", "fpunch", "fstat", "hdd", "io", "iomix",
           "readahead", "revio", "seek", "sendfile", "sync-file", "xattr")
LOCKS = ("dup", "file-ioctl", "flock", "lease", "locka", "lockf", "lockofd")


def stress(m, stressors, *options):
    each = [word for name in stressors for word in (f"--{name}", "1")]
    run(tool("stress-ng"), "--temp-path", m / ".", "--verify", "--oomable", "--timeout",
        str(SECONDS), *each, *options, timeout=120 + 10 * SECONDS)
    eq(os.listdir(m / "."), [], "what it left")


@check
def names(m):
    stress(m, NAMES)


@check
def content(m):
    # hdd's patterns are checked as they are read back
    stress(m, CONTENT, "--hdd-bytes", "16M", "--iomix-bytes", "16M", "--hdd-opts",
           "wr-rnd,rd-rnd,fsync", "--fallocate-bytes", "16M", "--seek-size", "4M",
           "--readahead-bytes", "16M", "--revio-bytes", "16M", "--sync-file-bytes", "4M",
           "--copy-file-bytes", "128M", "--sendfile-size", "1M")


@check
def locks_and_descriptors(m):
    stress(m, LOCKS)


frond.main()
