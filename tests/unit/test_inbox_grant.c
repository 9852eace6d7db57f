/* Granted files: the key comes, the file stays with whom it belongs to. */
#include "inbox_fixture.h"

#include "later.h"

/* Alice's vault, as Bob has it: a backing directory. */
struct world {
	struct ix *ix;
	struct fixture *alice;
	uint8_t file_id[FILE_ID_LEN], key[FERNET_KEY_LEN];
	char backing[300];
};

static int world_setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	void *part = NULL;

	if (!w || ix_setup(&part))
		return -1;
	w->ix = part;
	if (fx_setup(&part))
		return -1;
	w->alice = part;
	*state = w;
	return 0;
}

static int world_teardown(void **state)
{
	struct world *w = *state;
	void *part = w->ix;

	ix_teardown(&part);
	part = w->alice;
	fx_teardown(&part);
	free(w);
	return 0;
}

/* A file of Alice's: its id, its key and where it lies. */
static void alice_writes(struct world *w, const char *dir_path,
			 const char *name, const char *text)
{
	struct vault *v = w->alice->vault;
	struct backing_name backing, dir_name;
	struct vfile *f = NULL;
	struct vtree_dir dir;
	int fd;

	ix_put_file(v, dir_path, name, text, strlen(text));
	assert_int_equal(vtree_open_dir(v, dir_path, false, 0, &dir), 0);
	assert_int_equal(
		name_encode(v->names, dir.id, name, strlen(name), &backing), 0);
	fd = openat(dir.fd, backing.entry, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(vfile_open(v, fd, true, &f), 0);
	memcpy(w->file_id, vfile_id(f), FILE_ID_LEN);
	assert_int_equal(vfile_key(f, w->key), 0);
	vfile_close(f);
	vtree_close_dir(&dir);
	snprintf(w->backing, sizeof w->backing, "%s", backing.entry);
	if (dir_path[0] == '\0')
		return;
	dir_name = fx_name(w->alice, w->alice->root_id, dir_path);
	snprintf(w->backing, sizeof w->backing, "%.140s/%.140s", dir_name.entry,
		 backing.entry);
}

/* Of what alice has written last. */
static struct ix_spec grant_spec(struct world *w, const char *name,
				 const uint8_t *replaces)
{
	return (struct ix_spec){.name = name,
				.size = 11,
				.k = 2,
				.n = 2,
				.kind = MANIFEST_GRANT,
				.backing_path = w->backing,
				.vault_id = w->alice->vault->id,
				.file_id = w->file_id,
				.key = w->key,
				.replaces = replaces};
}

static struct ix_set *grant_as(struct world *w, const char *name,
			       const uint8_t *set_id, const uint8_t *replaces,
			       uint64_t expires_s)
{
	struct ix_spec spec = grant_spec(w, name, replaces);

	spec.set_id = set_id;
	spec.expires_s = expires_s;
	return ix_make(w->ix, &spec);
}

static struct ix_set *grant(struct world *w, const char *name,
			    const uint8_t *replaces, uint64_t expires_s)
{
	return grant_as(w, name, NULL, replaces, expires_s);
}

static void attach(struct world *w, const char *path)
{
	ix_put_file(w->ix->fx->vault, CONTACTS_ATTACHED_DIR, "alice", path,
		    strlen(path));
}

static int entry_at(struct world *w, const char *path, struct inbox_entry *e)
{
	struct statx stx = ix_stat(w->ix->fx->vault, path);

	return inbox_entry_of(w->ix->in, &stx, e);
}

/* What reading the granted file says: its text, or the error. */
static int read_granted(struct world *w, const char *path, char *text)
{
	struct iovec iov[WORKSPACE_CHUNKS];
	struct vfile_grant *g = secret_alloc(sizeof *g);
	struct inbox_entry e;
	struct vfile *f = NULL;
	uint8_t digest[32];
	uint64_t bad;
	int fd = -1, count = 0, err = entry_at(w, path, &e);
	ssize_t n;

	text[0] = '\0';
	if (!err)
		err = inbox_open_granted(w->ix->in, &e, &fd, g);
	if (!err)
		err = vfile_open_granted(w->ix->fx->vault, fd, g, &f);
	secret_free(g);
	if (err) {
		if (fd >= 0)
			close(fd);
		return err;
	}
	vfile_header_digest(f, digest);
	inbox_note_header(w->ix->in, &e, digest);
	n = vfile_read(f, workspace_get(), 0, 1000, iov, &count, &bad);
	if (n > 0) {
		memcpy(text, iov[0].iov_base, iov[0].iov_len);
		text[iov[0].iov_len] = '\0';
	}
	vfile_close(f);
	return n < 0 ? (int)n : 0;
}

#define PLAN "Shared/alice/plan.odt"

static struct ix_set *granted(struct world *w)
{
	struct ix_set *s;

	alice_writes(w, "", "plan.odt", "hello world");
	attach(w, w->alice->path);
	s = grant(w, "plan.odt", NULL, 0);
	ix_deliver_all(w->ix, s);
	ix_scan(w->ix);
	return s;
}

static void test_grant__opens_with_the_last_share(void **state)
{
	struct world *w = *state;
	struct ix *ix = w->ix;
	struct inbox_entry e;
	struct ix_set *s;
	char text[1001];

	alice_writes(w, "", "plan.odt", "hello world");
	s = grant(w, "plan.odt", NULL, 0);
	ix_deliver(ix, &s->manifest, ".env");
	ix_deliver(ix, &s->share[2], ".env");
	ix_scan(ix);
	assert_int_equal(entry_at(w, PLAN, &e), 0);
	assert_false(e.granted);
	assert_int_equal(e.error, -ENOKEY);
	ix_deliver(ix, &s->share[1], ".env");
	ix_scan(ix);
	assert_int_equal(ix_state(ix, s), INBOX_NOT_ATTACHED);
	assert_int_equal(entry_at(w, PLAN, &e), 0);
	assert_true(e.granted);
	assert_int_equal(e.error, -ENOMEDIUM);
	assert_int_equal(read_granted(w, PLAN, text), -ENOMEDIUM);
	assert_int_equal(ix_spooled(ix, ".env"), 0);
	assert_int_equal(ix_spooled(ix, ".set"), 0);
	assert_int_equal(ix_logged(ix, VLOG_OPENED, NULL), 1);
	attach(w, w->alice->path);
	ix_scan(ix);
	assert_int_equal(ix_state(ix, s), INBOX_GRANTED);
	assert_int_equal(read_granted(w, PLAN, text), 0);
	assert_string_equal(text, "hello world");
	/* and after mounting again, before the first scan knows who attached */
	ix_reopen(ix);
	assert_int_equal(entry_at(w, PLAN, &e), 0);
	assert_true(e.granted);
	ix_scan(ix);
	assert_int_equal(read_granted(w, PLAN, text), 0);
	assert_string_equal(text, "hello world");
	ix_deliver_all(ix, s);
	ix_scan(ix);
	assert_int_equal(ix_spooled(ix, ".env"), 0);
	assert_int_equal(ix_logged(ix, VLOG_OPENED, NULL), 1);
	ix_free(s);
}

static void test_grant__needs_the_right_vault(void **state)
{
	struct world *w = *state;
	struct ix_set *s = granted(w);
	char text[1001];

	attach(w, w->ix->fx->path);
	ix_scan(w->ix);
	assert_int_equal(ix_state(w->ix, s), INBOX_NOT_ATTACHED);
	assert_int_equal(read_granted(w, PLAN, text), -ENOMEDIUM);
	attach(w, "/nonexistent");
	ix_scan(w->ix);
	assert_int_equal(read_granted(w, PLAN, text), -ENOMEDIUM);
	attach(w, "relative/path");
	ix_scan(w->ix);
	assert_int_equal(read_granted(w, PLAN, text), -ENOMEDIUM);
	ix_free(s);
}

static void test_grant__finds_a_file_that_moved(void **state)
{
	struct world *w = *state;
	struct ix_set *s = granted(w);
	int root = w->alice->vault->root_fd;
	char text[1001], path[300];

	assert_int_equal(mkdirat(root, "SUBDIRSUBDIRSUBDIRSUBDIRAB", 0700), 0);
	snprintf(path, sizeof path, "SUBDIRSUBDIRSUBDIRSUBDIRAB/%.200s",
		 w->backing);
	assert_int_equal(renameat(root, w->backing, root, path), 0);
	assert_int_equal(read_granted(w, PLAN, text), 0);
	assert_string_equal(text, "hello world");
	/* gone: looked for once, and then not at every open */
	assert_int_equal(unlinkat(root, path, 0), 0);
	assert_int_equal(read_granted(w, PLAN, text), -ENOENT);
	assert_int_equal(read_granted(w, PLAN, text), -ENOENT);
	/* another file under its name is not it */
	fx_write(root, w->backing, "FRONDFS1 and so on, for more than 24", 36);
	assert_int_equal(read_granted(w, PLAN, text), -ENOENT);
	ix_free(s);
}

static void test_grant__follows_no_links_out(void **state)
{
	struct world *w = *state;
	struct ix_set *s = granted(w);
	int root = w->alice->vault->root_fd;
	char text[1001], target[400];

	snprintf(target, sizeof target, "%s/outside", w->alice->top);
	assert_int_equal(renameat(root, w->backing, AT_FDCWD, target), 0);
	assert_int_equal(symlinkat(target, root, w->backing), 0);
	assert_int_equal(read_granted(w, PLAN, text), -ENOENT);
	ix_free(s);
}

static void test_revoke__of_a_grant(void **state)
{
	struct world *w = *state;
	struct ix *ix = w->ix;
	struct ix_set *s = granted(w);
	uint8_t reason = REVOKE_REVOKED;
	struct ix_blob theirs = ix_seal(ix, ix->carol, STATEMENT_REVOKE, 0,
					s->set_id, &reason, 1);
	struct ix_blob hers = ix_seal(ix, ix->alice, STATEMENT_REVOKE, 0,
				      s->set_id, &reason, 1);
	char text[1001];

	ix_deliver(ix, &theirs, ".env");
	ix_scan(ix);
	assert_int_equal(read_granted(w, PLAN, text), 0);
	ix_deliver(ix, &hers, ".env");
	ix_scan(ix);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(read_granted(w, PLAN, text), -EKEYREVOKED);
		assert_int_equal(ix_error(ix, PLAN), -EKEYREVOKED);
		assert_int_equal(ix_state(ix, s), INBOX_REVOKED);
		assert_int_equal(ix_logged(ix, VLOG_KEY_REVOKED, NULL), 1);
		ix_reopen(ix);
		ix_scan(ix);
	}
	free(theirs.bytes);
	free(hers.bytes);
	ix_free(s);
}

