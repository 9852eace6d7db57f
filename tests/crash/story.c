#include "story_internal.h"

#include "journal.h"
#include "memory.h"
#include "random.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TRIES = 3 };

void versions_add(struct versions *v, long step, const void *bytes, size_t len)
{
	struct version *one;

	v->list = image_alloc(v->list, (v->count + 1) * sizeof *v->list);
	one = &v->list[v->count++];
	*one = (struct version){.step = step, .len = len};
	one->bytes = image_alloc(NULL, len);
	if (len)
		memcpy(one->bytes, bytes, len);
}

struct version *versions_last(const struct versions *v)
{
	return &v->list[v->count - 1];
}

static void versions_fini(struct versions *v)
{
	for (size_t i = 0; i < v->count; i++)
		free(v->list[i].bytes);
	free(v->list);
}

struct tree *story_new_tree(struct story *s)
{
	struct tree *t, *last;

	s->trees =
		image_alloc(s->trees, (s->tree_count + 1) * sizeof *s->trees);
	t = &s->trees[s->tree_count];
	*t = (struct tree){.step = s->tree_count ? s->step : -1};
	last = s->tree_count ? t - 1 : NULL;
	s->tree_count++;
	for (size_t i = 0; last && i < last->count; i++)
		tree_add(t, last->names[i].dir, last->names[i].text,
			 last->names[i].node);
	return t;
}

void tree_add(struct tree *t, unsigned dir, const char *text, unsigned node)
{
	char *copy = strdup(text);

	if (!copy)
		image_fail("memory", "strdup");
	t->names = image_alloc(t->names, (t->count + 1) * sizeof *t->names);
	t->names[t->count++] =
		(struct name){.dir = dir, .node = node, .text = copy};
}

void tree_drop(struct tree *t, unsigned dir, const char *text)
{
	for (size_t i = 0; i < t->count; i++)
		if (t->names[i].dir == dir &&
		    strcmp(t->names[i].text, text) == 0) {
			free(t->names[i].text);
			t->names[i] = t->names[--t->count];
			return;
		}
}

const struct name *tree_find(const struct tree *t, unsigned dir,
			     const char *text)
{
	for (size_t i = 0; i < t->count; i++)
		if (t->names[i].dir == dir &&
		    strcmp(t->names[i].text, text) == 0)
			return &t->names[i];
	return NULL;
}

unsigned story_new_node(struct story *s, enum node_kind kind)
{
	struct node *n;

	s->nodes =
		image_alloc(s->nodes, (s->node_count + 1) * sizeof *s->nodes);
	n = &s->nodes[s->node_count];
	*n = (struct node){.kind = kind, .dirfd = -1, .at = -1};
	if (s->ids)
		memcpy(n->id, s->ids[s->node_count], FILE_ID_LEN);
	return (unsigned)s->node_count++;
}

void story_init(struct story *s, const struct story_plot *plot, uint64_t seed,
		struct vault *vault)
{
	const struct story was = *s;
	struct node *root;

	*s = (struct story){.plot = plot,
			    .rng = seed,
			    .vault = vault,
			    .ids = was.ids,
			    .faulty = was.faulty,
			    .point = was.point,
			    .everywhere = was.everywhere,
			    .begin = was.begin,
			    .pass = {"correct horse", "battery staple"},
			    .pass_step = -1};
	story_new_tree(s);
	versions_add(&s->records, -1, NULL, 0);
	story_new_node(s, NODE_DIR);
	root = &s->nodes[0];
	versions_add(&root->content, -1, NULL, 0);
	if (!vault)
		return;
	hold_thread_is(HOLD_STORY);
	root->dirfd = dup(vault->root_fd);
	if (vdir_read_id(vault->root_fd, root->id))
		story_broken(s, "the root's id", -EIO);
}

static void settle(struct versions *v)
{
	for (size_t i = 0; i < v->count; i++)
		v->list[i].step = -1;
}

static void settle_node(const struct story *s, struct node *n)
{
	settle(&n->content);
	settle(&n->attr);
	n->synced = image_alloc(n->synced, sizeof *n->synced);
	n->synced_count = 1;
	n->synced[0] = (struct durable){
		.step = -1,
		.version = n->kind == NODE_DIR ? s->tree_count - 1
					       : n->content.count - 1,
		.attr = n->attr.count ? n->attr.count - 1 : 0};
}

void story_begin(struct story *s)
{
	for (size_t i = 0; i < s->node_count; i++)
		settle_node(s, &s->nodes[i]);
	for (size_t i = 0; i < s->tree_count; i++)
		s->trees[i].step = -1;
	settle(&s->records);
	s->step = 0;
	if (s->vault)
		s->begin(s);
}

void story_tell(struct story *s)
{
	s->plot->tell(s);
}

