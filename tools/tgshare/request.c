#include "request.h"
#include "report.h"
#include "when.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>

static int append_names(char **names, const char *more)
{
	char *joined;

	if (asprintf(&joined, "%s%s%s", *names ? *names : "", *names ? "," : "",
		     more) < 0)
		return report_as(CMD_FAILED, "memory is short");
	free(*names);
	*names = joined;
	return CMD_OK;
}

/* name: the long option's, "" of a letter */
static int take_option(struct request *r, int c, const char *name, char **argv,
		       const char *allowed)
{
	if (c == 'h') {
		r->help = true;
		return CMD_OK;
	}
	if (c != 'v' && c != '?' && c != ':' && !strchr(allowed, c))
		return report_usage(r->command, "%s has no option %s%s",
				    r->command, name[0] ? "--" : "-o", name);
	switch (c) {
	case 'v':
		r->vault = optarg;
		return CMD_OK;
	case 't':
		return append_names(&r->to_names, optarg);
	case 'V':
		return append_names(&r->via_names, optarg);
	case 's':
		r->shares = optarg;
		return CMD_OK;
	case 'k':
		r->threshold = optarg;
		return CMD_OK;
	case 'n':
		r->note = optarg;
		return CMD_OK;
	case 'e':
		r->expires = optarg;
		return CMD_OK;
	case 'o':
		r->output = optarg;
		return CMD_OK;
	case 'c':
		r->no_content = true;
		return CMD_OK;
	default:
		return report_bad_option(r->command, c, argv);
	}
}

