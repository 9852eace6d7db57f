/* The content of files: every token. */
#include "check_content.h"

#include "memory.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

enum {
	RUN = WORKSPACE_IO_MAX / CHUNK_SIZE, /* chunks at a time */
	SHARE_FROM = 2 * RUN, /* more than that, and others help */
};

/* What a chunk looked like, and where the file ended. */
static uint64_t digest_of(const struct content *f, const struct slot *s,
			  const uint8_t *stored)
{
	uint64_t digest[2] = {s->index, s->last ? f->size : 0};
	crypto_generichash_state st;

	crypto_generichash_init(&st, NULL, 0, sizeof digest);
	crypto_generichash_update(&st, (const uint8_t *)digest, sizeof digest);
	if (stored)
		crypto_generichash_update(&st, stored, s->stored_len);
	crypto_generichash_final(&st, (uint8_t *)digest, sizeof digest);
	return digest[0];
}

/* CHECK_FAULTS: nothing is wrong. Else what it is that has no good tag. */
static enum check_fault judge(const struct slot *s,
			      const struct fernet_open_job *job,
			      enum chunk_holes *holes, bool can_claim)
{
	uint64_t tag;

	if (job->status || !chunk_fits(job->plaintext, job->plaintext_len,
				       s->plain_len, can_claim && !s->last))
		return CHECK_TOKEN;
	tag = be64_load(job->plaintext);
	if (chunk_tag_check(tag, s->index, s->last, holes) == 0)
		return CHECK_FAULTS;
	return (tag & CHUNK_INDEX_MASK) != s->index ? CHECK_MOVED : CHECK_MARK;
}

/* One token by itself. */
static enum check_fault open_alone(const struct content *f,
				   const struct slot *s, const uint8_t *stored,
				   enum chunk_holes *holes)
{
	uint8_t plain[WORKSPACE_PLAIN_STRIDE];
	struct fernet_open_job job = {
		.token = stored, .token_len = s->token_len, .plaintext = plain};
	struct workspace *ws = workspace_get();
	enum check_fault fault;

	if (!ws)
		return CHECK_TOKEN;
	(void)!fernet_open(ws->fernet, f->key, &job, 1);
	fault = judge(s, &job, holes, f->can_claim);
	sodium_memzero(plain, sizeof plain);
	return fault;
}

/* More about a bad chunk (NULL: zeros). Is it, after all, good? */
static void look_closer(struct check *c, struct content *f,
			const struct slot *s, const uint8_t *stored,
			enum check_fault fault, enum chunk_holes *holes)
{
	struct slot full = {.index = s->index,
			    .plain_len = CHUNK_SIZE,
			    .token_len = CHUNK_TOKEN_LEN};
	uint8_t other[CHUNK_LAST_MAX];
	enum chunk_holes ignored;

	if (c->redo && check_redo_chunk(c->redo, f->id, s, other) == 0 &&
	    slot_padding_is_zero(s, other) &&
	    open_alone(f, s, other, holes) == CHECK_FAULTS)
		return;
	if (stored && s->last && s->stored_len >= CHUNK_TOKEN_LEN &&
	    open_alone(f, &full, stored, &ignored) == CHECK_FAULTS)
		fault = CHECK_CUT;
	content_fault(c, f,
		      &(struct chunk_fault){fault, s->index, s->index,
					    digest_of(f, s, stored)});
}

static bool is_zeroed(const struct slot *s, const uint8_t *stored)
{
	return !s->last && stored[0] == 0 &&
	       bytes_all_zero(stored, s->stored_len);
}

/* Zeros are holes where the file may have some there. */
static void judge_zeroed(struct check *c, struct content *f, uint64_t first,
			 const size_t *at, size_t count)
{
	uint64_t claimed = first;

	for (size_t i = 0, end = 0; i < count; i++) {
		struct slot s = slot_of(first + at[i], f->size);
		enum chunk_holes holes;

		if (i == end) {
			while (++end < count && at[end] == at[end - 1] + 1)
				;
			claimed =
				check_claimed(c, f, s.index, s.index + end - i);
		}
		if (s.index >= claimed)
			look_closer(c, f, &s, NULL, CHECK_ZEROED, &holes);
	}
}

