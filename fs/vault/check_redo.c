/*
 * Files whose re-keying was interrupted: what is not in its place yet lies in
 * the redo file, and is read from there.
 */
#include "check_internal.h"
#include "rekey.h"
#include "text.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

struct redo {
	struct redo *next;
	int fd;
	struct rekey_record record;
};

static bool is_redo(const char *name)
{
	const size_t digits = 24;

	return strspn(name, "0123456789abcdef") == digits &&
	       strcmp(name + digits, REKEY_SUFFIX) == 0;
}

static int load_one(struct check *c, int dirfd, const char *name)
{
	struct redo *redo = calloc(1, sizeof *redo);
	int err;

	if (!redo)
		return -ENOMEM;
	redo->fd = openat(dirfd, name,
			  O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	err = redo->fd < 0
		      ? -errno
		      : rekey_read_record(c->vault, redo->fd, &redo->record);
	if (!err) {
		redo->next = c->redo;
		c->redo = redo;
		return 0;
	}
	cleanup_fd_(&redo->fd);
	free(redo);
	/* without a record nothing of the file is new */
	return err == -ENOMEM ? err : 0;
}

int check_redo_load(struct check *c)
{
	CLEANUP_FD int dirfd = -1;
	CLEANUP_DIR DIR *dir = NULL;
	const struct dirent *e;
	int err = rekey_open_journal(c->vault, false, &dirfd);

	if (!err)
		err = xio_list(dirfd, &dir);
	while (!err && (e = readdir(dir)))
		if (is_redo(e->d_name))
			err = load_one(c, dirfd, e->d_name);
	return err == -ENOMEM ? err : 0;
}

void check_redo_free(struct redo *redo)
{
	while (redo) {
		struct redo *next = redo->next;

		close(redo->fd);
		sodium_memzero(&redo->record, sizeof redo->record);
		free(redo);
		redo = next;
	}
}

/* Each byte is the old one or the new one, and not all are old. */
static bool is_on_its_way(const struct rekey_record *r, const uint8_t *header)
{
	for (size_t i = 0; i < HEADER_LEN; i++)
		if (header[i] != r->old_header[i] &&
		    header[i] != r->new_header[i])
			return false;
	return memcmp(header, r->old_header, HEADER_LEN) != 0;
}

bool check_redo_header(const struct redo *redo,
		       const uint8_t header[static HEADER_LEN],
		       uint8_t wanted[static HEADER_LEN])
{
	for (; redo; redo = redo->next)
		if (is_on_its_way(&redo->record, header)) {
			memcpy(wanted, redo->record.new_header, HEADER_LEN);
			return true;
		}
	return false;
}

bool check_redo_has(const struct redo *redo,
		    const uint8_t id[static FILE_ID_LEN])
{
	for (; redo; redo = redo->next)
		if (memcmp(redo->record.file_id, id, FILE_ID_LEN) == 0)
			return true;
	return false;
}

int check_redo_chunk(const struct redo *redo,
		     const uint8_t id[static FILE_ID_LEN], const struct slot *s,
		     uint8_t *stored)
{
	for (; redo; redo = redo->next) {
		const struct rekey_record *r = &redo->record;
		uint64_t last = chunk_last_index(r->size);
		struct slot there = slot_of(s->index, r->size);

		if (memcmp(r->file_id, id, FILE_ID_LEN) == 0 &&
		    s->index <= last && there.last == s->last &&
		    there.stored_len == s->stored_len)
			return xio_pread(redo->fd, stored, s->stored_len,
					 (off_t)chunk_offset(s->index));
	}
	return -ENOENT;
}
