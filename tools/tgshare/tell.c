#include "tell.h"
#include "intake.h"
#include "json.h"
#include "quote.h"
#include "report.h"
#include "text.h"
#include "when.h"
#include "xio.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

void tell_name(const char *name)
{
	json_put_plain(stdout, name[0] ? name : "something");
}

void tell_note(const char *note)
{
	char line[TELL_NOTE_SIZE];

	if (!note[0])
		return;
	fputs("          \"", stdout);
	for (;;) {
		size_t len = strcspn(note, "\n");

		snprintf(line, sizeof line, "%.*s", (int)len, note);
		json_put_plain(stdout, line);
		note += len;
		if (!*note++)
			break;
		printf("\n           ");
	}
	puts("\"");
}

void tell_note_of(const struct session *s, const char *path,
		  char note[static TELL_NOTE_SIZE])
{
	char whole[64 + VLOG_TEXT_MAX];
	ssize_t n;

	snprintf(whole, sizeof whole, "/proc/self/fd/%d/%s", s->m.fd, path);
	n = lgetxattr(whole, "user.xdg.comment", note, TELL_NOTE_SIZE - 1);
	note[n > 0 ? n : 0] = '\0';
}

/* Its name may be another file's by now; a folder has nothing to know it by. */
static bool lies_at(const char *path, const struct inbox_set *set)
{
	char text[8192], line[2 * SET_ID_LEN + 8] = "\nset=";
	struct stat st;
	ssize_t n;

	if (lstat(path, &st) < 0)
		return false;
	if (S_ISDIR(st.st_mode))
		return true;
	n = lgetxattr(path, "user.frondfs.share", text, sizeof text - 1);
	text[n > 0 ? n : 0] = '\0';
	hex_encode(set->set_id, SET_ID_LEN, line + strlen(line));
	return strstr(text, strcat(line, "\n"));
}

const char *tell_place(const struct session *s, const struct inbox_set *set)
{
	char whole[64 + INBOX_PATH_MAX];

	snprintf(whole, sizeof whole, "/proc/self/fd/%d/%s", s->m.fd,
		 set->path);
	return set->path[0] && lies_at(whole, set) ? set->path : "";
}

/* ", in Shared/alice/plan (2).odt": unless it is where one would look. */
static void tell_elsewhere(const struct session *s, const struct inbox_set *set)
{
	char usual[64 + CARD_NAME_MAX + sizeof set->name];
	const char *path;

	snprintf(usual, sizeof usual, INBOX_SHARED_DIR "/%s/%s",
		 set->sender_name, set->name);
	if (strcmp(set->path, usual) == 0)
		return;
	path = tell_place(s, set);
	if (!path[0])
		return;
	fputs(", in ", stdout);
	json_put_plain(stdout, path);
}

static unsigned have_of(const struct inbox_set *set)
{
	return (unsigned)__builtin_popcount(set->have_mask);
}

/* Who can help: whoever was given a share that is not here. */
struct helpers {
	const char *names[SLIP39_SHARES_MAX + 1];
	size_t count;
	unsigned shares; /* that are not here */
};

static void add_helper(struct helpers *h, const char *name)
{
	for (size_t i = 0; i < h->count; i++)
		if (strcmp(h->names[i], name) == 0)
			return;
	if (name[0])
		h->names[h->count++] = name;
}

static void find_helpers(const struct inbox_set *set, struct helpers *h)
{
	bool own = false;

	for (unsigned i = 0; i < set->n && i < SLIP39_SHARES_MAX; i++) {
		if (set->have_mask & 1u << i)
			continue;
		h->shares++;
		/* it needs nobody's consent, only its way */
		if (set->asked_mask & 1u << i)
			add_helper(h, set->holders[i]);
		else
			own = true;
	}
	if (own)
		h->names[h->count++] = "what was sent to you";
}

/* ", waiting for carol or dave" */
static void tell_missing(const struct inbox_set *set)
{
	struct helpers h = {0};
	unsigned need = set->k > have_of(set) ? set->k - have_of(set) : 0;
	const char *between;

	find_helpers(set, &h);
	if (h.count == 0)
		return;
	between = need >= h.shares ? " and " : need == 1 ? " or " : ", ";
	printf(", waiting for ");
	if (between[0] == ',')
		printf("%u of ", need);
	for (size_t i = 0; i < h.count; i++) {
		fputs(i ? between : "", stdout);
		json_put_plain(stdout, h.names[i]);
	}
}

