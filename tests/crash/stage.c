#include "stage.h"

#include "memory.h"
#include "stage_served.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEY_SLOTS = 64, LONG_AGO_S = 1000000 };

/* story_begin() has no argument of its own. */
static const struct stage *present;
static struct oplog *present_log;
static struct stage_fault *present_fault;
static char present_point[96];

static void make_top(struct stage *st)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(st->top, sizeof st->top, "%.40s/frond-crash-XXXXXX",
		 tmp ? tmp : "/dev/shm");
	if (!mkdtemp(st->top))
		image_fail("making", st->top);
}

static void unlock(struct stage *st, const char *path)
{
	struct vault_fault fault = {0};
	int err = vault_open(path, STAGE_PASS, strlen(STAGE_PASS), KEY_SLOTS,
			     &st->unlocked, &fault);

	if (err) {
		errno = -err;
		image_fail("unlocking", path);
	}
}

void stage_path(const struct stage *st, const char *name, char path[96])
{
	snprintf(path, 96, "%s/%s", st->top, name);
}

unsigned stage_version;

void stage_init(struct stage *st)
{
	const struct vault_create_options opt = {
		.passphrase = STAGE_PASS,
		.passphrase_len = strlen(STAGE_PASS),
		.ops = 1,
		.mem_bytes = KDF_MIN_MEM_MIB << 20,
		.version = stage_version,
	};
	char path[96];
	int err;

	make_top(st);
	stage_path(st, "vault", path);
	err = vault_create(path, &opt);
	if (err) {
		errno = -err;
		image_fail("making a vault", path);
	}
	unlock(st, path);
	st->empty = image_scan(path);
}

void stage_fini(struct stage *st)
{
	vault_close(st->unlocked);
	image_free(st->empty);
	image_remove_tree(st->top);
}

void stage_open(const struct stage *st, const char *path, struct vault *v)
{
	*v = *st->unlocked;
	seen_use(path);
	v->path = strdup(path);
	v->root_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	v->meta_fd = openat(v->root_fd, NAME_VAULT_DIR,
			    O_PATH | O_DIRECTORY | O_CLOEXEC);
	v->orphans_fd = v->lock_fd = -1;
	if (v->meta_fd < 0)
		image_fail("opening", path);
}

void stage_close(struct vault *v)
{
	memory_close(v);
	free(v->path);
	close(v->root_fd);
	close(v->meta_fd);
	if (v->orphans_fd >= 0)
		close(v->orphans_fd);
	if (v->lock_fd >= 0)
		close(v->lock_fd);
	v->path = NULL;
}

static void must(const char *what, int err)
{
	errno = -err;
	if (err)
		image_fail("crash", what);
}

/* Mount, though one call fails: then again. */
static int mount_anew(struct vault *v, const char *path)
{
	int err;

	stage_open(present, path, v);
	if (present_fault)
		fault_arm(path, present_fault->kind, present_fault->n);
	err = story_mount(v);
	if (!err || !present_fault)
		return err;
	present_fault->mount_error = err;
	stage_close(v);
	stage_open(present, path, v);
	return story_mount(v);
}

/* Mount and unmount; what can fail at either does, once. */
static int serve_anew(struct story *s, const char *path, bool ends)
{
	int err;

	stage_open(present, path, s->vault);
	if (s->everywhere && !ends)
		fault_next_place();
	err = served_begin(s->vault, present_point);
	if (s->everywhere && ends)
		fault_next_place();
	if (!err && (ends || (s->everywhere && fault_fired())))
		err = served_end();
	fault_disarm();
	if (s->everywhere && fault_fired())
		s->failures++;
	else if (!err && !ends)
		return 0;
	stage_close(s->vault);
	served_settle(path);
	return s->everywhere && fault_fired() ? -EAGAIN : err;
}

static void serve(struct story *s, const char *path)
{
	int err = 0;

	snprintf(present_point, sizeof present_point, "%.80s/point",
		 present->top);
	if (mkdir(present_point, 0700) < 0 && errno != EEXIST)
		image_fail("making", present_point);
	if (s->everywhere)
		fault_arm_places(path, present_fault->kind, -1);
	for (int ends = s->everywhere; ends >= 0 && !err; ends--)
		do
			err = serve_anew(s, path, ends);
		while (err == -EAGAIN && s->everywhere);
	must("mounting", err);
	s->point = present_point;
	served_enter(s);
}

static void begin(struct story *s)
{
	char path[96];

	vlog_close(s->log);
	s->log = NULL;
	must("unmounting", story_unmount(s->vault));
	snprintf(path, sizeof path, "%s", s->vault->path);
	stage_close(s->vault);
	shown_past(0);
	if (present_log)
		recorder_begin(path, present_log);
	if (present->served)
		serve(s, path);
	else
		must("mounting", mount_anew(s->vault, path));
}

/* However the story was told. */
static int end(struct story *s, struct vault *v)
{
	return s->point ? served_end() : story_unmount(v);
}

/* From an empty vault at path to the end of the story. */
static void play(const struct stage *st, const char *path, struct vault *v,
		 struct story *s, const struct story_plot *plot, uint64_t seed)
{
	image_remove_tree(path);
	seen_forget(path);
	image_store(st->empty, path, NULL, NULL);
	stage_open(st, path, v);
	/* what is there before story_begin() was made long ago */
	shown_past(LONG_AGO_S);
	must("mounting", story_mount(v));
	present = st;
	s->begin = begin;
	story_init(s, plot, seed, v);
	story_tell(s);
	story_close(s);
	shown_past(0);
}