static void test_revoke__seen_by_a_changed_header_stays(void **state)
{
	struct world *w = *state;
	struct ix *ix = w->ix;
	struct ix_set *s = granted(w);
	struct inbox_entry e;
	char text[1001];

	assert_int_equal(read_granted(w, PLAN, text), 0);
	assert_int_equal(entry_at(w, PLAN, &e), 0);
	inbox_note_revoked(ix->in, &e);
	assert_int_equal(ix_error(ix, PLAN), -EKEYREVOKED);
	ix_reopen(ix);
	assert_int_equal(ix_error(ix, PLAN), -EKEYREVOKED);
	ix_scan(ix);
	assert_int_equal(ix_logged(ix, VLOG_KEY_REVOKED, NULL), 1);
	ix_free(s);
}

static void test_grant__remembers_which_header_the_key_is_for(void **state)
{
	struct world *w = *state;
	struct ix *ix = w->ix;
	struct ix_set *s = granted(w);
	char text[1001];
	uint8_t byte;
	int fd;

	assert_int_equal(read_granted(w, PLAN, text), 0);
	ix_reopen(ix);
	ix_scan(ix);
	/* another key token */
	fd = openat(w->alice->vault->root_fd, w->backing, O_RDWR);
	assert_int_equal(pread(fd, &byte, 1, 80), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, 80), 1);
	close(fd);
	assert_int_equal(read_granted(w, PLAN, text), -EKEYREVOKED);
	ix_free(s);
}

