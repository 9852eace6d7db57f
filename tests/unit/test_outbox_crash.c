/*
 * A set's record in the outbox: whatever call the process dies at, or fails,
 * and whenever the power does, what was noted is there, and nothing else.
 */
#include "item_json.h"

#include "../crash/random.h"
#include "../crash/recorder.h"
#include "../crash/states.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define ITEM "00112233445566778899aabbccddeeff"

/* A draft of two shares. */
static const char set_json[] =
	"{\"version\":1,\"kind\":1,\"set\":\"" ITEM "\",\"created\":1,"
	"\"expires\":0,\"path\":\"f\",\"name\":\"f\",\"note\":\"\","
	"\"folder\":false,\"no_content\":false,\"exported\":false,"
	"\"draft\":true,\"size\":5,"
	"\"mtime_ns\":1,\"k\":2,\"n\":2,\"code\":\"123456\",\"copy\":\"\","
	"\"card\":\"\",\"replaces\":\"" ITEM
	"\",\"parties\":[{\"name\":\"bob\","
	"\"keys\":\"" ITEM ITEM ITEM ITEM "\",\"address\":\"chat:1\"}],"
	"\"holders\":[0,0],\"files\":[],\"messages\":[]}";

#ifdef FROND_SANITIZED
enum { STRIDE = 3, POWERS = 100 };
#else
enum { STRIDE = 1, POWERS = 400 };
#endif

enum { TRIES = 3 };

struct scene {
	char top[80], path[96];
	struct item *item;
};

