/*
 * Bob's vault with its inbox, people who send him things, and what they send,
 * for the tests of fs/vault/inbox*.c.
 */
#ifndef FROND_INBOX_FIXTURE_H
#define FROND_INBOX_FIXTURE_H

#include "vault_fixture.h"

#include "inbox.h"
#include "sealed.h"
#include "text.h"
#include "vlog.h"
#include "xio.h"

#include <time.h>

enum { IX_FILES_MAX = 600, IX_PART = 40000 };

struct ix {
	struct fixture *fx;
	struct identity *me, *alice, *carol;
	struct vlog *log;
	struct inbox *in;
	int spool; /* .frondfs/inbox */
	int changes;
	char last_change[8200];
};

/* Bytes that are on their way. */
struct ix_blob {
	uint8_t *bytes;
	size_t len;
};

struct ix_file {
	const char *path;
	size_t size;
	bool is_dir;
};

struct ix_spec {
	const struct identity *from; /* NULL: alice */
	const char *name;
	const struct ix_file *files; /* NULL: one of name and size */
	size_t file_count, size;
	bool folder;
	unsigned k, n;
	uint64_t expires_s;
	unsigned direct; /* mask; 0: all */
	bool no_content;
	/* a grant: */
	uint8_t kind; /* 0: MANIFEST_SEND */
	const char *backing_path;
	const uint8_t *vault_id, *file_id, *key, *replaces;
	const uint8_t *set_id; /* NULL: any */
	/* lies: */
	bool wrong_secret; /* the commitment to it */
	bool wrong_size;   /* announces one chunk less than was sealed */
	size_t liar; /* file + 1 whose bytes were altered before hashing */
};

struct ix_set {
	uint8_t set_id[SET_ID_LEN];
	uint8_t secret[FERNET_KEY_LEN];
	struct manifest m;
	struct slip39_share shares[SLIP39_SHARES_MAX];
	struct ix_blob manifest, share[SLIP39_SHARES_MAX + 1]; /* from 1 */
	struct ix_blob *parts;
	size_t part_count;
};

static inline uint8_t ix_byte(size_t file, size_t at)
{
	return (uint8_t)(at * 31 + at / 253 + file * 7 + 1);
}

static inline struct identity *ix_person(void)
{
	struct identity *id = secret_alloc(sizeof *id);
	uint8_t seed[IDENTITY_SEED_LEN];

	assert_non_null(id);
	randombytes_buf(seed, sizeof seed);
	identity_from_seed(seed, id);
	return id;
}

static inline void ix_changed(void *arg, const char *parent, const char *name)
{
	struct ix *ix = arg;

	ix->changes++;
	snprintf(ix->last_change, sizeof ix->last_change, "%s/%s", parent,
		 name);
}

static inline void ix_open(struct ix *ix)
{
	const struct inbox_events events = {ix_changed, ix};

	assert_int_equal(vlog_open(ix->fx->vault, &ix->log), 0);
	assert_int_equal(inbox_open(ix->fx->vault, ix->log, &events, &ix->in),
			 0);
}

static inline void ix_close(struct ix *ix)
{
	inbox_close(ix->in);
	vlog_close(ix->log);
	ix->in = NULL;
	ix->log = NULL;
}

static inline void ix_reopen(struct ix *ix)
{
	ix_close(ix);
	ix_open(ix);
}

/* A file of the vault, as a program would write it. */
static inline void ix_put_file(struct vault *vault, const char *dir_path,
			       const char *name, const void *bytes, size_t len)
{
	const struct vfile_write w = {.data = bytes, .len = len};
	struct vtree_dir dir;
	struct backing_name backing;
	struct vfile *f = NULL;
	uint64_t bad = 0;

	assert_int_equal(vtree_open_dir(vault, dir_path, true, 0700, &dir), 0);
	assert_int_equal(
		name_encode(vault->names, dir.id, name, strlen(name), &backing),
		0);
	unlinkat(dir.fd, backing.entry, 0);
	assert_int_equal(
		vfile_create(vault, dir.fd, dir.id, &backing, 0600, &f), 0);
	assert_int_equal(vfile_write(f, workspace_get(), &w, &bad), 0);
	vfile_close(f);
	vtree_close_dir(&dir);
}

