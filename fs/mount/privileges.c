#include "privileges.h"

#include "log.h"

#include <dlfcn.h>
#include <errno.h>
#include <linux/capability.h>
#include <linux/fuse.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define BIT(capability) (UINT64_C(1) << (capability))

/*
 * What root's daemon does for others: it acts with their ids, makes what they
 * may make, and does what they may do to files that are not root's. IPC_LOCK
 * is for keys; SYS_PTRACE for seek, which looks at what callers have open.
 * Not DAC_READ_SEARCH: DAC_OVERRIDE is all of it but file handles. Not
 * SYS_RESOURCE: quotas of the backing file system hold for everybody.
 */
static const uint64_t needed =
	BIT(CAP_CHOWN) | BIT(CAP_DAC_OVERRIDE) | BIT(CAP_FOWNER) |
	BIT(CAP_FSETID) | BIT(CAP_IPC_LOCK) | BIT(CAP_MKNOD) | BIT(CAP_SETGID) |
	BIT(CAP_SETUID) | BIT(CAP_SYS_PTRACE);

int privileges_drop_capabilities(void)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &head, data) < 0)
		return -errno;
	/* -EPERM: not root's to begin with */
	for (int c = 0; prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++)
		if (!(needed & BIT(c)))
			(void)prctl(PR_CAPBSET_DROP, c, 0, 0, 0);
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	for (unsigned n = 0; n < _LINUX_CAPABILITY_U32S_3; n++) {
		data[n].permitted &= (uint32_t)(needed >> 32 * n);
		data[n].effective &= (uint32_t)(needed >> 32 * n);
		data[n].inheritable = 0;
	}
	return syscall(SYS_capset, &head, data) < 0 ? -errno : 0;
}

#ifndef FROND_SANITIZED

/*
 * What requests lead to, here and in libfuse, libcrypto, libsodium and libc,
 * on any architecture; a name that is not known there is passed over.
 */
static const char allowed[] =
	/* files */
	"access chdir chmod chown chown32 close close_range "
	"copy_file_range creat dup dup2 dup3 eventfd2 faccessat faccessat2 "
	"fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 "
	"fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr "
	"flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatat64 "
	"fstatfs fstatfs64 fsync ftruncate ftruncate64 getcwd getdents "
	"getdents64 getxattr inotify_add_watch inotify_init1 "
	"inotify_rm_watch lchown lchown32 lgetxattr link linkat listxattr "
	"llistxattr lremovexattr lseek _llseek lsetxattr lstat lstat64 "
	"mkdir mkdirat mknod mknodat newfstatat open openat openat2 pipe "
	"pipe2 poll ppoll ppoll_time64 pread64 preadv preadv2 pselect6 "
	"pselect6_time64 pwrite64 pwritev pwritev2 read readahead readlink "
	"readlinkat readv removexattr rename renameat renameat2 rmdir "
	"select setxattr stat stat64 statfs statfs64 statx symlink "
	"symlinkat sync_file_range sync_file_range2 syncfs truncate "
	"truncate64 umask unlink unlinkat utimensat utimensat_time64 write "
	"writev "
	/* memory */
	"brk madvise membarrier mincore mlock mlock2 mremap msync munlock "
	"munmap "
	/* threads and time */
	"clock_getres clock_gettime clock_gettime64 clock_nanosleep "
	"clock_nanosleep_time64 exit exit_group fork futex futex_time64 "
	"get_robust_list getcpu getpgrp getpid getppid getrusage gettid "
	"gettimeofday nanosleep restart_syscall rseq rt_sigaction "
	"rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait "
	"rt_sigtimedwait_time64 sched_getaffinity sched_yield "
	"set_robust_list set_tid_address setsid sigaltstack time vfork "
	"wait4 waitid waitpid "
	/* whom files are made for (creds.c) */
	"capget getegid getegid32 geteuid geteuid32 getgid getgid32 "
	"getgroups getgroups32 getuid getuid32 setfsgid setfsgid32 "
	"setfsuid setfsuid32 setgroups setgroups32 "
	/* the system log and the unmounter; socket() below */
	"connect recvfrom recvmsg sendmsg sendto "
	/* of the machine */
	"getrandom getrlimit sysinfo ugetrlimit uname";

/*
 * Nothing that is linked or loaded here calls them, whatever its version:
 * whoever does has taken over. All else that is not allowed answers ENOSYS,
 * which newer libraries take as a kernel older than theirs.
 */
