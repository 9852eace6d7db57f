/* What the journal holds of each file, and where. */
#include "journal_internal.h"

#include "chunk.h"
#include "clock.h"
#include "log.h"
#include "xio.h"

#include <errno.h>
#include <string.h>

#define NO_CHUNK UINT64_MAX

enum { ROOM_MIN = 64, LINGER_MS = 2000, READ_TRIES = 3 };

static size_t bucket_of(dev_t dev, ino_t ino)
{
	uint64_t h = ((uint64_t)ino ^ (uint64_t)dev << 32) *
		     UINT64_C(0x9e3779b97f4a7c15);

	return (size_t)(h >> 40) % JOURNAL_BUCKETS;
}

static struct journal_file *find_locked(struct journal *j, dev_t dev, ino_t ino)
{
	struct journal_file *jf = j->files[bucket_of(dev, ino)];

	while (jf && (jf->ino != ino || jf->dev != dev))
		jf = jf->next;
	return jf;
}

struct journal_file *journal_find_(struct journal *j, dev_t dev, ino_t ino)
{
	struct journal_file *jf;

	if (j->known == 0)
		return NULL;
	pthread_mutex_lock(&j->files_lock);
	jf = find_locked(j, dev, ino);
	if (jf)
		jf->refs++;
	pthread_mutex_unlock(&j->files_lock);
	return jf;
}

static void file_free(struct journal_file *jf)
{
	if (!jf)
		return;
	if (jf->owns_fd)
		close(jf->fd);
	pthread_mutex_destroy(&jf->applying);
	pthread_mutex_destroy(&jf->sync_lock);
	pthread_rwlock_destroy(&jf->lock);
	free(jf->slots);
	free(jf);
}

static struct journal_file *file_new(struct journal *j, int fd,
				     const uint8_t *id, uint64_t size)
{
	struct journal_file *jf = calloc(1, sizeof *jf);
	pthread_rwlockattr_t attr;

	if (!jf)
		return NULL;
	jf->journal = j;
	jf->fd = fd;
	jf->refs = 1;
	jf->size = size;
	memcpy(jf->id, id, sizeof jf->id);
	pthread_mutex_init(&jf->applying, NULL);
	pthread_mutex_init(&jf->sync_lock, NULL);
	pthread_rwlockattr_init(&attr);
	/* readers that follow one another must not keep writers out */
	pthread_rwlockattr_setkind_np(
		&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&jf->lock, &attr);
	pthread_rwlockattr_destroy(&attr);
	return jf;
}

size_t journal_count_fds(struct vault *vault)
{
	return vault->journal ? vault->journal->owned : 0;
}

bool journal_spare_fds(struct vault *vault)
{
	struct journal *j = vault->journal;
	size_t before;

	if (!j || j->known == 0)
		return false;
	before = j->known;
	(void)!journal_retire_(j, true, false, NULL);
	(void)journal_sweep_(j, true);
	return j->known < before;
}

int journal_get_(struct journal *j, int fd,
		 const uint8_t id[static FILE_ID_LEN], uint64_t size,
		 bool may_wait, struct journal_file **out)
{
	struct journal_file *jf, *have;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	have = journal_find_(j, st.st_dev, st.st_ino);
	if (have) {
		*out = have;
		return 0;
	}
	if (may_wait && j->owned >= j->owned_max + j->failing)
		(void)journal_spare_fds(j->vault);
	jf = file_new(j, fd, id, size);
	if (!jf)
		return -ENOMEM;
	jf->dev = st.st_dev;
	jf->ino = st.st_ino;
	jf->used_ms = clock_now_ms();
	pthread_mutex_lock(&j->files_lock);
	have = find_locked(j, st.st_dev, st.st_ino);
	if (have) {
		have->refs++;
	} else {
		struct journal_file **head =
			&j->files[bucket_of(st.st_dev, st.st_ino)];

		jf->next = *head;
		*head = jf;
		j->known = ++j->file_count;
	}
	pthread_mutex_unlock(&j->files_lock);
	if (have)
		file_free(jf);
	*out = have ? have : jf;
	return 0;
}

void journal_put_back_(struct journal_file *jf)
{
	struct journal *j;
	bool last;

	if (!jf)
		return;
	j = jf->journal;
	pthread_mutex_lock(&j->files_lock);
	last = --jf->refs == 0;
	pthread_mutex_unlock(&j->files_lock);
	if (last)
		journal_wake_(j, false);
}

bool journal_take_fd_(struct journal_file *jf, int fd)
{
	if (!jf || jf->fd != fd)
		return false;
	pthread_mutex_lock(&jf->journal->files_lock);
	jf->owns_fd = true;
	jf->journal->owned++;
	pthread_mutex_unlock(&jf->journal->files_lock);
	return true;
}

struct journal_file **journal_all_(struct journal *j)
{
	struct journal_file **all;
	size_t n = 0;

	pthread_mutex_lock(&j->files_lock);
	all = calloc(j->file_count + 1, sizeof(struct journal_file *));
	for (size_t b = 0; all && b < JOURNAL_BUCKETS; b++)
		for (struct journal_file *jf = j->files[b]; jf; jf = jf->next) {
			jf->refs++;
			all[n++] = jf;
		}
	pthread_mutex_unlock(&j->files_lock);
	return all;
}