/* Chunks first to first+count-1, as they lie in stored. */
static void verify_run(struct check *c, struct content *f, struct workspace *ws,
		       const uint8_t *stored, uint64_t first, size_t count)
{
	size_t jobs = 0, zeroed = 0, zeroed_at[WORKSPACE_CHUNKS];
	uint64_t sealed_s[WORKSPACE_CHUNKS];
	enum check_fault fault;

	memset(sealed_s, 0xff, sizeof sealed_s);
	for (size_t i = 0; i < count; i++) {
		const uint8_t *p = stored + i * CHUNK_TOKEN_LEN;
		struct slot s = slot_of(first + i, f->size);

		if (is_zeroed(&s, p)) {
			zeroed_at[zeroed++] = i;
			continue;
		}
		ws->open_slot[jobs] = i;
		ws->open[jobs++] = (struct fernet_open_job){
			.token = p,
			.token_len = s.token_len,
			.plaintext = ws->plain + i * WORKSPACE_PLAIN_STRIDE};
	}
	workspace_count_opened(jobs);
	(void)!fernet_open(ws->fernet, f->key, ws->open, jobs);
	for (size_t j = 0; j < jobs; j++) {
		const uint8_t *p = stored + ws->open_slot[j] * CHUNK_TOKEN_LEN;
		struct slot s = slot_of(first + ws->open_slot[j], f->size);
		enum chunk_holes holes = CHUNK_HOLES_NONE;

		fault = judge(&s, &ws->open[j], &holes, f->can_claim);
		if (fault == CHECK_FAULTS && !slot_padding_is_zero(&s, p))
			fault = CHECK_PADDING;
		if (fault != CHECK_FAULTS)
			look_closer(c, f, &s, p, fault, &holes);
		else
			sealed_s[ws->open_slot[j]] = fernet_timestamp(p);
		if (s.last)
			f->holes = holes;
	}
	judge_zeroed(c, f, first, zeroed_at, zeroed);
	content_compare(c, f, first, count, sealed_s);
}

static void read_failed(struct check *c, struct content *f, uint64_t index,
			int err)
{
	enum check_fault fault =
		err == -ENODATA ? CHECK_LENGTH : CHECK_UNREADABLE;

	f->error = err;
	content_fault(c, f, &(struct chunk_fault){fault, index, index, 0});
}

static void read_and_verify(struct check *c, struct content *f, uint64_t first,
			    size_t count)
{
	struct workspace *ws = workspace_get();
	struct slot end = slot_of(first + count - 1, f->size);
	size_t len = (count - 1) * CHUNK_TOKEN_LEN + end.stored_len;
	int err = ws ? xio_pread(f->fd, ws->tokens, len,
				 (off_t)chunk_offset(first))
		     : -ENOMEM;

	if (err == -ENOMEM) {
		check_fail(c, err);
	} else if (!err) {
		verify_run(c, f, ws, ws->tokens, first, count);
		c->bytes += len;
	} else if (count > 1) {
		/* which of them? */
		for (size_t i = 0; i < count; i++)
			read_and_verify(c, f, first + i, 1);
	} else {
		read_failed(c, f, first, err);
	}
}

