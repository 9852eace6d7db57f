/*
 * Each region of what tells of a kept session, and of its segments, altered:
 * none of it is taken for what it was, nothing is lost by it, and once it is as
 * it was all is brought to its place.
 */
#include "recover_fixture.h"

#include "vault_lock.h"

enum { FILES_MAX = 6, NAME_ROOM = 64 };

struct piece {
	char name[NAME_ROOM];
	uint8_t *bytes;
	size_t len;
};

struct pieces {
	struct piece of[FILES_MAX];
	size_t count;
};

/* How far apart flips are: with FROND_LONG close to each other. */
static size_t flips = 10;

static bool ends(const char *name, const char *end)
{
	size_t len = strlen(name), tail = strlen(end);

	return len >= tail && strcmp(name + len - tail, end) == 0;
}

static bool is_segment(const struct piece *p)
{
	return ends(p->name, ".0.kept") || ends(p->name, ".1.kept");
}

static void take(int dir_fd, const char *name, struct piece *p)
{
	CLEANUP_FD int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	struct stat st;

	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	snprintf(p->name, sizeof p->name, "%.63s", name);
	p->len = (size_t)st.st_size;
	p->bytes = malloc(p->len + 1);
	assert_non_null(p->bytes);
	assert_int_equal(pread(fd, p->bytes, p->len, 0), p->len);
}

/* Each session's are called by its own id. */
static int by_suffix(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	return strcmp(strchr(x->name, '.'), strchr(y->name, '.'));
}

/* In the same order each time: whoever is at one of them goes on with it. */
static void take_all(struct fixture *fx, struct pieces *all)
{
	int fd = journal_dir(fx);
	DIR *dir = fdopendir(fd);
	const struct dirent *e;

	assert_non_null(dir);
	all->count = 0;
	while ((e = readdir(dir)))
		if (ends(e->d_name, ".kept")) {
			assert_true(all->count < FILES_MAX);
			take(fd, e->d_name, &all->of[all->count++]);
		}
	closedir(dir);
	assert_true(all->count >= 2);
	qsort(all->of, all->count, sizeof *all->of, by_suffix);
}

static void let_go(struct pieces *all)
{
	for (size_t i = 0; i < all->count; i++)
		free(all->of[i].bytes);
	all->count = 0;
}

static void put(struct fixture *fx, const char *name, const uint8_t *bytes,
		size_t len)
{
	int fd = journal_dir(fx);

	(void)unlinkat(fd, name, 0);
	fx_write(fd, name, bytes, len);
	close(fd);
}

static void put_all(struct fixture *fx, const struct pieces *all)
{
	for (size_t i = 0; i < all->count; i++)
		put(fx, all->of[i].name, all->of[i].bytes, all->of[i].len);
}

/* A session whose file could not be read when it was recovered. */
static void build(struct fixture *fx, const char *name, struct pieces *all)
{
	struct journal_recovery r = {0};
	struct stat st;
	char path[512];

	path_of(fx, name, path);
	shell("rm -rf '%s' '%s/.frondfs/journal'", path, fx->path);
	make(fx, name);
	assert_int_equal(stat(path, &st), 0);
	die_after(fx, overwrite, name);
	bad_ino = st.st_ino;
	in_a_hurry = true;
	assert_int_equal(recover(fx, &r), 0);
	in_a_hurry = false;
	bad_ino = 0;
	assert_int_equal(r.left, 1);
	take_all(fx, all);
}

static size_t try_again(struct fixture *fx)
{
	struct journal_recovery r = {0};

	finished = 0;
	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	assert_int_equal(journal_retry(fx->vault, &r, on_kept), 0);
	vault_unlock(fx->vault);
	return finished;
}

