/* Which files are on their way to another key? */
#include "rekey.h"

#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

bool rekey_is_redo(const char *name)
{
	const size_t digits = 24;

	return strspn(name, "0123456789abcdef") == digits &&
	       strcmp(name + digits, REKEY_SUFFIX) == 0;
}

static int list_one(struct vault *vault, int journal_fd, const char *name,
		    uint8_t id[static FILE_ID_LEN])
{
	CLEANUP_FREE struct rekey_record *r = calloc(1, sizeof *r);
	CLEANUP_FD int fd =
		openat(journal_fd, name,
		       O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	int err = fd < 0 ? -errno : 0;

	if (!r)
		return -ENOMEM;
	if (!err)
		err = rekey_read_record(vault, fd, r);
	if (!err)
		memcpy(id, r->file_id, FILE_ID_LEN);
	return err;
}

int rekey_list_pending(struct vault *vault, uint8_t (**ids)[FILE_ID_LEN],
		       size_t *count)
{
	CLEANUP_FREE uint8_t(*list)[FILE_ID_LEN] = NULL;
	CLEANUP_DIR DIR *dir = NULL;
	CLEANUP_FD int fd = -1;
	const struct dirent *e;
	bool hidden = false;
	size_t n = 0;
	int err = rekey_open_journal(vault, false, &fd);

	if (!err)
		err = xio_list(fd, &dir);
	while (!err && (e = readdir(dir))) {
		uint8_t(*more)[FILE_ID_LEN];

		if (!rekey_is_redo(e->d_name))
			continue;
		more = realloc(list, (n + 1) * sizeof *more);
		if (!more)
			return -ENOMEM;
		list = more;
		err = list_one(vault, fd, e->d_name, list[n]);
		n += err == 0;
		hidden |= err && err != -EBADMSG && err != -ENOENT;
		/* without a record nothing of the file is new */
		if (err != -ENOMEM)
			err = 0;
	}
	if (err && err != -ENOENT)
		return err;
	*ids = TAKE_PTR(list);
	*count = n;
	return hidden ? -EBUSY : 0;
}

bool rekey_is_pending(struct vault *vault)
{
	CLEANUP_DIR DIR *dir = NULL;
	const struct dirent *e;
	bool found = false;
	int fd = -1;

	if (rekey_open_journal(vault, false, &fd) != 0)
		return false;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return false;
	}
	while (!found && (e = readdir(dir)))
		found = rekey_is_redo(e->d_name);
	return found;
}