static void tell_content(const struct inbox_set *set)
{
	uint64_t need = set->content_need ? set->content_need : 1;

	/* all that was to come by itself has come */
	if (set->ack_due && set->content_have < set->content_need) {
		fputs("the key is here, but not its content, which comes "
		      "another way: ask ",
		      stdout);
		json_put_plain(stdout, set->sender_name);
		printf(" for the bundle (tgshare export), and 'tgshare import "
		       "BUNDLE%s'",
		       report_vault());
		return;
	}
	printf("%" PRIu64 "%% of its content is here",
	       set->content_have * 100 / need);
}

/* Is anything attached under this name? */
static bool is_attached(const struct session *s, const char *name,
			char path[static PATH_MAX + 1])
{
	CLEANUP_FREE char *file = NULL;
	size_t len = 0;

	if (!name[0] ||
	    asprintf(&file, CONTACTS_ATTACHED_DIR "/%s", name) < 0) {
		file = NULL;
		return false;
	}
	if (xio_read_file(s->m.fd, file, path, PATH_MAX, &len))
		return false;
	path[len] = '\0';
	path[strcspn(path, "\r\n")] = '\0';
	return path[0];
}

static const char *why_not(const char *path)
{
	CLEANUP_FREE char *inside = NULL;

	if (asprintf(&inside, "%s/.", path) < 0) {
		inside = NULL;
		return "";
	}
	if (access(inside, F_OK) == 0)
		return "another vault: ";
	return errno == EACCES ? "not yours to enter (Permission denied): "
			       : "not there now: ";
}

static void tell_not_attached(const struct session *s,
			      const struct inbox_set *set)
{
	CLEANUP_FREE char *mount = quote_word(s->m.info.mountpoint);
	char path[PATH_MAX + 1];

	printf("granted; ");
	if (is_attached(s, set->sender_name, path)) {
		fputs("what is attached is ", stdout);
		fputs(why_not(path), stdout);
		json_put_plain(stdout, path);
		printf("; ");
	}
	printf("tell where its files lie: 'frondfs attach %s %s BACKING'",
	       mount ? mount : "MOUNT",
	       set->sender_name[0] ? set->sender_name : "NAME");
}

static void tell_state(const struct session *s, const struct inbox_set *set,
		       bool lost)
{
	char when[WHEN_TEXT_MAX], hex[2 * SET_ID_LEN + 1];

	hex_encode(set->set_id, SET_ID_LEN, hex);
	switch (set->state) {
	case INBOX_WAITING_CARD:
		printf("locked; add their card with 'tgshare contact add NAME "
		       "CARD%s'",
		       report_vault());
		break;
	case INBOX_WAITING_MANIFEST:
		printf("%u share%s, waiting to be told what it is",
		       have_of(set), have_of(set) == 1 ? "" : "s");
		break;
	case INBOX_WAITING_SHARES:
		printf("locked: %u of %u share%s", have_of(set), set->k,
		       set->k == 1 ? "" : "s");
		tell_missing(set);
		break;
	case INBOX_WAITING_CONTENT:
		tell_content(set);
		break;
	case INBOX_OPEN:
		printf("open");
		break;
	case INBOX_GRANTED:
		fputs(lost ? "granted" : "may be read", stdout);
		break;
	case INBOX_NOT_ATTACHED:
		tell_not_attached(s, set);
		break;
	case INBOX_REVOKED:
		printf("%s",
		       set->kind == MANIFEST_GRANT ? "revoked" : "withdrawn");
		break;
	case INBOX_EXPIRED:
		printf("expired %s", when_text(set->expires_s, when));
		break;
	case INBOX_CUSTODY:
		printf("pass it on with 'tgshare release %.8s%s'", hex,
		       report_vault());
		break;
	default:
		printf("damaged: what came is not what was sent");
	}
}

/* A share to keep comes without a name. */
static void tell_what(const struct session *s, const struct inbox_set *set)
{
	const char *sender =
		set->sender_name[0] ? set->sender_name : "somebody unknown";

	if (set->index) {
		printf("share %u of something from ", set->index);
		json_put_plain(stdout, sender);
		printf(" is with you, for ");
		json_put_plain(stdout, set->recipient_name[0]
					       ? set->recipient_name
					       : "somebody");
		printf("; ");
		return;
	}
	tell_name(set->name);
	printf(" from ");
	json_put_plain(stdout, sender);
	tell_elsewhere(s, set);
	printf(": ");
}

