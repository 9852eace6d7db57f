/*
 * The Telegram transport on a command line, for cases/telegram.py: reads
 * commands from standard input, one a line, their words separated by tabs, and
 * prints what happens.
 *
 *   telegram_tool API_BASE TOKEN_FILE INBOX
 *
 *   text TAG CHAT TEXT         a message
 *   file TAG CHAT PATH OFFSET LEN NAME
 *   back REF                   take it back
 *   run MS [deaf]              transport_run once
 *   flush                      until nothing is under way
 *
 * Prints "done TAG err ref reason", "text TEXT", "document NAME LEN", "lost
 * REASON", "ran err reason". Documents are put into INBOX under their names; a
 * name that begins with the BLAKE2b-256 of its bytes has to be right.
 */
#include "text.h"
#include "transport_telegram.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { LINE_LEN_MAX = 1 << 20, BLOCK = 1 << 16, HASH_LEN = 32 };

static int inbox_fd;

struct outgoing {
	char *line; /* what the message borrows from */
	const char *tag;
	int fd;
};

static void done(void *arg, int err, const char *reason, const char *ref)
{
	struct outgoing *o = arg;

	printf("done %s %d %s %s\n", o->tag, err, *ref ? ref : "-", reason);
	if (o->fd >= 0)
		close(o->fd);
	free(o->line);
	free(o);
}

static int on_text(void *arg, const char *from, const char *text, size_t len)
{
	(void)arg;
	(void)from;
	printf("text %.*s\n", (int)len, text);
	return 0;
}

static int keep(int from, int to, uint64_t len, uint8_t hash[static HASH_LEN])
{
	static uint8_t block[BLOCK];
	crypto_generichash_state state;
	int err = 0;

	crypto_generichash_init(&state, NULL, 0, HASH_LEN);
	for (uint64_t at = 0; at < len && !err;) {
		size_t n = len - at < BLOCK ? (size_t)(len - at) : BLOCK;

		err = xio_pread(from, block, n, (off_t)at);
		if (!err)
			err = xio_write(to, block, n);
		crypto_generichash_update(&state, block, n);
		at += n;
	}
	crypto_generichash_final(&state, hash, HASH_LEN);
	return err;
}

static int on_document(void *arg, int fd, uint64_t len, const char *filename,
		       const uint8_t *known)
{
	CLEANUP_FD int to =
		openat(inbox_fd, filename,
		       O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	uint8_t hash[HASH_LEN];
	char hex[2 * HASH_LEN + 1];
	int err = to < 0 ? -errno : keep(fd, to, len, hash);

	(void)arg;
	if (err)
		return err;
	if (known && memcmp(hash, known, HASH_LEN) != 0) {
		printf("hashed wrong %s\n", filename);
		return -EBADMSG;
	}
	hex_encode(hash, HASH_LEN, hex);
	if (strncmp(filename, hex, 2 * HASH_LEN) != 0) {
		printf("wrong %s\n", filename);
		return -EBADMSG;
	}
	printf("document %s %llu\n", filename, (unsigned long long)len);
	return 0;
}

static void on_lost(void *arg, const char *reason)
{
	(void)arg;
	printf("lost %s\n", reason);
}

static const struct transport_receiver receiver = {
	.text = on_text, .document = on_document, .lost = on_lost};

static void submit(struct transport *t, char *line)
{
	struct outgoing *o = calloc(1, sizeof *o);
	struct transport_message m = {.fd = -1, .done = done, .arg = o};
	char *rest, *command;
	int err;

	if (!o)
		abort();
	o->fd = -1;
	o->line = rest = strdup(line);
	command = strsep(&rest, "\t");
	o->tag = strsep(&rest, "\t");
	m.address = strsep(&rest, "\t");
	if (strcmp(command, "text") == 0) {
		m.text = (const uint8_t *)rest;
		m.text_len = strlen(rest);
	} else {
		const char *path = strsep(&rest, "\t");

		o->fd = m.fd = open(path, O_RDONLY | O_CLOEXEC);
		m.offset = strtoull(strsep(&rest, "\t"), NULL, 10);
		m.len = strtoull(strsep(&rest, "\t"), NULL, 10);
		m.filename = rest;
	}
	err = t->ops->submit(t, &m);
	if (err)
		done(o, err, "submit", "");
}

static void flush(struct transport *t)
{
	while (!t->ops->idle(t)) {
		int err = t->ops->run(t, NULL, 200);

		if (err) {
			printf("ran %d %s\n", err, t->ops->reason(t));
			break;
		}
	}
	puts("flushed");
}

static void obey(struct transport *t, char *line)
{
	if (strncmp(line, "text\t", 5) == 0 ||
	    strncmp(line, "file\t", 5) == 0) {
		submit(t, line);
	} else if (strncmp(line, "back\t", 5) == 0) {
		printf("back %d\n",
		       t->ops->retract(t, "", line + 5, NULL, NULL));
	} else if (strcmp(line, "flush") == 0) {
		flush(t);
	} else if (strncmp(line, "run\t", 4) == 0) {
		bool deaf = strstr(line, "deaf");
		int err =
			t->ops->run(t, deaf ? NULL : &receiver, atoi(line + 4));

		printf("ran %d %s\n", err, err ? t->ops->reason(t) : "");
	} else {
		puts("what?");
	}
}

int main(int argc, char **argv)
{
	static char line[LINE_LEN_MAX];
	char token[BOT_TOKEN_MAX + 2], reason[TELEGRAM_REASON_MAX];
	char username[TELEGRAM_USERNAME_MAX + 2] = "";
	struct telegram_config cfg = {.token = token, .username = username};
	struct transport *t = NULL;
	size_t len = 0;
	int err;

	if (argc != 4 || sodium_init() < 0)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	inbox_fd = open(argv[3], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (inbox_fd < 0 ||
	    xio_read_file(AT_FDCWD, argv[2], token, sizeof token - 1, &len))
		return 2;
	token[len] = '\0';
	cfg.api_base = argv[1];
	cfg.temp_dirfd = inbox_fd;
	err = telegram_who_am_i(argv[1], token, username, reason);
	printf("iam %d %s\n", err, err ? reason : username);
	if (err)
		return 1;
	err = transport_telegram_open(&cfg, &t);
	if (err)
		return 1;
	while (fgets(line, sizeof line, stdin)) {
		line[strcspn(line, "\n")] = '\0';
		obey(t, line);
	}
	t->ops->free(t);
	close(inbox_fd);
	return 0;
}
