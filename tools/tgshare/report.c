#include "report.h"
#include "json.h"
#include "quote.h"

#include <getopt.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A bot token is "123456789:" and 35 letters, digits, "-" and "_". */
enum { TOKEN_DIGITS_MIN = 3, TOKEN_SECRET_MIN = 16 };

static char vault_words[4096 + 16];

void report_use_vault(const char *option)
{
	CLEANUP_FREE char *word = option ? quote_word(option) : NULL;

	vault_words[0] = '\0';
	if (word && strlen(word) < 4096)
		snprintf(vault_words, sizeof vault_words, " --vault %s", word);
}

const char *report_vault(void)
{
	return vault_words;
}

/* How long the bot token at text is, 0: there is none. */
static size_t token_len(const char *text)
{
	size_t digits = strspn(text, "0123456789"), n;

	if (digits < TOKEN_DIGITS_MIN || text[digits] != ':')
		return 0;
	n = strspn(text + digits + 1, "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789_-");
	return n < TOKEN_SECRET_MIN ? 0 : digits + 1 + n;
}

bool report_has_token(const char *text)
{
	for (; *text; text++)
		if (token_len(text))
			return true;
	return false;
}

/* Whatever was typed in the wrong place, and is now quoted: no token is, and
 * nothing that acts on a terminal. */
static void put_harmless(char *text)
{
	char *from = text;

	while (*text) {
		size_t len = token_len(text);

		if (len) {
			*text = '\0';
			json_put_plain(stderr, from);
			fputs("(a bot token)", stderr);
			from = text + len;
		}
		text += len ? len : 1;
	}
	json_put_plain(stderr, from);
}

__attribute__((format(printf, 1, 0))) static void say(const char *fmt,
						      va_list ap)
{
	CLEANUP_FREE char *text = NULL;
	int len = vasprintf(&text, fmt, ap);

	if (len < 0)
		text = NULL;
	fputs("tgshare: ", stderr);
	if (!text) {
		fputs("memory is short", stderr);
		return;
	}
	put_harmless(text);
	sodium_memzero(text, (size_t)len);
}

void report(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

int report_as(int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return status;
}

int report_usage(const char *command, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
	fprintf(stderr, "; see 'tgshare %s --help'\n", command);
	return CMD_USAGE;
}

int report_bad_option(const char *command, int c, char **argv)
{
	const char *given = argv[optind - 1];
	/* a letter may be of several that are written together */
	bool is_long = strncmp(given, "--", 2) == 0;
	int len = (int)strcspn(given, "=");

	if (c == ':' && !is_long)
		return report_usage(command, "option -%c wants a value",
				    optopt);
	if (c == ':')
		return report_usage(command, "option %s wants a value", given);
	if (is_long && optopt)
		return report_usage(command, "option %.*s takes no value", len,
				    given);
	if (!is_long && optopt)
		return report_usage(command, "%s has no option -%c", command,
				    optopt);
	return report_usage(command, "%s has no option %.*s", command, len,
			    given);
}

int report_help(const char *text)
{
	return fputs(text, stdout) < 0 ? CMD_FAILED : CMD_OK;
}
