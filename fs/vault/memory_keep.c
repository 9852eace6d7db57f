/* Marking what will be durable, and keeping it when it is. */
#include "memory_internal.h"

#include "log.h"

#include <errno.h>
#include <string.h>

enum { ROOM_FIRST = 64, BYTES_FIRST = 4096, BATCH = 4096 };

void memory_note_(struct memory *m, struct memory_entry *e)
{
	e->version++;
	if (!atomic_exchange(&e->noted, true))
		m->noted++;
}

void memory_revoke_(struct memory *m, struct memory_entry *e)
{
	memory_note_(m, e);
	e->revoked = e->version;
}

void memory_marks_fini_(struct memory *m)
{
	free(m->marks.list);
	free(m->marks.bytes);
	m->marks = (struct memory_marks){0};
}

/* Needs keep_lock. */
static void drop_marks(struct memory *m)
{
	pthread_mutex_lock(&m->lock);
	for (size_t i = 0; i < m->marks.count; i++)
		memory_unref_(m, m->marks.list[i].entry);
	pthread_mutex_unlock(&m->lock);
	memory_marks_fini_(m);
}

/* Room for len bytes; NULL: there is none. */
static uint8_t *more_bytes(struct memory_marks *marks, size_t len)
{
	size_t room = marks->bytes_room ? marks->bytes_room : BYTES_FIRST;
	uint8_t *bytes;

	while (room - marks->bytes_len < len)
		room *= 2;
	if (room > marks->bytes_room) {
		bytes = realloc(marks->bytes, room);
		if (!bytes)
			return NULL;
		marks->bytes = bytes;
		marks->bytes_room = room;
	}
	marks->bytes_len += len;
	return marks->bytes + marks->bytes_len - len;
}

static struct memory_marked *more_marks(struct memory_marks *marks)
{
	size_t room = marks->room ? 2 * marks->room : ROOM_FIRST;
	struct memory_marked *list;

	if (marks->count < marks->room)
		return &marks->list[marks->count];
	list = realloc(marks->list, room * sizeof *list);
	if (!list)
		return NULL;
	marks->list = list;
	marks->room = room;
	return &marks->list[marks->count];
}

/* Needs m->lock. What finds no room is not marked, and stays noted. */
static void mark_one(void *arg, struct memory_entry *e)
{
	struct memory *m = arg;
	struct memory_marked *marked;

	if (!e->noted)
		return;
	marked = more_marks(&m->marks);
	if (!marked) {
		m->marks.incomplete = true;
		return;
	}
	*marked = (struct memory_marked){.entry = e};
	e->may_be_kept = true;
	m->marks.count++;
	e->refs++;
}

/* Needs m->lock: only spots that nobody has marked are in the table. */
static void mark_spot(void *arg, struct memory_entry *e)
{
	struct memory *m = arg;
	struct memory_spot *spot = memory_spot_of_(e);

	if (memory_table_find_(&m->gone, spot->parent)) {
		memory_table_remove_(&m->places, e);
		m->noted--;
		free(spot);
		return;
	}
	mark_one(m, e);
}

/* What it is like now. */
static int write_down(struct memory *m, struct memory_marked *marked)
{
	struct memory_marks *marks = &m->marks;
	struct memory_left *left;
	struct memory_file *mf;
	uint8_t *out;

	marked->version = marked->entry->version;
	if (marked->entry->kind == MEMORY_PLACE) {
		left = &memory_spot_of_(marked->entry)->left;
		memcpy(marked->row, marked->entry->key, MEMORY_KEY_LEN);
		if (!left->left_s)
			return 0;
		out = more_bytes(marks, MEMORY_LEFT_LEN);
		marked->len = out ? memory_left_build_(left, out) : 0;
	} else {
		mf = memory_file_of_(marked->entry);
		memory_row_file_(m->keys, mf->entry.key, marked->row);
		if (!memory_file_len_(mf))
			return 0;
		out = more_bytes(marks, memory_file_len_(mf));
		if (out) {
			memory_file_build_(mf, out);
			marked->len = memory_file_len_(mf);
		}
	}
	marked->at = out ? (size_t)(out - marks->bytes) : 0;
	return out ? 0 : -ENOMEM;
}

static void write_down_all(struct memory *m)
{
	for (size_t i = 0; i < m->marks.count; i++) {
		struct memory_marked *marked = &m->marks.list[i];
		pthread_mutex_t *lock =
			marked->entry->kind == MEMORY_FILE
				? &memory_file_of_(marked->entry)->lock
				: &m->lock;

		pthread_mutex_lock(lock);
		if (write_down(m, marked)) {
			marked->lost = true;
			m->marks.incomplete = true;
		}
		pthread_mutex_unlock(lock);
	}
}

static void free_gone(struct memory_entry *e)
{
	free(e);
}

void memory_mark(struct vault *vault)
{
	struct memory *m = vault->memory;

	if (!m)
		return;
	pthread_mutex_lock(&m->keep_lock);
	drop_marks(m);
	m->marks.doubts = m->doubts;
	pthread_mutex_lock(&m->lock);
	memory_table_each_(&m->files, mark_one, m);
	memory_table_each_(&m->places, mark_spot, m);
	memory_table_fini_(&m->gone, free_gone);
	pthread_mutex_unlock(&m->lock);
	write_down_all(m);
	pthread_mutex_unlock(&m->keep_lock);
}

