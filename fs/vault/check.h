/*
 * Verification of a whole vault: every name, header, token, directory id,
 * link, extended attribute, and what lies in .frondfs. Reads the backing
 * directory itself, with all processors; repairs what can be repaired without
 * losing a byte that can still be read. Prints nothing. Where the vault has a
 * memory (memory.h), what is older than what that knows is found, too.
 */
#ifndef FROND_CHECK_H
#define FROND_CHECK_H

#include "vault.h"

#include <stdatomic.h>

enum check_fault {
	/* chunks first to last of a file */
	CHECK_TOKEN,   /* the token does not verify */
	CHECK_MOVED,   /* another chunk of the file stands there */
	CHECK_MARK,    /* the mark of the last chunk where it does not belong,
			  or none where it does */
	CHECK_ZEROED,  /* zeros, in a file without holes */
	CHECK_PADDING, /* something stands behind the last token */
	CHECK_CUT,     /* sound, but what followed is gone */
	CHECK_OLDER,   /* sound, but this machine has seen a newer one */
	CHECK_LENGTH,  /* no file has this length: cut, or something added */
	/* one entry */
	CHECK_HEADER,
	CHECK_NAME,	  /* it was not made in this directory */
	CHECK_LONG_NAME,  /* its .name is missing or another's */
	CHECK_DIRID,	  /* .dirid is missing, damaged or another's */
	CHECK_LINK,	  /* the target's token, or its companion */
	CHECK_XATTR,	  /* detail: as it is called in the backing directory */
	CHECK_PUT_BACK,	  /* this machine has seen it go from there */
	CHECK_UNREADABLE, /* error says why */
	/* in .frondfs */
	CHECK_LOG, /* number: the record */
	CHECK_IDENTITY,
	CHECK_RECORD,  /* of a set that somebody sent */
	CHECK_SPOOLED, /* an envelope or a part: not what its name says */
	CHECK_SESSION, /* the journal of a mount that ended unexpectedly: it
			  cannot be read */
	CHECK_STUCK,   /* an interrupted re-keying that cannot be finished */
	CHECK_KEPT,    /* what a journal held that had no place to go to */
	CHECK_OLD_INI, /* vault.ini: this machine has seen a newer one */
	CHECK_OLD_SESSION, /* a journal that ended on this machine before */
	/* not damage */
	CHECK_REKEY,	/* an interrupted re-keying, to be finished */
	CHECK_CRASHED,	/* a mount ended unexpectedly; the next one finishes it
			 */
	CHECK_JOURNAL,	/* a file that it was writing, and that is mended */
	CHECK_ASIDE,	/* .dirid is missing, and its attribute has the id */
	CHECK_CUT_OFF,	/* kept of a file that was mended */
	CHECK_LEFTOVER, /* something that was being made or removed */
	CHECK_ORPHAN,	/* removed while it was open */
	CHECK_NO_ENTRY, /* a long name whose entry is not there */
	CHECK_COPY,	/* made by a synchronising service */
	CHECK_HIDDEN,	/* such a copy that the mount cannot show */
	CHECK_TWIN,	/* another file has its id; detail: its plain path */
	CHECK_INI_COPY, /* of vault.ini: its passphrase opens the vault */
	CHECK_FOREIGN,	/* somebody else's */
	CHECK_BUSY,	/* was being written all the time */
	CHECK_FAULTS,
};

enum check_state {
	CHECK_NOTE,
	CHECK_REPAIRED,
	CHECK_DAMAGED,
	CHECK_FAILED, /* could not be looked at, or not be repaired: error */
};

struct check_finding {
	enum check_fault fault;
	enum check_state state;
	const char *path;     /* plain, from the root; NULL: not known */
	const char *backing;  /* the same in the backing directory */
	const char *moved_to; /* plain path, after a repair that moved it */
	const char *detail;
	uint64_t first, last; /* chunks */
	uint64_t number;
	int error; /* negative errno */
};

struct check_progress {
	uint64_t bytes, files; /* of the backing directory, so far */
	uint64_t bytes_found;  /* that there are, as far as counted */
	bool counted;	       /* to the end */
};

struct check_result {
	uint64_t files, directories, links, others, locked, bytes;
	uint64_t notes, repaired, damaged, failed; /* findings */
};

struct check_options {
	unsigned jobs; /* threads; 0: one for each processor */
	bool repair;   /* the caller holds the vault's lock alone */
	bool count;    /* find out how much there is, for progress() */
	bool compare;  /* vault.ini and the journal with what this machine has
			  seen (seen.h) */
	const atomic_bool *stop;
	/* One call at a time, from any thread. */
	void (*found)(void *arg, const struct check_finding *f);
	/* From the calling thread, a few times a second; may be NULL. */
	void (*progress)(void *arg, const struct check_progress *p);
	void *arg;
};

/*
 * -EINTR: stopped, what was found until then counts. Any other error is the
 * machine's (-ENOMEM...). While somebody has the vault mounted, what looks
 * damaged is looked at again until it has not changed for some seconds.
 */
MUST_CHECK int vault_check(struct vault *vault, const struct check_options *opt,
			   struct check_result *result);

#endif
