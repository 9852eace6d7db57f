/*
 * What a sharing tool may ask of a mount: ioctls on any file or directory in
 * it, with structs of fixed size. Integers are the machine's own; a struct
 * that grows gets a number of its own.
 *
 * Who may: the user who mounted, whoever else is let in by allow_other
 * (EPERM); for the keys of a file, only through a descriptor that is open for
 * writing (EBADF). Other errors as errno(3); ENOTTY is from file systems that
 * are no frondfs.
 */
#ifndef FROND_CONTROL_H
#define FROND_CONTROL_H

#include "inbox.h"

#include <linux/ioctl.h>

enum {
	CONTROL_VERSION = 1,
	CONTROL_PATH_MAX = 4096,
	CONTROL_INNER_MAX = 6144,
	CONTROL_REQUEST_KINDS = 64,
};

/* Which vault is this? Any user of the mount. */
struct control_vault {
	uint32_t version; /* CONTROL_VERSION */
	int32_t identity; /* 1: it has one; 0: none; else why none is known */
	uint32_t read_only, shared;
	uint8_t vault_id[VAULT_ID_LEN];
	struct identity_public pub;	   /* zeros without an identity */
	char backing[CONTROL_PATH_MAX];	   /* absolute */
	char mountpoint[CONTROL_PATH_MAX]; /* absolute */
};
#define CONTROL_VAULT _IOR('F', 1, struct control_vault)

/* Make the identity if there is none; answers its public keys. */
#define CONTROL_IDENTITY _IOR('F', 2, struct identity_public)

/* The key of the file behind this descriptor. Wipe it. */
struct control_file_key {
	uint8_t file_id[FILE_ID_LEN];
	uint8_t key[FERNET_KEY_LEN];
	uint64_t size;
	char backing[CONTROL_PATH_MAX]; /* relative to the backing directory */
};
#define CONTROL_FILE_KEY _IOR('F', 3, struct control_file_key)

/* Give the file behind this descriptor a new key (vfile_rekey). */
#define CONTROL_REKEY _IO('F', 4)

/* Sign a statement (statement.h); sender is filled in. */
struct control_sign {
	struct statement st;
	uint8_t signature[IDENTITY_SIGNATURE_LEN]; /* out */
};
#define CONTROL_SIGN _IOWR('F', 5, struct control_sign)

/*
 * Look at the inbox. Ticket 0 asks for a scan and gets a ticket; with a
 * ticket, done tells whether a scan that began after it has ended (and err
 * its result). Contacts and attached directories are read anew, too.
 */
struct control_scan {
	uint64_t ticket;
	uint32_t done;
	int32_t err; /* 0 or a negative errno */
};
#define CONTROL_SCAN _IOWR('F', 6, struct control_scan)

/* The set after the cursor; ENODATA: no more. */
struct control_set {
	uint8_t cursor[SET_ID_LEN]; /* in, out */
	uint8_t cursor_index;	    /* in, out */
	struct inbox_set set;	    /* out */
};
#define CONTROL_SET_NEXT _IOWR('F', 16, struct control_set)

/*
 * Is the envelope <hash>.try in the inbox for us? Then it is <hash>.env from
 * now on; else it is gone. ENOENT: there is none.
 */
struct control_sift {
	uint8_t hash[ENVELOPE_HASH_LEN];
	uint32_t ours; /* out */
};
#define CONTROL_SIFT _IOWR('F', 14, struct control_sift)

/* A custodian's share: the envelope to pass on, and to whom. */
struct control_release {
	uint8_t set_id[SET_ID_LEN];    /* in */
	struct identity_public sender; /* in */
	uint32_t index;		       /* in */
	uint32_t inner_len;	       /* out */
	uint8_t inner[CONTROL_INNER_MAX];
	struct card recipient;
};
#define CONTROL_RELEASE _IOWR('F', 8, struct control_release)
/* It was passed on. */
struct control_released {
	uint8_t set_id[SET_ID_LEN];
	struct identity_public sender;
	uint32_t index;
};
#define CONTROL_RELEASED _IOW('F', 9, struct control_released)

/*
 * Put a record into the log. Only events that a tool may report: SENT,
 * GRANTED, REVOKED, VERIFIED, EXPORTED, and REFUSED, of which only the text
 * counts, and of too many none is written (else EINVAL).
 */
#define CONTROL_LOG_APPEND _IOW('F', 10, struct vlog_record)
/* Record r.seq; ENODATA beyond the end, EBADMSG damaged. */
#define CONTROL_LOG_READ _IOWR('F', 11, struct vlog_record)
struct control_log_state {
	uint64_t count;
	uint64_t bad_seq;
	uint32_t fault; /* enum vlog_fault: the whole chain is checked */
};
#define CONTROL_LOG_VERIFY _IOR('F', 12, struct control_log_state)

/* What this mount has done since it began. */
struct control_counters {
	uint64_t requests[CONTROL_REQUEST_KINDS]; /* by opcode: linux/fuse.h */
	uint64_t read_bytes, written_bytes;	  /* of plaintext */
	uint64_t chunks_opened, chunks_sealed;
	uint64_t ready_reads;	/* READs that found it opened ahead of them */
	uint64_t joined_writes; /* WRITEs that were written with others */
	/* of the redo journal: records and bytes appended to it, how often it
	 * was made durable, chunks brought in place, and yet to be brought */
	uint64_t journal_records, journal_bytes, journal_commits;
	uint64_t journal_applied, journal_pending;
};
#define CONTROL_COUNTERS _IOR('F', 13, struct control_counters)

/*
 * What lies under this name in the directory behind the descriptor is right,
 * though this machine has seen something newer (memory.h). EOPNOTSUPP: this
 * mount remembers nothing; ETIME: the directory is older itself.
 */
struct control_name {
	char name[256];
};
#define CONTROL_ACCEPT_OLD _IOW('F', 15, struct control_name)

#endif
