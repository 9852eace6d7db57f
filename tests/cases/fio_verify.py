#!/usr/bin/python3
"""fio writes, overwrites and verifies: random places and sizes, several ways."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frond
from frond import check, run, tool

SIZE = f"{frond.scale(24, 4)}m"
JOB = ["--name=job", "--verify=crc32c", "--verify_state_save=0", "--verify_fatal=1", "--randseed=7",
       f"--size={SIZE}", "--group_reporting", "--minimal", "--allow_file_create=1",
       "--fallocate=none"]


def fio(m, *argv):
    run(tool("fio"), *JOB, f"--directory={m / '.'}".replace(":", "\\:"), *argv,
        timeout=300)


@check
def random_offsets_and_sizes(m):
    fio(m, "--rw=randwrite", "--bsrange=512-70000", "--bs_unaligned", "--ioengine=psync",
        "--numjobs=4", "--norandommap=0")


@check
def mapped_files(m):
    fio(m, "--rw=randwrite", "--bs=4k", "--ioengine=mmap", "--numjobs=2")


@check
def around_the_cache(m):
    fio(m, "--rw=randwrite", "--bs=4k", "--direct=1", "--ioengine=psync", "--numjobs=4")


@check
def mixed_reads_and_writes_with_fsync(m):
    fio(m, "--rw=randrw", "--bsrange=1k-32k", "--ioengine=psync", "--numjobs=4", "--fsync=64")


@check
def several_requests_in_flight(m):
    fio(m, "--rw=randwrite", "--bs=16k", "--direct=1", "--ioengine=libaio", "--iodepth=16",
        "--numjobs=2")


@check
def sequential_writes(m):
    fio(m, "--rw=write", "--bs=1m", "--ioengine=psync", "--numjobs=2", "--end_fsync=1")


@check(plain=False)
def everything_verifies_after_a_remount_without_the_writeback_cache():
    with frond.Mount("writeback=on") as m:
        fio(m, "--rw=randwrite", "--bs=16k", "--ioengine=psync", "--do_verify=0")
        m.remount("writeback=off")
        fio(m, "--rw=randwrite", "--bs=16k", "--ioengine=psync", "--verify_only")
        fio(m, "--rw=randwrite", "--bsrange=512-70000", "--bs_unaligned", "--ioengine=psync",
            "--numjobs=4", "--filename_format=other.$jobnum")


frond.main()