static bool is_unsynced(const struct journal_file *jf)
{
	return jf->durable != jf->changed;
}

/* Is anything still to become of it, with records there or without? */
static bool is_unfinished(const struct journal_file *jf, bool records)
{
	return jf->count > 0 || jf->tail || jf->flux ||
	       (records && (jf->lost || is_unsynced(jf)));
}

/*
 * Whoever has just asked for the length in place may ask next what the journal
 * says, and must not find it gone: it lingers a little.
 */
static bool is_of_use(struct journal_file *jf, bool records, bool all,
		      int64_t now)
{
	if (jf->refs > 0 || is_unfinished(jf, records)) {
		jf->used_ms = now;
		return true;
	}
	return !all && now - jf->used_ms < LINGER_MS;
}

bool journal_has_records_(struct journal *j)
{
	bool any;

	pthread_mutex_lock(&j->append_lock);
	any = !journal_is_empty_(&j->seg[0]) || !journal_is_empty_(&j->seg[1]);
	pthread_mutex_unlock(&j->append_lock);
	return any;
}

bool journal_sweep_(struct journal *j, bool all)
{
	struct journal_file *gone = NULL, *jf;
	uint64_t appended = j->appended;
	bool records = journal_has_records_(j), left = false;
	size_t closed = 0, failing = 0, kept = 0;
	int64_t now = clock_now_ms();

	if (j->known == 0)
		return false;
	pthread_mutex_lock(&j->files_lock);
	/* some may have come since */
	records = records || j->appended != appended;
	for (size_t b = 0; b < JOURNAL_BUCKETS; b++) {
		struct journal_file **link = &j->files[b];

		while ((jf = *link)) {
			if (is_of_use(jf, records, all, now)) {
				failing += jf->failing != 0;
				kept += jf->failing ? jf->count : 0;
				closed += jf->refs == 0 && !jf->failing;
				left = left || (jf->refs == 0 && !jf->flux);
				link = &jf->next;
				continue;
			}
			*link = jf->next;
			jf->next = gone;
			gone = jf;
			/* in this order: journal_is_quiet() */
			j->swept_ms = now;
			j->known = --j->file_count;
			j->owned -= jf->owns_fd;
		}
	}
	j->closed = closed;
	j->failing = failing;
	j->kept = kept;
	pthread_mutex_unlock(&j->files_lock);
	while ((jf = gone)) {
		gone = jf->next;
		file_free(jf);
	}
	return left;
}

void journal_forget_files_(struct journal *j)
{
	for (size_t b = 0; b < JOURNAL_BUCKETS; b++) {
		struct journal_file **link = &j->files[b], *jf;

		while ((jf = *link)) {
			if (jf->refs > 0) {
				link = &jf->next;
				continue;
			}
			*link = jf->next;
			file_free(jf);
		}
	}
}

static size_t home_of(uint64_t chunk, size_t room)
{
	return (size_t)(chunk * UINT64_C(0x9e3779b97f4a7c15) >> 32) &
	       (room - 1);
}

/* The chunk's slot, or the free one where it belongs; there is one. */
static struct journal_entry *slot_for(struct journal_entry *slots, size_t room,
				      uint64_t chunk)
{
	size_t i = home_of(chunk, room);

	while (slots[i].chunk != NO_CHUNK && slots[i].chunk != chunk)
		i = (i + 1) & (room - 1);
	return &slots[i];
}

struct journal_entry *journal_entry_(struct journal_file *jf, uint64_t chunk)
{
	struct journal_entry *e;

	if (jf->count == 0)
		return NULL;
	e = slot_for(jf->slots, jf->room, chunk);
	return e->chunk == chunk ? e : NULL;
}

/* Who reads count without the lock must not see the table half moved. */
int journal_reserve_(struct journal_file *jf, size_t more)
{
	size_t need = (jf->count + more) * 2, room = jf->room;
	struct journal_entry *slots;

	if (need <= room)
		return 0;
	if (room == 0)
		room = ROOM_MIN;
	while (room < need)
		room *= 2;
	slots = malloc(room * sizeof *slots);
	if (!slots)
		return -ENOMEM;
	for (size_t i = 0; i < room; i++)
		slots[i].chunk = NO_CHUNK;
	for (size_t i = 0; i < jf->room; i++)
		if (jf->slots[i].chunk != NO_CHUNK)
			*slot_for(slots, room, jf->slots[i].chunk) =
				jf->slots[i];
	free(jf->slots);
	jf->slots = slots;
	jf->room = room;
	return 0;
}

void journal_trim_(struct journal_file *jf)
{
	if (jf->count > 0 || jf->room <= ROOM_MIN)
		return;
	free(jf->slots);
	jf->slots = NULL;
	jf->room = 0;
}

void journal_enter_(struct journal_file *jf, const struct journal_entry *e)
{
	struct journal_entry *slot = slot_for(jf->slots, jf->room, e->chunk);

	if (slot->chunk == NO_CHUNK) {
		jf->count++;
		jf->journal->pending++;
	}
	*slot = *e;
}

