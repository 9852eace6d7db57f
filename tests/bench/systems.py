"""The file systems that are compared: made, mounted, unmounted, removed."""
import ctypes
import os
import platform
import re
import resource
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
EXAMPLES = Path("/usr/share/doc/libfuse3-dev/examples")
NAMES = ("frondfs", "gocryptfs", "securefs", "floor", "plain", "direct")


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


def open_files(name):
    """How many a daemon may open: the floor, which keeps one open for each file
    that the kernel knows, as many as there may be; all others what is usual."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if name != "floor":
        return limits[1]
    most = int(Path("/proc/sys/fs/nr_open").read_text())
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limits[0], most))
    except (ValueError, OSError):
        return limits[1]                # even root may not everywhere
    return most


def may_know(name, files):
    """May the kernel know so many files of it at once, directories besides?"""
    return name != "floor" or open_files(name) > files + files // 50 + 100


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
    """What of NAMES this machine has, but for plain, which stands in where the
    floor may not open files enough."""
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
            most = open_files(self.name)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
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
        elif self.name == "plain":
            self._run(compiled("plain", HERE / "plain.c", f"-I{EXAMPLES}"),
                      "-o", f"modules=subdir,subdir={b}", "-o", "clone_fd", m)
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
        """Of all the daemon's threads so far, those that are gone included."""
        pid = self.daemon()
        return time.clock_gettime(~pid << 3 | 2) if pid else 0    # clock_getcpuclockid(3)

    def user_seconds(self):
        """Of these, what its own code took, and not the kernel."""
        pid = self.daemon()
        if not pid:
            return 0
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) / os.sysconf("SC_CLK_TCK")

    def memory_kib(self):
        pid = self.daemon()
        if not pid:
            return 0
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        return 0


def clocks(system):
    """Of the wall; of the daemon, its own and the kernel's; of the programs."""
    user, programs = system.user_seconds(), os.times()
    return (time.monotonic(), user, system.processor_seconds() - user,
            sum(programs[:4]))


SENT = Path("/sys/kernel/tracing/events/fuse/fuse_request_send")


class Counting:
    """perf stat of some events, from when it is made to the end."""

    def __init__(self, *words):
        told, self.control = os.pipe()
        self.answers, answer = os.pipe()
        self.perf = subprocess.Popen(
            ["perf", "stat", "-x", ",", "-D", "-1",
             "--control", f"fd:{told},{answer}", *words],
            pass_fds=(told, answer), stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True)
        os.close(told)
        os.close(answer)
        os.write(self.control, b"enable\n")
        if os.read(self.answers, 64)[:3] != b"ack":
            raise RuntimeError("perf stat does not begin")

    def end(self):
        self.perf.send_signal(signal.SIGINT)
        lines = self.perf.communicate()[1].splitlines()
        os.close(self.control)
        os.close(self.answers)
        return [int(line.split(",")[0]) for line in lines if line[:1].isdigit()]


class Asked:
    """Counts what is sent to a mount within a block: requests by kind, but for
    forgetting; and how many system calls its daemon made of them, but for poll(2),
    with which frondfs waits for the next."""

    def __init__(self, system):
        number = os.stat(system.mount_point).st_dev
        told = re.findall(r'\{(\d+), "FUSE_(\w+)"\}', (SENT / "format").read_text())
        self.names = [name.lower() for _, name in told]
        self.requests = ["-a"]
        for kind, _ in told:
            self.requests += ["-e", "fuse:fuse_request_send", "--filter",
                              f"connection == {number} && opcode == {kind}"]
        self.calls = ["-e", "raw_syscalls:sys_enter", "-e", "syscalls:sys_enter_poll",
                      "-p", str(system.daemon())]

    def __enter__(self):
        self.counting = Counting(*self.requests), Counting(*self.calls)
        return self

    def __exit__(self, *_):
        kinds, (calls, polls) = (c.end() for c in self.counting)
        if len(kinds) != len(self.names):
            raise RuntimeError("perf stat did not count")
        self.counts = {name: n for name, n in zip(self.names, kinds) if n}
        self.counts["calls"] = calls - polls


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
    run("umount", "-l", place)              # which stays for as long as it is bound
    os.rmdir(place)


def machine():
    """What was measured on, in words."""
    cpu = next((line.split(":")[1].strip()
                for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), platform.machine())
    memory = int(Path("/proc/meminfo").read_text().split()[1]) >> 20
    packages = {"gocryptfs": "gocryptfs", "securefs": "securefs",
                "libfuse": "libfuse3-dev"}
    versions = {name: output("dpkg-query", "-W", "-f", "${Version}", package)
                for name, package in packages.items()}
    return {"cpu": cpu, "cores": os.cpu_count(), "memory_gib": memory,
            "kernel": platform.release(), "versions": versions,
            "system": next((line.split("=")[1].strip('"') for line in
                            Path("/etc/os-release").read_text().splitlines()
                            if line.startswith("PRETTY_NAME=")), ""),
            "hypervisor": "hypervisor" in Path("/proc/cpuinfo").read_text(),
            "date": time.strftime("%Y-%m-%d")}