static int by_row(const void *a, const void *b)
{
	return memcmp(((const struct memory_marked *)a)->row,
		      ((const struct memory_marked *)b)->row, MEMORY_KEY_LEN);
}

/*
 * A place that was left may have been taken since, and left again: if the power
 * fails now, what was marked may speak against what the disk has kept. So it is
 * with a file of which less is known since.
 */
static bool is_revoked(const struct memory_marked *marked)
{
	return marked->entry->revoked > marked->version;
}

/* That several have its id is true at any time. */
static int write_revoked(struct memory *m, const struct memory_marked *marked)
{
	const struct memory_entry *e = marked->entry;
	uint8_t body[MEMORY_IGNORED_LEN];

	if (e->kind != MEMORY_FILE || !memory_file_of_(marked->entry)->ignored)
		return memory_db_drop_(m, e->kind, marked->row);
	memory_ignored_build_(body);
	return memory_db_put_(m, e->kind, marked->row, body, sizeof body);
}

static int write_row(struct memory *m, const struct memory_marked *marked)
{
	enum memory_kind kind = marked->entry->kind;

	if (marked->lost)
		return 0;
	if (is_revoked(marked))
		return write_revoked(m, marked);
	if (!marked->len)
		return memory_db_drop_(m, kind, marked->row);
	return memory_db_put_(m, kind, marked->row, m->marks.bytes + marked->at,
			      marked->len);
}

/* What is known then is not in doubt any more, but for what came since. */
static int write_end(struct memory *m)
{
	bool doubt = m->marks.incomplete || m->doubts != m->marks.doubts;
	int err = m->forgets_places ? memory_db_forget_places_(m) : 0;

	if (!err)
		err = memory_db_settle_(m);
	return err ? err : memory_db_doubt_(m, doubt);
}

/* Needs db_lock. */
static int write_batch(struct memory *m, size_t from, size_t to)
{
	int err = memory_db_begin_(m);

	if (err)
		return err;
	for (size_t i = from; i < to && !err; i++)
		err = write_row(m, &m->marks.list[i]);
	/* no row is newer than the newest time that is known */
	if (!err)
		err = to == m->marks.count ? write_end(m)
					   : memory_db_doubt_(m, m->doubted);
	return memory_db_end_(m, err);
}

/*
 * A few thousand at a time, so that nobody who opens a file waits for long. One
 * row without the next does no harm: each is true.
 */
static int write_marks(struct memory *m)
{
	size_t from = 0, to;
	int err;

	do {
		to = m->marks.count - from > BATCH ? from + BATCH
						   : m->marks.count;
		pthread_mutex_lock(&m->db_lock);
		err = write_batch(m, from, to);
		pthread_mutex_unlock(&m->db_lock);
		from = to;
	} while (!err && to < m->marks.count);
	if (!err)
		m->forgets_places = false;
	return err;
}

/* Another process had it, or it is damaged. */
static int get_ready(struct memory *m)
{
	int err = 0;
	bool anew;

	pthread_mutex_lock(&m->db_lock);
	if (!m->db)
		err = memory_db_open_(m);
	anew = err == -EBADMSG || m->damaged;
	if (m->damaged)
		err = memory_db_anew_(m);
	pthread_mutex_unlock(&m->db_lock);
	if (!anew || (err && err != -EBADMSG))
		return err;
	log_warning("%s: what this machine remembered of its files was "
		    "damaged; it begins anew",
		    m->vault->path);
	return 0;
}

static bool has_to_write(struct memory *m)
{
	bool has;

	pthread_mutex_lock(&m->db_lock);
	has = m->marks.count || !m->db || m->damaged || m->doubted;
	pthread_mutex_unlock(&m->db_lock);
	return has || m->forgets_places;
}

static int keep_marks(struct memory *m)
{
	int err = get_ready(m);

	if (!err)
		err = write_marks(m);
	/* so it turned out only now */
	if (err == -EBADMSG) {
		err = get_ready(m);
		if (!err)
			err = write_marks(m);
	}
	return err;
}

/* They are kept; unless they have changed since. */
static void settle_marks(struct memory *m)
{
	for (size_t i = 0; i < m->marks.count; i++) {
		const struct memory_marked *marked = &m->marks.list[i];
		struct memory_entry *e = marked->entry;
		pthread_mutex_t *lock = e->kind == MEMORY_FILE
						? &memory_file_of_(e)->lock
						: &m->lock;

		pthread_mutex_lock(lock);
		if (!marked->lost && e->version == marked->version &&
		    atomic_exchange(&e->noted, false))
			m->noted--;
		pthread_mutex_unlock(lock);
	}
}

int memory_keep(struct vault *vault)
{
	struct memory *m = vault->memory;
	int err = 0;

	if (!m)
		return 0;
	pthread_mutex_lock(&m->keep_lock);
	if (m->marks.count)
		qsort(m->marks.list, m->marks.count, sizeof *m->marks.list,
		      by_row);
	if (has_to_write(m))
		err = keep_marks(m);
	if (!err)
		settle_marks(m);
	drop_marks(m);
	pthread_mutex_unlock(&m->keep_lock);
	return err;
}