static inline void ix_card_text(const struct identity *id, const char *name,
				char text[CARD_TEXT_MAX])
{
	struct card card = {.pub = id->pub};
	struct statement st = {.kind = STATEMENT_CARD, .sender = id->pub};
	uint8_t signature[IDENTITY_SIGNATURE_LEN];

	snprintf(card.name, sizeof card.name, "%s", name);
	assert_int_equal(card_digest(&card, st.digest), 0);
	assert_int_equal(statement_sign(&st, id, signature), 0);
	assert_int_equal(card_format(&card, signature, text), 0);
}

static inline void ix_befriend(struct ix *ix, const struct identity *id,
			       const char *name)
{
	char text[CARD_TEXT_MAX], file[CARD_NAME_MAX + 8];

	ix_card_text(id, name, text);
	snprintf(file, sizeof file, "%s.card", name);
	ix_put_file(ix->fx->vault, CONTACTS_DIR, file, text, strlen(text));
}

static inline int ix_setup(void **state)
{
	struct ix *ix = calloc(1, sizeof *ix);
	void *fx = NULL;

	if (!ix || fx_setup(&fx))
		return -1;
	ix->fx = fx;
	if (vault_identity(ix->fx->vault, true, &ix->me))
		return -1;
	ix->alice = ix_person();
	ix->carol = ix_person();
	ix_befriend(ix, ix->alice, "alice");
	ix_open(ix);
	ix->spool = openat(ix->fx->vault->meta_fd, VAULT_INBOX_DIR,
			   O_RDONLY | O_DIRECTORY);
	*state = ix;
	return ix->spool < 0 ? -1 : 0;
}

static inline int ix_teardown(void **state)
{
	struct ix *ix = *state;
	void *fx = ix->fx;

	ix_close(ix);
	close(ix->spool);
	secret_free(ix->me);
	secret_free(ix->alice);
	secret_free(ix->carol);
	free(ix);
	return fx_teardown(&fx);
}

static inline struct ix_blob
ix_seal_at(const struct ix *ix, const struct identity *from, uint8_t kind,
	   unsigned index, const uint8_t *set_id, const void *payload,
	   size_t len, uint64_t created_s)
{
	struct statement st = {.kind = kind,
			       .index = (uint8_t)index,
			       .sender = from->pub,
			       .recipient = ix->me->pub,
			       .created_s = created_s};
	uint8_t signature[IDENTITY_SIGNATURE_LEN];
	struct ix_blob b = {0};

	memcpy(st.set_id, set_id, SET_ID_LEN);
	statement_digest(payload, len, st.digest);
	assert_int_equal(statement_sign(&st, from, signature), 0);
	assert_int_equal(
		envelope_seal(&st, signature, payload, len, &b.bytes, &b.len),
		0);
	return b;
}

static inline struct ix_blob ix_seal(const struct ix *ix,
				     const struct identity *from, uint8_t kind,
				     unsigned index, const uint8_t *set_id,
				     const void *payload, size_t len)
{
	return ix_seal_at(ix, from, kind, index, set_id, payload, len,
			  (uint64_t)time(NULL));
}

struct ix_pour {
	size_t file, at;
	uint8_t *out;
	size_t len;
};

static inline int ix_give(void *arg, void *buf, size_t len)
{
	struct ix_pour *p = arg;

	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = ix_byte(p->file, p->at++);
	return 0;
}

static inline int ix_collect(void *arg, const void *buf, size_t len)
{
	struct ix_pour *p = arg;

	memcpy(p->out + p->len, buf, len);
	p->len += len;
	return 0;
}

static inline void ix_cut(struct ix_set *s, struct manifest_entry *e,
			  const uint8_t *bytes, size_t len)
{
	e->part_count = (len + IX_PART - 1) / IX_PART;
	e->parts = calloc(e->part_count, sizeof *e->parts);
	s->parts = reallocarray(s->parts, s->part_count + e->part_count,
				sizeof *s->parts);
	assert_true(e->parts && s->parts);
	for (size_t i = 0; i < e->part_count; i++) {
		size_t at = i * IX_PART;
		size_t n = len - at < IX_PART ? len - at : IX_PART;
		struct ix_blob *part = &s->parts[s->part_count++];

		part->bytes = malloc(n);
		part->len = n;
		assert_non_null(part->bytes);
		memcpy(part->bytes, bytes + at, n);
		e->parts[i].len = n;
		envelope_hash(bytes + at, n, e->parts[i].hash);
	}
}

