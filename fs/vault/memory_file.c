/* When the chunks of files were sealed. */
#include "memory_internal.h"

#include <errno.h>
#include <string.h>
#include <time.h>

static struct memory_file *new_file(struct memory *m, const uint8_t *id)
{
	struct memory_file *mf = calloc(1, sizeof *mf);

	if (!mf)
		return NULL;
	mf->entry.kind = MEMORY_FILE;
	memcpy(mf->entry.key, id, FILE_ID_LEN);
	mf->memory = m;
	pthread_mutex_init(&mf->lock, NULL);
	return mf;
}

static void free_file(struct memory_file *mf)
{
	pthread_mutex_destroy(&mf->lock);
	free(mf);
}

static int take_file(const uint8_t *body, size_t len, void *out)
{
	return memory_file_parse_(body, len, out);
}

/* Needs mf->lock: nobody uses it before that is there. */
static void recall(struct memory *m, struct memory_file *mf)
{
	uint8_t row[MEMORY_KEY_LEN];

	memory_row_file_(m->keys, mf->entry.key, row);
	pthread_mutex_lock(&m->db_lock);
	/* what cannot be had is not known */
	mf->entry.may_be_kept =
		memory_db_find_(m, MEMORY_FILE, row, take_file, mf) != -ENOENT;
	pthread_mutex_unlock(&m->db_lock);
}

static struct memory_file *find_file(struct memory *m, const uint8_t *id)
{
	struct memory_entry *e;

	pthread_mutex_lock(&m->lock);
	e = memory_table_find_(&m->files, id);
	if (e)
		e->refs++;
	pthread_mutex_unlock(&m->lock);
	return e ? memory_file_of_(e) : NULL;
}

/* Another thread may be the first one. */
static struct memory_file *add_file(struct memory *m, struct memory_file *mf)
{
	struct memory_entry *e;

	pthread_mutex_lock(&m->lock);
	e = memory_table_find_(&m->files, mf->entry.key);
	if (!e && memory_table_add_(&m->files, &mf->entry) == 0)
		e = &mf->entry;
	if (e)
		e->refs++;
	pthread_mutex_unlock(&m->lock);
	return e ? memory_file_of_(e) : NULL;
}

struct memory_file *memory_file_get(struct vault *vault,
				    const uint8_t id[static FILE_ID_LEN],
				    bool made)
{
	struct memory *m = vault->memory;
	struct memory_file *mf, *found;

	if (!m)
		return NULL;
	found = find_file(m, id);
	if (found)
		return found;
	mf = new_file(m, id);
	if (!mf)
		return NULL;
	pthread_mutex_lock(&mf->lock);
	found = add_file(m, mf);
	if (found == mf && !made && m->has_rows[MEMORY_FILE])
		recall(m, mf);
	pthread_mutex_unlock(&mf->lock);
	if (found != mf)
		free_file(mf);
	return found;
}

void memory_file_put(struct vault *vault, struct memory_file *mf)
{
	struct memory *m = vault->memory;

	if (!mf)
		return;
	pthread_mutex_lock(&m->lock);
	memory_unref_(m, &mf->entry);
	pthread_mutex_unlock(&m->lock);
}

/* Needs mf->lock. */
static void set(struct memory_file *mf, uint64_t first, uint64_t last,
		uint64_t sealed_s)
{
	ages_set(&mf->ages, first, last, sealed_s);
	memory_note_(mf->memory, &mf->entry);
}

/*
 * Needs mf->lock. Less is to be known of these: what is kept of the file, or is
 * about to be, must not speak against them if the process dies. A clock that is
 * behind lets nothing be believed then.
 */
static void lower(struct memory_file *mf, uint64_t first, uint64_t last,
		  uint64_t sealed_s)
{
	struct memory *m = mf->memory;
	uint8_t row[MEMORY_KEY_LEN];

	ages_set(&mf->ages, first, last, sealed_s);
	memory_revoke_(m, &mf->entry);
	if (!mf->entry.may_be_kept || m->is_behind)
		return;
	memory_row_file_(m->keys, mf->entry.key, row);
	pthread_mutex_lock(&m->db_lock);
	if (memory_db_drop_(m, MEMORY_FILE, row) == 0)
		mf->entry.may_be_kept = false;
	pthread_mutex_unlock(&m->db_lock);
}

/* Needs mf->lock. What is kept of it says less then, but nothing wrong. */
static bool is_too_much(const struct memory_file *mf)
{
	return !mf->entry.noted && mf->memory->noted >= MEMORY_NOTED_MAX &&
	       !mf->memory->is_behind;
}

void memory_file_stored(struct memory_file *mf, uint64_t first, uint64_t last,
			uint64_t sealed_s)
{
	uint64_t known_s, until;

	if (!mf)
		return;
	pthread_mutex_lock(&mf->lock);
	known_s = ages_at(&mf->ages, first, &until);
	if (!mf->ignored && (known_s != sealed_s || until < last)) {
		/* it was sealed before another that was there meanwhile */
		if (ages_most(&mf->ages, first, last) > sealed_s)
			lower(mf, first, last, sealed_s);
		else if (is_too_much(mf))
			ages_set(&mf->ages, first, last, sealed_s);
		else
			set(mf, first, last, sealed_s);
	}
	pthread_mutex_unlock(&mf->lock);
}

