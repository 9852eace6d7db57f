/* What the inbox_*.c files share; nobody else includes this. */
#ifndef FROND_INBOX_INTERNAL_H
#define FROND_INBOX_INTERNAL_H

#include "inbox.h"

#include <pthread.h>

enum {
	PARCEL_KEY_LEN = 16,
	SPOOL_HASH_LEN = ENVELOPE_HASH_LEN,
	SPOOL_NAME_MAX = 2 * SPOOL_HASH_LEN + 24,
	/* the placeholder of a whole set of an unknown sender */
	PLACE_WHOLE = UINT32_MAX,
};
_Static_assert((int)SPOOL_HASH_LEN == (int)MANIFEST_HASH_LEN, "alike");

enum place_state {
	PLACE_NONE,
	PLACE_STANDS, /* a placeholder or stub is in the tree */
	PLACE_DONE,   /* imported; or a directory */
	PLACE_DECLINED,
};

/* Where an entry of a set is in the vault's tree. */
struct place {
	uint8_t state;
	uint8_t id[FILE_ID_LEN]; /* of the placeholder, then of the file */
	uint64_t dev, ino;	 /* of what stands there */
	int64_t btime_s;
	uint32_t btime_ns;
	uint8_t digest[32]; /* granted: of the header, zeros: not known */
	bool damaged;	    /* its content was not what was committed to */
	char *moved_to;	    /* granted: found at this backing path */
};

/* An envelope of a set that lies in the spool. */
struct held {
	uint8_t hash[SPOOL_HASH_LEN];
	uint8_t kind, index;
	bool good; /* a share that is what was committed to */
};

/*
 * A set of one sender, or a share that we keep for somebody. Written by the
 * holder of inbox.work with inbox.lock held for writing; what else writes a
 * field is said there. Read with either held.
 */
struct parcel {
	struct parcel *next;
	uint8_t key[PARCEL_KEY_LEN]; /* of set id, sender, custody index */
	uint8_t set_id[SET_ID_LEN];
	struct identity_public sender;
	char sender_name[CARD_NAME_MAX + 1]; /* "": no contact */
	uint64_t first_seen_s, expires_s;

	struct manifest *m;
	uint8_t manifest_hash[SPOOL_HASH_LEN]; /* zeros: not in the spool */
	struct held *held;
	size_t held_count;
	uint64_t content_have, content_need;

	char *base; /* plain path of the file or folder; NULL: not placed */
	struct place whole, *places;
	size_t place_count;

	uint8_t *secret;       /* granted: secret_alloc */
	char *attached;	       /* the sender's backing directory, or NULL */
	uint64_t search_ms;    /* atomic use: when it was searched last */
	struct card *for_whom; /* custody */

	unsigned seen; /* generation in which its record was read */
	uint16_t have_mask;
	bool recorded; /* there is a .set or .grant of it */
	bool numbered; /* base is the numbered entry of an unknown sender */
	atomic_bool revoked;
	bool damaged; /* the shares do not make the secret */
	bool checked; /* they do */
	bool foreign; /* it was logged that somebody else sent this set id */
	bool granted;
	atomic_bool dirty;    /* the record is older */
	bool attached_now;    /* its vault was found there at the last scan */
	uint8_t custody;      /* a share's index: for somebody else */
	atomic_bool released; /* by inbox_released: to be dropped */
};

/* A part in the spool. */
struct part {
	uint8_t hash[SPOOL_HASH_LEN];
	uint64_t size;
	int64_t mtime_s;
	unsigned claims; /* sets of contacts that need it */
	bool named;	 /* by any set's manifest */
	bool gone;
};

struct declined {
	uint8_t key[PARCEL_KEY_LEN];
	uint32_t entry;
};

/* Refusals of one contact, or of all who are none. */
struct refusals {
	unsigned logged; /* with records of their own, lately */
	unsigned more;	 /* beyond, and not told yet */
	uint64_t told_s; /* when such were */
};

struct log_index;
struct place_table;

/* lock order: work, then lock. No I/O while lock is held. */
struct inbox {
	struct vault *vault;
	struct vlog *log;
	struct inbox_events events;