int request_parse(struct request *r, int argc, char **argv, const char *allowed)
{
	static const struct option options[] = {
		{"vault", required_argument, NULL, 'v'},
		{"to", required_argument, NULL, 't'},
		{"shares", required_argument, NULL, 's'},
		{"threshold", required_argument, NULL, 'k'},
		{"via", required_argument, NULL, 'V'},
		{"note", required_argument, NULL, 'n'},
		{"expires", required_argument, NULL, 'e'},
		{"output", required_argument, NULL, 'o'},
		{"no-content", no_argument, NULL, 'c'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c, status = CMD_OK, place = -1;

	r->command = argv[0];
	while (!status &&
	       (c = getopt_long(argc, argv, ":ho:", options, &place)) != -1) {
		status = take_option(r, c, place < 0 ? "" : options[place].name,
				     argv, allowed);
		place = -1;
	}
	r->files = argv + optind;
	r->file_count = argc - optind;
	return status;
}

void request_free(struct request *r)
{
	free(r->to_names);
	free(r->via_names);
}

struct name_list {
	const char *names, *option;
	const struct person **list; /* max of them */
	size_t max, *count;
	bool needs_card;
};

/* Every name once. */
static int resolve_names(const struct request *r, const struct people *people,
			 const struct name_list *to)
{
	CLEANUP_FREE char *copy = strdup(to->names);
	const char *option = to->option;
	char *save = NULL;
	size_t n = 0;

	if (!copy)
		return report_as(CMD_FAILED, "memory is short");
	for (char *name = strtok_r(copy, ",", &save); name;
	     name = strtok_r(NULL, ",", &save)) {
		const struct person *p = people_wanted(people, name);

		if (!p)
			return CMD_UNKNOWN;
		if (!p->has_card && to->needs_card)
			return report_as(
				CMD_UNKNOWN,
				"'%s' has no card, and so no keys to "
				"send to; they can keep a share "
				"(--via), or make a card with 'tgshare "
				"setup' on a vault of their own",
				name);
		if (n == to->max)
			return report_usage(r->command,
					    "%s takes at most %zu names",
					    option, to->max);
		for (size_t i = 0; i < n; i++)
			if (to->list[i] == p)
				return report_usage(r->command,
						    "%s names '%s' twice",
						    option, name);
		to->list[n++] = p;
	}
	if (n == 0)
		return report_usage(r->command, "%s wants a name", option);
	*to->count = n;
	return CMD_OK;
}

static int parse_number(const struct request *r, const char *option,
			const char *text, unsigned *number)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (text[0] < '0' || text[0] > '9' || *end || value < 1 ||
	    value > SLIP39_SHARES_MAX)
		return report_usage(r->command,
				    "%s wants a number from 1 to %d, not '%s'",
				    option, SLIP39_SHARES_MAX, text);
	*number = (unsigned)value;
	return CMD_OK;
}

static int resolve_numbers(struct request *r)
{
	int status = CMD_OK;

	r->n = r->k = r->via_count ? (unsigned)r->via_count : 1;
	if (!r->shares != !r->threshold)
		return report_usage(
			r->command,
			"--shares and --threshold go together: into "
			"how many, and how many open it");
	if (r->shares)
		status = parse_number(r, "--shares", r->shares, &r->n);
	if (!status && r->threshold)
		status = parse_number(r, "--threshold", r->threshold, &r->k);
	if (status)
		return status;
	if (r->k > r->n)
		return report_usage(r->command,
				    "--threshold %u is more than --shares %u: "
				    "nobody could ever open it",
				    r->k, r->n);
	if (r->via_count > r->n)
		return report_usage(
			r->command,
			"--via names %zu people, but there are only "
			"%u shares; give more --shares",
			r->via_count, r->n);
	return CMD_OK;
}

/* In turn: of n shares, how many does the one at this place get? */
static unsigned shares_of(const struct request *r, size_t place)
{
	return (unsigned)(r->n / r->via_count + (place < r->n % r->via_count));
}

/* Who gets so many that nobody else is needed makes the others' consent a
 * show. */
static int check_dealt(const struct request *r, const struct person *to)
{
	for (size_t i = 0; r->via_count > 1 && i < r->via_count; i++) {
		unsigned got = shares_of(r, i);
		bool recipient = r->via[i] == to;

		if (got < r->k || (got == 1 && !recipient))
			continue;
		return report_usage(
			r->command,
			"%s would get %u of %u shares, and %u %s enough: %s "
			"would need nobody else; name as many people with "
			"--via as there are shares, or raise --threshold",
			r->via[i]->name, got, r->n, r->k,
			r->k == 1 ? "is" : "are", r->via[i]->name);
	}
	return CMD_OK;
}

static int resolve_expiry(struct request *r)
{
	int err = r->expires
			  ? when_parse(r->expires, when_now_s(), &r->expires_s)
			  : 0;

	if (err == -ERANGE)
		return report_usage(r->command,
				    "--expires %s is not in the future",
				    r->expires);
	if (err == -EOVERFLOW)
		return report_usage(r->command,
				    "--expires %s is after the year 9999; "
				    "leave it out where there is to be no end",
				    r->expires);
	if (err)
		return report_usage(
			r->command,
			"--expires wants 30m, 12h, 7d, 2w or a date "
			"like 2027-01-31, not '%s'",
			r->expires);
	return CMD_OK;
}

static int check_note(const struct request *r)
{
	if (r->note && strlen(r->note) > MANIFEST_NOTE_MAX)
		return report_usage(r->command,
				    "--note takes at most %d bytes; write a "
				    "file and send that",
				    MANIFEST_NOTE_MAX);
	return CMD_OK;
}

int request_resolve(struct request *r, const struct session *s)
{
	const struct name_list to = {r->to_names,    "--to",	   r->to,
				     REQUEST_TO_MAX, &r->to_count, true};
	const struct name_list via = {r->via_names,	 "--via",	r->via,
				      SLIP39_SHARES_MAX, &r->via_count, false};
	int status = CMD_OK;

	if (r->to_names)
		status = resolve_names(r, &s->people, &to);
	if (!status && r->via_names)
		status = resolve_names(r, &s->people, &via);
	if (!status)
		status = resolve_numbers(r);
	for (size_t i = 0; i < r->to_count && !status; i++)
		status = check_dealt(r, r->to[i]);
	if (!status)
		status = resolve_expiry(r);
	return status ? status : check_note(r);
}

static void fill_party(const struct person *p, struct item_party *party)
{
	strcpy(party->name, p->name);
	strcpy(party->address, people_address(p));
	party->pub = p->card.pub;
}

void request_plan(const struct request *r, const struct person *to,
		  struct plan *plan)
{
	uint8_t party_of[SLIP39_SHARES_MAX] = {0};

	memset(plan, 0, sizeof *plan);
	plan->k = r->k;
	plan->n = r->n;
	plan->expires_s = r->expires_s;
	plan->note = r->note;
	plan->no_content = r->no_content;
	strcpy(plan->card, to->card_text);
	do
		randombytes_buf(plan->set_id, SET_ID_LEN);
	while (sodium_is_zero(plan->set_id, SET_ID_LEN));
	fill_party(to, &plan->parties[0]);
	plan->party_count = 1;
	for (size_t i = 0; i < r->via_count; i++) {
		if (r->via[i] == to)
			continue; /* straight to the recipient */
		party_of[i] = (uint8_t)plan->party_count;
		fill_party(r->via[i], &plan->parties[plan->party_count++]);
	}
	for (unsigned i = 0; i < r->n; i++)
		plan->holders[i] =
			r->via_count ? party_of[i % r->via_count] : 0;
}
