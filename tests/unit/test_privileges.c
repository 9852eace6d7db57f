/*
 * What a process can and cannot do after privileges.c. Each check runs in a
 * child of its own.
 */
#include "privileges.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <cmocka.h>

/* How a child ended that confined itself and then tried something. */
static int fate(int (*attempt)(void), bool confined)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		if (confined)
			privileges_drop();
		_exit(attempt());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* With the filter this errno, without it something else. */
static void assert_refused(int (*attempt)(void), int with)
{
	int status = fate(attempt, true);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), with);
	status = fate(attempt, false);
	assert_true(WIFEXITED(status));
	assert_int_not_equal(WEXITSTATUS(status), with);
}

static void assert_deadly(int (*attempt)(void))
{
	int status = fate(attempt, true);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
	status = fate(attempt, false);
	assert_true(WIFEXITED(status));
}

static void assert_works(int (*attempt)(void))
{
	int status = fate(attempt, true);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static int result(long value)
{
	return value < 0 ? errno : 0;
}

static int open_internet(void)
{
	return result(socket(AF_INET, SOCK_STREAM, 0));
}

static int open_netlink(void)
{
	return result(socket(AF_NETLINK, SOCK_RAW, 0));
}

static int execute(void)
{
	execl("/bin/true", "true", NULL);
	return errno;
}

static int trace(void)
{
	return result(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static int read_another(void)
{
	struct iovec none = {NULL, 0};

	return result(process_vm_readv(getppid(), &none, 1, &none, 1, 0));
}

static int mount_something(void)
{
	return result(mount("none", "/nonexistent", "tmpfs", 0, NULL));
}

static int make_namespace(void)
{
	return result(unshare(CLONE_NEWUSER));
}

/* By clone(2), which is allowed for threads; with clone3(2) none are. */
static int clone_namespace(void)
{
	long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);

	if (pid == 0)
		_exit(0);
	return result(pid);
}

static int map_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED
		       ? errno
		       : 0;
}

static int make_code(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return 0;
	return result(mprotect(page, 4096, PROT_READ | PROT_EXEC));
}

static int signal_another(void)
{
	return result(kill(getppid(), 0));
}

static int signal_a_thread_of_another(void)
{
	return result(syscall(SYS_tgkill, getppid(), getppid(), 0));
}

static int control_a_device(void)
{
	int pending;

	return result(ioctl(STDIN_FILENO, FIONREAD, &pending));
}

static int raise_core_limit(void)
{
	const struct rlimit none = {0, 0};

	return result(prlimit(0, RLIMIT_CORE, &none, NULL));
}

static int become_dumpable(void)
{
	return result(prctl(PR_SET_DUMPABLE, 1));
}

static void test_what_only_an_intruder_calls_ends_the_process(void **state)
{
	(void)state;
	assert_deadly(execute);
	assert_deadly(trace);
	assert_deadly(read_another);
	assert_deadly(mount_something);
}

static void test_what_no_request_leads_to_is_unknown(void **state)
{
	(void)state;
	assert_refused(open_internet, ENOSYS);
	assert_refused(open_netlink, ENOSYS);
	assert_refused(make_namespace, ENOSYS);
	assert_refused(clone_namespace, ENOSYS);
	assert_refused(map_code, ENOSYS);
	assert_refused(make_code, ENOSYS);
	assert_refused(signal_another, ENOSYS);
	assert_refused(signal_a_thread_of_another, ENOSYS);
	assert_refused(control_a_device, ENOSYS);
	assert_refused(raise_core_limit, ENOSYS);
	assert_refused(become_dumpable, ENOSYS);
}

static void *nothing(void *arg)
{
	return arg;
}

static int start_thread(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, nothing, NULL) != 0)
		return 1;
	return pthread_cancel(thread) != 0 || pthread_join(thread, NULL) != 0;
}

static int start_process(void)
{
	int status = 1;
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return waitpid(pid, &status, 0) != pid || status != 0;
}

static int tell_syslog(void)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	return fd < 0;
}

/* What a table that outlives a kill, and a journal, are made of. */
static int keep_a_journal(void)
{
	CLEANUP_FD int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char *map;

	if (fd < 0 || ftruncate(fd, 8192) < 0)
		return 1;
	map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return 2;
	map[5000] = 1;
	if (msync(map, 8192, MS_SYNC) < 0 || fdatasync(fd) < 0 ||
	    sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE) < 0)
		return 3;
	if (fallocate(fd, 0, 0, 16384) < 0 && errno != EOPNOTSUPP)
		return 4;
	return munmap(map, 8192) < 0 ? 5 : 0;
}

static int have_own_umask(void)
{
	return unshare(CLONE_FS) < 0;
}

static int lock_memory(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return page == MAP_FAILED || mlock(page, 4096) < 0 ||
	       madvise(page, 4096, MADV_DONTDUMP) < 0 ||
	       mprotect(page, 4096, PROT_NONE) < 0;
}

static void test_what_requests_need_works(void **state)
{
	(void)state;
	assert_works(start_thread);
	assert_works(start_process);
	assert_works(tell_syslog);
	assert_works(keep_a_journal);
	assert_works(have_own_umask);
	assert_works(lock_memory);
}

/* A thread that was there before does not escape either. */
static void *open_internet_later(void *arg)
{
	const int *confined = arg;

	while (!__atomic_load_n(confined, __ATOMIC_ACQUIRE))
		sched_yield();
	return open_internet() == ENOSYS ? arg : NULL;
}

static int have_a_thread_before(void)
{
	int confined = 0;
	pthread_t thread;
	void *refused = NULL;

	if (pthread_create(&thread, NULL, open_internet_later, &confined) != 0)
		return 1;
	if (privileges_filter_calls())
		return 2;
	__atomic_store_n(&confined, 1, __ATOMIC_RELEASE);
	pthread_join(thread, &refused);
	return refused ? 0 : 3;
}

static void test_every_thread_is_filtered(void **state)
{
	int status;

	(void)state;
	status = fate(have_a_thread_before, false);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* Set-id programs are no way out of the filter: they are plain programs. */
static int no_new_privileges(void)
{
	char text[4096] = {0};
	CLEANUP_FD int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);

	return fd < 0 || read(fd, text, sizeof text - 1) <= 0 ||
	       !strstr(text, "\nNoNewPrivs:\t1\n");
}

static void test_set_id_programs_are_given_up(void **state)
{
	(void)state;
	assert_works(no_new_privileges);
}

static bool can_filter(void)
{
#ifdef FROND_SANITIZED
	return false;
#else
	return prctl(PR_GET_SECCOMP) >= 0;
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_what_only_an_intruder_calls_ends_the_process),
		cmocka_unit_test(test_what_no_request_leads_to_is_unknown),
		cmocka_unit_test(test_what_requests_need_works),
		cmocka_unit_test(test_every_thread_is_filtered),
		cmocka_unit_test(test_set_id_programs_are_given_up),
	};

	/* no filters: sanitizers, or a kernel that has none */
	if (!can_filter())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
