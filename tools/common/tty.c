#include "tty.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdbool.h>
#include <string.h>
#include <termios.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* What may end or stop the process while echo is off. */
static const int watched[] = {SIGHUP,  SIGINT,	SIGQUIT, SIGTERM, SIGALRM,
			      SIGPIPE, SIGTSTP, SIGTTIN, SIGTTOU};

static volatile sig_atomic_t caught[COUNT(watched)];

static void note_signal(int signo)
{
	for (size_t i = 0; i < COUNT(watched); i++)
		if (watched[i] == signo)
			caught[i] = 1;
}

/*
 * Only in ppoll(2) may a signal come through: between two calls it would be
 * noted, and the next read(2) would wait nevertheless. SIGTTIN and SIGTTOU
 * answer calls of our own, and must stop those of a process in the background
 * (blocked, they would let tcsetattr(3) pass).
 */
static void block_signals(sigset_t *before)
{
	sigset_t block;

	sigemptyset(&block);
	for (size_t i = 0; i < COUNT(watched); i++)
		if (watched[i] != SIGTTIN && watched[i] != SIGTTOU)
			sigaddset(&block, watched[i]);
	sigprocmask(SIG_BLOCK, &block, before);
}

static bool any_caught(void)
{
	for (size_t i = 0; i < COUNT(watched); i++)
		if (caught[i])
			return true;
	return false;
}

/* Without SA_RESTART, so that read(2) comes back when one arrives. */
static void watch_signals(struct sigaction saved[static COUNT(watched)])
{
	struct sigaction note = {.sa_handler = note_signal};

	sigemptyset(&note.sa_mask);
	for (size_t i = 0; i < COUNT(watched); i++) {
		caught[i] = 0;
		sigaction(watched[i], NULL, &saved[i]);
		if (saved[i].sa_handler != SIG_IGN)
			sigaction(watched[i], &note, NULL);
	}
}

/* Let the signals noted do what they would have done; was one a stop? */
static bool deliver_signals(const struct sigaction saved[static COUNT(watched)])
{
	bool stopped = false;

	for (size_t i = 0; i < COUNT(watched); i++)
		sigaction(watched[i], &saved[i], NULL);
	for (size_t i = 0; i < COUNT(watched); i++) {
		int signo = watched[i];

		if (!caught[i])
			continue;
		(void)raise(signo);
		stopped |= signo == SIGTSTP || signo == SIGTTIN ||
			   signo == SIGTTOU;
	}
	return stopped;
}

/* One byte; 0 at the end of file. mask: what to wait with. */
static ssize_t read_byte(int fd, const sigset_t *mask, char *c)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};

	for (;;) {
		ssize_t n = ppoll(&pfd, 1, NULL, mask);

		if (n > 0)
			n = read(fd, c, 1);
		if (n >= 0)
			return n;
		if (errno != EINTR || any_caught())
			return -errno;
	}
}

/* Also reads what does not fit, up to the end of the line. */
static int read_line(int fd, const sigset_t *mask, char *line, size_t max,
		     size_t *len_out)
{
	size_t len = 0;
	bool too_long = false;
	char c = 0;

	for (;;) {
		ssize_t n = read_byte(fd, mask, &c);

		if (n < 0)
			return (int)n;
		if (n == 0 && len == 0)
			return -ENODATA;
		if (n == 0 || c == '\n')
			break;
		if (len < max)
			line[len++] = c;
		else
			too_long = true;
	}
	sodium_memzero(&c, 1);
	if (too_long)
		return -EMSGSIZE;
	*len_out = len;
	return 0;
}

static int set_terminal(int fd, const struct termios *mode)
{
	while (tcsetattr(fd, TCSAFLUSH, mode) < 0)
		if (errno != EINTR || any_caught())
			return -errno;
	return 0;
}

static int ask_once(int fd, const char *prompt, const sigset_t *mask,
		    char *line, size_t max, size_t *len_out)
{
	struct termios before, quiet;
	int err;

	if (tcgetattr(fd, &before) < 0)
		return -ENXIO;
	quiet = before;
	quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL);
	quiet.c_lflag |= ICANON;
	err = set_terminal(fd, &quiet);
	if (err)
		return err;
	err = xio_write(fd, prompt, strlen(prompt));
	if (!err)
		err = read_line(fd, mask, line, max, len_out);
	/* Caught signals wait until this is done. */
	while (tcsetattr(fd, TCSAFLUSH, &before) < 0 && errno == EINTR)
		;
	if (xio_write(fd, "\n", 1) < 0 && !err)
		err = -EIO;
	return err;
}

int tty_ask(const char *prompt, char *line, size_t max, size_t *len_out)
{
	struct sigaction saved[COUNT(watched)];
	CLEANUP_FD int fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
	sigset_t mask;
	bool again;
	int err;

	if (fd < 0)
		return -ENXIO;
	do {
		block_signals(&mask);
		watch_signals(saved);
		err = ask_once(fd, prompt, &mask, line, max, len_out);
		sigprocmask(SIG_SETMASK, &mask, NULL);
		again = deliver_signals(saved) && err;
	} while (again);
	return err;
}