void story_close(struct story *s)
{
	for (size_t i = 0; i < s->node_count; i++) {
		vfile_close(s->nodes[i].f);
		s->nodes[i].f = NULL;
		if (s->nodes[i].dirfd >= 0)
			close(s->nodes[i].dirfd);
		s->nodes[i].dirfd = -1;
		if (s->nodes[i].at >= 0)
			close(s->nodes[i].at);
		s->nodes[i].at = -1;
	}
	vlog_close(s->log);
	s->log = NULL;
	s->vault = NULL;
}

void story_fini(struct story *s)
{
	story_close(s);
	for (size_t i = 0; i < s->node_count; i++) {
		versions_fini(&s->nodes[i].content);
		versions_fini(&s->nodes[i].attr);
		free(s->nodes[i].synced);
	}
	for (size_t t = 0; t < s->tree_count; t++) {
		for (size_t i = 0; i < s->trees[t].count; i++)
			free(s->trees[t].names[i].text);
		free(s->trees[t].names);
	}
	versions_fini(&s->records);
	free(s->nodes);
	free(s->trees);
	*s = (struct story){0};
}

_Noreturn void story_broken(const struct story *s, const char *what, int err)
{
	fprintf(stderr, "crash: %s, step %ld: %s: %s\n", s->plot->name, s->step,
		what, strerror(-err));
	abort();
}

/* Each place that it comes by fails once. */
static int act_everywhere(struct story *s, int (*act)(void *arg), void *arg)
{
	int err;

	s->again = false;
	do {
		fault_next_place();
		err = act(arg);
		fault_disarm();
		s->failures += fault_fired() != NULL;
		s->again = err;
	} while (err && fault_fired());
	return err;
}

/*
 * One step: err is what act() says. Where a call was made to fail, the step
 * may say so, once; then it is done again, and must work.
 */
void story_step(struct story *s, const char *what, int (*act)(void *arg),
		void *arg)
{
	int err = 0;

	recorder_step_begins();
	story_race_begins(s);
	for (int i = 0; i < TRIES && s->vault; i++) {
		err = s->everywhere ? act_everywhere(s, act, arg) : act(arg);
		if (!err || !s->faulty)
			break;
		s->failures++;
		s->last_error = err;
	}
	story_race_ends(s);
	if (err)
		story_broken(s, what, err);
	recorder_step_ends();
	s->step++;
}

bool story_unprotected;

int story_mount(struct vault *vault)
{
	int err = vault_lock(vault, false, false);

	/* without one, nothing is remembered */
	if (!err)
		(void)!memory_open(vault, false);
	if (!err)
		err = vault_orphans_open(vault);
	if (!err)
		err = vault_rekey_finish(vault);
	if (!err)
		err = journal_recover(vault, NULL);
	if (!err && !story_unprotected)
		err = journal_start(vault);
	return err;
}

int story_unmount(struct vault *vault)
{
	int err = journal_stop(vault);

	memory_close(vault);
	return err;
}

static int pause_ms(void *arg)
{
	const unsigned *ms = arg;
	struct timespec t = {.tv_sec = *ms / 1000,
			     .tv_nsec = *ms % 1000 * 1000000L};

	nanosleep(&t, NULL);
	return 0;
}

void story_pause(struct story *s, unsigned ms)
{
	story_step(s, "pausing", pause_ms, &ms);
}

/* The log. */

struct recording {
	struct story *s;
	uint8_t detail;
};

static int act_record(void *arg)
{
	struct recording *r = arg;
	struct vlog_record record = {.event = VLOG_SENT, .detail = r->detail};
	int err = r->s->log ? 0 : vlog_open(r->s->vault, &r->s->log);

	return err ? err : vlog_append(r->s->log, &record);
}

void story_record(struct story *s, uint8_t detail)
{
	const struct version *last = versions_last(&s->records);
	uint8_t *bytes = image_alloc(NULL, last->len + 1);
	struct recording r = {s, detail};

	memcpy(bytes, last->bytes, last->len);
	bytes[last->len] = detail;
	versions_add(&s->records, s->step, bytes, last->len + 1);
	free(bytes);
	story_step(s, "logging", act_record, &r);
}

/* vault.ini. */

static int act_passphrase(void *arg)
{
	const struct story *s = arg;
	struct vault_fault fault = {0};
	int err = vault_change_passphrase(s->vault, s->pass[0],
					  strlen(s->pass[0]), s->pass[1],
					  strlen(s->pass[1]), &fault);

	/* the second try, after one that failed when all was done */
	if (err == -EKEYREJECTED && s->failures)
		err = vault_change_passphrase(s->vault, s->pass[1],
					      strlen(s->pass[1]), s->pass[1],
					      strlen(s->pass[1]), &fault);
	return err;
}

void story_change_passphrase(struct story *s)
{
	s->pass_step = s->step;
	story_step(s, "changing the passphrase", act_passphrase, s);
}