static void test_replaces__takes_the_stub_over(void **state)
{
	struct world *w = *state;
	struct ix *ix = w->ix;
	struct ix_set *s = granted(w), *t, *foreign;
	struct statx before = ix_stat(ix->fx->vault, PLAN), after;
	uint8_t reason = REVOKE_REVOKED;
	struct ix_blob hers = ix_seal(ix, ix->alice, STATEMENT_REVOKE, 0,
				      s->set_id, &reason, 1);
	char text[1001];

	/* carol cannot replace what alice granted */
	ix_befriend(ix, ix->carol, "carol");
	struct identity *alice = ix->alice;

	ix->alice = ix->carol;
	foreign = grant(w, "plan.odt", s->set_id, 0);
	ix->alice = alice;
	ix_deliver_all(ix, foreign);
	ix_scan(ix);
	assert_int_equal(ix_state(ix, s), INBOX_GRANTED);
	assert_int_equal(ix_error(ix, PLAN), 0);
	t = grant(w, "plan.odt", s->set_id, 0);
	ix_deliver(ix, &hers, ".env");
	ix_deliver(ix, &t->manifest, ".env");
	ix_deliver(ix, &t->share[1], ".env");
	ix_scan(ix);
	assert_int_equal(ix_error(ix, PLAN), -EKEYREVOKED);
	assert_int_equal(ix_entries(ix->fx->vault, "Shared/alice"), 1);
	ix_deliver(ix, &t->share[2], ".env");
	ix_scan(ix);
	for (int i = 0; i < 2; i++) {
		after = ix_stat(ix->fx->vault, PLAN);
		assert_int_equal(after.stx_ino, before.stx_ino);
		assert_int_equal(ix_entries(ix->fx->vault, "Shared/alice"), 1);
		assert_int_equal(ix_state(ix, s), -1);
		assert_int_equal(ix_state(ix, t), INBOX_GRANTED);
		assert_int_equal(read_granted(w, PLAN, text), 0);
		assert_string_equal(text, "hello world");
		ix_reopen(ix);
		ix_scan(ix);
	}
	free(hers.bytes);
	ix_free(foreign);
	ix_free(s);
	ix_free(t);
}

