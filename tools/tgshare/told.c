#include "told.h"
#include "bytes.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char told_name[] = "log.told";
/* How many there were: all that was remembered once. */
static const char number_name[] = "log.seen";

/* Two logs have no record of one time, about one thing, in one place. */
static void mark_of(const struct vlog_record *r,
		    uint8_t mark[static TOLD_MARK_LEN])
{
	uint8_t head[8 + 3];
	crypto_generichash_state h;

	be64_store(head, r->time_s);
	head[8] = r->event;
	head[9] = r->index;
	head[10] = r->detail;
	crypto_generichash_init(&h, NULL, 0, TOLD_MARK_LEN);
	crypto_generichash_update(&h, head, sizeof head);
	crypto_generichash_update(&h, r->set_id, sizeof r->set_id);
	crypto_generichash_update(&h, r->peer.sign, sizeof r->peer.sign);
	crypto_generichash_update(&h, r->peer.box, sizeof r->peer.box);
	crypto_generichash_update(&h, (const uint8_t *)r->text,
				  strlen(r->text));
	crypto_generichash_final(&h, mark, TOLD_MARK_LEN);
}

int told_add(struct told *t, const struct vlog_record *r)
{
	if (t->count == t->room) {
		size_t room = t->room ? 2 * t->room : 64;
		void *marks = reallocarray(t->marks, room, TOLD_MARK_LEN);

		if (!marks)
			return -ENOMEM;
		t->marks = marks;
		t->room = room;
	}
	if (r)
		mark_of(r, t->marks[t->count]);
	else
		memset(t->marks[t->count], 0, TOLD_MARK_LEN);
	t->count++;
	return 0;
}

/* -ENOENT: there are none. */
static int read_marks(int dir, struct told *t)
{
	CLEANUP_FD int fd =
		openat(dir, told_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	t->count = t->room = (size_t)st.st_size / TOLD_MARK_LEN;
	t->marks = calloc(t->room + 1, TOLD_MARK_LEN);
	return t->marks ? xio_pread(fd, t->marks, t->count * TOLD_MARK_LEN, 0)
			: -ENOMEM;
}

/* Does the record fit its mark? One that is damaged says nothing. */
static int compare(const struct session *s, const struct told *t, uint64_t seq,
		   bool *fits)
{
	struct vlog_record r = {.seq = seq};
	uint8_t mark[TOLD_MARK_LEN];
	int err = mounted_ask(s->m.fd, CONTROL_LOG_READ, &r);

	*fits = false;
	if (err)
		return err == -ENODATA ? 0 : err;
	mark_of(&r, mark);
	*fits = memcmp(mark, t->marks[seq], TOLD_MARK_LEN) == 0;
	return 0;
}

/* Records follow one another: where the last one is what it was, so are those
 * before it. */
static int last_fits(const struct session *s, const struct told *t, bool *fits)
{
	int err = -EBADMSG;

	*fits = true;
	for (uint64_t seq = t->count; err == -EBADMSG && seq-- > 0;)
		err = compare(s, t, seq, fits);
	if (err == -EBADMSG)
		*fits = true;
	return err == -EBADMSG ? 0 : err;
}

/* What the log, restored or begun anew, has in common with the one before. */
static int keep_common(const struct session *s, struct told *t)
{
	size_t common = 0;
	bool fits = true;

	while (common < t->count && fits) {
		int err = compare(s, t, common, &fits);

		if (err == -EBADMSG)
			fits = true;
		else if (err)
			return err;
		common += fits;
	}
	t->count = common;
	return 0;
}

/* More than the log has: it is another one. */
static int mark_number(const struct session *s, int dir, struct told *t)
{
	char text[32];
	size_t len;
	uint64_t count;
	int err = xio_read_file(dir, number_name, text, sizeof text - 1, &len);

	if (err)
		return err == -ENOENT ? 0 : err;
	text[len] = '\0';
	count = strtoull(text, NULL, 10);
	while (!err && t->count < count) {
		struct vlog_record r = {.seq = t->count};

		err = mounted_ask(s->m.fd, CONTROL_LOG_READ, &r);
		if (!err || err == -EBADMSG)
			err = told_add(t, err ? NULL : &r);
	}
	if (err == -ENODATA)
		t->count = 0;
	return err == -ENODATA ? 0 : err;
}

int told_load(const struct session *s, struct told *t)
{
	CLEANUP_FD int dir = -1;
	bool fits = true;
	int err;

	*t = (struct told){0};
	err = settings_open_dir(&s->m, "", &dir);
	if (!err)
		err = read_marks(dir, t);
	if (err == -ENOENT) {
		t->other = true;
		return mark_number(s, dir, t);
	}
	if (!err)
		err = last_fits(s, t, &fits);
	t->other = !fits;
	return err || fits ? err : keep_common(s, t);
}

int told_save(const struct session *s, const struct told *t)
{
	CLEANUP_FD int dir = -1;
	int err = settings_open_dir(&s->m, "", &dir);

	if (!err)
		err = xio_replace_file(dir, told_name, t->marks,
				       t->count * TOLD_MARK_LEN, 0600);
	if (!err && unlinkat(dir, number_name, 0) < 0 && errno != ENOENT)
		err = -errno;
	return err;
}

void told_free(struct told *t)
{
	free(t->marks);
}
