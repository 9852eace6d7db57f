#include "report.h"
#include "quote.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

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

__attribute__((format(printf, 1, 0))) static void say(const char *fmt,
						      va_list ap)
{
	fputs("tgshare: ", stderr);
	vfprintf(stderr, fmt, ap);
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