static inline void ix_seal_key(const uint8_t *secret, const uint8_t *key,
			       struct manifest_entry *e)
{
	struct fernet_key *k = secret_alloc(sizeof *k);
	struct fernet_seal_job job = {.head = e->file_id,
				      .head_len = FILE_ID_LEN,
				      .body = key,
				      .body_len = FERNET_KEY_LEN,
				      .token = e->key_token};

	fernet_key_init(k, secret);
	assert_int_equal(fernet_seal(workspace_get()->fernet, k, 1000, &job, 1),
			 0);
	e->has_key_token = true;
	secret_free(k);
}

/* Seal one file's content and announce it. */
static inline void ix_add_content(struct ix_set *s, const struct ix_spec *spec,
				  struct manifest_entry *e, size_t file,
				  const uint8_t *key)
{
	struct ix_pour in = {.file = file}, out = {0};
	const struct sealed_source from = {ix_give, &in};
	const struct sealed_sink to = {ix_collect, &out};

	out.out = malloc(chunk_backing_len(e->size));
	assert_non_null(out.out);
	assert_int_equal(
		sealed_write(e->file_id, key, e->size, &from, &to, NULL), 0);
	if (spec->liar == file + 1)
		out.out[out.len / 2] ^= 1;
	if (spec->wrong_size) {
		e->size -= CHUNK_SIZE;
		out.len = chunk_backing_len(e->size);
	}
	ix_cut(s, e, out.out, out.len);
	free(out.out);
}

static inline void ix_add_file(struct ix_set *s, const struct ix_spec *spec,
			       size_t i, const struct ix_file *f, bool shared)
{
	struct manifest_entry *e = &s->m.entries[i];
	uint8_t key[FERNET_KEY_LEN];

	e->type = f->is_dir ? MANIFEST_DIR : MANIFEST_FILE;
	e->path = strdup(f->path);
	e->mtime_s = 1700000000 + (int64_t)i;
	e->mtime_ns = 5000;
	e->mode = f->is_dir ? 0755 : 0644;
	if (f->is_dir)
		return;
	e->size = f->size;
	randombytes_buf(e->file_id, FILE_ID_LEN);
	randombytes_buf(key, sizeof key);
	if (spec->file_id)
		memcpy(e->file_id, spec->file_id, FILE_ID_LEN);
	if (!shared)
		memcpy(key, s->secret, sizeof key);
	else
		ix_seal_key(s->secret, key, e);
	if (s->m.kind == MANIFEST_GRANT)
		e->backing_path = strdup(spec->backing_path);
	else
		ix_add_content(s, spec, e, i, key);
}

static inline void ix_split(struct ix_set *s, const struct ix_spec *spec)
{
	uint8_t packed[SLIP39_PACKED_LEN];
	static const char *const holders[] = {"bob", "carol", "dave"};

	assert_int_equal(slip39_split(s->secret, s->m.k, s->m.n, s->shares), 0);
	manifest_commit_secret(s->m.nonce, s->set_id, s->secret,
			       s->m.secret_commitment);
	if (spec->wrong_secret)
		s->m.secret_commitment[3] ^= 1;
	for (unsigned i = 0; i < s->m.n; i++) {
		slip39_pack(&s->shares[i], packed);
		manifest_commit_share(s->m.nonce, s->set_id, i + 1, packed,
				      s->m.shares[i].commitment);
		snprintf(s->m.shares[i].holder, sizeof s->m.shares[i].holder,
			 "%s", holders[i % 3]);
		s->m.shares[i].direct =
			spec->direct ? spec->direct >> i & 1 : true;
	}
}

static inline void ix_wrap(const struct ix *ix, struct ix_set *s,
			   const struct identity *from)
{
	uint8_t packed[SLIP39_PACKED_LEN], *bytes = NULL;
	size_t len = 0;

	assert_int_equal(manifest_encode(&s->m, &bytes, &len), 0);
	s->manifest =
		ix_seal(ix, from, STATEMENT_MANIFEST, 0, s->set_id, bytes, len);
	free(bytes);
	for (unsigned i = 0; i < s->m.n; i++) {
		slip39_pack(&s->shares[i], packed);
		s->share[i + 1] = ix_seal(ix, from, STATEMENT_SHARE, i + 1,
					  s->set_id, packed, sizeof packed);
	}
}

