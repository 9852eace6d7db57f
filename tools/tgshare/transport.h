/*
 * How messages get from person to person. A transport moves envelopes (as
 * text) and documents (parts, long envelopes) without understanding them.
 * Everything is asynchronous: what is submitted is under way until its
 * callback says how it ended, many at a time; transport_run() drives it.
 * Single-threaded.
 */
#ifndef TGSHARE_TRANSPORT_H
#define TGSHARE_TRANSPORT_H

#include "cleanup.h"

#include <stdbool.h>
#include <stdint.h>

enum { TRANSPORT_ADDRESS_MAX = 128, TRANSPORT_REF_MAX = 128 };

/* Something to deliver. Borrowed until done() was called. */
struct transport_message {
	const char *address; /* as the recipient's card has it */
	const char *who; /* the same in words, for reasons; NULL: the address */
	const uint8_t *text; /* an envelope as text and words around it, UTF-8;
				or NULL */
	size_t text_len;
	/* a button below the text, or NULL: its words, and where it leads */
	const char *button, *button_url;
	int fd; /* a document's bytes: len of them from offset on; or -1 */
	uint64_t offset, len;
	/* of the document: letters, digits, "-", "_" and "."; it names the
	 * bytes: two documents of one name are the same */
	const char *filename;
	/*
	 * err: 0 or a negative errno; reason: one sentence for a human (what,
	 * on what, what to do), "" on success. Transient troubles are retried
	 * within; -EAGAIN says it gave up for now. ref: where it lies, for
	 * transport_retract(); "" if nowhere.
	 */
	void (*done)(void *arg, int err, const char *reason, const char *ref);
	void (*progress)(void *arg, uint64_t bytes); /* or NULL */
	void *arg;
};

/* What arrives. Return 0 once it is durable, else it will come again. */
struct transport_receiver {
	/* from: the same for what the same person writes, perhaps in pieces;
	 * "": it is all of it */
	int (*text)(void *arg, const char *from, const char *text, size_t len);
	/* fd: the document's bytes, positioned at its beginning; hash: their
	 * BLAKE2b-256 where it is known, or NULL. -EAGAIN: they are not what
	 * the name tells, and may still be on their way. */
	int (*document)(void *arg, int fd, uint64_t len, const char *filename,
			const uint8_t *hash);
	void *arg;
	/* Somebody greets us, with the word of the link that led them here
	 * ("" without), and can be written to at this address. Or NULL. */
	int (*started)(void *arg, const char *word, const char *address);
	/* Something came and cannot be had; a sentence. Or NULL. */
	void (*lost)(void *arg, const char *reason);
	/* Something lies there that is not what its name tells, or not yet:
	 * it is left for now. Or NULL. */
	void (*unsettled)(void *arg);
	/*
	 * Around what one message brings, which may begin several times before
	 * it ends: whoever wrote it can be answered at this address; "" when
	 * that is nobody in particular, or a program. Or NULL.
	 */
	void (*begins)(void *arg, const char *answer_to);
	void (*ends)(void *arg);
};

struct transport;
struct transport_ops {
	const char *name; /* the word before ":" in addresses and settings */
	bool one_reader;  /* two that collect at a time disturb each other */
	bool far;	  /* documents take their time: begin with them early */
	/* The longest document, bytes; content is cut into parts of this. */
	uint64_t (*part_max)(const struct transport *t);
	/* Own address, for the card: at most TRANSPORT_ADDRESS_MAX bytes. */
	const char *(*address)(const struct transport *t);
	int (*submit)(struct transport *t, const struct transport_message *m);
	/* Take back what was sent: deleted, or replaced by a tombstone. done
	 * (or NULL) is told how it ended, unless this fails; -EAGAIN: it lies
	 * there still. */
	int (*retract)(struct transport *t, const char *address,
		       const char *ref, void (*done)(void *arg, int err),
		       void *arg);
	/* Work on what is under way, and receive where r is not NULL; with
	 * nothing to do waits at most timeout_ms, and less when it likes or a
	 * signal comes that the caller blocks at other times. 0, or what makes
	 * receiving impossible (words in reason); -EKEYREVOKED: for ever, until
	 * it is set up anew. */
	int (*run)(struct transport *t, const struct transport_receiver *r,
		   int timeout_ms);
	bool (*idle)(const struct transport *t); /* nothing is under way */
	/* What is under way to others ends now, with -EAGAIN. */
	void (*give_up)(struct transport *t);
	const char *(*reason)(const struct transport *t);
	void (*free)(struct transport *t);
};

struct transport {
	const struct transport_ops *ops;
};

enum { TRANSPORT_ID_LEN = 16 };

/*
 * The folder transport (transport_dir.c): PATH is a directory that everybody
 * concerned can reach. Each person's mailbox is PATH/<own id in hex>; address
 * "dir:PATH/<own id>", or "dir:<own id>" where that is too long. A card may be
 * read elsewhere, where PATH lies at another place: the mailbox is looked for
 * below one's own PATH first. -ENOENT, -ENOTDIR, -EACCES...
 */
MUST_CHECK int transport_dir_open(const char *path,
				  const uint8_t own_id[static TRANSPORT_ID_LEN],
				  struct transport **out);

#endif
