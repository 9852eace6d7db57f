/*
 * The crypto layer on a command line, for cases/crypto_crosscheck.py: reads
 * commands from standard input, one a line, fields in hex ("-" is empty), and
 * answers each with one line: "ok" and hex or text, or "err" and an errno.
 *
 *   crypto_tool BACKEND
 */
#include "fernet_text.h"
#include "kdf.h"
#include "siv.h"
#include "text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FIELDS = 8, MAX_BYTES = 1 << 17 };

struct bytes {
	uint8_t *p;
	size_t len;
};

static struct bytes field[MAX_FIELDS];
static uint8_t out[MAX_BYTES + 64];
static char text[2 * MAX_BYTES + 1];

static void answer(int err, const uint8_t *bytes, size_t len)
{
	if (err) {
		printf("err %d\n", err);
		return;
	}
	hex_encode(bytes, len, text);
	printf("ok %s\n", len ? text : "-");
}

static uint64_t number(const struct bytes *b)
{
	uint64_t v = 0;

	for (size_t i = 0; i < b->len; i++)
		v = v << 8 | b->p[i];
	return v;
}

/* key, timestamp, iv, head, body: the token, made amid two others. */
static void do_seal(const struct fernet_key *key, struct fernet_ctx *ctx)
{
	static uint8_t other[2][FERNET_TOKEN_LEN(5)];
	struct fernet_seal_job jobs[3] = {
		{.body = (const uint8_t *)"first",
		 .body_len = 5,
		 .token = other[0]},
		{.head = field[3].p,
		 .head_len = field[3].len,
		 .body = field[4].p,
		 .body_len = field[4].len,
		 .iv = field[2].len ? field[2].p : NULL,
		 .token = out},
		{.body = (const uint8_t *)"third",
		 .body_len = 5,
		 .token = other[1]},
	};
	int err = fernet_seal(ctx, key, number(&field[1]), jobs, 3);

	answer(err, out, FERNET_TOKEN_LEN(field[3].len + field[4].len));
}

static void do_open(const struct fernet_key *key)
{
	size_t len = 0;
	int err = fernet_open_one(key, field[1].p, field[1].len, out, &len);

	answer(err, out, len);
}

static void do_seal_text(const struct fernet_key *key)
{
	int err = fernet_seal_text(key, field[1].p, field[1].len, text);

	if (err)
		printf("err %d\n", err);
	else
		printf("ok %s\n", text);
}

static void do_open_text(const struct fernet_key *key)
{
	size_t len = 0;
	int err = fernet_open_text(key, (const char *)field[1].p, field[1].len,
				   out, MAX_BYTES, &len);

	answer(err, out, len);
}

static void do_siv(int sealing)
{
	struct siv *siv;
	int err = siv_new(field[0].p, &siv);
	size_t len = sealing ? field[2].len + SIV_TAG_LEN
			     : field[2].len - SIV_TAG_LEN;

	if (!err)
		err = (sealing ? siv_seal : siv_open)(siv, field[1].p,
						      field[1].len, field[2].p,
						      field[2].len, out);
	answer(err, out, len);
	siv_free(siv);
}

static void do_passphrase(void)
{
	int err = kdf_passphrase((const char *)field[0].p, field[0].len,
				 field[1].p, number(&field[2]),
				 number(&field[3]), out);

	answer(err, out, 32);
}

static void do_subkey(void)
{
	size_t len = number(&field[2]);

	kdf_subkey(field[0].p, (enum kdf_subkey)number(&field[1]), out, len);
	answer(0, out, len);
}

static void run(const char *command, struct fernet_ctx *ctx)
{
	struct fernet_key key;

	if (field[0].len == FERNET_KEY_LEN)
		fernet_key_init(&key, field[0].p);
	if (!strcmp(command, "seal"))
		do_seal(&key, ctx);
	else if (!strcmp(command, "open"))
		do_open(&key);
	else if (!strcmp(command, "seal-text"))
		do_seal_text(&key);
	else if (!strcmp(command, "open-text"))
		do_open_text(&key);
	else if (!strcmp(command, "siv-seal") || !strcmp(command, "siv-open"))
		do_siv(command[4] == 's');
	else if (!strcmp(command, "passphrase"))
		do_passphrase();
	else if (!strcmp(command, "subkey"))
		do_subkey();
	else
		printf("err %d\n", -EINVAL);
}

static int parse_fields(char *rest)
{
	char *state = NULL;
	size_t n = 0;

	for (char *word = strtok_r(rest, " \n", &state); word;
	     word = strtok_r(NULL, " \n", &state)) {
		size_t len = strcmp(word, "-") ? strlen(word) : 0;

		if (n == MAX_FIELDS || len / 2 > MAX_BYTES ||
		    hex_decode(word, len, field[n].p, len / 2))
			return -EINVAL;
		field[n++].len = len / 2;
	}
	for (; n < MAX_FIELDS; n++)
		field[n].len = 0;
	return 0;
}

int main(int argc, char **argv)
{
	CLEANUP_FREE char *line = NULL;
	struct fernet_ctx *ctx;
	size_t room = 0;
	int err = argc == 2 ? fernet_init(argv[1]) : -EINVAL;

	if (err) {
		fprintf(stderr, "crypto_tool: backend: %s\n", strerror(-err));
		return err == -ENOENT || err == -ENOTSUP ? 77 : 1;
	}
	ctx = fernet_ctx_new();
	for (size_t i = 0; i < MAX_FIELDS; i++)
		field[i].p = malloc(MAX_BYTES);
	while (getline(&line, &room, stdin) > 0) {
		char *rest = line + strcspn(line, " \n");

		if (*rest)
			*rest++ = '\0';
		if (parse_fields(rest))
			printf("err %d\n", -EINVAL);
		else
			run(line, ctx);
		fflush(stdout);
	}
	for (size_t i = 0; i < MAX_FIELDS; i++)
		free(field[i].p);
	fernet_ctx_free(ctx);
	return 0;
}
