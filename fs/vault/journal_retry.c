/* Sessions whose records could not all be brought to their place: once more. */
#include "journal_recover.h"

#include "rekey.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

struct kept {
	uint64_t start_s;
	bool over;
	bool tried; /* by a mount; the file's mode tells */
	char name[JOURNAL_KEPT_LEN + 1];
};

static int by_start(const void *a, const void *b)
{
	const struct kept *x = a, *y = b;

	return x->start_s < y->start_s ? -1 : x->start_s > y->start_s;
}

/* One that cannot be read is tried first, and fails. */
static void look_into(struct vault *vault, int fd, struct kept *k)
{
	struct journal_session s;
	CLEANUP_FREE uint8_t(*ids)[FILE_ID_LEN] = NULL;
	struct stat st;
	size_t count;

	k->start_s = 0;
	k->over = false;
	k->tried = fstatat(fd, k->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		   !(st.st_mode & S_IWUSR);
	if (journal_kept_read_(vault, fd, k->name, &s, &ids, &count) != 0)
		return;
	k->start_s = s.start_s;
	k->over = journal_kept_is_over_(vault, &s);
}

static int list_kept(struct vault *vault, struct kept **out, size_t *count)
{
	CLEANUP_DIR DIR *dir = NULL;
	CLEANUP_FD int fd = -1;
	const struct dirent *e;
	int err = rekey_open_journal(vault, false, &fd);

	if (!err)
		err = xio_list(fd, &dir);
	while (!err && (e = readdir(dir))) {
		struct kept *more;

		if (!journal_is_kept_name_(e->d_name))
			continue;
		more = realloc(*out, (*count + 1) * sizeof *more);
		if (!more)
			return -ENOMEM;
		*out = more;
		more += (*count)++;
		memcpy(more->name, e->d_name, sizeof more->name);
		look_into(vault, fd, more);
	}
	if (*count > 1)
		qsort(*out, *count, sizeof **out, by_start);
	return err == -ENOENT ? 0 : err;
}

static bool is_gone(struct vault *vault, const char *name)
{
	CLEANUP_FD int fd = -1;

	return rekey_open_journal(vault, false, &fd) == 0 &&
	       faccessat(fd, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0 &&
	       errno == ENOENT;
}

/* Each try looks at every file of the vault: not with every mount. */
static void mark_tried(struct vault *vault, const char *name)
{
	CLEANUP_FD int fd = -1;

	if (rekey_open_journal(vault, false, &fd) == 0)
		(void)!fchmodat(fd, name, 0400, 0);
}

int journal_retry(struct vault *vault, struct journal_recovery *r,
		  void (*kept)(void *arg, const char *name, bool finished))
{
	CLEANUP_FREE struct kept *list = NULL;
	size_t count = 0;
	int err = list_kept(vault, &list, &count);

	if (!r->look_only && !vault->exclusive)
		return -EINVAL;
	for (size_t i = 0; i < count && !err; i++) {
		if (r->once && list[i].tried)
			continue;
		if (!r->look_only)
			err = list[i].over ? journal_remove_kept_(vault,
								  list[i].name)
					   : journal_recover_one_(
						     vault, list[i].name, r);
		/* what is kept stays */
		if (err != -ENOMEM)
			err = 0;
		if (r->once)
			mark_tried(vault, list[i].name);
		if (kept)
			kept(r->arg, list[i].name,
			     is_gone(vault, list[i].name));
	}
	return err;
}
