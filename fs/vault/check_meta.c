/* What lies in .frondfs. vault.ini was verified when it was opened. */
#include "check_internal.h"
#include "contacts.h"
#include "envelope.h"
#include "fernet_text.h"
#include "inbox_internal.h"
#include "rekey.h"
#include "seen.h"
#include "text.h"
#include "vlog.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define CUT_OFF_DIR REKEY_JOURNAL_DIR "/kept"

enum {
	HASH_DIGITS = 64,
	RECORD_DIGITS = 32,
	REDO_DIGITS = 24,
};

static void trouble(struct check *c, enum check_fault fault, const char *entry,
		    uint64_t number)
{
	char path[NAME_BACKING_MAX + 64];
	const struct trouble t = {
		.fault = fault, .entry = path, .number = number};

	snprintf(path, sizeof path, NAME_VAULT_DIR "/%s", entry);
	check_trouble(c, &t);
}

static bool has(const struct check *c, const char *name)
{
	struct stat st;

	return fstatat(c->vault->meta_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* 0, or -EBADMSG with the record where the log breaks. */
static int verify_log(struct check *c, uint64_t *number)
{
	enum vlog_fault what = VLOG_FAULT_NONE;
	struct vlog *log = NULL;
	int err;

	*number = 0;
	if (!has(c, "log"))
		return has(c, "log.head") ? -EBADMSG : 0;
	err = vlog_open(c->vault, &log);
	if (!err)
		err = vlog_verify(log, &what, number);
	vlog_close(log);
	return err;
}

/* tgshare's settings come after the identity. */
static bool was_set_up(struct check *c)
{
	struct backing_name backing;
	struct vtree_dir dir;
	struct statx stx;
	bool found;

	if (vtree_open_dir(c->vault, ".tgshare", false, 0, &dir))
		return false;
	found = vtree_stat(c->vault, &dir, "settings.ini", &backing, &stx) == 0;
	vtree_close_dir(&dir);
	return found;
}

static int verify_identity(struct check *c)
{
	struct identity *me = NULL;
	int err = vault_identity(c->vault, false, &me);

	secret_free(me);
	if (err == -ENOENT)
		return was_set_up(c) ? -EBADMSG : 0;
	return err;
}

/* Has name so many digits, and then this ending? */
static bool is_called(const char *name, size_t digits, const char *ending)
{
	return strspn(name, "0123456789abcdef") == digits &&
	       strcmp(name + digits, ending) == 0;
}

/* Longer than any, and nothing but a length perhaps, so that reading it would
 * take for ever? */
static bool is_too_long(int fd, const char *name)
{
	struct stat st;

	return is_called(name, HASH_DIGITS, ".env") && fstat(fd, &st) == 0 &&
	       st.st_size > ENVELOPE_MAX_LEN;
}

/* Is a file what the hash in its name says? Where it is stopped nobody is
 * told. */
static int verify_hash(const struct check *c, int dirfd, const char *name)
{
	CLEANUP_FD int fd = openat(
		dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	uint8_t hash[HASH_DIGITS / 2], wanted[HASH_DIGITS / 2];
	struct workspace *ws = workspace_get();
	crypto_generichash_state st;
	ssize_t n;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!ws || hex_decode(name, HASH_DIGITS, wanted, sizeof wanted))
		return -ENOMEM;
	if (is_too_long(fd, name))
		return -EBADMSG;
	crypto_generichash_init(&st, NULL, 0, sizeof hash);
	while ((n = read(fd, ws->tokens, WORKSPACE_IO_MAX)) != 0) {
		if (check_stopped(c))
			return 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		crypto_generichash_update(&st, ws->tokens, (size_t)n);
	}
	crypto_generichash_final(&st, hash, sizeof hash);
	return memcmp(hash, wanted, sizeof hash) == 0 ? 0 : -EBADMSG;
}

/* Does a record of the inbox open? */
static int verify_record(struct check *c, int dirfd, const char *name)
{
	CLEANUP_SECRET struct fernet_key *seal = secret_alloc(sizeof *seal);
	CLEANUP_SECRET uint8_t *bytes = NULL;
	uint8_t raw[FERNET_KEY_LEN];
	struct inbox in = {.vault = c->vault, .dir_fd = dirfd, .seal = seal};
	size_t len;

	if (!seal)
		return -ENOMEM;
	kdf_subkey(c->vault->keys->master, KDF_SHARING, raw, sizeof raw);
	fernet_key_init(seal, raw);
	sodium_memzero(raw, sizeof raw);
	return inbox_unseal_(&in, name, &bytes, &len);
}

static enum check_fault kind_in_inbox(const char *name)
{
	if (is_called(name, HASH_DIGITS, ".env") ||
	    is_called(name, HASH_DIGITS, ".part"))
		return CHECK_SPOOLED;
	if (is_called(name, RECORD_DIGITS, ".set") ||
	    is_called(name, RECORD_DIGITS, ".grant") ||
	    strcmp(name, "shared.dir") == 0)
		return CHECK_RECORD;
	return CHECK_FAULTS;
}

static int verify_in_inbox(struct check *c, int dirfd, const char *name,
			   enum check_fault kind)
{
	int err = kind == CHECK_SPOOLED ? verify_hash(c, dirfd, name)
					: verify_record(c, dirfd, name);

	return err == -ENOENT ? 0 : err;
}

static int open_meta_dir(const struct check *c, const char *name, int *fd)
{
	*fd = openat(c->vault->meta_fd, name,
		     O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return *fd < 0 ? -errno : 0;
}

static void check_inbox(struct check *c)
{
	CLEANUP_FD int fd = -1;
	CLEANUP_DIR DIR *dir = NULL;
	char path[NAME_BACKING_MAX + 32];
	const struct dirent *e;

	if (open_meta_dir(c, VAULT_INBOX_DIR, &fd) || xio_list(fd, &dir))
		return;
	while (!check_stopped(c) && (e = readdir(dir))) {
		enum check_fault kind = kind_in_inbox(e->d_name);

		if (kind == CHECK_FAULTS ||
		    verify_in_inbox(c, fd, e->d_name, kind) == 0)
			continue;
		snprintf(path, sizeof path, VAULT_INBOX_DIR "/%s", e->d_name);
		trouble(c, kind, path, 0);
	}
}

/* Each entry of a directory, which are all of one kind. */
static void check_left(struct check *c, const char *in, const char *ending,
		       enum check_fault fault)
{
	CLEANUP_FD int fd = -1;
	CLEANUP_DIR DIR *dir = NULL;
	char path[NAME_BACKING_MAX + 32];
	const struct dirent *e;

	if (open_meta_dir(c, in, &fd) || xio_list(fd, &dir))
		return;
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.' ||
		    (ending && !is_called(e->d_name, REDO_DIGITS, ending)))
			continue;
		snprintf(path, sizeof path, "%s/%s", in, e->d_name);
		trouble(c, fault, path, 0);
	}
}

/* Under whatever name somebody, or a service, keeps it. */
static bool is_ini_copy(const struct check *c, const char *name)
{
	CLEANUP_FREE char *text = malloc(VAULT_INI_MAX);
	CLEANUP_FREE struct vault_ini *ini = calloc(1, sizeof *ini);
	unsigned bad_line;
	struct stat st;
	size_t len;

	return text && ini && strcmp(name, VAULT_INI_FILE) != 0 &&
	       fstatat(c->vault->meta_fd, name, &st, AT_SYMLINK_NOFOLLOW) ==
		       0 &&
	       S_ISREG(st.st_mode) &&
	       !xio_read_file(c->vault->meta_fd, name, text, VAULT_INI_MAX,
			      &len) &&
	       !vault_ini_parse(text, len, ini, &bad_line) &&
	       memcmp(ini->id, c->vault->id, VAULT_ID_LEN) == 0;
}

static void check_ini_copies(struct check *c)
{
	CLEANUP_FD int fd = -1;
	CLEANUP_DIR DIR *dir = NULL;
	const struct dirent *e;

	if (open_meta_dir(c, ".", &fd) || xio_list(fd, &dir))
		return;
	while ((e = readdir(dir)))
		if (is_ini_copy(c, e->d_name) ||
		    vault_is_aborted(c->vault, e->d_name))
			trouble(c, CHECK_INI_COPY, e->d_name, 0);
}

void check_meta(struct check *c, void *arg)
{
	uint64_t number;
	int err = verify_log(c, &number);

	(void)arg;
	if (err == -EBADMSG)
		trouble(c, CHECK_LOG, "log", number);
	if (c->opt->compare && seen_vault_ini_look(c->vault) == -ESTALE)
		trouble(c, CHECK_OLD_INI, VAULT_INI_FILE, 0);
	check_ini_copies(c);
	if (verify_identity(c) == -EBADMSG)
		trouble(c, CHECK_IDENTITY, "identity", 0);
	check_inbox(c);
	/* a repair has finished what could be finished */
	check_left(c, REKEY_JOURNAL_DIR, REKEY_SUFFIX,
		   c->opt->repair ? CHECK_STUCK : CHECK_REKEY);
	check_left(c, CUT_OFF_DIR, NULL, CHECK_CUT_OFF);
	/* a mount keeps its own there */
	if (!check_is_live(c))
		check_left(c, VAULT_ORPHANS_DIR, NULL, CHECK_ORPHAN);
}

bool check_meta_is_bad(struct check *c, const struct trouble *t)
{
	const char *name = t->entry + strlen(NAME_VAULT_DIR "/");
	const char *slash = strchr(name, '/');
	CLEANUP_FD int fd = -1;
	uint64_t number;
	struct stat st;

	switch (t->fault) {
	case CHECK_LOG:
		return verify_log(c, &number) == -EBADMSG;
	case CHECK_IDENTITY:
		return verify_identity(c) == -EBADMSG;
	case CHECK_RECORD:
	case CHECK_SPOOLED:
		return open_meta_dir(c, VAULT_INBOX_DIR, &fd) == 0 &&
		       verify_in_inbox(c, fd, slash + 1, t->fault) != 0;
	default:
		return fstatat(c->vault->meta_fd, name, &st,
			       AT_SYMLINK_NOFOLLOW) == 0;
	}
}
