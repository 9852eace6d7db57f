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

enum verdict { UNDECIDED, SAME, DIFFER };

static int ask(const char *name, enum verdict *verdict)
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
	if (strcmp(line, "yes\n") == 0 || strcmp(line, "y\n") == 0)
		*verdict = SAME;
	else if (strcmp(line, "no\n") == 0 || strcmp(line, "n\n") == 0)
		*verdict = DIFFER;
	return CMD_OK;
}

/* What cannot be one says nothing about whose card it is. */
static int compare_told(const char *told, const struct person *p,
			enum verdict *verdict)
{
	size_t digits = count_digits(told);

	if (told[strspn(told, "0123456789- \n")])
		return report_as(CMD_USAGE,
				 "--fingerprint wants digits, with blanks or "
				 "hyphens between, not '%s'",
				 told);
	if (digits != count_digits(p->fingerprint))
		return report_as(CMD_USAGE,
				 "--fingerprint has %zu digits, a fingerprint "
				 "has %zu; quote all of them as one word",
				 digits, count_digits(p->fingerprint));
	*verdict = same_digits(told, p->fingerprint) ? SAME : DIFFER;
	return CMD_OK;
}

static int log_verdict(struct session *s, const struct person *p,
		       uint8_t detail)
{
	struct vlog_record record = {
		.event = VLOG_VERIFIED, .detail = detail, .peer = p->card.pub};
	int err;

	snprintf(record.text, sizeof record.text, "%s", p->name);
	err = mounted_ask(s->m.fd, CONTROL_LOG_APPEND, &record);
	return err ? session_report(s, "write to the log", err) : CMD_OK;
}

static int record_same(struct session *s, const struct person *p)
{
	int status, err = people_put_verified(&s->m, p, when_now_s());

	if (err)
		return session_report(s, "record the comparison", err);
	status = log_verdict(s, p, 0);
	if (!status)
		printf("Recorded: the fingerprint of %s was compared.\n",
		       p->name);
	return status;
}

/* Whoever was taken for them may have been somebody else all the time. */
static int record_differ(struct session *s, const struct person *p)
{
	const char *recorded = "nothing is recorded";
	int err, status;

	if (p->verified_s) {
		err = people_take_back_verified(&s->m, p);
		if (err)
			return session_report(
				s, "take back the earlier comparison", err);
		status = log_verdict(s, p, VLOG_DIFFERS);
		if (status)
			return status;
		recorded = "that they were found to be the same earlier is "
			   "taken back";
	}
	return report_as(CMD_FAILED,
			 "the fingerprints differ: what was read out is not "
			 "that of the card of '%s'; %s, share nothing with "
			 "'%s' and get their card another way",
			 p->name, recorded, p->name);
}

static int report_undecided(const struct person *p)
{
	return report_as(CMD_FAILED,
			 "you said neither yes nor no: nothing is recorded, "
			 "and '%s' counts as %sverified as before; if the "
			 "fingerprints differ, share nothing with '%s' and get "
			 "their card another way",
			 p->name, p->verified_s ? "" : "not ", p->name);
}

int compare_fingerprints(struct session *s, const char *name, const char *told)
{
	int status = session_need_identity(s);
	const struct person *p =
		status ? NULL : people_wanted(&s->people, name);
	char mine[IDENTITY_FINGERPRINT_LEN + 1];
	enum verdict verdict = UNDECIDED;

	if (!p)
		return status ? status : CMD_UNKNOWN;
	if (!p->has_card)
		return report_as(CMD_UNKNOWN,
				 "'%s' has no card, so there is nothing to "
				 "compare; add it with 'tgshare contact add %s "
				 "CARD%s'",
				 p->name, p->name, report_vault());
	identity_fingerprint(&s->m.info.pub, mine);
	printf("yours:    %s\n%-8s  %s\n", mine, "theirs:", p->fingerprint);
	fflush(stdout);
	status =
		told ? compare_told(told, p, &verdict) : ask(p->name, &verdict);
	if (status)
		return status;
	if (verdict == SAME)
		return record_same(s, p);
	return verdict == DIFFER ? record_differ(s, p) : report_undecided(p);
}