/* A set for bob, ready to be delivered. */
static inline struct ix_set *ix_make(const struct ix *ix,
				     const struct ix_spec *spec)
{
	const struct ix_file one = {spec->name, spec->size, false};
	const struct ix_file *files = spec->files ? spec->files : &one;
	size_t count = spec->files ? spec->file_count : 1;
	struct ix_set *s = calloc(1, sizeof *s);

	assert_non_null(s);
	randombytes_buf(s->set_id, sizeof s->set_id);
	if (spec->set_id)
		memcpy(s->set_id, spec->set_id, sizeof s->set_id);
	randombytes_buf(s->secret, sizeof s->secret);
	randombytes_buf(s->m.nonce, sizeof s->m.nonce);
	if (spec->key)
		memcpy(s->secret, spec->key, sizeof s->secret);
	s->m.kind = spec->kind ? spec->kind : MANIFEST_SEND;
	s->m.k = (uint8_t)spec->k;
	s->m.n = (uint8_t)spec->n;
	s->m.expires_s = spec->expires_s;
	s->m.folder = spec->folder;
	s->m.no_content = spec->no_content;
	if (spec->vault_id)
		memcpy(s->m.vault_id, spec->vault_id, sizeof s->m.vault_id);
	if (spec->replaces)
		memcpy(s->m.replaces, spec->replaces, SET_ID_LEN);
	snprintf(s->m.name, sizeof s->m.name, "%s", spec->name);
	s->m.entries = calloc(count, sizeof *s->m.entries);
	assert_non_null(s->m.entries);
	s->m.entry_count = count;
	for (size_t i = 0; i < count; i++)
		ix_add_file(s, spec, i, &files[i], spec->folder);
	ix_split(s, spec);
	ix_wrap(ix, s, spec->from ? spec->from : ix->alice);
	return s;
}

static inline void ix_free(struct ix_set *s)
{
	for (size_t i = 0; i < s->m.entry_count; i++) {
		free(s->m.entries[i].path);
		free(s->m.entries[i].parts);
		free(s->m.entries[i].backing_path);
	}
	free(s->m.entries);
	for (size_t i = 0; i < s->part_count; i++)
		free(s->parts[i].bytes);
	free(s->parts);
	free(s->manifest.bytes);
	for (size_t i = 0; i <= SLIP39_SHARES_MAX; i++)
		free(s->share[i].bytes);
	free(s);
}

/* What a collector does. */
static inline void ix_deliver_as(const struct ix *ix, const uint8_t *hash,
				 const struct ix_blob *b, const char *suffix)
{
	char name[80];

	hex_encode(hash, ENVELOPE_HASH_LEN, name);
	strcat(name, suffix);
	fx_write(ix->spool, name, b->bytes, b->len);
}

static inline void ix_deliver(const struct ix *ix, const struct ix_blob *b,
			      const char *suffix)
{
	uint8_t hash[ENVELOPE_HASH_LEN];

	envelope_hash(b->bytes, b->len, hash);
	ix_deliver_as(ix, hash, b, suffix);
}

static inline void ix_deliver_parts(const struct ix *ix, const struct ix_set *s)
{
	for (size_t i = 0; i < s->part_count; i++)
		ix_deliver(ix, &s->parts[i], ".part");
}

static inline void ix_deliver_all(const struct ix *ix, const struct ix_set *s)
{
	ix_deliver(ix, &s->manifest, ".env");
	for (unsigned i = 1; i <= s->m.n; i++)
		ix_deliver(ix, &s->share[i], ".env");
	ix_deliver_parts(ix, s);
}

static inline void ix_scan(struct ix *ix)
{
	assert_int_equal(inbox_scan(ix->in, NULL), 0);
}

/* Does this path exist, and is it a placeholder? -1, 0, 1. */
static inline int ix_locked(struct vault *vault, const char *path)
{
	char dir_path[4096];
	const char *slash = strrchr(path, '/');
	struct backing_name backing;
	uint8_t id[FILE_ID_LEN];
	struct vtree_dir dir;
	struct statx stx;
	int result = -1, fd;

	snprintf(dir_path, sizeof dir_path, "%.*s",
		 slash ? (int)(slash - path) : 0, path);
	if (vtree_open_dir(vault, dir_path, false, 0, &dir))
		return -1;
	if (!vtree_stat(vault, &dir, slash ? slash + 1 : path, &backing,
			&stx)) {
		fd = openat(dir.fd, backing.entry, O_RDONLY);
		result = fd >= 0 && sealed_probe(fd, id) == 0;
		if (fd >= 0)
			close(fd);
	}
	vtree_close_dir(&dir);
	return result;
}

