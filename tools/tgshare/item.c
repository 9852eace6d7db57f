#include "item.h"
#include "item_json.h"
#include "text.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>

enum {
	SET_JSON_MAX = 64 << 20,
	JOURNAL_MAX = 64 << 20,
	CLOCKS_DIFFER_MAX_S = 3600,
};

static const char set_name[] = "set.json", journal_name[] = "journal",
		  keys_name[] = "keys", part_suffix[] = ".part";

struct item *item_new(void)
{
	return calloc(1, sizeof(struct item));
}

void item_free(struct item *item)
{
	if (!item)
		return;
	for (size_t i = 0; i < item->file_count; i++)
		free(item->files[i].path);
	for (size_t i = 0; i < item->message_count; i++)
		free(item->messages[i].ref);
	free(item->files);
	free(item->messages);
	free(item->path);
	free(item->name);
	free(item->note);
	free(item);
}

struct item_message *item_add_message(struct item *item)
{
	size_t n = item->message_count;

	/* grows at powers of two */
	if ((n & (n - 1)) == 0) {
		struct item_message *list = reallocarray(
			item->messages, n ? 2 * n : 1, sizeof *list);

		if (!list)
			return NULL;
		item->messages = list;
	}
	memset(&item->messages[n], 0, sizeof *item->messages);
	item->message_count++;
	return &item->messages[n];
}

static int take_part(struct item *item, uint64_t len, const char *hash)
{
	size_t n = item->message_count;
	struct item_message *m = item_add_message(item);

	if (!m)
		return -ENOMEM;
	m->len = len;
	m->offset = n ? m[-1].offset + m[-1].len : 0;
	snprintf(m->name, sizeof m->name, "%s%s", hash, part_suffix);
	return 0;
}

static int take_sent(struct item *item, size_t message, uint64_t now_s,
		     const char *ref)
{
	if (message >= item->message_count)
		return 0;
	struct item_message *m = &item->messages[message];

	m->sends++;
	m->sent_s = now_s;
	m->fails = 0;
	free(m->ref);
	m->ref = ref[0] ? strdup(ref) : NULL;
	m->taken_back = false;
	return ref[0] && !m->ref ? -ENOMEM : 0;
}

static void take_failed(struct item *item, size_t message, uint64_t now_s)
{
	if (message >= item->message_count)
		return;
	item->messages[message].fails++;
	item->messages[message].failed_s = now_s;
}

static void take_end(struct item *item, uint8_t end, uint64_t now_s)
{
	item->end = end;
	item->news_s = now_s;
}

static void take_ack(struct item *item, unsigned index, uint8_t state,
		     uint64_t now_s)
{
	item->news_s = now_s;
	if (index == 0) {
		/* that it was received says less than that it was opened */
		if (state > item->recipient_state)
			item->recipient_state = state;
		if (state == ACK_DECLINED && item->end == ITEM_LIVE)
			item->end = ITEM_DECLINED;
	} else if (index <= item->n && state > item->share_state[index - 1]) {
		item->share_state[index - 1] = state;
	}
}

static int take_line(struct item *item, const char *line)
{
	char ref[TRANSPORT_REF_MAX + 1] = "", hash[2 * MANIFEST_HASH_LEN + 1];
	uint64_t now_s = 0, len;
	size_t message;
	unsigned index, state;

	if (sscanf(line, "part %" SCNu64 " %64[0-9a-f]", &len, hash) == 2 &&
	    strlen(hash) == 2 * MANIFEST_HASH_LEN)
		return item->draft ? take_part(item, len, hash) : 0;
	if (sscanf(line, "sent %zu %" SCNu64 " %128s", &message, &now_s, ref) >=
	    2)
		return take_sent(item, message, now_s, ref);
	if (sscanf(line, "fail %zu %" SCNu64, &message, &now_s) == 2)
		take_failed(item, message, now_s);
	else if (sscanf(line, "ack %u %u %" SCNu64, &index, &state, &now_s) >=
			 2 &&
		 state <= ACK_DECLINED)
		take_ack(item, index, (uint8_t)state, now_s);
	else if (sscanf(line, "end %u %" SCNu64, &state, &now_s) >= 1 &&
		 state <= ITEM_DECLINED)
		take_end(item, (uint8_t)state, now_s);
	else if (sscanf(line, "back %zu", &message) == 1 &&
		 message < item->message_count)
		item->messages[message].taken_back = true;
	else if (strcmp(line, "logged") == 0)
		item->logged = true;
	else if (strcmp(line, "told") == 0)
		item->told = true;
	return 0;
}

