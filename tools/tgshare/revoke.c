#include "revoke.h"
#include "cargo.h"
#include "compose.h"
#include "report.h"
#include "source.h"
#include "text.h"
#include "when.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <string.h>

enum { RECORD_MAX = 64 << 20, OPEN_MAX = 16 };

static const char suffix[] = ".revoke";

static int save(const struct session *s, const struct revocation *r)
{
	CLEANUP_FREE char *text = NULL;
	char name[ITEM_COPY_LEN + sizeof suffix];
	int err = revoke_format(r, &text);

	snprintf(name, sizeof name, "%s%s", r->id, suffix);
	return err ? err
		   : xio_replace_file(s->outbox_fd, name, text, strlen(text),
				      0600);
}

static bool has_file(const struct item *item, const uint8_t *id)
{
	for (size_t i = 0; i < item->file_count; i++)
		if (memcmp(item->files[i].id, id, FILE_ID_LEN) == 0)
			return true;
	return false;
}

static bool among(struct item *const *list, size_t count,
		  const struct item *item)
{
	for (size_t i = 0; i < count; i++)
		if (list[i] == item)
			return true;
	return false;
}

static int add_files(struct revocation *r, const struct item *item)
{
	struct item_file *files = reallocarray(
		r->files, r->file_count + item->file_count + 1, sizeof *files);

	if (!files)
		return -ENOMEM;
	r->files = files;
	for (size_t i = 0; i < item->file_count; i++) {
		struct item_file *f = &r->files[r->file_count];
		bool known = false;

		for (size_t j = 0; j < r->file_count && !known; j++)
			known = memcmp(files[j].id, item->files[i].id,
				       FILE_ID_LEN) == 0;
		if (known)
			continue;
		*f = item->files[i];
		f->path = strdup(item->files[i].path);
		if (!f->path)
			return -ENOMEM;
		r->file_count++;
	}
	return 0;
}

/* Others who read any of the files: they get the new keys. */
static bool to_be_kept(const struct revocation *r, const struct item *item)
{
	if (item->kind != ITEM_GRANT || !item_live(item, when_now_s()))
		return false;
	for (size_t i = 0; i < r->file_count; i++)
		if (has_file(item, r->files[i].id))
			return true;
	return false;
}

int revoke_begin(struct session *s, const struct outbox *o,
		 struct item *const *victims, size_t count)
{
	struct revocation r = {.stage = 1};
	uint8_t id[ITEM_COPY_LEN / 2];
	int err = 0;

	randombytes_buf(id, sizeof id);
	hex_encode(id, sizeof id, r.id);
	r.victims = calloc(count + 1, sizeof *r.victims);
	r.kept = calloc(o->count + 1, sizeof *r.kept);
	if (!r.victims || !r.kept)
		err = -ENOMEM;
	for (size_t i = 0; i < count && !err; i++) {
		memcpy(r.victims[r.victim_count++], victims[i]->set_id,
		       SET_ID_LEN);
		err = add_files(&r, victims[i]);
	}
	for (size_t i = 0; i < o->count && !err; i++) {
		if (among(victims, count, o->items[i]) ||
		    !to_be_kept(&r, o->items[i]))
			continue;
		memcpy(r.kept[r.kept_count][0], o->items[i]->set_id,
		       SET_ID_LEN);
		randombytes_buf(r.kept[r.kept_count++][1], SET_ID_LEN);
	}
	if (!err)
		err = save(s, &r);
	revoke_fini(&r);
	return err;
}

/* For nftw(3), which has no argument to pass. */
static struct {
	const uint8_t *id;
	char *path;
} wanted;

static int visit(const char *path, const struct stat *st, int type,
		 struct FTW *where)
{
	uint8_t id[FILE_ID_LEN];

	(void)st;
	(void)where;
	if (type != FTW_F || source_path_id(path, id) ||
	    memcmp(id, wanted.id, FILE_ID_LEN) != 0)
		return 0;
	wanted.path = strdup(path);
	return 1;
}

/* Where a file that was moved since is now; NULL: nowhere. */
static char *search(const struct session *s, const uint8_t *id)
{
	wanted.id = id;
	wanted.path = NULL;
	nftw(s->m.info.mountpoint, visit, OPEN_MAX, FTW_PHYS | FTW_MOUNT);
	return wanted.path;
}

