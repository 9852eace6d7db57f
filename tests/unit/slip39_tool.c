/*
 * SLIP-39 on a command line, for cases/slip39.py: reads commands from standard
 * input, one a line, and answers each with one line, "ok" and what was asked
 * for, or "err" and an errno.
 *
 *   split K N SECRET-HEX       the shares' words, "|" between them
 *   combine PASSPHRASE WORDS|WORDS...   ("-" is the empty passphrase) the
 * secret in hex pack WORDS                 a share through bytes and back: its
 * words
 */
#include "slip39.h"
#include "text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 1 << 16, SHARES_MAX = 64 };

static int read_shares(char *words, struct slip39_share *shares, size_t *count)
{
	char *rest = words, *one;
	unsigned bad_word;

	for (*count = 0; (one = strsep(&rest, "|")); ++*count) {
		int err;

		if (*count == SHARES_MAX)
			return -E2BIG;
		err = slip39_from_words(one, strlen(one), &shares[*count],
					&bad_word);
		if (err)
			return err;
	}
	return 0;
}

static int do_split(char *rest)
{
	struct slip39_share shares[SLIP39_SHARES_MAX];
	uint8_t secret[SLIP39_SECRET_LEN];
	char text[SLIP39_TEXT_MAX];
	unsigned k = (unsigned)strtoul(rest, &rest, 10);
	unsigned n = (unsigned)strtoul(rest, &rest, 10);
	int err;

	rest += strspn(rest, " ");
	err = hex_decode(rest, strlen(rest), secret, sizeof secret);
	if (!err)
		err = slip39_split(secret, k, n, shares);
	if (err)
		return err;
	printf("ok ");
	for (unsigned i = 0; i < n; i++) {
		slip39_to_words(&shares[i], text);
		printf("%s%s", i ? "|" : "", text);
	}
	putchar('\n');
	return 0;
}

static int do_combine(char *rest)
{
	struct slip39_share shares[SHARES_MAX];
	uint8_t secret[SLIP39_SECRET_MAX_LEN];
	char hex[2 * sizeof secret + 1];
	const char *passphrase = strsep(&rest, " ");
	size_t count, len;
	int err = rest ? read_shares(rest, shares, &count) : -EINVAL;

	if (strcmp(passphrase, "-") == 0)
		passphrase = "";
	if (!err)
		err = slip39_combine(shares, count, passphrase, secret, &len);
	if (err)
		return err;
	hex_encode(secret, len, hex);
	printf("ok %s\n", hex);
	return 0;
}

static int do_pack(char *rest)
{
	struct slip39_share share, back;
	uint8_t packed[SLIP39_PACKED_LEN];
	char text[SLIP39_TEXT_MAX];
	size_t count;
	int err = read_shares(rest, &share, &count);

	if (err)
		return err;
	slip39_pack(&share, packed);
	err = slip39_unpack(packed, &back);
	if (err)
		return err;
	slip39_to_words(&back, text);
	printf("ok %s\n", text);
	return 0;
}

int main(void)
{
	static const struct {
		const char *name;
		int (*run)(char *rest);
	} commands[] = {{"split", do_split},
			{"combine", do_combine},
			{"pack", do_pack}};
	static char line[LINE_MAX_BYTES];

	while (fgets(line, sizeof line, stdin)) {
		char *rest = line, *name;
		int err = -ENOSYS;

		line[strcspn(line, "\n")] = '\0';
		name = strsep(&rest, " ");
		for (size_t i = 0; i < sizeof commands / sizeof commands[0];
		     i++)
			if (rest && strcmp(name, commands[i].name) == 0)
				err = commands[i].run(rest);
		if (err)
			printf("err %d\n", err);
		fflush(stdout);
	}
	return 0;
}
