#include "cmd.h"
#include "control.h"
#include "json.h"
#include "report.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>

enum { SCAN_PATIENCE_MS = 5000, SCAN_POLL_MS = 20 };

const char cmd_attach_help[] =
	"Usage: frondfs attach MOUNT NAME BACKING\n"
	"       frondfs attach MOUNT --list\n"
	"       frondfs attach MOUNT --remove NAME\n"
	"\n"
	"Tell the vault that is mounted on MOUNT where the files lie that the "
	"contact NAME\n"
	"grants: in BACKING, the backing directory of NAME's vault as this "
	"machine has it.\n"
	"  --list            who is attached, and where\n"
	"  --remove NAME     nobody of this name any more\n"
	"  --help            this text\n";

/* A mounted vault. */
struct target {
	const char *path; /* as the user named it */
	int root_fd;	  /* its top directory */
	dev_t dev;
	struct control_vault info;
};

static int report_no_mount(const char *path, int err)
{
	if (err == -ENOTTY || err == -EINVAL || err == -ENOSYS)
		report("no vault is mounted on '%s'; mount it first", path);
	else if (err == -ENOENT)
		report("there is no '%s'", path);
	else if (err == -ENOTDIR)
		report("'%s' is no directory; name the one that the vault is "
		       "mounted on",
		       path);
	else if (err == -ENOTCONN)
		report("the mount on '%s' died; unmount it with 'frondfs "
		       "umount', and mount it again",
		       path);
	else if (err == -EBADMSG)
		report("the sharing keys of the vault on '%s' are damaged; put "
		       ".frondfs/identity in its backing directory back from a "
		       "backup, and mount anew",
		       path);
	else
		report("cannot ask the mount on '%s': %s", path,
		       strerror(-err));
	return CMD_MOUNT_POINT;
}

static int open_root(const char *path, struct target *t)
{
	CLEANUP_FD int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_FD int root = -1;
	struct stat asked, st;

	if (fd < 0 || ioctl(fd, CONTROL_VAULT, &t->info) < 0)
		return -errno;
	if (t->info.identity < 0)
		return t->info.identity;
	root = open(t->info.mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0 || fstat(fd, &asked) < 0 || fstat(root, &st) < 0)
		return -errno;
	t->path = path;
	t->dev = st.st_dev;
	/* elsewhere in the tree of mounts that path may be something else */
	t->root_fd = st.st_dev == asked.st_dev ? TAKE_FD(root) : TAKE_FD(fd);
	return 0;
}