/* -ENOENT: the vault does not have this file any more. */
static int open_by_id(const struct session *s, const struct item_file *f,
		      int *fd)
{
	uint8_t id[FILE_ID_LEN];
	CLEANUP_FREE char *moved = NULL;

	*fd = openat(s->m.fd, f->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (*fd < 0 && errno != ENOENT && errno != ENOTDIR && errno != ELOOP &&
	    errno != EISDIR)
		return -errno;
	if (*fd >= 0 && source_file_id(*fd, id) == 0 &&
	    memcmp(id, f->id, sizeof id) == 0)
		return 0;
	if (*fd >= 0)
		close(*fd);
	moved = search(s, f->id);
	if (!moved) {
		*fd = -1;
		return -ENOENT;
	}
	*fd = open(moved, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	return *fd < 0 ? -errno : 0;
}

static int rekey_all(struct session *s, struct revocation *r)
{
	for (size_t i = 0; i < r->file_count; i++) {
		CLEANUP_FD int fd = -1;
		int err = open_by_id(s, &r->files[i], &fd);

		if (err == -ENOENT)
			continue; /* removed: nothing is left to protect */
		if (!err)
			err = mounted_ask(fd, CONTROL_REKEY, NULL);
		if (err)
			return report_as(
				CMD_FAILED,
				"cannot give '%s' a new key: %s; "
				"nobody has lost access yet, repeat it "
				"when that is put right",
				r->files[i].path, strerror(-err));
	}
	r->stage = 2;
	int err = save(s, r);

	return err ? session_report(s, "write .tgshare/outbox", err) : CMD_OK;
}

static void plan_again(const struct item *item, const uint8_t *new_id,
		       struct plan *plan)
{
	memset(plan, 0, sizeof *plan);
	plan->k = item->k;
	plan->n = item->n;
	memcpy(plan->parties, item->parties, sizeof plan->parties);
	plan->party_count = item->party_count;
	strcpy(plan->card, item->card);
	memcpy(plan->holders, item->holders, sizeof plan->holders);
	plan->expires_s = item->expires_s;
	plan->note = item->note;
	memcpy(plan->set_id, new_id, SET_ID_LEN);
	memcpy(plan->replaces, item->set_id, SET_ID_LEN);
}

/* Where its file or folder is; NULL: nowhere. */
static char *place_of(const struct session *s, const struct item *item)
{
	char *path = NULL;

	if (!item->folder && item->file_count == 1) {
		CLEANUP_FD int fd = -1;
		char link[64], real[PATH_MAX];
		ssize_t n;

		if (open_by_id(s, &item->files[0], &fd))
			return NULL;
		snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
		n = readlink(link, real, sizeof real);
		return n > 0 ? strndup(real, (size_t)n) : NULL;
	}
	if (asprintf(&path, "%s/%s", s->m.info.mountpoint, item->path) < 0)
		return NULL;
	if (access(path, F_OK) < 0) {
		free(path);
		return NULL;
	}
	return path;
}

static int compose_again(struct session *s, const char *path,
			 const struct plan *plan)
{
	struct source from;
	struct cargo c = {0};
	struct item *made = NULL;
	int status = source_look(&s->m, path, &from), err = 0;

	if (status)
		return status;
	status = cargo_grant(s, &from, &c);
	if (!status)
		err = compose(s, &from, &c, plan, &made);
	if (!status && !err)
		err = compose_log(s, made);
	if (err)
		status = session_report(s, "write .tgshare/outbox", err);
	item_free(made);
	cargo_free(&c);
	source_free(&from);
	return status;
}

static int serve_again(struct session *s, struct outbox *o,
		       uint8_t (*pair)[SET_ID_LEN])
{
	struct item *item = outbox_set(o, pair[0]);
	CLEANUP_FREE char *path = NULL;
	struct plan plan;
	int status = CMD_OK, err;

	if (!item || item->end != ITEM_LIVE)
		return CMD_OK;
	if (!outbox_set(o, pair[1])) {
		path = place_of(s, item);
		plan_again(item, pair[1], &plan);
		if (path)
			status = compose_again(s, path, &plan);
		else
			report("what was granted to %s as '%s' is not there "
			       "any more; grant it anew if they should have it",
			       item->parties[0].name, item->path);
	}
	if (status)
		return status;
	err = item_note_end(s->outbox_fd, item, ITEM_REPLACED, when_now_s());
	return err ? session_report(s, "write .tgshare/outbox", err) : CMD_OK;
}

static int tell_parties(struct session *s, const struct item *item)
{
	const uint8_t reason =
		item->kind == ITEM_GRANT ? REVOKE_REVOKED : REVOKE_WITHDRAWN;
	char id[ITEM_ID_MAX + 1];
	struct note note = {.id = id, .kind = STATEMENT_REVOKE};
	int err = 0;

	memcpy(note.set_id, item->set_id, SET_ID_LEN);
	for (size_t i = 0; i < item->party_count && !err; i++) {
		if (!item_has_keys(&item->parties[i]))
			continue; /* nobody there who could read it */
		snprintf(id, sizeof id, "revoke-%.32s-%zu", item->id, i);
		note.to = &item->parties[i];
		err = compose_note_from(s, &note, &reason, 1);
	}
	return err;
}

/* Who may not know yet what took a set's place has that one still. */
static int end_replaced(struct session *s, const struct outbox *o,
			struct item *item)
{
	int err = 0;

	for (size_t n = 0; !err && n < o->count; n++) {
		if (item->recipient_state)
			return 0;
		item = outbox_set(o, item->replaces);
		if (!item)
			return 0;
		err = tell_parties(s, item);
		/* one in between has nothing to link any more */
		if (!err && item->recipient_state == 0)
			err = item_note_end(s->outbox_fd, item, ITEM_REVOKED,
					    when_now_s());
	}
	return err;
}

/* What still lies in a mailbox is taken back by deliver.c. */
static int end_known(struct session *s, struct item *item)
{
	int err = tell_parties(s, item);

	if (!err)
		err = compose_log_event(s, item, VLOG_REVOKED);
	if (!err)
		err = item_note_end(s->outbox_fd, item,
				    item->kind == ITEM_GRANT ? ITEM_REVOKED
							     : ITEM_WITHDRAWN,
				    when_now_s());
	return err;
}

static int end_victim(struct session *s, const struct outbox *o,
		      struct item *item)
{
	int err = end_replaced(s, o, item);

	/* nobody has heard of what never left */
	if (!err)
		err = item_never_left(item)
			      ? item_remove(s->outbox_fd, item->id)
			      : end_known(s, item);
	return err ? session_report(s, "write .tgshare/outbox", err) : CMD_OK;
}

static int end_all(struct session *s, const struct revocation *r)
{
	struct outbox o;
	int status = CMD_OK, err = outbox_load(s, &o);

	if (err)
		return session_report(s, "read .tgshare/outbox", err);
	for (size_t i = 0; i < r->victim_count && !status; i++) {
		struct item *item = outbox_set(&o, r->victims[i]);

		if (item && item->end == ITEM_LIVE)
			status = end_victim(s, &o, item);
	}
	for (size_t i = 0; i < r->kept_count && !status; i++)
		status = serve_again(s, &o, r->kept[i]);
	outbox_free(&o);
	return status;
}

static int finish_one(struct session *s, const char *name)
{
	CLEANUP_FREE char *text = malloc(RECORD_MAX);
	struct revocation r = {0};
	size_t len = 0;
	int status = CMD_OK, err = text ? 0 : -ENOMEM;

	if (!err)
		err = xio_read_file(s->outbox_fd, name, text, RECORD_MAX, &len);
	if (!err)
		err = revoke_parse(text, len, &r);
	if (err)
		return session_report(s, "read .tgshare/outbox", err);
	snprintf(r.id, sizeof r.id, "%.*s", ITEM_COPY_LEN, name);
	if (r.stage == 1)
		status = rekey_all(s, &r);
	if (!status)
		status = end_all(s, &r);
	if (!status && unlinkat(s->outbox_fd, name, 0) < 0)
		status = session_report(s, "write .tgshare/outbox", -errno);
	revoke_fini(&r);
	return status;
}

/* The next record's name; "" when there is none. */
static void next_record(const struct session *s, char name[static NAME_MAX + 1])
{
	int fd = openat(s->outbox_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_DIR DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	name[0] = '\0';
	if (!dir && fd >= 0)
		close(fd);
	while (dir && !name[0] && (entry = readdir(dir))) {
		size_t len = strlen(entry->d_name);

		if (entry->d_name[0] != '.' &&
		    len == ITEM_COPY_LEN + sizeof suffix - 1 &&
		    strcmp(entry->d_name + ITEM_COPY_LEN, suffix) == 0)
			strcpy(name, entry->d_name);
	}
}

bool revoke_pending(const struct session *s)
{
	char name[NAME_MAX + 1];

	next_record(s, name);
	return name[0];
}

int revoke_finish(struct session *s)
{
	char name[NAME_MAX + 1];
	int status = CMD_OK;

	for (;;) {
		next_record(s, name);
		if (!name[0] || status)
			return status;
		status = finish_one(s, name);
	}
}
