#include "check_words.h"
#include "chunk.h"
#include "json.h"

#include <inttypes.h>
#include <string.h>

/* id: for programs; text: what is wrong. */
static const struct words {
	const char *id, *text;
} words[CHECK_FAULTS] = {
	[CHECK_TOKEN] = {"token", "the token does not verify"},
	[CHECK_MOVED] = {"moved", "another chunk stands there"},
	[CHECK_MARK] = {"mark", "the mark of the file's end is wrong there"},
	[CHECK_ZEROED] = {"zeroed", "zeros stand there"},
	[CHECK_PADDING] = {"padding", "something stands behind the token"},
	[CHECK_CUT] = {"cut", "it is whole, but the file was cut behind it"},
	[CHECK_OLDER] = {"older", "older than what this machine has seen "
				  "there: it was put back"},
	[CHECK_LENGTH] = {"length", "no file has this length: it was cut, or "
				    "something was added"},
	[CHECK_HEADER] = {"header", "its header is damaged, so that nothing of "
				    "it can be read"},
	[CHECK_NAME] = {"name", "its name was not made in this directory"},
	[CHECK_LONG_NAME] = {"long-name", "its long name is missing or another "
					  "entry's"},
	[CHECK_DIRID] = {"dirid", "the directory's id (.dirid) is missing or "
				  "damaged, so that no name in it can be read"},
	[CHECK_LINK] = {"link", "where the link leads is damaged"},
	[CHECK_XATTR] = {"xattr", "an extended attribute is damaged"},
	[CHECK_PUT_BACK] = {"put-back", "was put back: this machine has seen "
					"it go from there"},
	[CHECK_UNREADABLE] = {"unreadable", "cannot be read"},
	[CHECK_LOG] = {"log", "the log was changed, cut, or is not complete"},
	[CHECK_IDENTITY] = {"identity",
			    "the sharing keys are damaged or missing: nothing "
			    "can be shared; put the file back from a backup"},
	[CHECK_RECORD] = {"record", "what is known of a set that somebody sent "
				    "is damaged"},
	[CHECK_SPOOLED] = {"spooled", "is not what its name says; it has to be "
				      "sent again"},
	[CHECK_OLD_INI] = {"old-vault-ini",
			   "older than the one that this machine saw last: an "
			   "old passphrase may have come back to life"},
	[CHECK_OLD_SESSION] = {"old-session",
			       "is of a mount that ended here before: "
			       "somebody has put it back, and old content "
			       "could come back with it"},
	[CHECK_STUCK] = {"stuck", "an interrupted change of a file's key "
				  "cannot be finished"},
	[CHECK_REKEY] = {"rekey", "a change of a file's key was interrupted; "
				  "mounting finishes it"},
	[CHECK_SESSION] = {"session",
			   "what a mount that ended unexpectedly has "
			   "left cannot be read"},
	[CHECK_CRASHED] = {"crashed", "a mount ended unexpectedly; mounting "
				      "finishes what it has left"},
	[CHECK_JOURNAL] = {"journal", "was being written when a mount ended "
				      "unexpectedly; mounting puts it right"},
	[CHECK_KEPT] = {"kept", "what the journal of a mount that ended "
				"unexpectedly held could not be brought to its "
				"place, and is kept there"},
	[CHECK_ASIDE] = {"dirid-aside",
			 "the directory's .dirid is missing; its attribute has "
			 "the same, and mounting puts it back"},
	[CHECK_CUT_OFF] = {"cut-off", "was cut off a file that a crash had "
				      "torn"},
	[CHECK_LEFTOVER] = {"leftover", "was being made or removed"},
	[CHECK_ORPHAN] = {"orphan", "was removed while it was open; mounting "
				    "deletes it"},
	[CHECK_NO_ENTRY] = {"no-entry", "a long name without its entry"},
	[CHECK_COPY] = {"copy", "a copy that a synchronising service or an "
				"editor made"},
	[CHECK_HIDDEN] = {"hidden-copy", "a copy of something, which the mount "
					 "does not show"},
	[CHECK_TWIN] = {"twin", "another file has the same id"},
	[CHECK_INI_COPY] = {"vault-ini-copy",
			    "a copy of vault.ini, which opens the vault with "
			    "the passphrase of its time, also after 'frondfs "
			    "passwd'; delete it when vault.ini opens"},
	[CHECK_FOREIGN] = {"foreign", "is not the vault's"},
	[CHECK_BUSY] = {"busy", "was being written all the time; look again "
				"later"},
};

static bool has_chunks(const struct check_finding *f)
{
	return f->fault <= CHECK_LENGTH;
}

static void put_chunks(FILE *out, const struct check_finding *f)
{
	if (f->first == f->last)
		fprintf(out,
			"chunk %" PRIu64 " (byte %" PRIu64 " on): ", f->first,
			f->first * CHUNK_SIZE);
	else
		fprintf(out,
			"chunks %" PRIu64 " to %" PRIu64 " (bytes %" PRIu64
			" to %" PRIu64 "): ",
			f->first, f->last, f->first * CHUNK_SIZE,
			(f->last + 1) * CHUNK_SIZE - 1);
}

static void put_outcome(FILE *out, const struct check_finding *f)
{
	if (f->state == CHECK_FAILED && f->fault != CHECK_UNREADABLE)
		fprintf(out, ": not repaired: %s", strerror(-f->error));
	if (f->state != CHECK_REPAIRED)
		return;
	(void)fputs(": repaired", out);
	if (!f->moved_to)
		return;
	(void)fputs(", it is now ", out);
	json_put_plain(out, f->moved_to);
}

void check_words_put(FILE *out, const struct check_finding *f)
{
	const char *path = f->path ? f->path : f->backing;

	json_put_plain(out, path[0] ? path : ".");
	(void)fputs(f->path ? ": " : " (in the backing directory): ", out);
	if (has_chunks(f))
		put_chunks(out, f);
	(void)fputs(words[f->fault].text, out);
	if (f->fault == CHECK_UNREADABLE)
		fprintf(out, ": %s", strerror(-f->error));
	if (f->fault == CHECK_LOG)
		fprintf(out, " (record %" PRIu64 ")", f->number);
	if (f->detail) {
		(void)fputs(" (", out);
		json_put_plain(out, f->detail);
		(void)fputc(')', out);
	}
	put_outcome(out, f);
	(void)fputc('\n', out);
}

static void put_member(FILE *out, const char *key, const char *text)
{
	fprintf(out, ", \"%s\": ", key);
	if (text)
		json_put_string(out, text);
	else
		(void)fputs("null", out);
}

void check_words_put_json(FILE *out, const struct check_finding *f)
{
	static const char *const states[] = {"note", "repaired", "damaged",
					     "failed"};

	fprintf(out, "{\"what\": \"%s\", \"state\": \"%s\"", words[f->fault].id,
		states[f->state]);
	put_member(out, "path", f->path);
	put_member(out, "backing", f->backing);
	put_member(out, "text", words[f->fault].text);
	if (has_chunks(f))
		fprintf(out, ", \"first\": %" PRIu64 ", \"last\": %" PRIu64,
			f->first, f->last);
	if (f->moved_to)
		put_member(out, "moved_to", f->moved_to);
	if (f->detail)
		put_member(out, "detail", f->detail);
	if (f->error)
		put_member(out, "error", strerror(-f->error));
	(void)fputc('}', out);
}