/* Linear probing without tombstones: those behind may have to move up. */
void journal_drop_(struct journal_file *jf, uint64_t chunk)
{
	struct journal_entry *e = journal_entry_(jf, chunk);
	size_t mask = jf->room - 1, hole, i;

	if (!e)
		return;
	hole = i = (size_t)(e - jf->slots);
	for (;;) {
		size_t home;

		i = (i + 1) & mask;
		if (jf->slots[i].chunk == NO_CHUNK)
			break;
		home = home_of(jf->slots[i].chunk, jf->room);
		if (((i - home) & mask) >= ((i - hole) & mask)) {
			jf->slots[hole] = jf->slots[i];
			hole = i;
		}
	}
	jf->slots[hole].chunk = NO_CHUNK;
	jf->count--;
	jf->journal->pending--;
}

void journal_drop_range_(struct journal_file *jf, uint64_t first, uint64_t last)
{
	for (size_t i = 0; jf->count > 0 && i < jf->room;) {
		uint64_t chunk = jf->slots[i].chunk;

		if (chunk != NO_CHUNK && chunk >= first && chunk <= last) {
			/* and another may have moved here */
			journal_drop_(jf, chunk);
		} else {
			i++;
		}
	}
}

void journal_forget_(struct journal_file *jf, uint64_t first, uint64_t last)
{
	pthread_rwlock_wrlock(&jf->lock);
	journal_drop_range_(jf, first, last);
	pthread_rwlock_unlock(&jf->lock);
}

/* Like pread until the end of the file; what is missing is zeros. */
static int read_some(int fd, uint8_t *buf, size_t len, off_t offset,
		     size_t *have)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n =
			pread(fd, buf + done, len - done, offset + (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	memset(buf + done, 0, len - done);
	*have = done;
	return 0;
}

/* How many chunks from i on lie one after the other in the same segment. */
static size_t run_len(struct journal_file *jf, const struct journal_entry *e,
		      uint64_t chunk, size_t max, size_t *bytes)
{
	size_t n = 1;

	*bytes = e->len;
	while (n < max) {
		const struct journal_entry *next =
			journal_entry_(jf, chunk + n);

		if (!next || next->segment != e->segment ||
		    next->offset != e->offset + *bytes)
			break;
		*bytes += next->len;
		n++;
	}
	return n;
}

/* Needs the lock. */
static int read_chunks(struct journal_file *jf, uint8_t *buf, uint64_t first,
		       size_t count, size_t len, size_t have)
{
	const struct journal *j = jf->journal;
	size_t n;

	for (size_t i = 0; i < count; i += n) {
		const struct journal_entry *e = journal_entry_(jf, first + i);
		size_t at = i * CHUNK_TOKEN_LEN, bytes;
		int err;

		n = 1;
		if (!e) {
			size_t end =
				i + 1 == count ? len : at + CHUNK_TOKEN_LEN;

			/* punched where the file does not reach yet */
			if (end > have && !jf->tail)
				return -ENODATA;
			continue;
		}
		if (e->segment == JOURNAL_NOWHERE)
			return -EIO;
		n = run_len(jf, e, first + i, count - i, &bytes);
		if (at + bytes > len)
			bytes = len - at;
		err = xio_pread(j->seg[e->segment].fd, buf + at, bytes,
				(off_t)e->offset);
		if (err)
			return err;
	}
	return 0;
}

int journal_read_(struct journal_file *jf, int fd, uint8_t *buf, uint64_t first,
		  size_t count, size_t len)
{
	size_t have = 0;
	int err;

	/* A disk can take its time, and who appends a record waits for the
	 * lock, and everybody for him. */
	for (int tries = 0; tries < READ_TRIES; tries++) {
		uint64_t drained = jf->drained;
		bool same;

		err = read_some(fd, buf, len, (off_t)chunk_offset(first),
				&have);
		if (err)
			return err;
		pthread_rwlock_rdlock(&jf->lock);
		same = jf->drained == drained;
		if (same)
			err = read_chunks(jf, buf, first, count, len, have);
		pthread_rwlock_unlock(&jf->lock);
		if (same)
			return err;
		/* what had an entry may have got there just now */
	}
	pthread_rwlock_rdlock(&jf->lock);
	err = read_some(fd, buf, len, (off_t)chunk_offset(first), &have);
	if (!err)
		err = read_chunks(jf, buf, first, count, len, have);
	pthread_rwlock_unlock(&jf->lock);
	return err;
}

bool journal_is_quiet(struct vault *vault)
{
	struct journal *j = vault->journal;

	return !j || clock_now_ms() - j->swept_ms > LINGER_MS;
}

bool journal_size(struct vault *vault, dev_t dev, ino_t ino, uint64_t *size)
{
	struct journal *j = vault->journal;
	struct journal_file *jf = j ? journal_find_(j, dev, ino) : NULL;

	if (!jf)
		return false;
	*size = jf->size;
	journal_put_back_(jf);
	return true;
}
