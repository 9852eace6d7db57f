#include "bytes.h"
#include "log.h"
#include "vault.h"
#include "vault_key.h"
#include "vdir.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { TEMP_NAME_LEN = 64 };

/* What has been put on disk so far, for taking it back. */
struct building {
	const char *path;
	int root_fd;
	bool made_root, made_id;
	char meta[TEMP_NAME_LEN]; /* what .frondfs is called; "" before */
};

static int check_unused(int root_fd)
{
	CLEANUP_DIR DIR *dir = NULL;
	const struct dirent *e;
	struct stat st;
	int err;

	if (fstatat(root_fd, NAME_VAULT_DIR, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return -EEXIST;
	err = xio_list(root_fd, &dir);
	if (err)
		return err;
	for (errno = 0; (e = readdir(dir)); errno = 0)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			return -ENOTEMPTY;
	return -errno;
}

static int open_root(struct building *b)
{
	b->root_fd = open(b->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return b->root_fd < 0 ? -errno : check_unused(b->root_fd);
}

static int make_root(struct building *b)
{
	if (mkdir(b->path, 0700) == 0)
		b->made_root = true;
	else if (errno != EEXIST)
		return -errno;
	return open_root(b);
}

/* The text of a new vault.ini; the master key is in s. */
static int compose_ini(const struct vault_create_options *opt,
		       struct vault_secret *s, struct vault_ini_text *t)
{
	struct vault_ini *ini = &t->ini;
	struct vault_slot *slot = &ini->slots[0];
	time_t now = time(NULL);
	struct tm utc;
	int err;

	if (!gmtime_r(&now, &utc))
		return -EOVERFLOW;
	if (strftime(ini->created, sizeof ini->created, "%Y-%m-%dT%H:%M:%SZ",
		     &utc) == 0)
		return -EOVERFLOW;
	ini->version = opt->version ? opt->version : VAULT_VERSION;
	randombytes_buf(ini->id, sizeof ini->id);
	randombytes_buf(s->master, sizeof s->master);
	ini->slot_count = 1;
	snprintf(slot->name, sizeof slot->name, "default");
	slot->ops = opt->ops;
	slot->mem_bytes = opt->mem_bytes;
	err = vault_key_seal(ini->id, slot, (uint64_t)now, opt->passphrase,
			     opt->passphrase_len, s);
	if (err)
		return err;
	kdf_subkey(s->master, KDF_SEAL, s->seal_key, sizeof s->seal_key);
	return vault_ini_format(ini, s->seal_key, t->text, &t->len);
}

static int build_meta(struct building *b, const struct vault_ini_text *t)
{
	CLEANUP_FD int meta = -1;
	char temp[TEMP_NAME_LEN];

	xio_temp_name(NAME_TEMP_PREFIX, temp, sizeof temp);
	if (mkdirat(b->root_fd, temp, 0700) < 0)
		return -errno;
	memcpy(b->meta, temp, sizeof b->meta);
	meta = openat(b->root_fd, temp,
		      O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	/* whatever a default ACL or the umask made of it */
	if (meta < 0 || fchmod(meta, 0700) < 0)
		return -errno;
	return xio_replace_file(meta, VAULT_INI_FILE, t->text, t->len, 0600);
}

static int sync_parent(const char *path)
{
	CLEANUP_FREE char *copy = strdup(path);
	CLEANUP_FD int fd = -1;

	if (!copy)
		return -ENOMEM;
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* a parent that may not be listed is the caller's risk, not ours */
	if (fd < 0)
		return errno == EACCES ? 0 : -errno;
	return fsync(fd) < 0 ? -errno : 0;
}

/*
 * .frondfs comes last: until it is there, nothing calls this a vault, and
 * once it is there, everything is.
 */
static int build(struct building *b, const struct vault_ini_text *t)
{
	static const uint8_t no_parent[DIRID_LEN];
	uint8_t dirid[DIRID_LEN];
	int err = build_meta(b, t);

	if (err)
		return err;
	randombytes_buf(dirid, sizeof dirid);
	err = vdir_write_id(b->root_fd, dirid, no_parent);
	if (err)
		return err;
	b->made_id = true;
	if (fsync(b->root_fd) < 0)
		return -errno;
	err = vdir_rename_exclusive(b->root_fd, b->meta, b->root_fd,
				    NAME_VAULT_DIR);
	if (err)
		return err == -ENOTEMPTY ? -EEXIST : err;
	snprintf(b->meta, sizeof b->meta, "%s", NAME_VAULT_DIR);
	if (fsync(b->root_fd) < 0)
		return -errno;
	return b->made_root ? sync_parent(b->path) : 0;
}

static void take_back(const struct building *b)
{
	if (b->meta[0]) {
		CLEANUP_FD int meta =
			openat(b->root_fd, b->meta,
			       O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		if (meta >= 0)
			unlinkat(meta, VAULT_INI_FILE, 0);
		unlinkat(b->root_fd, b->meta, AT_REMOVEDIR);
	}
	if (b->made_id)
		unlinkat(b->root_fd, NAME_DIRID_FILE, 0);
	if (b->made_root && rmdir(b->path) < 0)
		log_error("%s could not be removed again", b->path);
}

int vault_create(const char *path, const struct vault_create_options *opt)
{
	CLEANUP_SECRET struct vault_secret *s = secret_alloc(sizeof *s);
	CLEANUP_FREE struct vault_ini_text *t = calloc(1, sizeof *t);
	struct building b = {.path = path, .root_fd = -1};
	int err;

	if (!s || !t)
		return -ENOMEM;
	err = open_root(&b);
	/* the key takes its time, in which one may think better of it: before
	 * that is over nothing is made */
	if (!err || (err == -ENOENT && b.root_fd < 0))
		err = compose_ini(opt, s, t);
	if (!err && b.root_fd < 0)
		err = make_root(&b);
	if (!err)
		err = build(&b, t);
	if (err)
		take_back(&b);
	if (b.root_fd >= 0)
		close(b.root_fd);
	return err;
}
