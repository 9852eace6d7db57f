#include "passphrase.h"

#include "report.h"
#include "tty.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>

/* Room for "\r\n" after the longest passphrase, and a byte to notice more. */
enum { LINE_ROOM = PASSPHRASE_MAX + 3 };

extern char **environ;

void passphrase_free(struct passphrase *p)
{
	secret_free(p->text);
	p->text = NULL;
	p->len = 0;
}

/*
 * Read from fd into buf (twice LINE_ROOM) until it holds a whole line, or no
 * more is to come or fits. drain: read on to the end, so that a command never
 * meets a closed pipe; that goes into the second half.
 */
static ssize_t read_some_line(int fd, char *buf, bool drain)
{
	size_t len = 0;
	bool whole = false;

	while (!whole || drain) {
		ssize_t n = whole ? read(fd, buf + LINE_ROOM, LINE_ROOM)
				  : read(fd, buf + len, LINE_ROOM - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		if (whole)
			continue;
		len += (size_t)n;
		whole = len == LINE_ROOM || memchr(buf, '\n', len);
	}
	return (ssize_t)len;
}

/* Cut the first line out of buf. -ENODATA: it is empty; -EMSGSIZE. */
static int first_line(const char *buf, size_t len, size_t *line_len)
{
	const char *newline = memchr(buf, '\n', len);
	size_t n = newline ? (size_t)(newline - buf) : len;

	if (newline && n > 0 && buf[n - 1] == '\r')
		n--;
	if (n == 0)
		return -ENODATA;
	if (n > PASSPHRASE_MAX)
		return -EMSGSIZE;
	*line_len = n;
	return 0;
}

/* Say why what (a file's or command's name) gave no passphrase. */
static int report_source(int err, const char *kind, const char *what)
{
	if (err == -ENODATA)
		report("the first line of the %s '%s' is empty; a passphrase "
		       "must stand there",
		       kind, what);
	else if (err == -EMSGSIZE)
		report("the first line of the %s '%s' is longer than %d bytes; "
		       "use a shorter passphrase",
		       kind, what, PASSPHRASE_MAX);
	else
		report("cannot read a passphrase from the %s '%s': %s", kind,
		       what, strerror(-err));
	return CMD_NO_PASSPHRASE;
}

static int line_from(int fd, bool drain, struct passphrase *out)
{
	CLEANUP_SECRET char *buf = secret_alloc((size_t)2 * LINE_ROOM);
	ssize_t len;
	int err;

	if (!buf)
		return -ENOMEM;
	len = read_some_line(fd, buf, drain);
	if (len < 0)
		return (int)len;
	err = first_line(buf, (size_t)len, &out->len);
	if (!err)
		out->text = TAKE_PTR(buf);
	return err;
}

static int get_from_file(const char *path, struct passphrase *out)
{
	CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	int err = fd < 0 ? -errno : line_from(fd, false, out);

	return err ? report_source(err, "file", path) : CMD_OK;
}

/* Start /bin/sh -c command with its output in a pipe. */
static int spawn_shell(const char *command, pid_t *pid, int *out_fd)
{
	char *argv[] = {(char[]){"sh"}, (char[]){"-c"}, (char *)command, NULL};
	posix_spawn_file_actions_t actions;
	int fds[2], err;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	err = posix_spawn_file_actions_init(&actions);
	if (!err) {
		err = posix_spawn_file_actions_adddup2(&actions, fds[1],
						       STDOUT_FILENO);
		if (!err)
			err = posix_spawn(pid, "/bin/sh", &actions, NULL, argv,
					  environ);
		posix_spawn_file_actions_destroy(&actions);
	}
	close(fds[1]);
	if (err) {
		close(fds[0]);
		return -err;
	}
	*out_fd = fds[0];
	return 0;
}

static int get_from_command(const char *command, struct passphrase *out)
{
	CLEANUP_FD int fd = -1;
	pid_t pid = -1;
	int status = 0;
	int err = spawn_shell(command, &pid, &fd);

	if (err)
		return report_source(err, "command", command);
	err = line_from(fd, true, out);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (status != 0) {
		passphrase_free(out);
		report("the command '%s' that should print the passphrase "
		       "failed (%s %d); run it by hand to see why",
		       command, WIFEXITED(status) ? "status" : "signal",
		       WIFEXITED(status) ? WEXITSTATUS(status)
					 : WTERMSIG(status));
		return CMD_NO_PASSPHRASE;
	}
	return err ? report_source(err, "command", command) : CMD_OK;
}

static int get_from_terminal(const struct passphrase_source *source,
			     const char *prompt, struct passphrase *out)
{
	CLEANUP_SECRET char *line = secret_alloc(PASSPHRASE_MAX);
	int err = line ? tty_ask(prompt, line, PASSPHRASE_MAX, &out->len)
		       : -ENOMEM;

	if (err == -ENXIO)
		report("there is no terminal to ask for the passphrase; give "
		       "%s",
		       source->instead ? source->instead
				       : "it with --passfile FILE, or "
					 "--extpass CMD for "
					 "a command that prints it");
	else if (err == -ENODATA || (!err && out->len == 0))
		report("no passphrase was entered; an empty one is not "
		       "accepted");
	else if (err == -EMSGSIZE)
		report("the passphrase is longer than %d bytes; use a shorter "
		       "one",
		       PASSPHRASE_MAX);
	else if (err)
		report("cannot read the passphrase: %s", strerror(-err));
	else
		out->text = TAKE_PTR(line);
	return out->text ? CMD_OK : CMD_NO_PASSPHRASE;
}

int passphrase_get(const struct passphrase_source *source, const char *prompt,
		   struct passphrase *out)
{
	if (source->passfile)
		return get_from_file(source->passfile, out);
	if (source->extpass)
		return get_from_command(source->extpass, out);
	return get_from_terminal(source, prompt, out);
}

int passphrase_get_new(const struct passphrase_source *source,
		       const char *prompt, struct passphrase *out)
{
	CLEANUP_PASSPHRASE struct passphrase again = {0};
	int status = passphrase_get(source, prompt, out);

	if (status || source->passfile || source->extpass)
		return status;
	status = get_from_terminal(source, "The same again: ", &again);
	if (status)
		return status;
	if (again.len != out->len ||
	    sodium_memcmp(again.text, out->text, out->len) != 0) {
		report("the two passphrases differ; nothing was changed, try "
		       "again");
		return CMD_NO_PASSPHRASE;
	}
	return CMD_OK;
}
