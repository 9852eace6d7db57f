#include "compare.h"
#include "report.h"
#include "when.h"

#include <stdio.h>
#include <string.h>

/* Only digits count: people write blanks, hyphens and line ends. */
static bool same_digits(const char *a, const char *b)
{
	for (;;) {
		while (*a == ' ' || *a == '-' || *a == '\n')
			a++;
		while (*b == ' ' || *b == '-' || *b == '\n')
			b++;
		if (*a != *b)
			return false;
		if (!*a)
			return true;
		a++;
		b++;
	}
}

static size_t count_digits(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += *text >= '0' && *text <= '9';
	return n;
}

static int ask_same(const char *name, bool *same)
{
	FILE *tty = fopen("/dev/tty", "r+e");
	char line[32] = "";

	if (!tty)
		return report_as(CMD_USAGE,
				 "there is no terminal to ask on; give what %s "
				 "read out with --fingerprint DIGITS",
				 name);
	fprintf(tty,
		"Does %s, by telephone or face to face, read out the same two? "
		"(yes or no) ",
		name);
	fflush(tty);
	rewind(tty);
	if (!fgets(line, sizeof line, tty))
		line[0] = '\0';
	fclose(tty);
	*same = strcmp(line, "yes\n") == 0 || strcmp(line, "y\n") == 0;
	return CMD_OK;
}

static int record_verified(struct session *s, const struct person *p)
{
	struct vlog_record record = {.event = VLOG_VERIFIED,
				     .peer = p->card.pub};
	int err = people_put_verified(&s->m, p, when_now_s());

	if (err)
		return session_report(s, "record the comparison", err);
	snprintf(record.text, sizeof record.text, "%s", p->name);
	err = mounted_ask(s->m.fd, CONTROL_LOG_APPEND, &record);
	if (err)
		return session_report(s, "write to the log", err);
	printf("Recorded: the fingerprint of %s was compared.\n", p->name);
	return CMD_OK;
}

int compare_fingerprints(struct session *s, const char *name, const char *told)
{
	const struct person *p = people_wanted(&s->people, name);
	char mine[IDENTITY_FINGERPRINT_LEN + 1];
	bool same = false;
	int status = session_need_identity(s);

	if (!p || status)
		return p ? status : CMD_UNKNOWN;
	if (!p->has_card)
		return report_as(CMD_UNKNOWN,
				 "'%s' has no card, so there is nothing to "
				 "compare; add it with 'tgshare contact add %s "
				 "CARD%s'",
				 p->name, p->name, report_vault());
	identity_fingerprint(&s->m.info.pub, mine);
	printf("yours:    %s\n%-8s  %s\n", mine, "theirs:", p->fingerprint);
	fflush(stdout);
	if (told)
		same = same_digits(told, p->fingerprint);
	else
		status = ask_same(p->name, &same);
	if (status)
		return status;
	if (same)
		return record_verified(s, p);
	if (told && count_digits(told) != count_digits(p->fingerprint))
		return report_as(CMD_USAGE,
				 "--fingerprint has %zu digits, a fingerprint "
				 "has %zu; quote all of them as one word",
				 count_digits(told),
				 count_digits(p->fingerprint));
	if (told)
		return report_as(CMD_FAILED,
				 "the fingerprints differ: what you gave is "
				 "not that of the card of '%s'; nothing is "
				 "recorded, share nothing with '%s' and get "
				 "their card another way",
				 p->name, p->name);
	return report_as(CMD_FAILED,
			 "you did not say yes: nothing is recorded; if the "
			 "fingerprints differ, share nothing with '%s' and get "
			 "their card another way",
			 p->name);
}
