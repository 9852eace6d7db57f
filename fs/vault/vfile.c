#include "vfile_internal.h"

#include "bytes.h"
#include "clock.h"
#include "log.h"
#include "random.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

enum {
	EMPTY_LEN = HEADER_LEN + CHUNK_LAST_EXTRA,
	FRESH_S = 3,
	COARSE_S = 2, /* FAT counts so many seconds */
};

int64_t vfile_age_clock_(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

static uint64_t next_generation(void)
{
	static _Atomic uint64_t last;

	return ++last;
}

uint64_t vfile_generation(const struct vfile *f)
{
	return f->generation;
}

int vfile_new_(struct vault *vault, struct vfile **out)
{
	struct vfile *f = calloc(1, sizeof *f);

	if (!f)
		return -ENOMEM;
	f->vault = vault;
	f->changing = vault->shared;
	f->fd = -1;
	f->key = secret_pool_get(vault->file_keys);
	if (!f->key) {
		free(f);
		return -ENFILE;
	}
	f->generation = next_generation();
	rangelock_init(&f->ranges);
	pthread_rwlock_init(&f->key_lock, NULL);
	pthread_mutex_init(&f->marks_lock, NULL);
	pthread_mutex_init(&f->sync_lock, NULL);
	pthread_mutex_init(&f->fill_lock, NULL);
	/* another vfile may have written the file, and was closed since */
	f->written = 1;
	*out = f;
	return 0;
}

void vfile_close(struct vfile *f)
{
	if (!f)
		return;
	vfile_journal_close_(f);
	memory_file_put(f->vault, f->memory);
	if (f->fd >= 0)
		close(f->fd);
	secret_pool_put(f->vault->file_keys, f->key);
	gaps_fini(&f->gaps);
	gaps_fini(&f->zeroed);
	gaps_fini(&f->loose);
	pthread_mutex_destroy(&f->marks_lock);
	pthread_mutex_destroy(&f->sync_lock);
	pthread_mutex_destroy(&f->fill_lock);
	pthread_rwlock_destroy(&f->key_lock);
	rangelock_fini(&f->ranges);
	free(f);
}

/* Take in what the header says; wipes it. */
static void adopt_header(struct vfile *f, const uint8_t *bytes,
			 struct header *h)
{
	memcpy(f->header, bytes, sizeof f->header);
	memcpy(f->id, h->file_id, sizeof f->id);
	fernet_key_init(f->key, h->file_key);
	sodium_memzero(h, sizeof *h);
}

int vfile_lock_backing_(int fd, short type)
{
	struct flock fl = {.l_type = type,
			   .l_whence = SEEK_SET,
			   .l_start = VFILE_LOCK_REQUEST,
			   .l_len = 1};
	int ret;

	do {
		ret = fcntl(fd, F_OFD_SETLKW, &fl);
	} while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : 0;
}

static void unlock_backing(struct vfile *f)
{
	int err = vfile_lock_backing_(f->fd, F_UNLCK);

	/* Closing the descriptor will let go of it. */
	if (err)
		log_warning("cannot unlock a backing file: %s", strerror(-err));
}

/* What lies on another file system is not looked for after a crash. */
static struct journal *journal_for(const struct vault *vault,
				   const struct stat *st)
{
	struct journal *j = vault->shared ? NULL : vault->journal;

	return j && j->dev == st->st_dev ? j : NULL;
}

/* Else what is kept of it may be newer than what a power failure leaves. */
static bool is_made_durable(const struct vfile *f)
{
	return f->journal || !f->vault->journal;
}

/* Somebody may have changed it who had no journal, and it may not have got
 * further than the page cache. */
uint64_t vfile_floor_(struct vfile *f)
{
	if (f->found == 0 || f->found_s > f->journal->durable_s)
		return f->floor;
	pthread_mutex_lock(&f->marks_lock);
	if (f->cuts == 0 && f->floor < f->found)
		f->floor = f->found;
	f->found = 0;
	pthread_mutex_unlock(&f->marks_lock);
	return f->floor;
}

/* Length and header; in a shared vault the lock is held. */
static int read_start(struct vfile *f, bool judged)
{
	uint8_t start[HEADER_LEN], plain[CHUNK_SIZE];
	struct workspace *ws;
	struct header h;
	struct stat st;
	uint64_t size;
	int err;

	if (fstat(f->fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EBADMSG;
	f->journal = journal_for(f->vault, &st);
	err = vfile_journal_open_(f, &st, &size);
	if (err)
		return err;
	err = xio_pread(f->fd, start, HEADER_LEN, 0);
	if (err)
		return err == -ENODATA ? -EBADMSG : err;
	err = header_parse(start, &f->vault->keys->file_keys, &h);
	if (err)
		return err;
	adopt_header(f, start, &h);
	f->size = size;
	/* others write a shared one all the time */
	if (judged && !f->changing && is_made_durable(f))
		f->memory = memory_file_get(f->vault, f->id, false);
	if (f->journal && !f->jf) {
		f->found_s = st.st_ctim.tv_sec + COARSE_S;
		f->found = size;
	}
	vfile_catch_up_(f, &st);
	if (size > 0)
		return 0;
	/* Nothing of an empty file is ever read, so a cut to this length has
	 * to be noticed now, and that it was empty long ago. */
	ws = workspace_get();
	return ws ? vfile_load_chunk_(f, ws, 0, plain) : -ENOMEM;
}

/* In a shared vault, without the lock: a length in the middle of another's
 * write. */
static int read_start_locked(struct vfile *f, bool judged)
{
	int err = f->changing ? vfile_lock_backing_(f->fd, F_RDLCK) : 0;

	if (err)
		return err;
	err = read_start(f, judged);
	if (f->changing)
		unlock_backing(f);
	return err;
}

static int open_file(struct vault *vault, int fd, bool writable, bool judged,
		     struct vfile **out)
{
	unsigned tries = 0;
	struct vfile *f;
	int err = vfile_new_(vault, &f);

	if (err)
		return err;
	f->fd = fd;
	f->writable = writable;
	do {
		err = read_start_locked(f, judged);
		if (!err) {
			*out = f;
			return 0;
		}
		err = vfile_again_(f, &tries, err);
	} while (!err);
	f->fd = -1;
	vfile_close(f);
	return err;
}

int vfile_open(struct vault *vault, int fd, bool writable, struct vfile **out)
{
	return open_file(vault, fd, writable, true, out);
}

int vfile_open_unjudged(struct vault *vault, int fd, bool writable,
			struct vfile **out)
{
	return open_file(vault, fd, writable, false, out);
}

/* Header and empty last chunk of a new file. */
static int build_empty(struct vfile *f, struct workspace *ws,
		       const uint8_t dirid[static DIRID_LEN],
		       const uint8_t file_id[static FILE_ID_LEN],
		       uint8_t out[static EMPTY_LEN])
{
	struct header h;
	uint8_t tag[CHUNK_TAG_LEN];
	struct fernet_seal_job job = {.head = tag,
				      .head_len = sizeof tag,
				      .body = tag,
				      .token = out + HEADER_LEN};
	int err;

	memcpy(h.file_id, file_id, sizeof h.file_id);
	random_bytes(h.file_key, sizeof h.file_key);
	memcpy(h.dirid, dirid, sizeof h.dirid);
	h.sealed_s = vault_now(f->vault);
	err = header_build(&h, &f->vault->keys->file_keys, out);
	adopt_header(f, out, &h);
	if (err)
		return err;
	memset(out + HEADER_LEN, 0, EMPTY_LEN - HEADER_LEN);
	be64_store(tag, chunk_tag(0, true, CHUNK_HOLES_NONE));
	return fernet_seal(ws->fernet, f->key, vault_now(f->vault), &job, 1);
}

int vfile_link_in_(int dirfd, const char *temp, const struct backing_name *name)
{
	int err = vdir_long_name_put(dirfd, name);

	if (err)
		return err;
	return vdir_rename_exclusive(dirfd, temp, dirfd, name->entry);
}

/* Writing by others than root takes set-id bits away: put them back. */
static int restore_set_id(int fd, mode_t mode)
{
	struct stat st;

	if (!(mode & (S_ISUID | S_ISGID)))
		return 0;
	if (fstat(fd, &st) < 0 ||
	    fchmod(fd, (st.st_mode & 01777) | (mode & 06000)) < 0)
		return -errno;
	return 0;
}

static int create_aside(struct vfile *f, int dirfd, const char *temp,
			const uint8_t *empty, mode_t mode)
{
	int err;

	f->fd = openat(dirfd, temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
		       mode);
	if (f->fd < 0)
		return -errno;
	err = xio_pwrite(f->fd, empty, EMPTY_LEN, 0);
	return err ? err : restore_set_id(f->fd, mode);
}

int vfile_create(struct vault *vault, int dirfd,
		 const uint8_t dirid[static DIRID_LEN],
		 const struct backing_name *name, mode_t mode,
		 struct vfile **out)
{
	uint8_t file_id[FILE_ID_LEN];

	random_bytes(file_id, sizeof file_id);
	return vfile_create_as(vault, dirfd, dirid, name, mode, file_id, out);
}

int vfile_create_as(struct vault *vault, int dirfd,
		    const uint8_t dirid[static DIRID_LEN],
		    const struct backing_name *name, mode_t mode,
		    const uint8_t file_id[static FILE_ID_LEN],
		    struct vfile **out)
{
	struct workspace *ws = workspace_get();
	uint8_t empty[EMPTY_LEN];
	struct stat st;
	char temp[64];
	struct vfile *f;
	int err;

	if (!ws)
		return -ENOMEM;
	err = vfile_new_(vault, &f);
	if (err)
		return err;
	xio_temp_name(NAME_TEMP_PREFIX, temp, sizeof temp);
	err = build_empty(f, ws, dirid, file_id, empty);
	if (!err)
		err = create_aside(f, dirfd, temp, empty, mode);
	if (!err)
		err = vfile_link_in_(dirfd, temp, name);
	if (err) {
		if (f->fd >= 0)
			unlinkat(dirfd, temp, 0);
		vfile_close(f);
		return err;
	}
	vdir_long_name_keep(dirfd, name);
	f->writable = true;
	f->holes_known = true;
	if (vault->journal && fstat(f->fd, &st) == 0)
		f->journal = journal_for(vault, &st);
	if (f->journal)
		journal_mind_clock_(f->journal);
	f->made = true;
	f->made_ms = vfile_age_clock_();
	if (is_made_durable(f))
		f->memory = memory_file_get(vault, f->id, true);
	memory_file_stored(f->memory, 0, AGES_END,
			   fernet_timestamp(empty + HEADER_LEN));
	*out = f;
	return 0;
}

bool vfile_writable(const struct vfile *f)
{
	return f->writable;
}

void vfile_make_writable(struct vfile *f, int fd)
{
	struct range r;
	int ret;

	rangelock_acquire(&f->ranges, &r, 0, RANGE_END, true);
	/* The number stays, for whoever has it from vfile_fd(). */
	do {
		ret = dup3(fd, f->fd, O_CLOEXEC);
	} while (ret < 0 && (errno == EINTR || errno == EBUSY));
	if (ret >= 0)
		f->writable = true;
	rangelock_release(&f->ranges, &r);
	close(fd);
}

int vfile_fd(const struct vfile *f)
{
	return f->fd;
}

const uint8_t *vfile_id(const struct vfile *f)
{
	return f->id;
}

uint64_t vfile_born_s(const struct vfile *f)
{
	return header_sealed_s(f->header);
}

uint64_t vfile_size(const struct vfile *f)
{
	return f->size;
}

int vfile_key(struct vfile *f, uint8_t key[static FERNET_KEY_LEN])
{
	struct range r;
	int err = vfile_drain(f); /* for whoever is given the key */

	if (!err)
		err = vfile_begin_(f, &r, 0, RANGE_END, false);
	if (err)
		return err;
	memcpy(key, f->key->key, FERNET_KEY_LEN);
	vfile_end_(f, &r);
	return 0;
}

void vfile_header_digest(const struct vfile *f, uint8_t digest[static 32])
{
	crypto_generichash(digest, 32, f->header, sizeof f->header, NULL, 0);
}

int vfile_sync(struct vfile *f, bool data_only)
{
	return vfile_sync_for(f, data_only, NULL);
}

int vfile_sync_for(struct vfile *f, bool data_only, _Atomic uint64_t *told)
{
	int ret;

	if (f->journal)
		return vfile_sync_journaled_(f, data_only, told);
	ret = data_only ? fdatasync(f->fd) : fsync(f->fd);
	return ret < 0 ? -errno : 0;
}

/*
 * Has the file been given another key? A granted one is lost then, any other
 * gets it if adopt is set, else -ESTALE.
 */
static int check_header(struct vfile *f, bool adopt)
{
	uint8_t bytes[HEADER_LEN], id[FILE_ID_LEN];
	struct header h;
	bool locked;
	int err = xio_pread(f->fd, bytes, sizeof bytes, 0);

	if (err)
		return err == -ENODATA ? -EBADMSG : err;
	if (memcmp(bytes, f->header, sizeof bytes) == 0)
		return 0;
	if (!f->granted && !adopt)
		return -ESTALE;
	err = header_probe(bytes, id, &locked);
	if (err)
		return err;
	if (memcmp(id, f->id, sizeof id) != 0)
		return -EBADMSG;
	if (f->granted)
		return -EKEYREVOKED;
	err = header_parse(bytes, &f->vault->keys->file_keys, &h);
	if (!err)
		adopt_header(f, bytes, &h);
	return err;
}

/* Has it changed a moment ago? */
static bool is_fresh(const struct stat *st)
{
	return time(NULL) - st->st_ctim.tv_sec <= FRESH_S;
}

/* Others may have changed everything since the last request. */
static int look_again(struct vfile *f, bool adopt)
{
	struct stat st;
	uint64_t size;
	int err;

	if (fstat(f->fd, &st) < 0)
		return -errno;
	err = chunk_shown_len((uint64_t)st.st_size, &size);
	if (!err)
		err = check_header(f, adopt);
	if (err)
		return err;
	if (f->looked_size && f->looked_size != size)
		f->moved_ms = clock_now_ms();
	f->looked_size = size;
	f->fresh = f->granted && is_fresh(&st);
	f->size = size;
	pthread_mutex_lock(&f->marks_lock);
	f->holes_known = false;
	pthread_mutex_unlock(&f->marks_lock);
	return 0;
}

/*
 * The backing file's lock is the descriptor's, not the thread's, and length,
 * key and marks may change: only one request at a time.
 */
static int begin_changing(struct vfile *f, struct range *r, bool exclusive,
			  bool adopt)
{
	int err = 0;

	rangelock_acquire(&f->ranges, r, 0, RANGE_END, true);
	if (!f->granted)
		err = vfile_lock_backing_(f->fd, exclusive ? F_WRLCK : F_RDLCK);
	if (err) {
		rangelock_release(&f->ranges, r);
		return err;
	}
	err = look_again(f, adopt);
	if (err)
		vfile_end_(f, r);
	return err;
}

int vfile_begin_(struct vfile *f, struct range *r, uint64_t first,
		 uint64_t last, bool exclusive)
{
	int err;

	if (!f->changing) {
		rangelock_acquire(&f->ranges, r, first, last, exclusive);
		if (exclusive)
			f->generation = next_generation();
		return 0;
	}
	err = begin_changing(f, r, exclusive, false);
	if (err != -ESTALE || f->granted)
		return err;
	/* Another mount has given the file another key, or has died of it:
	 * then it is not whole until that is finished. */
	err = vault_rekey_finish(f->vault);
	if (err)
		log_warning("interrupted re-keyings stay so: %s",
			    strerror(-err));
	return begin_changing(f, r, exclusive, true);
}

void vfile_end_(struct vfile *f, struct range *r)
{
	if (f->changing && !f->granted)
		unlock_backing(f);
	rangelock_release(&f->ranges, r);
}