/* The next chunks that somebody has to read; 0: there are no more. */
static size_t next_run(struct check *c, struct content *f, uint64_t *first)
{
	uint64_t from;
	size_t count;
	off_t data;

	pthread_mutex_lock(&f->lock);
	from = f->next;
	if (f->sparse && from < f->end) {
		data = lseek(f->fd, (off_t)chunk_offset(f->next), SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			f->next = f->end;
		else if (data > (off_t)chunk_offset(f->next))
			f->next = ((uint64_t)data - CHUNK_AREA_OFFSET) /
				  CHUNK_TOKEN_LEN;
		if (f->next > f->end)
			f->next = f->end;
	}
	*first = f->next;
	count = f->end - f->next < RUN ? (size_t)(f->end - f->next) : RUN;
	f->next += count;
	pthread_mutex_unlock(&f->lock);
	if (*first > from)
		from = check_claimed(c, f, from, *first);
	if (*first > from)
		content_fault(c, f,
			      &(struct chunk_fault){CHECK_ZEROED, from,
						    *first - 1, f->size});
	return count;
}

static void verify_rest(struct check *c, struct content *f)
{
	uint64_t first;
	size_t count;

	while (!check_stopped(c) && (count = next_run(c, f, &first)) > 0)
		read_and_verify(c, f, first, count);
}

static int by_place(const void *a, const void *b)
{
	const struct chunk_fault *x = a, *y = b;

	return (x->first > y->first) - (x->first < y->first);
}

/* In order, and neighbours of a kind as one. */
static void tidy_faults(struct content *f)
{
	size_t n = 0;

	if (f->fault_count > 1)
		qsort(f->faults, f->fault_count, sizeof *f->faults, by_place);
	for (size_t i = 1; i < f->fault_count; i++) {
		struct chunk_fault *last = &f->faults[n], *next = &f->faults[i];

		if (last->fault == next->fault &&
		    last->last + 1 == next->first) {
			last->last = next->last;
			last->digest ^= next->digest;
		} else {
			f->faults[++n] = *next;
		}
	}
	if (f->fault_count > 0)
		f->fault_count = n + 1;
}

/* A file that several threads read. */
struct shared_file {
	struct content f;
	atomic_uint refs;
	struct check_dir *dir;
	char *plain;
	char entry[NAME_BACKING_MAX + 1];
};

static void report(struct check *c, struct content *f, struct check_dir *dir,
		   const char *entry, const char *plain)
{
	tidy_faults(f);
	for (size_t i = 0; i < f->fault_count; i++) {
		const struct trouble t = {.fault = f->faults[i].fault,
					  .dir = dir,
					  .entry = (char *)entry,
					  .plain = (char *)plain,
					  .first = f->faults[i].first,
					  .last = f->faults[i].last,
					  .digest = f->faults[i].digest,
					  .error = f->error};

		check_trouble(c, &t);
	}
}

static void shared_unref(struct check *c, struct shared_file *s)
{
	if (atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	if (!check_stopped(c))
		report(c, &s->f, s->dir, s->entry, s->plain);
	content_fini(c, &s->f);
	check_dir_unref(s->dir);
	free(s->plain);
	free(s);
	pthread_mutex_lock(&c->lock);
	c->shared--;
	pthread_mutex_unlock(&c->lock);
}

static void run_shared(struct check *c, void *arg)
{
	struct shared_file *s = arg;

	verify_rest(c, &s->f);
	shared_unref(c, s);
}

/* Let the other threads help, unless they have enough of the kind. */
static bool share(struct check *c, struct content *f, struct check_dir *dir,
		  const char *entry, const char *plain)
{
	struct shared_file *s;
	bool enough;

	pthread_mutex_lock(&c->lock);
	enough = c->shared >= c->jobs;
	c->shared += !enough;
	pthread_mutex_unlock(&c->lock);
	if (enough)
		return false;
	s = calloc(1, sizeof *s);
	if (s && plain)
		s->plain = strdup(plain);
	if (!s || (plain && !s->plain)) {
		free(s);
		check_fail(c, -ENOMEM);
		return false;
	}
	s->f = *f;
	pthread_mutex_init(&s->f.lock, NULL);
	s->dir = check_dir_ref(dir);
	memcpy(s->entry, entry, strlen(entry) + 1);
	s->refs = 1;
	for (unsigned i = 1; i < c->jobs; i++) {
		s->refs++;
		if (check_push(c, run_shared, s)) {
			s->refs--;
			break;
		}
	}
	run_shared(c, s);
	return true;
}

/* The last chunk says whether there may be holes. */
static void verify_last(struct check *c, struct content *f,
			struct workspace *ws)
{
	struct slot s = slot_of(f->last, f->size);
	uint8_t stored[CHUNK_LAST_MAX];
	int err = xio_pread(f->fd, stored, s.stored_len,
			    (off_t)chunk_offset(f->last));

	if (err) {
		read_failed(c, f, f->last, err);
		return;
	}
	verify_run(c, f, ws, stored, f->last, 1);
	c->bytes += s.stored_len;
}

/*
 * All chunks; got bytes of the file are in ws->tokens already. True: the
 * content is somebody else's now.
 */
static bool verify(struct check *c, struct content *f, struct check_dir *dir,
		   const char *entry, const char *plain, size_t got)
{
	struct workspace *ws = workspace_get();
	bool whole =
		got == (size_t)f->st.st_size && !f->odd_length && f->last < RUN;
	uint64_t in_hand = (got - HEADER_LEN) / CHUNK_TOKEN_LEN;

	f->end = f->last + whole;
	if (f->odd_length)
		content_fault(c, f,
			      &(struct chunk_fault){CHECK_LENGTH, f->last,
						    f->last,
						    (uint64_t)f->st.st_size});
	else if (!whole)
		verify_last(c, f, ws);
	f->next = whole || in_hand > f->end ? f->end : in_hand;
	if (f->next > 0)
		verify_run(c, f, ws, ws->tokens + HEADER_LEN, 0,
			   (size_t)f->next);
	c->bytes += whole ? got : HEADER_LEN + f->next * CHUNK_TOKEN_LEN;
	if (f->end > SHARE_FROM && c->jobs > 1 &&
	    share(c, f, dir, entry, plain))
		return true;
	verify_rest(c, f);
	return false;
}

static void open_failed(struct check *c, struct check_dir *dir,
			const char *entry, const char *plain, int err)
{
	struct trouble t = {.fault = CHECK_HEADER,
			    .dir = dir,
			    .entry = (char *)entry,
			    .plain = (char *)plain};

	if (err == -ENOKEY) {
		c->locked++;
	} else if (err == -ENOMEM) {
		check_fail(c, err);
	} else if (err == -EBADMSG) {
		if (check_header_digest(&t, &t.digest) == 0)
			check_trouble(c, &t);
	} else if (err != -ENOENT && err != -ELOOP) {
		check_entry_trouble(c, CHECK_UNREADABLE, dir, entry, plain,
				    err);
	}
}

void check_file(struct check *c, struct check_dir *dir, const char *entry,
		const char *plain, bool own)
{
	struct workspace *ws = workspace_get();
	struct content f;
	size_t got = 0;
	int err;

	if (!ws) {
		check_fail(c, -ENOMEM);
		return;
	}
	err = content_open(c, &f, dir->fd, entry, ws->tokens,
			   RUN * CHUNK_TOKEN_LEN, &got);
	if (err != -ENOENT)
		c->files++;
	if (err) {
		open_failed(c, dir, entry, plain, err);
		content_fini(c, &f);
		return;
	}
	/* what is in the middle of a change of its key is as it was, or newer
	 */
	if (own && !check_redo_has(c->redo, f.id)) {
		f.seen = memory_file_get(c->vault, f.id, false);
		own = check_seen(c, dir, entry, plain, f.born_s, NULL);
	}
	if (own)
		check_twins_meet(c, f.id, &f.st);
	check_hint(c, dir, f.dirid);
	check_xattrs(c, dir, entry, plain, f.fd, f.id);
	if (verify(c, &f, dir, entry, plain, got))
		return;
	if (!check_stopped(c))
		report(c, &f, dir, entry, plain);
	content_fini(c, &f);
}

int check_chunks_again(struct check *c, const struct trouble *t,
		       struct chunk_fault **faults, size_t *count)
{
	uint8_t header[HEADER_LEN];
	struct content f;
	size_t got = 0;
	int err = content_open(c, &f, t->dir->fd, t->entry, header,
			       sizeof header, &got);

	if (!err) {
		if (f.odd_length)
			content_fault(c, &f,
				      &(struct chunk_fault){
					      CHECK_LENGTH, f.last, f.last,
					      (uint64_t)f.st.st_size});
		else if (t->last < f.last)
			read_and_verify(c, &f, f.last, 1);
		/* what is wrong with that one is another trouble */
		f.fault_count = f.odd_length ? f.fault_count : 0;
		f.next = t->first;
		f.end = t->last < f.last + !f.odd_length
				? t->last + 1
				: f.last + !f.odd_length;
		f.sparse = false;
		if (f.next < f.end)
			verify_rest(c, &f);
		tidy_faults(&f);
		*faults = TAKE_PTR(f.faults);
		*count = f.fault_count;
	}
	content_fini(c, &f);
	return err;
}

int check_header_digest(const struct trouble *t, uint64_t *digest)
{
	CLEANUP_FD int fd =
		openat(t->dir->fd, t->entry,
		       O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	uint8_t bytes[HEADER_LEN + 16] = {0};
	uint64_t sum[2];
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || pread(fd, bytes, HEADER_LEN, 0) < 0)
		return -errno;
	be64_store(bytes + HEADER_LEN, (uint64_t)st.st_size);
	be64_store(bytes + HEADER_LEN + 8, st.st_ino);
	crypto_generichash((uint8_t *)sum, sizeof sum, bytes, sizeof bytes,
			   NULL, 0);
	*digest = sum[0];
	return 0;
}

bool check_is_chunk_fault(enum check_fault fault)
{
	return fault <= CHECK_LENGTH;
}