	pthread_mutex_t work; /* one at a time changes spool and tree */
	/* All below: work. */
	struct identity *me;	  /* secret; NULL: none yet */
	struct fernet_key *seal;  /* subkey 9; secret */
	int dir_fd;		  /* .frondfs/inbox; -1: none yet */
	struct contacts contacts; /* changed under lock as well */
	struct log_index *logged;
	struct part *parts;
	size_t part_count;
	uint8_t (*envelopes)[SPOOL_HASH_LEN]; /* of the last listing */
	size_t envelope_count;
	uint64_t spool_bytes;
	/* parts of sets that are over, the oldest overwritten: they may come
	 * again */
	uint8_t (*done)[SPOOL_HASH_LEN];
	size_t done_count, done_room, done_next;
	unsigned generation; /* how often the records were read */
	struct refusals anonymous, *refusals; /* by place in contacts.list */
	uint64_t refusals_since_s;
	unsigned vain_hunts; /* of this scan */
	bool looked;	     /* places were compared with the tree */
	const atomic_bool *stop;
	bool swept; /* leftovers are gone, and what is there is durable */

	pthread_rwlock_t lock;
	struct parcel *parcels;	   /* lock */
	struct place_table *table; /* lock */
	atomic_size_t table_count;
	struct declined *declines; /* lock */
	size_t decline_count;
};

static inline void inbox_write_begin_(struct inbox *in)
{
	pthread_rwlock_wrlock(&in->lock);
}

static inline void inbox_write_end_(struct inbox *in)
{
	pthread_rwlock_unlock(&in->lock);
}

static inline bool inbox_stopped_(const struct inbox *in)
{
	return in->stop && atomic_load(in->stop);
}

uint64_t inbox_now_(void); /* seconds since the epoch */

/* inbox_parcel.c: the list of sets */
void inbox_key_(const uint8_t set_id[static SET_ID_LEN],
		const struct identity_public *sender, uint8_t custody,
		uint8_t key[static PARCEL_KEY_LEN]);
struct parcel *inbox_find_(const struct inbox *in,
			   const uint8_t key[static PARCEL_KEY_LEN]);
MUST_CHECK struct parcel *inbox_parcel_new_(const uint8_t *set_id,
					    const struct identity_public *from,
					    uint8_t custody);
void inbox_parcel_free_(struct parcel *p);
/* Put into the list; take out of list and table and free. */
void inbox_adopt_(struct inbox *in, struct parcel *p);
void inbox_drop_(struct inbox *in, struct parcel *p);
/* Out of list and table only. The writer's lock. */
void inbox_unlink_(struct inbox *in, struct parcel *p);
MUST_CHECK int inbox_hold_(struct inbox *in, struct parcel *p,
			   const struct held *h);
void inbox_unhold_(struct inbox *in, struct parcel *p, size_t index);
/* Places for the manifest's entries, with fresh ids. */
MUST_CHECK int inbox_make_places_(struct inbox *in, struct parcel *p);
/* May its sender's files be shown by name and opened? */
static inline bool inbox_known_(const struct parcel *p)
{
	return p->sender_name[0] != '\0';
}
static inline bool inbox_expired_(const struct parcel *p)
{
	return p->expires_s && inbox_now_() >= p->expires_s;
}

/* inbox_table.c: from what statx says to places. The writer's lock. */
MUST_CHECK int inbox_table_put_(struct inbox *in, const struct parcel *p,
				uint32_t entry);
void inbox_table_forget_(struct inbox *in, const struct parcel *p,
			 uint32_t entry);
void inbox_table_forget_all_(struct inbox *in, const struct parcel *p);
/* The reader's lock. false: none. */
bool inbox_table_find_(const struct inbox *in, const struct statx *stx,
		       uint8_t key[static PARCEL_KEY_LEN], uint32_t *entry);
void inbox_table_free_(struct inbox *in);

/* inbox_record.c: sealed records */
#define RECORD_SET ".set"
#define RECORD_GRANT ".grant"
MUST_CHECK int inbox_seal_(struct inbox *in, const char *name,
			   const uint8_t *bytes, size_t len);
/* *bytes: secret_alloc. -EBADMSG: damaged, or another's under this name. */
MUST_CHECK int inbox_unseal_(struct inbox *in, const char *name,
			     uint8_t **bytes, size_t *len);
MUST_CHECK int inbox_record_write_(struct inbox *in, struct parcel *p);
void inbox_record_remove_(struct inbox *in, struct parcel *p);
/* Read one record: *out is not in the list yet. */
MUST_CHECK int inbox_record_read_(struct inbox *in, const char *name,
				  struct parcel **out);

/* inbox_log.c */
MUST_CHECK int inbox_log_refresh_(struct inbox *in);
void inbox_log_free_(struct inbox *in);
/* Does the log have this event of the set? */
bool inbox_is_logged_(const struct inbox *in, const struct parcel *p,
		      uint8_t event);