/* How many chunks of it are new? All others are old. */
static size_t count_new(struct fixture *fx)
{
	struct vfile *f = vf_open(fx, fx->vault, "f");
	static uint8_t is[LEN];
	size_t count = 0;

	assert_int_equal(vfile_size(f), LEN);
	assert_int_equal(vf_get(f, is, LEN, 0, NULL), LEN);
	vfile_close(f);
	for (size_t at = 0; at < LEN; at += CHUNK_SIZE) {
		if (memcmp(is + at, old_bytes + at, CHUNK_SIZE) == 0)
			continue;
		assert_memory_equal(is + at, redone_bytes + at, CHUNK_SIZE);
		count++;
	}
	return count;
}

enum { ALL_NEW = (CHUNKS + 2) / 3 };

/*
 * As it lies there now: nothing that is not whole, and it is finished only when
 * all is there; but of a segment that ends too early nobody knows what it had.
 */
static void look(struct fixture *fx, struct pieces *all, bool ends_early)
{
	bool done = try_again(fx) > 0;
	size_t is_new = count_new(fx);

	if (done && !ends_early)
		assert_int_equal(is_new, ALL_NEW);
	put_all(fx, all);
	if (!done && is_new == 0)
		return;
	(void)try_again(fx);
	assert_int_equal(count_new(fx), ALL_NEW);
	let_go(all);
	build(fx, "f", all);
}

/* Where what it holds ends. */
static size_t used(const struct piece *p)
{
	size_t len = p->len;

	while (len > 0 && p->bytes[len - 1] == 0)
		len--;
	return len;
}

static void altered(struct fixture *fx, struct pieces *all, size_t i,
		    size_t from, size_t to, uint8_t with)
{
	struct piece *p = &all->of[i];
	uint8_t *bytes = malloc(p->len);

	assert_non_null(bytes);
	memcpy(bytes, p->bytes, p->len);
	for (size_t at = from; at < to && at < p->len; at++)
		bytes[at] = with ? bytes[at] ^ with : 0;
	put(fx, p->name, bytes, p->len);
	free(bytes);
	look(fx, all, !with && to >= used(p));
}

static void cut(struct fixture *fx, struct pieces *all, size_t i, size_t len)
{
	put(fx, all->of[i].name, all->of[i].bytes, len);
	look(fx, all, is_segment(&all->of[i]));
}

static void alter_all(struct fixture *fx, struct pieces *all, size_t i)
{
	size_t step = used(&all->of[i]) / flips + 1;

	for (size_t at = 0; at < used(&all->of[i]); at += step)
		altered(fx, all, i, at, at + 1, 0x20);
	altered(fx, all, i, used(&all->of[i]) - 1, used(&all->of[i]), 1);
	altered(fx, all, i, 0, 16, 0);
	altered(fx, all, i, 0, all->of[i].len / 2, 0);
	altered(fx, all, i, 0, all->of[i].len, 0);
	cut(fx, all, i, 0);
	cut(fx, all, i, used(&all->of[i]) / 2);
	cut(fx, all, i, used(&all->of[i]) - 1);
}

static void test_altered__each_region(void **state)
{
	struct fixture *fx = *state;
	struct pieces all = {0};

	build(fx, "f", &all);
	for (size_t i = 0; i < all.count; i++)
		if (used(&all.of[i]) > 0)
			alter_all(fx, &all, i);
	assert_int_equal(try_again(fx), 1);
	assert_int_equal(count_new(fx), ALL_NEW);
	assert_int_equal(count_names(fx, "journal", ""), 0);
	let_go(&all);
}

/* What a record says of itself: whose it is, where it belongs, how long the
 * file is. Tokens know nothing of that. */
