"""The file systems that are compared: made, mounted, unmounted, removed."""
import ctypes
import os
import platform
import resource
import shutil
import stat
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
EXAMPLES = Path("/usr/share/doc/libfuse3-dev/examples")
NAMES = ("frondfs", "gocryptfs", "securefs", "floor", "direct")


def run(*command, **options):
    subprocess.run([str(c) for c in command], check=True, **{**QUIET, **options})


def seconds(function, *args):
    start = time.monotonic()
    function(*args)
    return time.monotonic() - start


def wait_until(condition, what, limit_s=60):
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"waited too long for {what}")
        time.sleep(0.01)


def is_mounted(path):
    """Also when it is another user's, whom root may not look at."""
    return f" {path} " in Path("/proc/self/mountinfo").read_text()


def drop_caches(place):
    run("sync", "-f", place)        # only there: others may write elsewhere
    Path("/proc/sys/vm/drop_caches").write_text("3")


def output(*command):
    try:
        p = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return ""
    return (p.stdout + p.stderr).strip()


def compiled(name, source, *flags):
    """A small C program, built on first use."""
    binary = Path(tempfile.gettempdir()) / f"frond-bench-{os.getuid()}-{name}"
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        fuse = output("pkg-config", "--cflags", "--libs", "fuse3").split()
        run("cc", "-O2", "-w", "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64",
            source, *flags, *fuse, "-o", binary)
    return binary


def installed():
    """What of NAMES this machine has."""
    found = ["frondfs"]
    found += [n for n in ("gocryptfs", "securefs") if shutil.which(n)]
    if (EXAMPLES / "passthrough_ll.c").exists():
        found.append("floor")
    return found + ["direct"]


class System:
    """One of NAMES, on a fresh backing directory below root."""

    def __init__(self, name, root, delay_ms=0, user=None):
        self.name, self.user, self.process = name, user, None
        self.dir = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=root))
        self.real, self.mount_point = self.dir / "b", self.dir / "m"
        self.real.mkdir()
        self.mount_point.mkdir()
        self.backing = self.real
        self.passfile = self.dir / "pass"
        self.passfile.write_text("bench\n")
        if user is not None:
            for path in (self.dir, self.real, self.mount_point, self.passfile):
                os.chown(path, user, user)
        if name == "direct":
            self.mount_point = self.real
        elif name == "gocryptfs":
            self._run("gocryptfs", "-q", "-init", "-scryptn", "10",
                      "-passfile", self.passfile, self.real)
        elif name == "securefs":
            self._run("securefs", "create", "--pass", "bench", self.real)
        elif name == "frondfs":
            self._run(HERE / "mount-for-bench.sh", self.real, self.mount_point)
            self.umount()
        self.far = self.dir / "far" if delay_ms else None
        if self.far:
            self.far.mkdir()
            run(compiled("slow_fs", HERE / "slow_fs.c"), self.real, self.far,
                delay_ms)
            self.backing = self.far

    def _run(self, *command):
        def become():
            # the floor keeps one open for each file that the kernel knows
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            if self.user is not None:
                os.setgroups([])
                os.setresgid(self.user, self.user, self.user)
                os.setresuid(self.user, self.user, self.user)
        run(*command, preexec_fn=become)

    def mount(self):
        b, m = self.backing, self.mount_point
        if self.name == "frondfs":
            self._run(HERE / "mount-for-bench.sh", b, m)
        elif self.name == "gocryptfs":
            self._run("gocryptfs", "-q", "-passfile", self.passfile, b, m)
        elif self.name == "securefs":
            self._run("securefs", "mount", "-b", "--log", self.dir / "log",
                      "--pass", "bench", b, m)
        elif self.name == "floor":
            self._run(compiled("floor", EXAMPLES / "passthrough_ll.c",
                               f"-I{EXAMPLES}"),
                      "-o", f"source={b},cache=always,timeout=3600,xattr,"
                      "no_writeback", "-o", "clone_fd", m)
        if self.name != "direct":
            wait_until(lambda: is_mounted(m), f"{self.name} to mount")
        return self

    def umount(self):
        if self.name == "direct" or not is_mounted(self.mount_point):
            return
        wait_until(lambda: not subprocess.run(["umount", str(self.mount_point)],
                                              **QUIET).returncode,
                   f"{self.name} to be unmounted")
        # not its place in /proc, where init may leave it for a while
        wait_until(lambda: not self.daemon(), f"{self.name} to end")

    def remount(self):
        """Start cold: nothing in the kernel's caches, nor in a daemon's."""
        self.umount()
        drop_caches(self.dir)
        self.mount()

    def remove(self):
        self.umount()
        if self.far:
            wait_until(lambda: not subprocess.run(["umount", str(self.far)],
                                                  **QUIET).returncode,
                       "the far directory to be unmounted")
        shutil.rmtree(self.dir, ignore_errors=True)

    def daemon(self):
        """The pid that serves the mount, or None."""
        wanted = os.fsencode(self.mount_point)
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if wanted in words:
                return int(pid)
        return None

    def processor_seconds(self):
        """Of all the daemon's threads so far."""
        tasks = Path(f"/proc/{self.daemon()}/task").glob("*/schedstat")
        return sum(int(t.read_text().split()[0]) for t in tasks) / 1e9

    def memory_kib(self):
        pid = self.daemon()
        if not pid:
            return 0
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        return 0


def let_users_mount():
    """/dev/fuse as udev makes it, for this process and its children alone."""
    if os.stat("/dev/fuse").st_mode & 0o006 == 0o006:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x00020000):                        # CLONE_NEWNS
        raise OSError(ctypes.get_errno(), "unshare")
    place = tempfile.mkdtemp(prefix="frond-bench-dev-")
    run("mount", "--make-rprivate", "/")
    run("mount", "-t", "tmpfs", "-o", "dev,mode=755", "none", place)
    os.mknod(f"{place}/fuse", stat.S_IFCHR | 0o666, os.stat("/dev/fuse").st_rdev)
    os.chmod(f"{place}/fuse", 0o666)
    run("mount", "--bind", f"{place}/fuse", "/dev/fuse")


def machine():
    """What was measured on, in words."""
    cpu = next((line.split(":")[1].strip()
                for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), platform.machine())
    memory = int(Path("/proc/meminfo").read_text().split()[1]) >> 20
    versions = {
        "gocryptfs": output("gocryptfs", "-version").split(";")[0],
        "securefs": output("securefs", "version").splitlines()[:1],
        "libfuse": output("pkg-config", "--modversion", "fuse3"),
    }
    versions["securefs"] = (versions["securefs"] or [""])[0]
    return {"cpu": cpu, "cores": os.cpu_count(), "memory_gib": memory,
            "kernel": platform.release(), "versions": versions,
            "system": next((line.split("=")[1].strip('"') for line in
                            Path("/etc/os-release").read_text().splitlines()
                            if line.startswith("PRETTY_NAME=")), ""),
            "hypervisor": "hypervisor" in Path("/proc/cpuinfo").read_text(),
            "date": time.strftime("%Y-%m-%d")}