/* Its owner saved by putting a new file in the place of the old one. */
static void test_replaces__another_file_of_that_name(void **state)
{
	struct world *w = *state;
	struct ix *ix = w->ix;
	struct ix_set *s = granted(w), *t;
	struct statx before = ix_stat(ix->fx->vault, PLAN), after;
	char text[1001];

	assert_int_equal(unlinkat(w->alice->vault->root_fd, w->backing, 0), 0);
	alice_writes(w, "", "plan.odt", "another one");
	assert_int_equal(read_granted(w, PLAN, text), -ENOENT);
	t = grant(w, "plan.odt", s->set_id, 0);
	ix_deliver_all(ix, t);
	ix_scan(ix);
	for (int i = 0; i < 2; i++) {
		after = ix_stat(ix->fx->vault, PLAN);
		assert_int_equal(after.stx_ino, before.stx_ino);
		assert_int_equal(ix_entries(ix->fx->vault, "Shared/alice"), 1);
		assert_int_equal(ix_state(ix, s), -1);
		assert_int_equal(ix_state(ix, t), INBOX_GRANTED);
		assert_int_equal(read_granted(w, PLAN, text), 0);
		assert_string_equal(text, "another one");
		ix_reopen(ix);
		ix_scan(ix);
	}
	ix_free(s);
	ix_free(t);
}

/* What tells of the set between them comes last. */
static void test_replaces__what_is_known_late(void **state)
{
	struct world *w = *state;
	struct ix *ix = w->ix;
	struct ix_set *s[3] = {granted(w)};
	char text[1001];

	for (int k = 1; k < 3; k++) {
		assert_int_equal(
			unlinkat(w->alice->vault->root_fd, w->backing, 0), 0);
		alice_writes(w, "", "plan.odt", k < 2 ? "between" : "the last");
		s[k] = grant(w, "plan.odt", s[k - 1]->set_id, 0);
	}
	ix_deliver(ix, &s[2]->manifest, ".env");
	ix_scan(ix);
	assert_int_equal(ix_entries(ix->fx->vault, "Shared/alice"), 2);
	ix_deliver(ix, &s[1]->manifest, ".env");
	ix_deliver_all(ix, s[2]);
	ix_scan(ix);
	ix_scan(ix);
	assert_int_equal(ix_entries(ix->fx->vault, "Shared/alice"), 1);
	assert_int_equal(read_granted(w, PLAN, text), 0);
	assert_string_equal(text, "the last");
	assert_int_equal(ix_state(ix, s[0]), -1);
	assert_int_equal(ix_state(ix, s[1]), -1);
	for (int k = 0; k < 3; k++)
		ix_free(s[k]);
}

