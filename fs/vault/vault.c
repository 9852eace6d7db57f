#include "vault.h"

#include "log.h"
#include "memory.h"
#include "vault_aborted.h"
#include "vault_key.h"
#include "vault_lock.h"
#include "vtree.h"
#include "xio.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static int open_places(const char *path, int *root_fd, int *meta_fd)
{
	CLEANUP_FD int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int meta;

	if (root < 0)
		return -errno;
	meta = openat(root, NAME_VAULT_DIR,
		      O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (meta < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == ELOOP
			       ? -ENOMEDIUM
			       : -errno;
	*root_fd = TAKE_FD(root);
	*meta_fd = meta;
	return 0;
}

static int read_ini(int meta_fd, struct vault_ini_text *t,
		    struct vault_fault *fault)
{
	unsigned line = 0;
	int err = xio_read_file(meta_fd, VAULT_INI_FILE, t->text,
				sizeof t->text, &t->len);

	switch (err) {
	case 0:
		err = vault_ini_parse(t->text, t->len, &t->ini, &line);
		break;
	case -ENOENT:
		return -ENOMEDIUM;
	case -EFBIG:
	case -EINVAL:
	case -ELOOP:
	case -ENXIO:
	case -ENODATA:
		err = -EBADMSG;
		break;
	default:
		return err;
	}
	if (err == -EBADMSG)
		fault->ini_line = line;
	return err;
}

int vault_probe(const char *path, struct vault_ini *ini,
		struct vault_fault *fault)
{
	CLEANUP_FREE struct vault_ini_text *t = calloc(1, sizeof *t);
	CLEANUP_FD int root = -1;
	CLEANUP_FD int meta = -1;
	int err;

	if (!t)
		return -ENOMEM;
	err = open_places(path, &root, &meta);
	if (!err)
		err = read_ini(meta, t, fault);
	if (!err)
		*ini = t->ini;
	return err;
}

/* Read vault.ini and unlock it. */
static int unlock(int meta_fd, const char *passphrase, size_t len,
		  struct vault_ini_text *t, struct vault_secret *s,
		  size_t *slot, struct vault_fault *fault)
{
	int err = read_ini(meta_fd, t, fault);

	if (err)
		return err;
	err = vault_key_unlock(t, passphrase, len, s, slot);
	if (err == -EBADMSG)
		fault->ini_line = 0;
	return err;
}

static int take_keys(struct vault *vault, struct vault_secret *s,
		     size_t key_slots)
{
	int err;

	vault->keys = secret_alloc(sizeof *vault->keys);
	if (!vault->keys)
		return -ENOMEM;
	vault_key_derive(s, vault->keys);
	kdf_subkey(s->master, KDF_NAMES, s->names_key, sizeof s->names_key);
	err = siv_new(s->names_key, &vault->names);
	if (err)
		return err;
	return secret_pool_new(sizeof(struct fernet_key), key_slots,
			       &vault->file_keys);
}

/* Tokens tell when they were made, in front; the seal covers them. */
static uint64_t latest_slot(const struct vault_ini *ini)
{
	enum { HEAD_TEXT = 12, HEAD = 9 };
	uint64_t latest = 0;

	for (size_t i = 0; i < ini->slot_count; i++) {
		uint8_t head[HEAD];
		uint64_t when;

		if (sodium_base642bin(head, sizeof head, ini->slots[i].token,
				      HEAD_TEXT, NULL, NULL, NULL,
				      sodium_base64_VARIANT_URLSAFE) < 0)
			continue;
		when = fernet_timestamp(head);
		latest = when > latest ? when : latest;
	}
	return latest;
}

/* Which vault.ini it is that is at hand. */
static void note_ini(struct vault *vault, const struct vault_ini *ini)
{
	memcpy(vault->seal, ini->mac, sizeof vault->seal);
	vault->sealed_s = latest_slot(ini);
}

static int open_vault(struct vault *vault, const char *path,
		      const char *passphrase, size_t passphrase_len,
		      size_t key_slots, struct vault_fault *fault)
{
	CLEANUP_SECRET struct vault_secret *s = secret_alloc(sizeof *s);
	CLEANUP_FREE struct vault_ini_text *t = calloc(1, sizeof *t);
	size_t slot = 0;
	int err;

	if (!s || !t)
		return -ENOMEM;
	err = open_places(path, &vault->root_fd, &vault->meta_fd);
	if (err)
		return err;
	vault->path = realpath(path, NULL);
	if (!vault->path)
		return -errno;
	err = unlock(vault->meta_fd, passphrase, passphrase_len, t, s, &slot,
		     fault);
	if (err)
		return err;
	vault->version = t->ini.version;
	memcpy(vault->id, t->ini.id, sizeof vault->id);
	note_ini(vault, &t->ini);
	return take_keys(vault, s, key_slots);
}

int vault_open(const char *path, const char *passphrase, size_t passphrase_len,
	       size_t key_slots, struct vault **out, struct vault_fault *fault)
{
	struct vault *vault = calloc(1, sizeof *vault);
	int err;

	if (!vault)
		return -ENOMEM;
	vault->root_fd = vault->meta_fd = -1;
	vault->orphans_fd = vault->lock_fd = -1;
	err = open_vault(vault, path, passphrase, passphrase_len, key_slots,
			 fault);
	if (err) {
		vault_close(vault);
		return err;
	}
	*out = vault;
	return 0;
}

void vault_close(struct vault *vault)
{
	if (!vault)
		return;
	memory_close(vault);
	secret_pool_free(vault->file_keys);
	siv_free(vault->names);
	secret_free(vault->keys);
	cleanup_fd_(&vault->orphans_fd);
	cleanup_fd_(&vault->meta_fd);
	cleanup_fd_(&vault->root_fd);
	cleanup_fd_(&vault->lock_fd);
	free(vault->path);
	free(vault);
}

/* Delete the files that a crash left unlinked but not gone. */
static int clear_orphans(int orphans_fd)
{
	CLEANUP_DIR DIR *dir = NULL;
	const struct dirent *e;
	int err = xio_list(orphans_fd, &dir);

	if (err)
		return err;
	for (errno = 0; (e = readdir(dir)); errno = 0) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (unlinkat(orphans_fd, e->d_name, 0) < 0)
			log_warning("an orphan stays: %s", e->d_name);
	}
	return -errno;
}

int vault_orphans_open(struct vault *vault)
{
	CLEANUP_FD int fd = -1;
	int err;

	if (mkdirat(vault->meta_fd, VAULT_ORPHANS_DIR, 0700) < 0 &&
	    errno != EEXIST)
		return -errno;
	fd = openat(vault->meta_fd, VAULT_ORPHANS_DIR,
		    O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (vault->exclusive) {
		err = clear_orphans(fd);
		if (err)
			return err;
	}
	if (vault->orphans_fd < 0)
		vault->orphans_fd = TAKE_FD(fd);
	/* others may be using the number */
	else if (dup3(fd, vault->orphans_fd, O_CLOEXEC) < 0)
		return -errno;
	return 0;
}

/* As vault_create() makes it. */
static int make_meta(const struct vault *vault, int *out)
{
	CLEANUP_FD int root =
		openat(vault->root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_FD int fd = -1;
	bool made;
	int err;

	/* all is gone, as when a disk is not there that was mounted here */
	if (root < 0 ||
	    faccessat(root, NAME_DIRID_FILE, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	made = mkdirat(root, NAME_VAULT_DIR, 0700) == 0;
	if (!made && errno != EEXIST)
		return -errno;
	fd = openat(root, NAME_VAULT_DIR,
		    O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = made ? vtree_own(vault, fd) : 0;
	/* or what is made durable in it goes with it */
	if (!err && fsync(root) < 0)
		err = -errno;
	if (!err)
		*out = TAKE_FD(fd);
	return err;
}

int vault_find_meta(struct vault *vault)
{
	CLEANUP_FD int fd = -1;
	int err = make_meta(vault, &fd);

	/* before anything is done in there */
	if (!err)
		err = vault_lock_alone_in(vault, fd);
	if (!err && dup3(fd, vault->meta_fd, O_CLOEXEC) < 0)
		err = -errno;
	if (err || vault->orphans_fd < 0)
		return err;
	return vault_orphans_open(vault);
}

bool vault_has_ini(const struct vault *vault)
{
	return faccessat(vault->root_fd, NAME_VAULT_DIR "/" VAULT_INI_FILE,
			 F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
	       (errno != ENOENT && errno != ENOTDIR);
}

/* Replace vault.ini; it stays its owner's when root does it. */
static int write_ini(int meta_fd, const struct vault_ini_text *t)
{
	struct stat st;

	if (fstatat(meta_fd, VAULT_INI_FILE, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return xio_replace_like(meta_fd, VAULT_INI_FILE, t->text, t->len, &st);
}

/* Seal s->master anew, later than all that vault.ini has. */
static int replace_slot(struct vault_ini_text *t, size_t slot,
			const char *passphrase, size_t len,
			struct vault_secret *s)
{
	uint64_t now = (uint64_t)time(NULL), latest = latest_slot(&t->ini);
	unsigned line = 0;
	int err = vault_key_seal(t->ini.id, &t->ini.slots[slot],
				 now > latest ? now : latest + 1, passphrase,
				 len, s);

	if (!err)
		err = vault_ini_format(&t->ini, s->seal_key, t->text, &t->len);
	/* with its new seal */
	return err ? err : vault_ini_parse(t->text, t->len, &t->ini, &line);
}

int vault_change_passphrase(struct vault *vault, const char *old,
			    size_t old_len, const char *replacement,
			    size_t replacement_len, struct vault_fault *fault)
{
	CLEANUP_SECRET struct vault_secret *s = secret_alloc(sizeof *s);
	CLEANUP_FREE struct vault_ini_text *t = calloc(1, sizeof *t);
	CLEANUP_FD int lock = -1;
	size_t slot = 0;
	int err;

	if (!s || !t)
		return -ENOMEM;
	err = vault_lock_ini(vault->meta_fd, &lock);
	if (!err)
		err = unlock(vault->meta_fd, old, old_len, t, s, &slot, fault);
	if (!err && latest_slot(&t->ini) < vault->sealed_s)
		err = -ESTALE;
	if (!err) {
		vault_clear_aborted_locked(vault);
		err = replace_slot(t, slot, replacement, replacement_len, s);
	}
	if (!err)
		err = write_ini(vault->meta_fd, t);
	if (!err)
		note_ini(vault, &t->ini);
	return err;
}

void vault_pass(struct vault *vault, uint64_t seconds)
{
	uint64_t latest = vault->latest_s;

	while (latest < seconds && !atomic_compare_exchange_weak(
					   &vault->latest_s, &latest, seconds))
		;
}

uint64_t vault_now(struct vault *vault)
{
	vault_pass(vault, (uint64_t)time(NULL));
	return vault->latest_s;
}