static int outbox_of(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static struct item *new_item(void)
{
	struct item *item = item_new();

	assert_non_null(item);
	assert_int_equal(item_json_parse(set_json, strlen(set_json), item), 0);
	strcpy(item->id, ITEM);
	return item;
}

/* As compose.c does it. */
static int commit(int outbox, struct item *item)
{
	const struct item_keys keys = {.secret = {1}};
	char temp[64];
	int dir = -1;
	int err = item_begin(outbox, temp, &dir);

	if (!err)
		err = item_put_keys(dir, &keys);
	if (!err)
		err = item_commit(outbox, temp, dir, item);
	if (dir >= 0)
		close(dir);
	return err;
}

static int note_part(int outbox, struct item *item)
{
	const uint8_t hash[MANIFEST_HASH_LEN] = {(uint8_t)item->message_count};

	return item_note_part(outbox, item, 10, hash);
}

static int complete(int outbox, struct item *item)
{
	int dir = openat(outbox, ITEM, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct item_message *m;
	int err = dir < 0 ? -errno : 0;

	if (!err && item->message_count == 2) {
		m = item_add_message(item);
		assert_non_null(m);
		m->kind = 1;
		err = item_put_envelope(dir, (const uint8_t *)"env", 3, m);
		if (err)
			item->message_count = 2;
		/* one that is there already is this one */
		if (err == -EEXIST)
			err = unlinkat(dir, m->name, 0) < 0 ? -errno : -EAGAIN;
	}
	if (!err)
		err = item_complete(dir, item);
	if (dir >= 0)
		close(dir);
	return err;
}

static int note_sent(int outbox, struct item *item)
{
	return item_note_sent(outbox, item, 1, 1000, "ref-1");
}

static int note_failed(int outbox, struct item *item)
{
	return item_note_failed(outbox, item, 0, 1001);
}

static int note_ack(int outbox, struct item *item)
{
	return item_note_ack(outbox, item, 1, ACK_RECEIVED, 1002);
}

static int note_back(int outbox, struct item *item)
{
	return item_note_taken_back(outbox, item, 1);
}

static int note_end(int outbox, struct item *item)
{
	return item_note_end(outbox, item, ITEM_WITHDRAWN, 1003);
}

static int remove_all(int outbox, struct item *item)
{
	return item_remove(outbox, item->id);
}

/* Each step, and whether it can be seen in what is loaded. */
static bool has_parts_1(const struct item *i)
{
	return i->message_count >= 1;
}

static bool has_parts_2(const struct item *i)
{
	return i->message_count >= 2;
}

static bool is_complete(const struct item *i)
{
	return !i->draft && i->message_count == 3;
}

static bool is_sent(const struct item *i)
{
	return i->message_count > 1 && i->messages[1].sends > 0 &&
	       i->messages[1].ref && !strcmp(i->messages[1].ref, "ref-1");
}

static bool has_failed(const struct item *i)
{
	return i->message_count > 0 && i->messages[0].fails > 0;
}

static bool is_acknowledged(const struct item *i)
{
	return i->share_state[0] == ACK_RECEIVED;
}

static bool is_back(const struct item *i)
{
	return i->message_count > 1 && i->messages[1].taken_back;
}

static bool is_logged(const struct item *i)
{
	return i->logged;
}

static bool is_told(const struct item *i)
{
	return i->told;
}

static bool has_ended(const struct item *i)
{
	return i->end == ITEM_WITHDRAWN;
}

static bool is_any(const struct item *i)
{
	return i->k == 2 && i->n == 2 && i->party_count == 1;
}

static const struct {
	int (*act)(int outbox, struct item *item);
	bool (*shows)(const struct item *item); /* NULL: it is gone */
	bool durable; /* and not only as far as the next one that is */
} steps[] = {
	{commit, is_any, true},
	{note_part, has_parts_1, false},
	{note_part, has_parts_2, false},
	{complete, is_complete, true},
	{note_sent, is_sent, true},
	{note_failed, has_failed, false},
	{note_ack, is_acknowledged, true},
	{note_back, is_back, true},
	{item_note_logged, is_logged, true},
	{item_note_told, is_told, true},
	{note_end, has_ended, true},
	{remove_all, NULL, false},
};
enum { STEPS = sizeof steps / sizeof *steps };

/* begun, ended: so many steps; one that is not durable may be missing after
 * the power has failed. */
static void expect(int outbox, size_t begun, size_t ended, bool power)
{
	struct item *item = NULL;
	int err = item_load(outbox, ITEM, &item);

	/* one that fails now, it is whose turn it was */
	if (err && err != -ENOENT)
		err = item_load(outbox, ITEM, &item);
	if (err) {
		assert_int_equal(err, -ENOENT);
		assert_true(ended == 0 || begun == STEPS);
		return;
	}
	assert_true(begun > 0 && (ended < STEPS || power));
	for (size_t i = 0; i + 1 < STEPS; i++) {
		bool shows = steps[i].shows(item);
		bool must = i < ended && (steps[i].durable || !power);

		if (shows ? i >= begun : must)
			print_message("step %zu of %zu, %zu have ended; %s "
				      "failed\n",
				      i, begun, ended,
				      fault_fired() ? fault_fired()
						    : "nothing");
		assert_false(shows ? i >= begun : must);
	}
	item_free(item);
}

/* All of it; fault: one that is armed, and each step is done until it is. */
static void play(int outbox, struct item *item, bool recorded, bool fault)
{
	for (size_t i = 0; i < STEPS; i++) {
		int err = -EIO;

		if (recorded)
			recorder_step_begins();
		for (int n = 0; err && n < (fault ? TRIES : 1); n++)
			err = steps[i].act(outbox, item);
		if (err)
			print_message(
				"step %zu: %s; %s failed\n", i, strerror(-err),
				fault_fired() ? fault_fired() : "nothing");
		assert_int_equal(err, 0);
		if (recorded)
			recorder_step_ends();
		if (fault)
			expect(outbox, i + 1, i + 1, false);
	}
}

static void count_steps(const struct oplog *log, size_t end, size_t *begun,
			size_t *ended)
{
	*begun = *ended = 0;
	for (size_t i = 0; i < end; i++) {
		*begun += log->ops[i].kind == OP_BEGIN;
		*ended += log->ops[i].kind == OP_END;
	}
}

static void crash(const struct scene *s, const struct oplog *log,
		  const struct plan *p)
{
	struct image *im = state_build(log, p, NULL);
	size_t begun, ended;
	int outbox;

	image_remove_tree(s->path);
	image_store(im, s->path, NULL, NULL);
	image_free(im);
	count_steps(log, p->end, &begun, &ended);
	outbox = outbox_of(s->path);
	expect(outbox, begun, ended, p->kind != PLAN_KILL);
	close(outbox);
}

static void test_outbox__dies_or_loses_power(void **state)
{
	struct scene *s = *state;
	struct oplog log;
	uint64_t rng = 1;

	struct item *item = new_item();
	int outbox = outbox_of(s->path);

	recorder_begin(s->path, &log);
	play(outbox, item, true, false);
	recorder_end(s->path);
	item_free(item);
	close(outbox);
	assert_true(log.count > 40);
	for (size_t end = 0; end <= log.count; end += STRIDE) {
		const struct op *last = end ? &log.ops[end - 1] : NULL;
		struct plan p = {.kind = PLAN_KILL, .end = end};

		crash(s, &log, &p);
		p.seed = last && last->kind == OP_WRITE ? last->len / 2 : 0;
		if (p.seed)
			crash(s, &log, &p);
	}
	for (int i = 0; i < POWERS; i++) {
		const struct plan p = {.kind = PLAN_POWER,
				       .end = random_below(&rng, log.count + 1),
				       .seed = random_next(&rng) >> 8};

		crash(s, &log, &p);
	}
	oplog_fini(&log);
}

static void test_outbox__calls_that_fail(void **state)
{
	struct scene *s = *state;
	struct image *empty = image_scan(s->path);

	for (unsigned kind = 0; kind < FAULT_KINDS; kind++) {
		bool fired = true;
		struct item *item;
		long n = 0;
		int outbox;

		for (; fired; n += STRIDE) {
			image_remove_tree(s->path);
			image_store(empty, s->path, NULL, NULL);
			outbox = outbox_of(s->path);
			item = new_item();
			fault_arm(s->path, (enum fault_kind)kind, n);
			play(outbox, item, false, true);
			fault_disarm();
			item_free(item);
			close(outbox);
			fired = fault_fired();
		}
		assert_true(n > 5);
	}
	image_free(empty);
}

static int setup(void **state)
{
	struct scene *s = calloc(1, sizeof *s);
	const char *tmp = getenv("TMPDIR");

	if (!s || sodium_init() < 0)
		return -1;
	snprintf(s->top, sizeof s->top, "%.50s/frond-unit-XXXXXX",
		 tmp ? tmp : "/tmp");
	if (!mkdtemp(s->top))
		return -1;
	snprintf(s->path, sizeof s->path, "%s/outbox", s->top);
	*state = s;
	return mkdir(s->path, 0700);
}

static int teardown(void **state)
{
	struct scene *s = *state;

	image_remove_tree(s->top);
	free(s);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_outbox__dies_or_loses_power),
		TEST(test_outbox__calls_that_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