/* Bob was away: in whatever order they are taken in, there is one. */
static void test_replaces__what_comes_at_once(void **state)
{
	struct world *w = *state;
	struct ix *ix = w->ix;
	char name[20], path[60], text[1001];

	attach(w, w->alice->path);
	for (int i = 0; i < 24; i++) {
		struct ix_set *s[3];

		snprintf(name, sizeof name, "plan%d.odt", i);
		snprintf(path, sizeof path, "Shared/alice/%s", name);
		alice_writes(w, "", name, "hello world");
		for (int k = 0; k < 3; k++)
			s[k] = grant(w, name, k ? s[k - 1]->set_id : NULL, 0);
		/* perhaps the first one was shown before, locked */
		if (i % 2) {
			ix_deliver(ix, &s[0]->manifest, ".env");
			ix_scan(ix);
		}
		for (int k = 0; k < 3; k++)
			ix_deliver_all(ix, s[k]);
		ix_scan(ix);
		/* and what is late, or comes again */
		ix_deliver_all(ix, s[0]);
		ix_deliver_all(ix, s[1]);
		ix_scan(ix);
		assert_int_equal(ix_state(ix, s[0]), -1);
		assert_int_equal(ix_state(ix, s[1]), -1);
		assert_int_equal(ix_state(ix, s[2]), INBOX_GRANTED);
		assert_int_equal(read_granted(w, path, text), 0);
		assert_int_equal(ix_entries(ix->fx->vault, "Shared/alice"),
				 i + 1);
		assert_int_equal(ix_logged(ix, VLOG_OPENED, NULL), i + 1);
		assert_int_equal(ix_logged(ix, VLOG_OPENED, path), 1);
		assert_int_equal(ix_logged(ix, VLOG_REFUSED, NULL), 0);
		assert_int_equal(ix_spooled(ix, ".env"), 0);
		for (int k = 0; k < 3; k++)
			ix_free(s[k]);
	}
}

/* A new set that is taken back again keeps the old one from nothing. */
static void test_replaces__waits_for_the_new_one(void **state)
{
	struct world *w = *state;
	struct ix *ix = w->ix;
	struct ix_set *s, *t;
	uint8_t reason = REVOKE_REVOKED;
	struct ix_blob hers;
	char text[1001];

	alice_writes(w, "", "plan.odt", "hello world");
	attach(w, w->alice->path);
	s = grant(w, "plan.odt", NULL, 0);
	t = grant(w, "plan.odt", s->set_id, 0);
	hers = ix_seal(ix, ix->alice, STATEMENT_REVOKE, 0, t->set_id, &reason,
		       1);
	ix_deliver_all(ix, s);
	ix_deliver(ix, &t->manifest, ".env");
	ix_deliver(ix, &t->share[1], ".env");
	ix_scan(ix);
	ix_scan(ix);
	assert_int_equal(ix_entries(ix->fx->vault, "Shared/alice"), 1);
	assert_int_equal(ix_error(ix, PLAN), -ENOKEY);
	assert_int_equal(ix_logged(ix, VLOG_OPENED, NULL), 0);
	ix_deliver(ix, &hers, ".env");
	ix_scan(ix);
	ix_scan(ix);
	assert_int_equal(ix_state(ix, t), INBOX_REVOKED);
	assert_int_equal(ix_state(ix, s), INBOX_GRANTED);
	assert_int_equal(read_granted(w, "Shared/alice/plan (2).odt", text), 0);
	free(hers.bytes);
	ix_free(s);
	ix_free(t);
}

/* What somebody else says takes the place of hers does not. */
static void test_replaces__only_by_the_same_hand(void **state)
{
	struct world *w = *state;
	struct ix *ix = w->ix;
	struct ix_set *s, *t;
	struct ix_spec spec;
	char text[1001];

	ix_befriend(ix, ix->carol, "carol");
	alice_writes(w, "", "plan.odt", "hello world");
	attach(w, w->alice->path);
	s = grant(w, "plan.odt", NULL, 0);
	spec = grant_spec(w, "plan.odt", s->set_id);
	spec.from = ix->carol;
	t = ix_make(ix, &spec);
	ix_deliver(ix, &t->manifest, ".env");
	ix_scan(ix);
	ix_deliver_all(ix, s);
	ix_scan(ix);
	assert_int_equal(ix_state(ix, s), INBOX_GRANTED);
	assert_int_equal(read_granted(w, PLAN, text), 0);
	assert_string_equal(text, "hello world");
	ix_free(s);
	ix_free(t);
}

