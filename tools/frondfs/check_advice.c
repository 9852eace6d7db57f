#include "check_advice.h"
#include "report.h"

enum kind {
	NOTHING, /* its own line says it */
	RESTORE,
	REPAIR,
	LOG,
	IDENTITY,
	SEND,
	TWIN,
	OLDER,
	PUT_BACK,
	OLD_INI,
	OLD_SESSION,
	KINDS,
};

static const unsigned char kinds[CHECK_FAULTS] = {
	[CHECK_TOKEN] = RESTORE,     [CHECK_MOVED] = RESTORE,
	[CHECK_MARK] = RESTORE,	     [CHECK_ZEROED] = RESTORE,
	[CHECK_PADDING] = RESTORE,   [CHECK_CUT] = RESTORE,
	[CHECK_LENGTH] = RESTORE,    [CHECK_HEADER] = RESTORE,
	[CHECK_LINK] = RESTORE,	     [CHECK_XATTR] = RESTORE,
	[CHECK_OLDER] = OLDER,	     [CHECK_PUT_BACK] = PUT_BACK,
	[CHECK_NAME] = REPAIR,	     [CHECK_LONG_NAME] = REPAIR,
	[CHECK_DIRID] = REPAIR,	     [CHECK_LOG] = LOG,
	[CHECK_IDENTITY] = IDENTITY, [CHECK_RECORD] = SEND,
	[CHECK_OLD_INI] = OLD_INI,   [CHECK_OLD_SESSION] = OLD_SESSION,
	[CHECK_TWIN] = TWIN,
};

#define OLDER_TEXT                                                             \
	"what is older, or was put back, is left as it is: put the newer in "  \
	"its place, remove what had gone, or, if you have restored it "        \
	"yourself, say so: 'frondfs accept-old FILE...' in the mount, or "     \
	"mount with '-o accept-old'"

static const char *const texts[KINDS] = {
	[RESTORE] = "no repair brings back damaged content, links and "
		    "attributes: restore them from a backup, or remove them; "
		    "what is whole of a damaged file can still be read",
	[REPAIR] = "names and directories: put the .name or .dirid that is "
		   "missing back from a backup, if there is one; then "
		   "'frondfs check --repair', while nothing is mounted, mends "
		   "what can be mended",
	[LOG] = ".frondfs/log and .frondfs/log.head belong together: restore "
		"both from the same backup, or, without one, move both away "
		"while nothing is mounted, and a new log begins",
	[IDENTITY] = "restore .frondfs/identity from a backup; without one, "
		     "move away what is there, mount anew, and run 'tgshare "
		     "setup --new-keys', and your contacts need the new card",
	[SEND] = "ask who sent a damaged set to send it again",
	[TWIN] = "if a copy that does not keep hard links made several files "
		 "of one, all have its id, and each looks older when another "
		 "was written, whatever is accepted: give all but one an id "
		 "of their own, in the mount, with 'frondfs accept-old FILE; "
		 "cp -a FILE FILE.new && mv FILE.new FILE', and check again",
	[OLDER] = OLDER_TEXT,
	[PUT_BACK] = OLDER_TEXT,
	[OLD_INI] = "a vault with an older vault.ini is not mounted: put the "
		    "newer one in its place, or, if you restored a backup, "
		    "mount once with '-o accept-old'",
	[OLD_SESSION] = "a vault whose journal has been finished here before, "
			"in another copy or before it was put back, is not "
			"mounted: what was written last may lie there alone, "
			"so delete nothing, copy the vault aside, and mount "
			"once with '-o accept-old', which brings that to its "
			"place, over nothing newer, and takes all else for "
			"right as it is",
};

void check_advice_add(struct check_advice *a, const struct check_finding *f)
{
	if (f->state == CHECK_DAMAGED || f->fault == CHECK_TWIN)
		a->kinds |= 1U << kinds[f->fault];
}

void check_advice_put(const struct check_advice *a)
{
	unsigned told = a->kinds;

	/* once; and of twins, to accept them ends nothing */
	if (told & (1U << TWIN | 1U << PUT_BACK))
		told &= ~(1U << OLDER);
	for (unsigned kind = NOTHING + 1; kind < KINDS; kind++)
		if (told & 1U << kind)
			report("%s", texts[kind]);
}