static int read_whole(int dir, const char *name, size_t max, char **text,
		      size_t *len)
{
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (st.st_size < 0 || (uint64_t)st.st_size > max)
		return -EFBIG;
	CLEANUP_FREE char *buf = malloc((size_t)st.st_size + 1);

	if (!buf)
		return -ENOMEM;
	int err = xio_read_file(dir, name, buf, (size_t)st.st_size, len);

	if (err)
		return err;
	buf[*len] = '\0';
	*text = TAKE_PTR(buf);
	return 0;
}

/* A line that was cut by a crash has no end, and did not happen; nor did what
 * it has left as zeros. */
static int load_journal(int dir, struct item *item)
{
	CLEANUP_FREE char *text = NULL;
	size_t len;
	int err = read_whole(dir, journal_name, JOURNAL_MAX, &text, &len);
	char *line = text, *end;

	if (err)
		return err == -ENOENT ? 0 : err;
	while (!err &&
	       (end = memchr(line, '\n', len - (size_t)(line - text)))) {
		*end = '\0';
		err = take_line(item, line);
		line = end + 1;
	}
	return err;
}

int item_load(int outbox, const char *id, struct item **out)
{
	CLEANUP_FD int dir = openat(
		outbox, id, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	CLEANUP_FREE char *text = NULL;
	struct item *item;
	size_t len;
	int err;

	if (dir < 0)
		return -errno;
	if (strlen(id) > ITEM_ID_MAX)
		return -EBADMSG;
	err = read_whole(dir, set_name, SET_JSON_MAX, &text, &len);
	if (err)
		return err;
	item = item_new();
	if (!item)
		return -ENOMEM;
	strcpy(item->id, id);
	err = item_json_parse(text, len, item);
	if (!err)
		err = load_journal(dir, item);
	if (err) {
		item_free(item);
		return err;
	}
	*out = item;
	return 0;
}

int item_begin(int outbox, char *temp, int *dir)
{
	xio_temp_name(".tmp-", temp, 64);
	if (mkdirat(outbox, temp, 0700) < 0)
		return -errno;
	*dir = openat(outbox, temp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *dir < 0 ? -errno : 0;
}

static int write_new(int dir, const char *name, const void *bytes, size_t len)
{
	CLEANUP_FD int fd = openat(
		dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int err;

	if (fd < 0)
		return -errno;
	err = xio_write(fd, bytes, len);
	return !err && fsync(fd) < 0 ? -errno : err;
}

int item_put_envelope(int dir, const uint8_t *bytes, size_t len,
		      struct item_message *m)
{
	uint8_t hash[ENVELOPE_HASH_LEN];

	envelope_hash(bytes, len, hash);
	hex_encode(hash, sizeof hash, m->name);
	strcat(m->name, ".env");
	m->len = len;
	return write_new(dir, m->name, bytes, len);
}

int item_commit(int outbox, const char *temp, int dir, const struct item *item)
{
	CLEANUP_FREE char *text = NULL;
	int err = item_json_format(item, &text);

	if (!err)
		err = write_new(dir, set_name, text, strlen(text));
	if (!err && fsync(dir) < 0)
		err = -errno;
	if (!err && renameat(outbox, temp, outbox, item->id) < 0)
		err = errno == ENOTEMPTY || errno == EEXIST
			      ? item_remove(outbox, temp)
			      : -errno;
	if (!err && fsync(outbox) < 0)
		err = -errno;
	return err;
}

int item_put_keys(int dir, const struct item_keys *keys)
{
	return write_new(dir, keys_name, keys, sizeof *keys);
}

int item_load_keys(int outbox, const struct item *item, struct item_keys *keys)
{
	char path[ITEM_ID_MAX + 16];
	CLEANUP_FD int fd = -1;
	int err;

	snprintf(path, sizeof path, "%s/%s", item->id, keys_name);
	fd = openat(outbox, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = xio_pread(fd, keys, sizeof *keys, 0);
	return err == -ENODATA ? -EBADMSG : err;
}

int item_complete(int dir, struct item *item)
{
	CLEANUP_FREE char *text = NULL;
	int err;

	item->draft = false;
	err = item_json_format(item, &text);
	if (!err)
		err = xio_replace_file(dir, set_name, text, strlen(text), 0600);
	item->draft = err != 0;
	return err;
}

int item_drop_keys(int outbox, const struct item *item)
{
	char path[ITEM_ID_MAX + 16];

	snprintf(path, sizeof path, "%s/%s", item->id, keys_name);
	return unlinkat(outbox, path, 0) < 0 && errno != ENOENT ? -errno : 0;
}

static int empty_directory(int fd)
{
	CLEANUP_DIR DIR *dir = fdopendir(fd);
	const struct dirent *entry;

	if (!dir) {
		int err = -errno;

		close(fd);
		return err;
	}
	while ((entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..") &&
		    unlinkat(dirfd(dir), entry->d_name, 0) < 0)
			return -errno;
	return 0;
}

/* Aside first, so that no half of it is ever taken for the whole. */
int item_remove(int outbox, const char *id)
{
	char temp[64];
	int fd, err;

	xio_temp_name(".tmp-", temp, sizeof temp);
	if (renameat(outbox, id, outbox, temp) < 0)
		return errno == ENOENT ? 0 : -errno;
	fd = openat(outbox, temp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = empty_directory(fd);
	if (!err && unlinkat(outbox, temp, AT_REMOVEDIR) < 0)
		err = -errno;
	return err;
}

int item_remove_envelopes(int outbox, const struct item *item)
{
	CLEANUP_FD int dir =
		openat(outbox, item->id, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		return -errno;
	for (size_t i = 0; i < item->message_count; i++)
		if (item->messages[i].kind != 0 &&
		    unlinkat(dir, item->messages[i].name, 0) < 0 &&
		    errno != ENOENT)
			return -errno;
	return 0;
}

static int open_journal(int outbox, const struct item *item)
{
	char path[ITEM_ID_MAX + 16];
	int fd;

	snprintf(path, sizeof path, "%s/%s", item->id, journal_name);
	fd = openat(outbox, path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC,
		    0600);
	return fd < 0 ? -errno : fd;
}

/* A line that a crash cut is closed by a line end of its own. */
static int append_line(int outbox, const struct item *item, const char *line,
		       bool durable)
{
	char last = '\n', text[TRANSPORT_REF_MAX + 128];
	CLEANUP_FD int fd = open_journal(outbox, item);
	struct stat st;
	int err = 0;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size > 0)
		err = xio_pread(fd, &last, 1, st.st_size - 1);
	if (err)
		return err;
	snprintf(text, sizeof text, "%s%s\n", last == '\n' ? "" : "\n", line);
	err = xio_write(fd, text, strlen(text));
	return !err && durable && fsync(fd) < 0 ? -errno : err;
}

static int write_line(int outbox, const struct item *item, const char *line)
{
	return append_line(outbox, item, line, true);
}

int item_note_part(int outbox, struct item *item, uint64_t len,
		   const uint8_t hash[static MANIFEST_HASH_LEN])
{
	char hex[2 * MANIFEST_HASH_LEN + 1], line[128];
	int err;

	hex_encode(hash, MANIFEST_HASH_LEN, hex);
	snprintf(line, sizeof line, "part %" PRIu64 " %s", len, hex);
	err = take_part(item, len, hex);
	if (err)
		return err;
	err = append_line(outbox, item, line, false);
	if (err)
		item->message_count--;
	return err;
}

int item_note_sent(int outbox, struct item *item, size_t message,
		   uint64_t now_s, const char *ref)
{
	char line[TRANSPORT_REF_MAX + 96];
	int err;

	/* the journal is words: a reference with others is done without */
	if (strlen(ref) > TRANSPORT_REF_MAX || strpbrk(ref, " \t\r\n"))
		ref = "";
	snprintf(line, sizeof line, "sent %zu %" PRIu64 " %s", message, now_s,
		 ref);
	err = write_line(outbox, item, line);
	/* it is noted: without its reference it cannot be taken back now */
	if (!err)
		(void)take_sent(item, message, now_s, ref);
	return err;
}

int item_note_failed(int outbox, struct item *item, size_t message,
		     uint64_t now_s)
{
	char line[96];
	int err;

	snprintf(line, sizeof line, "fail %zu %" PRIu64, message, now_s);
	/* one that is forgotten is one try more */
	err = append_line(outbox, item, line, false);
	if (!err)
		take_failed(item, message, now_s);
	return err;
}

int item_note_ack(int outbox, struct item *item, unsigned index, uint8_t state,
		  uint64_t now_s)
{
	char line[96];
	int err;

	snprintf(line, sizeof line, "ack %u %u %" PRIu64, index, state, now_s);
	err = write_line(outbox, item, line);
	if (!err)
		take_ack(item, index, state, now_s);
	return err;
}

int item_note_taken_back(int outbox, struct item *item, size_t message)
{
	char line[48];
	int err;

	snprintf(line, sizeof line, "back %zu", message);
	err = write_line(outbox, item, line);
	if (!err)
		item->messages[message].taken_back = true;
	return err;
}

int item_note_logged(int outbox, struct item *item)
{
	int err = write_line(outbox, item, "logged");

	if (!err)
		item->logged = true;
	return err;
}

int item_note_told(int outbox, struct item *item)
{
	int err = item->told ? 0 : write_line(outbox, item, "told");

	if (!err)
		item->told = true;
	return err;
}

int item_note_end(int outbox, struct item *item, enum item_end end,
		  uint64_t now_s)
{
	char line[96];
	int err;

	snprintf(line, sizeof line, "end %u %" PRIu64, (unsigned)end, now_s);
	err = write_line(outbox, item, line);
	if (!err)
		take_end(item, (uint8_t)end, now_s);
	return err;
}

bool item_has_keys(const struct item_party *party)
{
	return !sodium_is_zero((const uint8_t *)&party->pub, sizeof party->pub);
}

bool item_message_done(const struct item *item, const struct item_message *m)
{
	if (item->recipient_state >= ACK_OPENED)
		return true;
	if (m->party == 0)
		return item->recipient_state != 0;
	/* nobody there who could acknowledge it */
	if (!item_has_keys(&item->parties[m->party]))
		return m->sends > 0;
	return m->index >= 1 && m->index <= item->n &&
	       item->share_state[m->index - 1] != 0;
}

/* After 1 hour, 4, 12, then daily. */
static uint64_t wait_s(unsigned sends)
{
	static const uint64_t hours[] = {0, 1, 4, 12};

	return 3600 * (sends < 4 ? hours[sends] : 24);
}

/* What a clock noted that was ahead then must not hold it up. */
static uint64_t again_s(uint64_t then_s, unsigned times, uint64_t now_s)
{
	return then_s > now_s + CLOCKS_DIFFER_MAX_S ? 0
						    : then_s + wait_s(times);
}

bool item_files_have(const struct item_file *files, size_t count,
		     const uint8_t *id)
{
	for (size_t i = 0; id && i < count; i++)
		if (memcmp(files[i].id, id, FILE_ID_LEN) == 0)
			return true;
	return false;
}

bool item_message_links(const struct item *item, const struct item_message *m)
{
	return m->kind == STATEMENT_MANIFEST && item->end == ITEM_REPLACED &&
	       !item->exported && item->recipient_state == 0 &&
	       !sodium_is_zero(item->replaces, SET_ID_LEN);
}

uint64_t item_message_due_s(const struct item *item,
			    const struct item_message *m, uint64_t now_s)
{
	if (item->kind == ITEM_NOTE || item_message_links(item, m))
		return m->sends == 0 ? 0 : UINT64_MAX;
	if (item->exported || !item_live(item, now_s) ||
	    item_message_done(item, m) || (item->no_content && m->kind == 0))
		return UINT64_MAX;
	if (item->again)
		return 0;
	if (m->sends >= ITEM_SENDS_MAX)
		return UINT64_MAX;
	return m->sends ? again_s(m->sent_s, m->sends, now_s) : 0;
}

bool item_message_due(const struct item *item, const struct item_message *m,
		      uint64_t now_s)
{
	return item_message_due_s(item, m, now_s) <= now_s;
}

uint64_t item_message_put_off_s(const struct item_message *m, uint64_t now_s)
{
	if (m->fails == 0)
		return 0;
	return m->fails < ITEM_SENDS_MAX ? again_s(m->failed_s, m->fails, now_s)
					 : UINT64_MAX;
}

bool item_live(const struct item *item, uint64_t now_s)
{
	return item->end == ITEM_LIVE &&
	       (item->expires_s == 0 || item->expires_s > now_s);
}

bool item_never_left(const struct item *item)
{
	return item->exported && !item->logged;
}

bool item_needs_copy(const struct item *item, uint64_t now_s)
{
	if (!item->copy[0] || item->exported || !item_live(item, now_s))
		return false;
	/* content that goes another way may be exported until it opened */
	return item->no_content ? item->recipient_state < ACK_OPENED
				: item->recipient_state == 0;
}
