#include "behind.h"
#include "cmd.h"
#include "control.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

const char cmd_accept_help[] =
	"Usage: frondfs accept-old FILE...\n"
	"\n"
	"Say that each FILE, a file, directory or link in a mounted vault, is "
	"right as it\n"
	"is, though this machine has seen something newer: you have restored "
	"it yourself.\n"
	"Of a directory this says nothing of what is in it; of everything in a "
	"vault,\n"
	"mount it once with -o accept-old. A FILE that is older again after "
	"the next write\n"
	"has an id that another one has, too: 'frondfs check' names both.\n"
	"  --help            this text\n";

/* Split path, which it changes, before its last name. */
static const char *split(char *path, const char **parent)
{
	size_t len = strlen(path);
	char *slash;

	while (len > 1 && path[len - 1] == '/')
		path[--len] = '\0';
	slash = strrchr(path, '/');
	*parent = slash == path ? "/" : slash ? path : ".";
	if (!slash)
		return path;
	*slash = '\0';
	return slash + 1;
}

static int accept_old(const char *path)
{
	size_t len = strlen(path);
	bool dots = strcmp(path, ".") == 0 || strcmp(path, "..") == 0 ||
		    (len > 1 && strcmp(path + len - 2, "/.") == 0) ||
		    (len > 2 && strcmp(path + len - 3, "/..") == 0);
	CLEANUP_FREE char *copy = dots ? realpath(path, NULL) : strdup(path);
	struct control_name wanted = {0};
	CLEANUP_FD int fd = -1;
	const char *name, *parent;

	if (!copy)
		return -errno;
	name = split(copy, &parent);
	if (strlen(name) >= sizeof wanted.name)
		return -ENAMETOOLONG;
	strcpy(wanted.name, name);
	fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, CONTROL_ACCEPT_OLD, &wanted) < 0)
		return -errno;
	return 0;
}

/* It is the directory which it lies in that was asked. */
static void report_outside(const char *path)
{
	struct behind b;

	if (behind_get(path, &b) && b.is_mount_point)
		report("'%s' is where the vault is mounted, which is older "
		       "than nothing; name what lies in it, or mount it with "
		       "'-o accept-old' to accept everything",
		       path);
	else
		report("'%s' does not lie in a mounted vault; mount it, and "
		       "name the file there",
		       path);
}

static void report_not_accepted(const char *path, int err)
{
	switch (err) {
	case -ENOTTY:
	case -EINVAL:
	case -ENOSYS:
		report_outside(path);
		break;
	case -ENOENT:
	case -ENOTDIR:
		report("there is no '%s'", path);
		break;
	case -EPERM:
		report("'%s' is for who mounted the vault to accept", path);
		break;
	case -EOPNOTSUPP:
		report("the mount that '%s' lies in remembers nothing of files "
		       "(it is shared, or has remember=off): there is nothing "
		       "to accept",
		       path);
		break;
	case -ETIME:
	case -ESTALE:
		report("'%s' lies in a directory that is older than what this "
		       "machine has seen; accept that first",
		       path);
		break;
	default:
		report("cannot accept '%s': %s", path, strerror(-err));
	}
}

int cmd_accept(int argc, char **argv)
{
	static const struct option options[] = {
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c, err, status = CMD_OK;

	while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (c != 'h')
			return report_bad_option("accept-old", c, argv);
		return fputs(cmd_accept_help, stdout) < 0 ? CMD_FAILED : CMD_OK;
	}
	if (optind == argc)
		return report_usage("accept-old", "accept-old wants a file");
	for (int i = optind; i < argc; i++) {
		err = accept_old(argv[i]);
		if (!err)
			continue;
		report_not_accepted(argv[i], err);
		status = CMD_FAILED;
	}
	return status;
}
