/* A file of the tree without a header: it had a name before it had bytes. */
#include "journal_recover.h"

#include "bytes.h"
#include "log.h"
#include "vdir.h"
#include "xio.h"

#include <errno.h>
#include <string.h>

enum { EMPTY_LEN = HEADER_LEN + CHUNK_LAST_EXTRA };

/* Its name is one that we make, in its directory. -EBADMSG: it is not. */
static int find_dirid(struct recovery *rec, int dirfd, const char *entry,
		      uint8_t dirid[static DIRID_LEN])
{
	char plain[NAME_PLAIN_MAX + 1];
	int err = vdir_read_id(dirfd, dirid);

	if (!err)
		err = vdir_plain_name(rec->vault, dirfd, dirid, entry, plain);
	return err == -ENOENT ? -EBADMSG : err;
}

/* Header and empty chunk lie within one sector. */
static int make_empty(struct recovery *rec, struct journal_patient *p,
		      const uint8_t dirid[static DIRID_LEN])
{
	uint8_t start[EMPTY_LEN] = {0}, tag[CHUNK_TAG_LEN];
	struct fernet_seal_job job = {.head = tag,
				      .head_len = sizeof tag,
				      .body = tag,
				      .token = start + HEADER_LEN};
	struct header h;
	int err;

	randombytes_buf(h.file_id, sizeof h.file_id);
	randombytes_buf(h.file_key, sizeof h.file_key);
	memcpy(h.dirid, dirid, sizeof h.dirid);
	h.sealed_s = vault_now(rec->vault);
	be64_store(tag, chunk_tag(0, true, CHUNK_HOLES_NONE));
	fernet_key_init(p->key, h.file_key);
	err = header_build(&h, &rec->vault->keys->file_keys, start);
	memcpy(p->file_id, h.file_id, sizeof p->file_id);
	sodium_memzero(&h, sizeof h);
	if (!err)
		err = fernet_seal(p->ws->fernet, p->key, (uint64_t)rec->start_s,
				  &job, 1);
	sodium_memzero(p->key, sizeof *p->key);
	/* first: what it had would be the body of a file by this header */
	if (!err && ftruncate(p->fd, 0) < 0)
		err = -errno;
	return err ? err : xio_pwrite(p->fd, start, sizeof start, 0);
}

/*
 * Nothing in the file tells how old it is, and whoever has the backing
 * directory can cut any. A name that a crash has left without a header lost
 * data, so a process alone that died is no excuse, and is younger than the
 * session. All else stays the damage that it is.
 */
static bool may_be_new(const struct recovery *rec, int fd)
{
	return rec->wholly && !rec->stale && journal_is_born_(rec, fd, false);
}

static int is_new_name(struct recovery *rec, const struct journal_patient *p,
		       int dirfd, const char *entry, const struct stat *st,
		       bool *is, uint8_t dirid[static DIRID_LEN])
{
	uint8_t start[EMPTY_LEN];
	size_t len = st->st_size < EMPTY_LEN ? (size_t)st->st_size : EMPTY_LEN;
	int err;

	*is = false;
	if (!may_be_new(rec, p->fd) || !journal_is_untouched_(rec, st))
		return 0;
	err = xio_pread(p->fd, start, len, 0);
	if (err)
		return err == -ENODATA ? 0 : err;
	if (!bytes_all_zero(start, len) && st->st_size > EMPTY_LEN)
		return 0;
	err = find_dirid(rec, dirfd, entry, dirid);
	*is = !err;
	return err == -EBADMSG ? 0 : err;
}

int journal_treat_nothing_(struct recovery *rec, struct journal_patient *p,
			   int dirfd, const char *entry, const struct stat *st)
{
	uint8_t dirid[DIRID_LEN];
	bool is_new;
	int err = is_new_name(rec, p, dirfd, entry, st, &is_new, dirid);

	if (err)
		return err;
	/* who has its header elsewhere can put it back, and try again */
	if (!is_new) {
		journal_meet_(rec, p, st);
		/* where numbers say nothing, any records may be its */
		if (!rec->same_tree && st->st_size > EMPTY_LEN)
			rec->skipped++;
		return 0;
	}
	/* without a header nobody can read what follows; unless there is a
	 * copy of that one */
	if (!rec->out->look_only)
		err = journal_keep_tail_(rec, p, 0, false);
	if (err == -ENOSPC || err == -EDQUOT) {
		log_warning("%s/%s: its header is lost, and there is no room "
			    "to keep the rest elsewhere: it stays as it is",
			    rec->vault->path, p->path);
		journal_tell_(rec, p, JOURNAL_BEYOND, 0);
		journal_meet_(rec, p, st);
		rec->failed++;
		return 0;
	}
	if (!err && !rec->out->look_only)
		err = make_empty(rec, p, dirid);
	if (!err)
		journal_tell_(rec, p, JOURNAL_EMPTIED, 0);
	return err;
}