/*
 * What is read in no order at all, of a file that was written in no order,
 * would make a run of each chunk. Half of them are for what is stored.
 */
static void learn(struct memory_file *mf, uint64_t first, uint64_t last,
		  uint64_t sealed_s)
{
	uint64_t until, known_s = ages_at(&mf->ages, first, &until);
	size_t count;

	if (known_s == sealed_s && until >= last)
		return;
	count = ages_count_with(&mf->ages, first, last, sealed_s);
	if (count > AGES_MAX / 2 && count > mf->ages.count)
		return;
	if (!mf->entry.noted && mf->memory->noted >= MEMORY_NOTED_MAX)
		return;
	/* what is sealed from now on is no older than that */
	if (sealed_s > (uint64_t)time(NULL) + MEMORY_AHEAD_MAX_S)
		return;
	vault_pass(mf->memory->vault, sealed_s);
	set(mf, first, last, sealed_s);
}

/* Needs mf->lock. How many of them are no older than what is known; *newer:
 * some is newer. */
static size_t compare(const struct memory_file *mf, uint64_t first,
		      size_t count, const uint64_t *sealed_s, bool *newer)
{
	uint64_t known_s = 0, until = 0;

	for (size_t i = 0; i < count; i++) {
		if (i == 0 || until < first + i)
			known_s = ages_at(&mf->ages, first + i, &until);
		if (sealed_s[i] < known_s)
			return i;
		if (sealed_s[i] > known_s && sealed_s[i] != UINT64_MAX)
			*newer = true;
	}
	return count;
}

/* Needs mf->lock. Of all that is no hole. */
static void learn_all(struct memory_file *mf, uint64_t first, size_t count,
		      const uint64_t *sealed_s)
{
	for (size_t i = 0, end; i < count; i = end) {
		end = i + 1;
		while (end < count && sealed_s[end] == sealed_s[i])
			end++;
		if (sealed_s[i] != UINT64_MAX)
			learn(mf, first + i, first + end - 1, sealed_s[i]);
	}
}

size_t memory_file_judge(struct memory_file *mf, uint64_t first, size_t count,
			 const uint64_t *sealed_s)
{
	bool newer = false;
	size_t good = count;

	if (!mf)
		return count;
	pthread_mutex_lock(&mf->lock);
	if (!mf->ignored)
		good = compare(mf, first, count, sealed_s, &newer);
	if (good < count && mf->memory->accept) {
		lower(mf, first, first + count - 1, 0);
		good = count;
		newer = true;
	}
	if (good == count && newer && !mf->memory->looks)
		learn_all(mf, first, count, sealed_s);
	pthread_mutex_unlock(&mf->lock);
	return good;
}

/*
 * Nothing is known of it from now on; unless it is ignored already, then it
 * stays so. At once, and where the row cannot be written now, when the next is
 * kept.
 */
static void forget(struct vault *vault, const uint8_t *id, bool ignore)
{
	struct memory *m = vault->memory;
	struct memory_file *mf = memory_file_get(vault, id, false);
	uint8_t row[MEMORY_KEY_LEN], body[MEMORY_IGNORED_LEN];

	if (!mf)
		return;
	pthread_mutex_lock(&mf->lock);
	mf->ages.count = 0;
	mf->ignored |= ignore;
	ignore = mf->ignored;
	mf->entry.may_be_kept |= ignore;
	memory_revoke_(m, &mf->entry);
	pthread_mutex_unlock(&mf->lock);
	memory_file_put(vault, mf);
	memory_row_file_(m->keys, id, row);
	memory_ignored_build_(body);
	pthread_mutex_lock(&m->db_lock);
	if (!ignore)
		(void)!memory_db_drop_(m, MEMORY_FILE, row);
	else if (m->db && !m->damaged)
		(void)!memory_db_put_(m, MEMORY_FILE, row, body, sizeof body);
	pthread_mutex_unlock(&m->db_lock);
}

void memory_file_accept(struct vault *vault,
			const uint8_t id[static FILE_ID_LEN])
{
	forget(vault, id, false);
}

void memory_file_ignore(struct vault *vault,
			const uint8_t id[static FILE_ID_LEN])
{
	forget(vault, id, true);
}

void memory_file_gone(struct vault *vault, const uint8_t id[static FILE_ID_LEN])
{
	struct memory *m = vault->memory;
	struct memory_file *mf;

	if (!m || m->noted >= MEMORY_NOTED_MAX)
		return;
	mf = memory_file_get(vault, id, !m->has_rows[MEMORY_FILE]);
	if (!mf)
		return;
	pthread_mutex_lock(&mf->lock);
	mf->ages.count = 0;
	mf->ignored = false;
	mf->entry.version++;
	/* nobody needs to hear of what came and went */
	if (mf->entry.may_be_kept)
		memory_note_(m, &mf->entry);
	else if (atomic_exchange(&mf->entry.noted, false))
		m->noted--;
	pthread_mutex_unlock(&mf->lock);
	memory_file_put(vault, mf);
}