/* Over and done with: opened, declined, withdrawn; a kept share released. */
bool inbox_is_finished_(const struct inbox *in, const struct parcel *p);
/* Of these: another set took its place. */
bool inbox_is_replaced_(const struct inbox *in, const struct parcel *p);
struct log_line {
	uint8_t event, index, detail;
	const uint8_t *set_id;
	const struct identity_public *peer;
	const char *text;
};
/* Is such a record (text aside) in the log? */
bool inbox_has_logged_(const struct inbox *in, const struct log_line *l);
/* Unless it is. */
MUST_CHECK int inbox_log_once_(struct inbox *in, const struct log_line *l);
/* Does the log say that this set was sent to them, or that it was sent at all?
 */
bool inbox_was_sent_(const struct inbox *in, const uint8_t *set_id,
		     const struct identity_public *to);
bool inbox_was_sent_to_any_(const struct inbox *in, const uint8_t *set_id);
/* Something bad came. Without an envelope it is anonymous. Only the first ones
 * in a while have records of their own: those of a contact, and those of all
 * others together. A log that cannot be written fails the scan. */
MUST_CHECK int inbox_refuse_(struct inbox *in, const struct envelope *e,
			     const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The same of what came again, or late: it is logged, and not told. */
MUST_CHECK int inbox_pass_over_(struct inbox *in, const uint8_t *set_id,
				const struct identity_public *from,
				unsigned index, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
MUST_CHECK int inbox_refuse_rest_(struct inbox *in);
/* The contacts are new ones: their refusals go with them. */
MUST_CHECK int inbox_refuse_for_(struct inbox *in,
				 const struct contacts *fresh);
MUST_CHECK int inbox_refuse_of_(struct inbox *in, const struct parcel *p,
				unsigned index, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

MUST_CHECK int inbox_log_of_(struct inbox *in, const struct parcel *p,
			     uint8_t event, unsigned index);

/* inbox_spool.c */
MUST_CHECK int inbox_spool_open_(struct inbox *in);
/* List envelopes and parts; drop what an interrupted scan left. */
MUST_CHECK int inbox_spool_list_(struct inbox *in, bool first);
void inbox_spool_name_(const uint8_t hash[static SPOOL_HASH_LEN],
		       const char *suffix, char name[static SPOOL_NAME_MAX]);
void inbox_key_name_(const struct parcel *p, const char *suffix,
		     char name[static SPOOL_NAME_MAX]);
/* Read, compare with its name, unseal. -EBADMSG, -ENOENT, -EPROTONOSUPPORT. */
MUST_CHECK int inbox_spool_envelope_(struct inbox *in,
				     const uint8_t hash[static SPOOL_HASH_LEN],
				     struct envelope *e);
void inbox_spool_remove_(struct inbox *in,
			 const uint8_t hash[static SPOOL_HASH_LEN],
			 const char *suffix);
/* Drop a placeholder or folder under construction. */
void inbox_drop_stage_(struct inbox *in, const char *name);
struct part *inbox_part_(const struct inbox *in,
			 const uint8_t hash[static SPOOL_HASH_LEN]);
void inbox_part_remove_(struct inbox *in, struct part *part);
/* The file that has a part's name: do its bytes have the hash that it is called
 * by? */
struct part_look {
	bool same;
	ino_t ino;
	uint64_t size;
};
MUST_CHECK int inbox_check_part_(struct inbox *in, const struct part *part,
				 struct part_look *look);
/* This one goes; another one that has come meanwhile, and has its name by now,
 * does not. */
void inbox_part_remove_altered_(struct inbox *in, struct part *part,
				const struct part_look *look);

/* inbox_parts.c */
bool inbox_entry_is_here_(const struct inbox *in,
			  const struct manifest_entry *e);
/* Count claims and what is there; drop what is too much, or not needed. */
MUST_CHECK int inbox_claim_parts_(struct inbox *in);
/* The set is over: its parts, and those that come once more, may go. */
void inbox_parts_done_(struct inbox *in, const struct manifest *m);

/* inbox_take.c: what came goes to its set */
MUST_CHECK int inbox_take_all_(struct inbox *in);
/* Shares of others, that wait for a manifest of theirs under its set id. */
MUST_CHECK int inbox_refuse_foreign_(struct inbox *in,
				     const struct parcel *owner);

/* inbox_set.c: what can be done for a set is done */
MUST_CHECK int inbox_advance_(struct inbox *in, struct parcel *p,
			      bool *dropped);
/* Remove what the spool has of it, then its record, then forget it. */
void inbox_finish_(struct inbox *in, struct parcel *p);
/* The set's secret from its shares: secret_alloc. -EBADMSG: not the one. */
MUST_CHECK int inbox_secret_(struct inbox *in, struct parcel *p,
			     uint8_t **secret);
/* An entry's key. -EBADMSG. */
MUST_CHECK int inbox_entry_key_(const struct manifest_entry *e,
				const uint8_t secret[static FERNET_KEY_LEN],
				uint8_t key[static FERNET_KEY_LEN]);

/* inbox_place.c: placeholders and stubs */
MUST_CHECK int inbox_place_(struct inbox *in, struct parcel *p);
/* An entry of a placed folder whose placeholder is gone gets another. */
/* The sender's note becomes the comment of what it came with. */
void inbox_keep_note_(const struct inbox *in, const struct parcel *p, int fd,
		      const uint8_t owner[static FILE_ID_LEN]);
MUST_CHECK int inbox_place_again_(struct inbox *in, struct parcel *p,
				  uint32_t entry);
/* A numbered entry whose sender is known now goes. */
MUST_CHECK int inbox_unnumber_(struct inbox *in, struct parcel *p);
/* Remove the stub or placeholder that stands for an entry. */
MUST_CHECK int inbox_unplace_(struct inbox *in, struct parcel *p,
			      uint32_t entry);
/* All that stands; inbox_fill_table_ needs the writer's lock. */
MUST_CHECK int inbox_enter_table_(struct inbox *in, struct parcel *p);
MUST_CHECK int inbox_fill_table_(struct inbox *in, struct parcel *p);
void inbox_changed_(struct inbox *in, const char *path);

/* inbox_dir.c: our directories and names in them */
/* "name (2).ext": the n-th choice, from 1, cut to 255 bytes. */
void inbox_choice_(const char *name, bool is_dir, unsigned n,
		   char out[static NAME_PLAIN_MAX + 1]);
/* Where a sender's things go; *path is plain, malloced. */
MUST_CHECK int inbox_sender_dir_(struct inbox *in, const struct parcel *p,
				 struct vtree_dir *dir, char **path);

/* inbox_find.c */
struct spot {
	struct vtree_dir dir;
	struct backing_name name;
	struct statx stx;
	char *path;   /* plain */
	bool is_file; /* finished: the file itself, else the placeholder */
};
void inbox_spot_fini_(struct spot *s);
/* Where place's placeholder or file is now. -ENOENT: nowhere. */
MUST_CHECK int inbox_locate_(struct inbox *in, struct parcel *p, uint32_t entry,
			     struct spot *s);
/* The recorded path of an entry, malloced; NULL: no memory, or no base. */
MUST_CHECK char *inbox_path_of_(const struct parcel *p, uint32_t entry);
void inbox_note_stat_(struct place *place, const struct statx *stx);
static inline struct place *inbox_place_of_(struct parcel *p, uint32_t entry)
{
	return entry == PLACE_WHOLE ? &p->whole : &p->places[entry];
}
/* The directory that holds path below base; *last is its last component. */
MUST_CHECK int inbox_below_(struct inbox *in, const struct vtree_dir *base,
			    const char *path, bool make, struct vtree_dir *dir,
			    const char **last);
/* Once after opening: compare the places with the tree. */
MUST_CHECK int inbox_look_(struct inbox *in);

/* inbox_decline.c: what users removed; after the envelopes were taken */
MUST_CHECK int inbox_drain_declines_(struct inbox *in);
/* The same, without holding work, and unless somebody else does. After every
 * letting go of work, so that none is left lying. */
void inbox_settle_declines_(struct inbox *in);
/* Files of the set that are imported, and that are still to come. */
void inbox_count_(const struct parcel *p, size_t *done, size_t *open);
/* Removed here before it opened; that it had expired is noted before. */
MUST_CHECK int inbox_log_declined_(struct inbox *in, const struct parcel *p);

/* inbox_import.c */
/* Is there a file that can be imported, or none left to be? */
bool inbox_import_is_due_(const struct inbox *in, const struct parcel *p);
MUST_CHECK int inbox_import_(struct inbox *in, struct parcel *p,
			     const uint8_t secret[static FERNET_KEY_LEN]);

/* inbox_grant.c */
/* Takes the secret over. */
MUST_CHECK int inbox_grant_(struct inbox *in, struct parcel *p,
			    uint8_t **secret);
MUST_CHECK int inbox_advance_grant_(struct inbox *in, struct parcel *p,
				    bool *dropped);
/* It replaces a set that stands already: it will have that place. */
bool inbox_waits_for_stub_(const struct inbox *in, const struct parcel *p);
/* A set that is here will take its place: its own keys open nothing. */
bool inbox_is_superseded_(const struct inbox *in, const struct parcel *p);

/* inbox_attached.c: does the sender's vault lie where it is attached? */
bool inbox_is_attached_(const struct parcel *p);

/* inbox_show.c: why an entry cannot be read; 0: it can */
int inbox_error_(const struct parcel *p, uint32_t entry);

#endif
