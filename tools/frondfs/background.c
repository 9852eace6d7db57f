#include "background.h"

#include "log.h"
#include "report.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

static volatile pid_t child_pid;

static void pass_on(int signo)
{
	int saved = errno;

	kill(child_pid, signo);
	errno = saved;
}

static void wake_up(int signo)
{
	(void)signo;
}

/*
 * The terminal sends its signals to the child as well, which puts the
 * terminal in order before it obeys; the parent must not let the shell have
 * the terminal back earlier.
 */
static void watch_as_parent(void)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	struct sigaction pass = {.sa_handler = pass_on};
	struct sigaction wake = {.sa_handler = wake_up};

	sigaction(SIGINT, &ignore, NULL);
	sigaction(SIGQUIT, &ignore, NULL);
	sigaction(SIGTSTP, &ignore, NULL);
	sigaction(SIGTERM, &pass, NULL);
	sigaction(SIGHUP, &pass, NULL);
	sigaction(SIGCHLD, &wake, NULL);
}

/* End as the child did, so that the shell sees what the user's key did. */
static void die_of(int signo)
{
	sigset_t mask;

	(void)signal(signo, SIG_DFL);
	(void)raise(signo);
	/* all signals are blocked here: it comes now, not later */
	sigemptyset(&mask);
	sigaddset(&mask, signo);
	sigprocmask(SIG_UNBLOCK, &mask, NULL);
}

static int child_fate(int wait_status)
{
	int signo;

	if (WIFEXITED(wait_status)) {
		if (WEXITSTATUS(wait_status) != 0)
			return WEXITSTATUS(wait_status);
		report("the mount ended before it answered; the system log "
		       "may tell why");
		return CMD_FAILED;
	}
	signo = WTERMSIG(wait_status);
	if (signo == SIGINT || signo == SIGQUIT || signo == SIGTERM ||
	    signo == SIGHUP)
		die_of(signo);
	report("the mounting process was killed by signal %d (%s); nothing is "
	       "mounted",
	       signo, strsignal(signo));
	return CMD_FAILED;
}

/* True when the child is gone; when it merely stopped, stop with it. */
static bool child_gone(int options, int *wait_status)
{
	if (waitpid(child_pid, wait_status, options) != child_pid)
		return false;
	if (!WIFSTOPPED(*wait_status))
		return true;
	(void)raise(SIGSTOP);
	return false;
}

/* mask: the signal mask to wait with; SIGCHLD is blocked outside. */
static int wait_for_child(int ready_fd, const sigset_t *mask)
{
	struct pollfd pfd = {.fd = ready_fd, .events = POLLIN};
	int wait_status;
	char byte;

	for (;;) {
		if (child_gone(WNOHANG | WUNTRACED, &wait_status))
			break;
		if (ppoll(&pfd, 1, NULL, mask) <= 0)
			continue;
		if (read(ready_fd, &byte, 1) == 1)
			return CMD_OK;
		while (!child_gone(0, &wait_status))
			;
		break;
	}
	/* It may have become ready and ended since. */
	if (read(ready_fd, &byte, 1) == 1)
		return CMD_OK;
	return child_fate(wait_status);
}

bool background_fork(int *ready_fd, int *status)
{
	int fds[2];
	sigset_t all, before;

	if (pipe2(fds, O_CLOEXEC) < 0) {
		report("cannot make a pipe: %s", strerror(errno));
		*status = CMD_FAILED;
		return false;
	}
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	child_pid = fork();
	if (child_pid == 0) {
		close(fds[0]);
		sigprocmask(SIG_SETMASK, &before, NULL);
		*ready_fd = fds[1];
		return true;
	}
	close(fds[1]);
	if (child_pid < 0) {
		report("cannot start another process: %s", strerror(errno));
		*status = CMD_FAILED;
	} else {
		watch_as_parent();
		*status = wait_for_child(fds[0], &before);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	close(fds[0]);
	return false;
}

void background_ready(int ready_fd)
{
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	setsid();
	if (chdir("/") < 0)
		log_warning("cannot change to /: %s", strerror(errno));
	for (int fd = STDIN_FILENO; null_fd >= 0 && fd <= STDERR_FILENO; fd++)
		dup2(null_fd, fd);
	if (null_fd > STDERR_FILENO)
		close(null_fd);
	if (xio_write(ready_fd, "", 1))
		log_warning("whoever asked for the mount has gone");
	close(ready_fd);
}