/* A directory of the vault's own; made where it is missing. */
static int open_attached(int root_fd, bool make, int *out)
{
	static const char *const path[] = {".tgshare", CONTACTS_ATTACHED_DIR};
	int fd;

	for (int k = 0; make && k < 2; k++)
		if (mkdirat(root_fd, path[k], 0700) < 0 && errno != EEXIST)
			return -errno;
	fd = openat(root_fd, CONTACTS_ATTACHED_DIR,
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*out = fd;
	return 0;
}

/* Let the mount see it now: true; if it is busy, it will see it later. */
static bool ask_for_scan(int root_fd)
{
	const struct timespec pause = {.tv_nsec = SCAN_POLL_MS * 1000000L};
	struct control_scan scan = {0};

	if (ioctl(root_fd, CONTROL_SCAN, &scan) < 0)
		return false;
	for (int ms = 0; ms < SCAN_PATIENCE_MS && !scan.done;
	     ms += SCAN_POLL_MS) {
		nanosleep(&pause, NULL);
		if (ioctl(root_fd, CONTROL_SCAN, &scan) < 0)
			return false;
	}
	return scan.done && !scan.err;
}

/* Theirs is looked for: making one, as is advised elsewhere, helps nobody. */
static int report_none(int err, const char *name, const char *backing)
{
	report("%s '%s'; say where the backing directory of %s's vault lies "
	       "on this machine",
	       err == -ENOMEDIUM ? "there is no vault in"
				 : "there is no directory",
	       backing, name);
	return CMD_NOT_A_VAULT;
}

/* May files below it be opened? */
static bool may_enter(const char *backing)
{
	CLEANUP_FREE char *path = NULL;
	struct stat st;

	if (asprintf(&path, "%s/.", backing) < 0) {
		path = NULL;
		return false;
	}
	return stat(path, &st) == 0;
}

static int report_closed(const char *name, const char *backing)
{
	report("'%s' may not be entered: %s; ask %s for search permission "
	       "(x) to it and the directories above, and in it to those on "
	       "the way to what was granted, and to be allowed to read that",
	       backing, strerror(EACCES), name);
	return CMD_FAILED;
}

/* Is BACKING a vault that may be attached? Else says why not. */
static int check_backing(const struct target *t, const char *name,
			 const char *backing, char real[static PATH_MAX])
{
	struct vault_fault fault = {0};
	struct vault_ini ini = {0};
	struct stat st;
	int err = vault_probe(backing, &ini, &fault);

	if (err == -ENOENT || err == -ENOTDIR ||
	    (err == -ENOMEDIUM && !report_is_of_vault(backing)))
		return report_none(err, name, backing);
	if (err == -EACCES && !may_enter(backing))
		return report_closed(name, backing);
	/* theirs may keep vault.ini to themselves */
	if (err && err != -EACCES)
		return report_vault(err, backing, &fault);
	if (!realpath(backing, real) || stat(real, &st) < 0) {
		report("cannot look at '%s': %s", backing, strerror(errno));
		return CMD_FAILED;
	}
	if (memcmp(ini.id, t->info.vault_id, VAULT_ID_LEN) == 0) {
		report("'%s' is the vault that is mounted on '%s'; name the "
		       "backing directory of the other person's",
		       backing, t->path);
		return CMD_FAILED;
	}
	/* to read it, the mount would have to wait for itself */
	if (st.st_dev == t->dev) {
		report("'%s' lies in the mount '%s' itself; a backing "
		       "directory outside of it is needed",
		       backing, t->path);
		return CMD_FAILED;
	}
	return CMD_OK;
}

static void warn_if_unknown(const struct target *t, const char *name)
{
	char card[sizeof CONTACTS_DIR + CARD_NAME_MAX +
		  sizeof CONTACTS_CARD_SUFFIX];

	snprintf(card, sizeof card, CONTACTS_DIR "/%s" CONTACTS_CARD_SUFFIX,
		 name);
	if (faccessat(t->root_fd, card, F_OK, 0) < 0 && errno == ENOENT)
		report("there is no contact '%s' yet; nothing is shown before "
		       "'tgshare contact add' has their card",
		       name);
}

/*
 * Did the mount, which has looked, find that nothing of what they granted can
 * be of this vault? *what: something of that.
 */
static bool is_another(const struct target *t, const char *name,
		       char what[static NAME_MAX + 1])
{
	CLEANUP_FREE struct control_set *next = calloc(1, sizeof *next);

	what[0] = '\0';
	while (next && ioctl(t->root_fd, CONTROL_SET_NEXT, next) == 0) {
		const struct inbox_set *set = &next->set;

		if (strcmp(set->sender_name, name) != 0)
			continue;
		if (set->state == INBOX_GRANTED)
			return false;
		if (set->state == INBOX_NOT_ATTACHED)
			snprintf(what, NAME_MAX + 1, "%s", set->name);
	}
	return what[0];
}

/* As it was before: "" is nothing. */
static int put_back(const struct target *t, int dir, const char *name,
		    const char *before)
{
	int err = 0;

	if (before[0])
		err = xio_replace_file(dir, name, before, strlen(before), 0600);
	else if (unlinkat(dir, name, 0) < 0 || fsync(dir) < 0)
		err = -errno;
	ask_for_scan(t->root_fd);
	return err;
}

static int refuse_another(const struct target *t, int dir, const char *name,
			  const char *backing, const char *before)
{
	char what[NAME_MAX + 1];

	if (!ask_for_scan(t->root_fd) || !is_another(t, name, what))
		return CMD_OK;
	report("'%s' is not the vault that '%s' from %s lies in; name the "
	       "backing directory of that one%s",
	       backing, what, name,
	       put_back(t, dir, name, before)
		       ? "; what was attached before is forgotten"
		       : "");
	return CMD_FAILED;
}

static int attach(const struct target *t, const char *name, const char *backing)
{
	CLEANUP_FD int dir = -1;
	char real[PATH_MAX], before[PATH_MAX + 1] = "";
	size_t len = 0;
	int err, status = check_backing(t, name, backing, real);

	if (status)
		return status;
	err = open_attached(t->root_fd, true, &dir);
	if (!err && xio_read_file(dir, name, before, PATH_MAX, &len) == 0)
		before[len] = '\0';
	if (!err)
		err = xio_replace_file(dir, name, real, strlen(real), 0600);
	if (err) {
		report("cannot write '%s/" CONTACTS_ATTACHED_DIR "/%s': %s",
		       t->path, name, strerror(-err));
		return CMD_FAILED;
	}
	warn_if_unknown(t, name);
	return refuse_another(t, dir, name, backing, before);
}

static int detach(const struct target *t, const char *name)
{
	CLEANUP_FD int dir = -1;
	int err = open_attached(t->root_fd, false, &dir);

	if (!err && (unlinkat(dir, name, 0) < 0 || fsync(dir) < 0))
		err = -errno;
	if (err == -ENOENT) {
		report("nobody called '%s' is attached to '%s'", name, t->path);
		return CMD_FAILED;
	}
	if (err) {
		report("cannot remove '%s/" CONTACTS_ATTACHED_DIR "/%s': %s",
		       t->path, name, strerror(-err));
		return CMD_FAILED;
	}
	ask_for_scan(t->root_fd);
	return CMD_OK;
}

static int print_attached(int dir, const char *name)
{
	char path[PATH_MAX + 1];
	size_t len;
	int err = xio_read_file(dir, name, path, sizeof path - 1, &len);

	if (err) {
		report("cannot read where '%s' is attached: %s", name,
		       strerror(-err));
		return CMD_FAILED;
	}
	path[len] = '\0';
	path[strcspn(path, "\r\n")] = '\0';
	json_put_plain(stdout, name);
	putchar('\t');
	json_put_plain(stdout, path);
	putchar('\n');
	return CMD_OK;
}

static int may_be_attached(const struct dirent *d)
{
	return contact_name_check(d->d_name) == 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int list(const struct target *t)
{
	CLEANUP_FD int dir = -1;
	struct dirent **found = NULL;
	int err = open_attached(t->root_fd, false, &dir);
	int count = 0, status = CMD_OK;

	if (err == -ENOENT)
		return CMD_OK;
	if (!err)
		count = scandirat(dir, ".", &found, may_be_attached, by_name);
	if (err || count < 0) {
		report("cannot list '%s/" CONTACTS_ATTACHED_DIR "': %s",
		       t->path, strerror(err ? -err : errno));
		return CMD_FAILED;
	}
	for (int k = 0; k < count; k++) {
		if (print_attached(dir, found[k]->d_name))
			status = CMD_FAILED;
		free(found[k]);
	}
	free(found);
	return status;
}

/* What is asked for; exactly one of these. */
struct attach_request {
	bool list, help;
	const char *remove;
	const char *mount, *name, *backing;
};

static int parse_arguments(int argc, char **argv, struct attach_request *r)
{
	static const struct option options[] = {
		{"list", no_argument, NULL, 'l' + 256},
		{"remove", required_argument, NULL, 'r' + 256},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c, wanted;

	while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (c == 'l' + 256)
			r->list = true;
		else if (c == 'r' + 256)
			r->remove = optarg;
		else if (c == 'h')
			r->help = true;
		else
			return report_bad_option("attach", c, argv);
	}
	if (r->help)
		return CMD_OK;
	if (r->list && r->remove)
		return report_usage("attach",
				    "--list and --remove exclude each other");
	wanted = r->list || r->remove ? 1 : 3;
	if (argc - optind != wanted)
		return report_usage(
			"attach",
			wanted == 1 ? "attach wants one mount point here"
				    : "attach wants a mount point, a contact's "
				      "name and their backing directory");
	r->mount = argv[optind];
	if (wanted == 3) {
		r->name = argv[optind + 1];
		r->backing = argv[optind + 2];
	}
	return CMD_OK;
}

int cmd_attach(int argc, char **argv)
{
	struct attach_request r = {0};
	struct target t = {.root_fd = -1};
	const char *name;
	int err, status = parse_arguments(argc, argv, &r);

	if (status)
		return status;
	if (r.help)
		return fputs(cmd_attach_help, stdout) < 0 ? CMD_FAILED : CMD_OK;
	name = r.remove ? r.remove : r.name;
	if (name && contact_name_check(name))
		return report_usage("attach", "no contact can be called '%s'",
				    name);
	err = open_root(r.mount, &t);
	if (err)
		return report_no_mount(r.mount, err);
	if (r.list)
		status = list(&t);
	else
		status = r.remove ? detach(&t, name)
				  : attach(&t, name, r.backing);
	close(t.root_fd);
	return status;
}