static const char deadly[] =
	"bpf chroot execve execveat finit_module init_module "
	"io_uring_setup kexec_file_load kexec_load mount move_mount "
	"open_by_handle_at open_tree perf_event_open pidfd_getfd "
	"pivot_root process_vm_readv process_vm_writev ptrace setns "
	"userfaultfd";

/* names: between blanks */
static int add_names(scmp_filter_ctx filter, uint32_t action, const char *names)
{
	char name[32];
	int err = 0;

	while (!err && *names) {
		size_t len = strcspn(names, " ");
		int number;

		snprintf(name, sizeof name, "%.*s", (int)len, names);
		number = seccomp_syscall_resolve_name(name);
		if (number != __NR_SCMP_ERROR)
			err = seccomp_rule_add(filter, action, number, 0);
		names += len + strspn(names + len, " ");
	}
	return err;
}

/* One argument of a system call, as a filter sees it. */
static struct scmp_arg_cmp is(unsigned arg, uint64_t value)
{
	return (struct scmp_arg_cmp){
		.arg = arg, .op = SCMP_CMP_EQ, .datum_a = value};
}

static struct scmp_arg_cmp lacks(unsigned arg, uint64_t bits)
{
	return (struct scmp_arg_cmp){
		.arg = arg, .op = SCMP_CMP_MASKED_EQ, .datum_a = bits};
}

/* Allowed where the argument is as that says, else unknown. */
static int add_calls(scmp_filter_ctx filter)
{
	const uint64_t namespaces = CLONE_NEWNS | CLONE_NEWCGROUP |
				    CLONE_NEWUTS | CLONE_NEWIPC |
				    CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
	const struct {
		int call;
		struct scmp_arg_cmp if_arg;
	} rules[] = {
		/* Threads, and the child that flushes. clone3() keeps its
		 * flags where no filter can look; libc then takes clone(). */
		{SCMP_SYS(clone), lacks(0, namespaces)},
		{SCMP_SYS(unshare), is(0, CLONE_FS)},
		/* nothing that can be executed is made or loaded */
		{SCMP_SYS(mmap), lacks(2, PROT_EXEC)},
		{SCMP_SYS(mmap2), lacks(2, PROT_EXEC)},
		{SCMP_SYS(mprotect), lacks(2, PROT_EXEC)},
		/* limits are looked at, not set */
		{SCMP_SYS(prlimit64), is(2, 0)},
		/* the system log's */
		{SCMP_SYS(socket), is(0, AF_UNIX)},
		/* each thread of libfuse has a descriptor of its own */
		{SCMP_SYS(ioctl), is(1, FUSE_DEV_IOC_CLONE)},
		{SCMP_SYS(prctl), is(0, PR_SET_NAME)},
		/* raise() and pthread_kill() */
		{SCMP_SYS(tgkill), is(0, (uint64_t)getpid())},
	};
	int err = 0;

	for (size_t n = 0; !err && n < sizeof rules / sizeof *rules; n++)
		err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, rules[n].call, 1,
				       rules[n].if_arg);
	return err;
}

static int new_filter(scmp_filter_ctx filter)
{
	/* a file server runs nobody's code: no need to be slowed down
	 * against Spectre, as filters imply on older kernels */
	int err = seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);

	if (!err)
		err = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	if (!err)
		err = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (!err)
		err = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH,
				       SCMP_ACT_KILL_PROCESS);
	if (!err)
		err = add_names(filter, SCMP_ACT_ALLOW, allowed);
	if (!err)
		err = add_names(filter, SCMP_ACT_KILL_PROCESS, deadly);
	if (!err)
		err = add_calls(filter);
	return err;
}

int privileges_filter_calls(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
	int err = -ENOMEM;

	/* libc loads it when a thread is cancelled, as libfuse does in the
	 * end, and that is too late. It stays. */
	(void)!dlopen("libgcc_s.so.1", RTLD_NOW);
	if (filter)
		err = new_filter(filter);
	if (!err)
		err = seccomp_load(filter);
	if (filter)
		seccomp_release(filter);
	return err;
}

#else

/* Sanitizers look into their own process with whatever the kernel has. */
int privileges_filter_calls(void)
{
	return 0;
}

#endif

void privileges_drop(void)
{
	int err = privileges_drop_capabilities();

	if (err)
		log_warning("cannot give up capabilities: %s", strerror(-err));
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		log_warning("cannot give up set-id programs: %s",
			    strerror(errno));
	err = privileges_filter_calls();
	if (err)
		log_warning("cannot filter system calls: %s", strerror(-err));
}
