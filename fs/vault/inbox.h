/*
 * What others sent: envelopes and parts of sealed copies in .frondfs/inbox,
 * put there by a collector that holds no key. The inbox unseals and verifies
 * them, shows what is announced under Shared/, and once enough good shares
 * are there, opens it. No FUSE here; no thread of its own.
 *
 * In .frondfs/inbox:
 *
 *   <64 hex>.env    an envelope; named by BLAKE2b-256
 *
 *   <64 hex>.part   a part of a sealed copy; likewise
 *
 *   <64 hex>.try    an envelope that may be for somebody else: inbox_sift()
 *
 *   ....tmp         being written by the collector
 *
 *   <32 hex>.set    a set's record, tokens under subkey 9: where its files
 *                   were placed, with which ids
 *
 *   <32 hex>.grant  a granted set, likewise, with its manifest and key
 *
 *   <32 hex>.stage  a placeholder or folder before it has its name
 *
 *   <32 hex>.<n>.new  a file being imported
 *
 *   shared.dir      the id of our directory, a token under subkey 9
 *
 * The 32 digits are BLAKE2b-128 of set id, sender and 0. See docs/SHARING.md.
 *
 * Nothing is removed from the spool before what it led to is durable; an
 * interrupted import is finished or begun anew by the next scan. Files appear
 * under Shared/<contact>/, of unknown senders as numbered, locked entries under
 * Shared/unverified-<fingerprint>/ until there is a card.
 */
#ifndef FROND_INBOX_H
#define FROND_INBOX_H

#include "contacts.h"
#include "manifest.h"
#include "message.h"
#include "vlog.h"

#include <stdatomic.h>
#include <sys/stat.h>

#define VAULT_INBOX_DIR "inbox"	  /* in .frondfs */
#define VAULT_OUTBOX_DIR "outbox" /* in .frondfs: sealed copies under way */
#define INBOX_SHARED_DIR "Shared"

/* Quotas (docs/SHARING.md): beyond, things are refused one by one. */
enum {
	INBOX_SETS_PER_SENDER = 256, /* not yet opened */
	INBOX_SETS_UNKNOWN = 16,     /* of all unknown senders together */
	INBOX_ENVELOPES_PER_SET = 64,
};
enum { INBOX_PATH_MAX = 4096 };
#define INBOX_BYTES_MAX (UINT64_C(1) << 40)
/* parts that no manifest names, together */
#define INBOX_BYTES_UNCLAIMED (UINT64_C(4) << 30)

struct inbox;

/* What changes in the tree, for whoever caches names. parent and name are
 * plain; called without locks held, from inbox_scan and inbox_declined. */
struct inbox_events {
	void (*entry_changed)(void *arg, const char *parent_path,
			      const char *name);
	void *arg;
};

MUST_CHECK int inbox_open(struct vault *vault, struct vlog *log,
			  const struct inbox_events *events,
			  struct inbox **out);
void inbox_close(struct inbox *in);

/*
 * Take in what the spool has now; one caller at a time works, others wait.
 * Bad things are refused one by one, logged, and never make this fail; a
 * failure is the vault's own (-ENOSPC, -EIO...), and the next scan goes on.
 * -ENOENT: this vault has no identity yet. stop is looked at between pieces of
 * work: true ends with -EINTR.
 */
MUST_CHECK int inbox_scan(struct inbox *in, const atomic_bool *stop);

/*
 * Is the envelope <hash>.try for us? Then it is <hash>.env from now on; else
 * it is gone, and nothing of it is logged. -ENOENT: there is none, or no
 * identity yet.
 */
MUST_CHECK int inbox_sift(struct inbox *in,
			  const uint8_t hash[static ENVELOPE_HASH_LEN],
			  bool *ours);

/* The collector met something that nobody can take in: it is logged, with
 * others of the kind only so often. */
MUST_CHECK int inbox_refused(struct inbox *in, const char *why);

