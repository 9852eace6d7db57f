/*
 * Cards, envelopes and manifests for tests/cases/share_formats.py: a line of
 * words in, a line out, bytes in hex. "error N" when the library says so.
 *
 *   card TEXT                                    name address keys
 *   write-card SEED NAME ADDRESS                 text ("-": no address)
 *   open SEED ENVELOPE                           kind index set time sender
 * payload seal SEED KEYS KIND INDEX SET TIME PAYLOAD   envelope manifest BYTES
 * read and written again
 */
#include "manifest.h"
#include "message.h"
#include "secret.h"
#include "text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { WORDS_MAX = 8, LINE_MAX_LEN = 1 << 21 };

static char *words[WORDS_MAX];

static void print_hex(const void *bytes, size_t len, const char *end)
{
	const uint8_t *p = bytes;

	for (size_t i = 0; i < len; i++)
		(void)printf("%02x", p[i]);
	(void)fputs(len ? end : *end == ' ' ? "- " : "-\n", stdout);
}

/* A word of hex digits, in place; "-" is nothing. */
static size_t bytes_of(int word)
{
	size_t len = strlen(words[word]) / 2;

	if (strcmp(words[word], "-") == 0)
		return 0;
	if (hex_decode(words[word], 2 * len, (uint8_t *)words[word], len) != 0)
		abort();
	return len;
}

static void identity_of(int word, struct identity *id)
{
	if (bytes_of(word) != IDENTITY_SEED_LEN)
		abort();
	identity_from_seed((const uint8_t *)words[word], id);
}

static int read_card(void)
{
	struct card card;
	int err = card_parse(words[1], strlen(words[1]), &card);

	if (err)
		return err;
	print_hex(card.name, strlen(card.name), " ");
	print_hex(card.address, strlen(card.address), " ");
	print_hex(&card.pub, sizeof card.pub, "\n");
	return 0;
}

static int write_card(void)
{
	struct statement s = {.kind = STATEMENT_CARD};
	uint8_t signature[IDENTITY_SIGNATURE_LEN];
	char text[CARD_TEXT_MAX];
	struct card card = {0};
	struct identity id;
	int err;

	identity_of(1, &id);
	card.pub = s.sender = id.pub;
	memcpy(card.name, words[2], bytes_of(2));
	memcpy(card.address, words[3], bytes_of(3));
	err = card_digest(&card, s.digest);
	if (!err)
		err = statement_sign(&s, &id, signature);
	if (!err)
		err = card_format(&card, signature, text);
	if (!err)
		(void)puts(text);
	return err;
}

static int open_envelope(void)
{
	struct identity id;
	struct envelope e;
	int err;

	identity_of(1, &id);
	err = envelope_open(&id, (uint8_t *)words[2], bytes_of(2), &e);
	if (err)
		return err;
	(void)printf("%d %d ", e.st.kind, e.st.index);
	print_hex(e.st.set_id, SET_ID_LEN, " ");
	(void)printf("%llu ", (unsigned long long)e.st.created_s);
	print_hex(&e.st.sender, IDENTITY_PUBLIC_LEN, " ");
	print_hex(e.payload, e.payload_len, "\n");
	envelope_fini(&e);
	return 0;
}

static int seal_envelope(void)
{
	uint8_t signature[IDENTITY_SIGNATURE_LEN];
	CLEANUP_FREE uint8_t *out = NULL;
	struct statement s = {0};
	struct identity id;
	size_t len, payload_len = bytes_of(7);
	int err;

	identity_of(1, &id);
	s.sender = id.pub;
	if (bytes_of(2) != sizeof s.recipient || bytes_of(5) != SET_ID_LEN)
		abort();
	memcpy(&s.recipient, words[2], sizeof s.recipient);
	s.kind = (uint8_t)strtoul(words[3], NULL, 10);
	s.index = (uint8_t)strtoul(words[4], NULL, 10);
	memcpy(s.set_id, words[5], SET_ID_LEN);
	s.created_s = strtoull(words[6], NULL, 10);
	statement_digest(words[7], payload_len, s.digest);
	err = statement_sign(&s, &id, signature);
	if (!err)
		err = envelope_seal(&s, signature, (uint8_t *)words[7],
				    payload_len, &out, &len);
	if (!err)
		print_hex(out, len, "\n");
	return err;
}

static int copy_manifest(void)
{
	CLEANUP_FREE uint8_t *out = NULL;
	struct manifest *m = NULL;
	size_t len;
	int err = manifest_parse((uint8_t *)words[1], bytes_of(1), &m);

	if (!err)
		err = manifest_encode(m, &out, &len);
	if (!err)
		print_hex(out, len, "\n");
	manifest_free(m);
	return err;
}

static const struct {
	const char *name;
	int words;
	int (*run)(void);
} commands[] = {{"card", 2, read_card},
		{"write-card", 4, write_card},
		{"open", 3, open_envelope},
		{"seal", 8, seal_envelope},
		{"manifest", 2, copy_manifest}};

static void obey(char *line)
{
	char *rest = line;
	int count = 0, err = -EOPNOTSUPP;

	line[strcspn(line, "\n")] = '\0';
	while (count < WORDS_MAX && (words[count] = strsep(&rest, " ")))
		count++;
	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
		if (strcmp(words[0], commands[i].name) == 0 &&
		    count == commands[i].words)
			err = commands[i].run();
	if (err)
		(void)printf("error %d\n", -err);
}

int main(void)
{
	CLEANUP_FREE char *line = malloc(LINE_MAX_LEN);

	if (!line || sodium_init() < 0)
		return 1;
	while (fgets(line, LINE_MAX_LEN, stdin)) {
		obey(line);
		if (fflush(stdout) != 0)
			return 1;
	}
	return 0;
}