static inline struct statx ix_stat(struct vault *vault, const char *path)
{
	char dir_path[4096];
	const char *slash = strrchr(path, '/');
	struct backing_name backing;
	struct vtree_dir dir;
	struct statx stx;

	snprintf(dir_path, sizeof dir_path, "%.*s",
		 slash ? (int)(slash - path) : 0, path);
	assert_int_equal(vtree_open_dir(vault, dir_path, false, 0, &dir), 0);
	assert_int_equal(vtree_stat(vault, &dir, slash ? slash + 1 : path,
				    &backing, &stx),
			 0);
	vtree_close_dir(&dir);
	return stx;
}

/* The file holds what was made of file number i, size bytes. */
static inline bool ix_holds(struct vault *vault, const char *path, size_t file,
			    size_t size)
{
	char dir_path[4096];
	const char *slash = strrchr(path, '/');
	uint8_t *buf = malloc(size + 1);
	struct vtree_dir dir;
	size_t len = 0;
	bool same;

	snprintf(dir_path, sizeof dir_path, "%.*s",
		 slash ? (int)(slash - path) : 0, path);
	if (vtree_open_dir(vault, dir_path, false, 0, &dir)) {
		free(buf);
		return false;
	}
	same = vtree_read(vault, &dir, slash ? slash + 1 : path, buf, size + 1,
			  &len) == 0 &&
	       len == size;
	for (size_t i = 0; i < len && same; i++)
		same = buf[i] == ix_byte(file, i);
	vtree_close_dir(&dir);
	free(buf);
	return same;
}

static inline int ix_count_one(void *arg, const char *name, unsigned char type)
{
	(void)name, (void)type;
	++*(int *)arg;
	return 0;
}

static inline int ix_entries(struct vault *vault, const char *path)
{
	struct vtree_dir dir;
	int n = 0;

	if (vtree_open_dir(vault, path, false, 0, &dir))
		return -1;
	assert_int_equal(vtree_list(vault, &dir, ix_count_one, &n), 0);
	vtree_close_dir(&dir);
	return n;
}

/* How often does the log have this event, with a text that has this in it? */
static inline int ix_logged(const struct ix *ix, uint8_t event,
			    const char *text)
{
	struct vlog_record r;
	int n = 0;

	for (uint64_t i = 0; i < vlog_count(ix->log); i++) {
		assert_int_equal(vlog_read(ix->log, i, &r), 0);
		n += r.event == event && (!text || strstr(r.text, text));
	}
	return n;
}

/* How many files of the spool end so. */
static inline int ix_spooled(const struct ix *ix, const char *suffix)
{
	int fd = openat(ix->spool, ".", O_RDONLY | O_DIRECTORY), n = 0;
	DIR *dir = fdopendir(fd);
	const struct dirent *e;

	while ((e = readdir(dir))) {
		size_t len = strlen(e->d_name), tail = strlen(suffix);

		n += len > tail && strcmp(e->d_name + len - tail, suffix) == 0;
	}
	closedir(dir);
	return n;
}

static inline bool ix_find_set(const struct ix *ix, const uint8_t *set_id,
			       struct inbox_set *set)
{
	uint8_t cursor[SET_ID_LEN] = {0}, index = 0;

	while (inbox_next(ix->in, cursor, &index, set) == 0)
		if (memcmp(set->set_id, set_id, SET_ID_LEN) == 0)
			return true;
	return false;
}

/* -1: there is no such set. */
static inline int ix_state(const struct ix *ix, const struct ix_set *s)
{
	struct inbox_set *set = calloc(1, sizeof *set);
	int state = ix_find_set(ix, s->set_id, set) ? set->state : -1;

	free(set);
	return state;
}

static inline int ix_error(struct ix *ix, const char *path)
{
	struct statx stx = ix_stat(ix->fx->vault, path);
	struct inbox_entry e = {0};
	int err = inbox_entry_of(ix->in, &stx, &e);

	return err ? 1 : e.error;
}

#endif