void stage_record(const struct stage *st, const struct story_plot *plot,
		  uint64_t seed, struct recording *r)
{
	struct vault v;
	char path[96];

	*r = (struct recording){.plot = plot, .seed = seed};
	stage_path(st, "played", path);
	present_log = &r->log;
	play(st, path, &v, &r->story, plot, seed);
	must("unmounting", end(&r->story, &v));
	recorder_end(path);
	present_log = NULL;
	stage_close(&v);
	image_remove_tree(path);
	seen_forget(path);
}

void stage_fail(const struct stage *st, const struct story_plot *plot,
		uint64_t seed, const char *path, struct stage_fault *f,
		struct recording *r)
{
	struct vault v;

	*r = (struct recording){.plot = plot, .seed = seed};
	present_fault = f;
	present_log = f->n < 0 ? NULL : &r->log;
	r->story.faulty = true;
	play(st, path, &v, &r->story, plot, seed);
	f->unmount_error = end(&r->story, &v);
	f->count = fault_disarm();
	f->fired = fault_fired();
	if (present_log)
		recorder_end(path);
	present_fault = NULL;
	present_log = NULL;
	stage_close(&v);
}

void stage_fail_everywhere(const struct stage *st,
			   const struct story_plot *plot, uint64_t seed,
			   const char *path, struct stage_fault *f,
			   struct recording *r)
{
	struct vault v;

	*r = (struct recording){.plot = plot, .seed = seed};
	present_fault = f;
	r->story.faulty = r->story.everywhere = true;
	play(st, path, &v, &r->story, plot, seed);
	fault_next_place();
	f->unmount_error = end(&r->story, &v);
	fault_disarm();
	f->fired = fault_fired();
	f->count = r->story.failures;
	present_fault = NULL;
	stage_close(&v);
	served_settle(path);
}

void recording_fini(struct recording *r)
{
	story_fini(&r->story);
	oplog_fini(&r->log);
}

void stage_saved(const struct recording *r, size_t n, char path[120])
{
	const char *tmp = getenv("TMPDIR");

	snprintf(path, 120, "%.60s/frond-crash-%s-%llu-%zu.sh",
		 tmp ? tmp : "/tmp", r->plot->name, (unsigned long long)r->seed,
		 n);
}

/* The shell is gone before it gets there. */
#define RECORDING_BEGINS "#recording\n"

static void put_script(FILE *out, const char *what, const char *args)
{
	char program[256];
	ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);

	if (n < 0)
		image_fail("looking for", "this program");
	program[n] = '\0';
	fprintf(out,
		"#!/bin/sh\n# %s\n"
		"# Again: sh THIS [CRASH_STATES], which is built of the same "
		"sources.\n"
		"exec \"${1:-%s}\" --replay \"$0\" %s\n" RECORDING_BEGINS,
		what, program, args);
}

/* The script, then: plot, seed, number of nodes, their ids; then the log. */
void recording_save(const struct recording *r, const char *path,
		    const char *what, const char *args)
{
	FILE *out = fopen(path, "we");

	if (!out)
		image_fail("making", path);
	put_script(out, what, args);
	fprintf(out, "%s %llu %zu\n", r->plot->name,
		(unsigned long long)r->seed, r->story.node_count);
	for (size_t i = 0; i < r->story.node_count; i++)
		fwrite(r->story.nodes[i].id, FILE_ID_LEN, 1, out);
	if (oplog_save(&r->log, out) || fclose(out) != 0)
		image_fail("writing", path);
}

/* Older ones begin with the recording. */
static void skip_script(FILE *in)
{
	char line[1024] = "";

	if (!fgets(line, sizeof line, in) || strncmp(line, "#!", 2) != 0) {
		rewind(in);
		return;
	}
	while (strcmp(line, RECORDING_BEGINS) != 0 &&
	       fgets(line, sizeof line, in))
		;
}

void stage_load(struct stage *st, struct recording *r, const char *path)
{
	FILE *in = fopen(path, "re");
	unsigned long long seed = 0;
	char name[32] = "", base[96];
	uint8_t(*ids)[FILE_ID_LEN];
	size_t nodes = 0;

	if (in)
		skip_script(in);
	if (!in || fscanf(in, "%31s %llu %zu", name, &seed, &nodes) != 3 ||
	    fgetc(in) != '\n' || !story_plot_find(name))
		image_fail("reading", path);
	*r = (struct recording){.plot = story_plot_find(name), .seed = seed};
	ids = image_alloc(NULL, nodes * sizeof *ids);
	if (fread(ids, sizeof *ids, nodes, in) != nodes ||
	    oplog_load(&r->log, in))
		image_fail("reading", path);
	fclose(in);
	r->story.ids = (const uint8_t(*)[FILE_ID_LEN])ids;
	story_init(&r->story, r->plot, seed, NULL);
	story_tell(&r->story);
	free(ids);
	r->story.ids = NULL;
	make_top(st);
	stage_path(st, "base", base);
	image_store(r->log.base, base, NULL, NULL);
	unlock(st, base);
	st->empty = image_new();
}