static void test_altered__each_field_of_a_record(void **state)
{
	static const size_t fields[] = {4,  5,	6,  8,	15, 16, 31, 32, 39, 40,
					47, 48, 55, 56, 63, 64, 71, 72, 79, 80};
	struct fixture *fx = *state;
	struct pieces all = {0};

	build(fx, "f", &all);
	for (size_t i = 0; i < all.count; i++) {
		if (!is_segment(&all.of[i]) ||
		    used(&all.of[i]) <= JOURNAL_EMPTY_LEN)
			continue;
		for (size_t k = 0; k < sizeof fields / sizeof *fields; k++) {
			size_t at = JOURNAL_HEAD_LEN + fields[k];

			altered(fx, &all, i, at, at + 1, 1);
		}
	}
	assert_int_equal(try_again(fx), 1);
	assert_int_equal(count_new(fx), ALL_NEW);
	let_go(&all);
}

/* Each in the place of its like. */
static void swap_in(struct fixture *fx, struct pieces *all,
		    const struct pieces *others)
{
	for (size_t i = 0; i < all->count; i++)
		for (size_t k = 0; k < others->count; k++) {
			const struct piece *p = &all->of[i],
					   *q = &others->of[k];

			if (used(p) == 0 || is_segment(p) != is_segment(q) ||
			    (p->len == q->len &&
			     memcmp(p->bytes, q->bytes, p->len) == 0))
				continue;
			put(fx, p->name, q->bytes, q->len);
			/* without records it is as good as none */
			look(fx, all, used(q) <= JOURNAL_EMPTY_LEN);
		}
}

static void test_altered__another_in_its_place(void **state)
{
	struct fixture *fx = *state, *foreign;
	struct pieces all = {0}, other = {0}, abroad = {0}, own = {0};
	void *made = NULL;

	assert_int_equal(fx_setup(&made), 0);
	foreign = made;
	build(foreign, "f", &abroad);
	assert_int_equal(fx_teardown(&made), 0);
	build(fx, "g", &other);
	build(fx, "f", &all);
	take_all(fx, &own);
	swap_in(fx, &all, &own);
	swap_in(fx, &all, &other);
	swap_in(fx, &all, &abroad);
	assert_int_equal(try_again(fx), 1);
	assert_int_equal(count_new(fx), ALL_NEW);
	let_go(&all);
	let_go(&other);
	let_go(&abroad);
	let_go(&own);
}

/* What was cut off a file is for people: whatever it is, nobody minds. */
static void test_altered__what_was_cut_off(void **state)
{
	static const char *const ways[] = {
		"printf X | dd of=$f bs=1 seek=700 conv=notrunc status=none",
		"truncate -s 100 $f",
		"head -c 9000 /dev/zero > $f",
		"rm $f && mkdir $f",
		"rmdir $f && mkfifo $f",
		"rm $f && ln -s / $f",
	};
	struct fixture *fx = *state;
	struct journal_recovery r = {.wholly = true};
	struct vfile *f;
	int fd;

	make(fx, "f");
	make(fx, "g");
	die_after(fx, overwrite, "");
	fd = vf_backing_fd(fx, "f");
	assert_int_equal(pwrite(fd, "damage", 6, (off_t)chunk_offset(9) + 99),
			 6);
	close(fd);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(count_names(fx, "journal/kept", ""), 1);
	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
		shell("cd '%s/.frondfs/journal/kept' && f=$(ls) && %s",
		      fx->path, ways[i]);
		die_after(fx, overwrite, "g");
		r = (struct journal_recovery){0};
		assert_int_equal(recover(fx, &r), 0);
		(void)try_again(fx);
		expect(fx, "g", redone_bytes);
		f = vf_open(fx, fx->vault, "f");
		assert_int_equal(vfile_size(f), 9 * CHUNK_SIZE);
		vfile_close(f);
		assert_int_equal(count_names(fx, "journal/kept", ""), 1);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_altered__each_region),
		TEST(test_altered__each_field_of_a_record),
		TEST(test_altered__another_in_its_place),
		TEST(test_altered__what_was_cut_off),
	};
	int ret = vf_init();

	if (getenv("FROND_LONG"))
		flips = 400;
	return ret ? ret : cmocka_run_group_tests(tests, NULL, NULL);
}