enum inbox_state {
	INBOX_WAITING_CARD = 1, /* unknown sender */
	INBOX_WAITING_MANIFEST,
	INBOX_WAITING_SHARES,
	INBOX_WAITING_CONTENT,
	INBOX_OPEN,	    /* imported; only the log knows it later */
	INBOX_GRANTED,	    /* may be read */
	INBOX_NOT_ATTACHED, /* granted, but where the files lie is not known */
	INBOX_REVOKED,
	INBOX_EXPIRED,
	INBOX_CUSTODY, /* not for us: to be released */
	INBOX_DAMAGED, /* the secret or the content is not what was committed to
			*/
};

/* One set, as the tool and the attributes show it. */
struct inbox_set {
	uint8_t set_id[SET_ID_LEN];
	uint8_t state, kind; /* enum manifest_kind, 0 unknown */
	uint8_t index;	     /* custody: the share's */
	uint8_t k, n;
	uint16_t have_mask, asked_mask; /* shares here; shares not direct */
	char holders[SLIP39_SHARES_MAX][CARD_NAME_MAX + 1];
	struct identity_public sender;
	char sender_name[CARD_NAME_MAX + 1];	/* "" unknown */
	char recipient_name[CARD_NAME_MAX + 1]; /* custody */
	char name[256], note[MANIFEST_NOTE_MAX + 1];
	/* in the vault, as it was put there; "" nowhere, or too long */
	char path[INBOX_PATH_MAX];
	char code[7];
	uint64_t expires_s, first_seen_s;
	uint64_t size, content_have; /* plaintext bytes; backing bytes here */
	uint64_t content_need;
	uint32_t entries;
	bool ack_due; /* everything sent directly is here */
};
/* The first set after *cursor (zeros: from the start). -ENODATA: no more. */
MUST_CHECK int inbox_next(struct inbox *in, uint8_t cursor[static SET_ID_LEN],
			  uint8_t *cursor_index, struct inbox_set *set);

/* A share that we keep: two senders may use one set id. */
struct inbox_kept {
	uint8_t set_id[SET_ID_LEN];
	struct identity_public sender;
	uint8_t index;
};

/* A custodian agrees: the inner envelope (malloced) and whom it is for. The
 * caller sends it and then calls inbox_released, which logs and forgets it.
 * -EKEYEXPIRED: too late. */
MUST_CHECK int inbox_release(struct inbox *in, const struct inbox_kept *kept,
			     uint8_t **inner, size_t *len,
			     struct card *recipient);
MUST_CHECK int inbox_released(struct inbox *in, const struct inbox_kept *kept);

/*
 * What the inbox knows of a file under Shared/, by what statx says of it.
 * Fast when there is nothing: inbox_has_entries() is one atomic load.
 */
bool inbox_has_entries(const struct inbox *in);
struct inbox_entry {
	bool granted; /* a granted file, else a locked one */
	int error;    /* why it cannot be read: -ENOKEY, -EKEYREVOKED,
			 -EKEYEXPIRED, -EKEYREJECTED (not what was committed
			 to), -ENOMEDIUM (not attached); 0 */
	uint8_t set_id[SET_ID_LEN];
	uint8_t key[16]; /* the inbox's own: set and sender */
	uint32_t entry;	 /* index in the manifest; UINT32_MAX: all of it */
};
MUST_CHECK int inbox_entry_of(struct inbox *in, const struct statx *stx,
			      struct inbox_entry *e); /* -ENOENT: ordinary */
/* A granted file: a new descriptor of the sender's backing file, and the key
 * (secret). Errors as inbox_entry.error. */
MUST_CHECK int inbox_open_granted(struct inbox *in, const struct inbox_entry *e,
				  int *fd, struct vfile_grant *grant);
/* After the first good open: remember which header the key belongs to. */
void inbox_note_header(struct inbox *in, const struct inbox_entry *e,
		       const uint8_t digest[static 32]);
/* vfile_read() or _open said -EKEYREVOKED. */
void inbox_note_revoked(struct inbox *in, const struct inbox_entry *e);
/* The value of user.frondfs.share, malloced text; docs/SHARING.md. */
MUST_CHECK int inbox_describe(struct inbox *in, const struct inbox_entry *e,
			      char **text);
/* The user removed the entry that *stx was: it is not wanted. */
void inbox_declined(struct inbox *in, const struct statx *stx);

#endif