static void test_replaces__in_a_ring(void **state)
{
	struct world *w = *state;
	struct ix *ix = w->ix;
	uint8_t id[SET_ID_LEN];
	struct ix_set *s[4];

	alice_writes(w, "", "plan.odt", "hello world");
	attach(w, w->alice->path);
	randombytes_buf(id, sizeof id);
	s[0] = grant(w, "plan.odt", id, 0);
	s[1] = grant_as(w, "plan.odt", id, s[0]->set_id, 0);
	s[2] = grant(w, "plan.odt", id, 0);
	randombytes_buf(id, sizeof id);
	s[3] = grant_as(w, "other.odt", id, id, 0);
	for (int i = 0; i < 4; i++)
		ix_deliver_all(ix, s[i]);
	ix_scan(ix);
	ix_scan(ix);
	assert_int_equal(ix_state(ix, s[2]), INBOX_GRANTED);
	assert_int_equal(ix_state(ix, s[3]), INBOX_GRANTED);
	assert_int_equal(ix_entries(ix->fx->vault, "Shared/alice"), 2);
	for (int i = 0; i < 4; i++)
		ix_free(s[i]);
}

static void test_grant__expires(void **state)
{
	struct world *w = *state;
	struct ix *ix = w->ix;
	struct ix_set *s;
	char text[1001];

	alice_writes(w, "", "plan.odt", "hello world");
	attach(w, w->alice->path);
	s = grant(w, "plan.odt", NULL, (uint64_t)time(NULL) + 1000);
	ix_deliver_all(ix, s);
	ix_scan(ix);
	assert_int_equal(read_granted(w, PLAN, text), 0);
	later_s = 1000;
	assert_int_equal(read_granted(w, PLAN, text), -EKEYEXPIRED);
	ix_scan(ix);
	ix_scan(ix);
	assert_int_equal(ix_state(ix, s), INBOX_EXPIRED);
	assert_int_equal(ix_logged(ix, VLOG_EXPIRED, NULL), 1);
	later_s = 0;
	ix_free(s);
}

static void test_declined__grant_is_forgotten(void **state)
{
	struct world *w = *state;
	struct ix *ix = w->ix;
	struct ix_set *s = granted(w);
	struct statx stx = ix_stat(ix->fx->vault, PLAN);
	struct backing_name backing;
	struct vtree_dir dir;

	assert_int_equal(
		vtree_open_dir(ix->fx->vault, "Shared/alice", false, 0, &dir),
		0);
	backing = fx_name(ix->fx, dir.id, "plan.odt");
	assert_int_equal(unlinkat(dir.fd, backing.entry, 0), 0);
	vtree_close_dir(&dir);
	inbox_declined(ix->in, &stx);
	ix_scan(ix);
	assert_int_equal(ix_state(ix, s), -1);
	assert_int_equal(ix_spooled(ix, ".grant"), 0);
	assert_int_equal(ix_logged(ix, VLOG_DECLINED, NULL), 1);
	ix_deliver_all(ix, s);
	ix_scan(ix);
	assert_int_equal(ix_entries(ix->fx->vault, "Shared/alice"), 0);
	ix_free(s);
}

static void test_grant__stub_comes_back(void **state)
{
	struct world *w = *state;
	struct ix *ix = w->ix;
	struct ix_set *s = granted(w);
	struct backing_name backing;
	struct vtree_dir dir;
	char text[1001];

	assert_int_equal(
		vtree_open_dir(ix->fx->vault, "Shared/alice", false, 0, &dir),
		0);
	backing = fx_name(ix->fx, dir.id, "plan.odt");
	ix_close(ix);
	assert_int_equal(unlinkat(dir.fd, backing.entry, 0), 0);
	ix_open(ix);
	ix_scan(ix);
	assert_int_equal(read_granted(w, PLAN, text), 0);
	vtree_close_dir(&dir);
	ix_free(s);
}

#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_grant__opens_with_the_last_share),
		TEST(test_grant__needs_the_right_vault),
		TEST(test_grant__finds_a_file_that_moved),
		TEST(test_grant__follows_no_links_out),
		TEST(test_revoke__of_a_grant),
		TEST(test_revoke__seen_by_a_changed_header_stays),
		TEST(test_grant__remembers_which_header_the_key_is_for),
		TEST(test_replaces__takes_the_stub_over),
		TEST(test_replaces__another_file_of_that_name),
		TEST(test_replaces__what_is_known_late),
		TEST(test_replaces__what_comes_at_once),
		TEST(test_replaces__waits_for_the_new_one),
		TEST(test_replaces__only_by_the_same_hand),
		TEST(test_replaces__in_a_ring),
		TEST(test_grant__expires),
		TEST(test_declined__grant_is_forgotten),
		TEST(test_grant__stub_comes_back),
	};

	return fx_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