void tell_set(const struct session *s, const struct inbox_set *set, bool lost)
{
	char hex[2 * SET_ID_LEN + 1], when[WHEN_TEXT_MAX];

	hex_encode(set->set_id, SET_ID_LEN, hex);
	printf("%.8s  ", hex);
	tell_what(s, set);
	tell_state(s, set, lost);
	if (set->code[0] && set->state != INBOX_CUSTODY)
		printf("; verification code %s", set->code);
	if (set->expires_s && set->state != INBOX_EXPIRED)
		printf("; expires %s", when_text(set->expires_s, when));
	putchar('\n');
	tell_note(set->note);
}

/* Does the record say what the outbox did not know? Acknowledgements overtake
 * one another. */
static bool is_news(const struct vlog_record *r, const struct item *item)
{
	return r->index == 0 ? r->detail > item->recipient_state
			     : r->detail > item->share_state[r->index - 1];
}

static bool tell_acknowledged(const struct vlog_record *r, const char *who,
			      const struct item *item)
{
	static const char *const words[] = {
		[ACK_RECEIVED] = "has received",
		[ACK_OPENED] = "has opened",
		[ACK_CUSTODY] = "keeps a share of",
		[ACK_RELEASED] = "has passed on a share of",
		[ACK_DECLINED] = "does not want",
	};

	if (!item) {
		printf("%s acknowledged what they were not sent, or what is "
		       "forgotten\n",
		       who);
		return true;
	}
	if (!is_news(r, item))
		return false;
	printf("%s %s ", who,
	       r->detail < sizeof words / sizeof *words && words[r->detail]
		       ? words[r->detail]
		       : "says something new about");
	tell_name(item->name);
	putchar('\n');
	return true;
}

static void tell_opened(const struct session *s, const struct vlog_record *r,
			const char *who)
{
	const char *slash = strrchr(r->text, '/');
	char note[TELL_NOTE_SIZE];

	tell_name(slash ? slash + 1 : r->text);
	printf(" is open, from %s", who);
	if (slash) {
		fputs(": ", stdout);
		json_put_plain(stdout, r->text);
	}
	putchar('\n');
	tell_note_of(s, r->text, note);
	if (slash)
		tell_note(note);
}

static void tell_refused(const struct vlog_record *r, const char *who)
{
	char hex[2 * SET_ID_LEN + 1];

	hex_encode(r->set_id, SET_ID_LEN, hex);
	printf("refused a message");
	if (who)
		printf(" from %s", who);
	if (!sodium_is_zero(r->set_id, SET_ID_LEN))
		printf(" about the set %.8s", hex);
	fputs(" (", stdout);
	json_put_plain(stdout, r->text[0] ? r->text : "no reason is noted");
	puts(")");
}

/* The log has what its sender called it; the inbox, where it is. */
static void tell_expired_place(const struct session *s,
			       const struct vlog_record *r)
{
	CLEANUP_FREE struct inbox_set *sets = NULL;
	size_t count = 0;

	if (intake_sets(s, &sets, &count))
		return;
	for (size_t i = 0; i < count; i++)
		if (sets[i].index == 0 &&
		    memcmp(sets[i].set_id, r->set_id, SET_ID_LEN) == 0 &&
		    people_same_keys(&sets[i].sender, &r->peer))
			tell_elsewhere(s, &sets[i]);
}

static void tell_expired(const struct session *s, const struct vlog_record *r,
			 const char *who)
{
	if (r->index)
		printf("the share %u that you kept of something", r->index);
	else
		tell_name(r->text);
	printf(" from %s", who);
	if (!r->index)
		tell_expired_place(s, r);
	puts(" has expired");
}

bool tell_record(const struct session *s, const struct vlog_record *r,
		 const struct item *item)
{
	char label[PEOPLE_LABEL_MAX];
	bool known = !sodium_is_zero((const uint8_t *)&r->peer, sizeof r->peer);
	const char *who =
		known ? people_label(&s->people, &r->peer, label) : "somebody";

	switch (r->event) {
	case VLOG_OPENED:
		tell_opened(s, r, who);
		return true;
	case VLOG_ACKNOWLEDGED:
		return tell_acknowledged(r, who, item);
	case VLOG_REFUSED:
		if (r->detail == VLOG_HARMLESS)
			return false;
		tell_refused(r, known ? who : NULL);
		return true;
	case VLOG_EXPIRED:
		tell_expired(s, r, who);
		return true;
	case VLOG_WITHDRAWN:
	case VLOG_KEY_REVOKED:
		if (r->detail == VLOG_REPLACED)
			return false;
		tell_name(r->text);
		printf(" was %s by %s\n",
		       r->event == VLOG_WITHDRAWN ? "withdrawn" : "revoked",
		       who);
		return true;
	default:
		return false;
	}
}
