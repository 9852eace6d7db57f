/*
 * The vault's record of sharing: what was sent, granted, received, opened,
 * released, refused, revoked. Append-only: .frondfs/log is a row of tokens of
 * one length under subkey 6, each holding its number, the BLAKE2b-256 of the
 * token before it, and the record; .frondfs/log.head, a token under the same
 * subkey, holds the number and digest of the last, so that a cut tail is
 * seen. A record is durable before the head is replaced; one record past the
 * head that chains is what a crash leaves, and is taken in. Thread-safe within
 * a process; one process at a time writes (a lock on the file, for shared
 * mounts).
 *
 * The head is replaced by rename and not written in place: a copy of the
 * vault made at any moment then has a whole one.
 *
 * A damaged log goes on, or the damage would end all sharing: the next record
 * follows the digest ff..ff, which nothing has, so that vlog_verify() finds
 * the place ever after. Records are counted and read by their places.
 */
#ifndef FROND_VLOG_H
#define FROND_VLOG_H

#include "statement.h"
#include "vault.h"

enum vlog_event {
	VLOG_SENT = 1,
	VLOG_GRANTED,
	VLOG_RECEIVED,	  /* a share or manifest came and is good */
	VLOG_OPENED,	  /* a set: its files are there */
	VLOG_CUSTODY,	  /* a share to keep for somebody came */
	VLOG_RELEASED,	  /* and was passed on */
	VLOG_REFUSED,	  /* something bad came; text says what */
	VLOG_REVOKED,	  /* by us */
	VLOG_WITHDRAWN,	  /* by the sender, before it opened */
	VLOG_KEY_REVOKED, /* by the sender, of a granted file */
	VLOG_EXPIRED,
	VLOG_REKEYED,
	VLOG_ACKNOWLEDGED, /* a recipient says so; detail: enum ack_state */
	VLOG_DECLINED,	   /* removed here before it opened */
	VLOG_VERIFIED,	   /* a contact's fingerprint was compared */
	VLOG_EXPORTED,
	VLOG_EVENTS,
};

enum { VLOG_TEXT_MAX = 255 };
enum {
	/* detail of VLOG_WITHDRAWN: another set took its place, before or
	 * after it opened */
	VLOG_REPLACED = 1,
	/* detail of VLOG_REFUSED: what came again, or late; that happens */
	VLOG_HARMLESS = 1,
	/* detail of VLOG_VERIFIED: and was found to be another one than that
	 * of their card, which was taken for theirs before */
	VLOG_DIFFERS = 1,
};

struct vlog_record {
	uint64_t seq;	 /* from 0; set by vlog_append */
	uint64_t time_s; /* set by vlog_append */
	uint8_t event, index, detail;
	uint8_t set_id[SET_ID_LEN];
	struct identity_public peer; /* zeros: nobody */
	/* file name, what was wrong, or of what opened its path */
	char text[VLOG_TEXT_MAX + 1];
};

struct vlog;
MUST_CHECK int vlog_open(struct vault *vault, struct vlog **out);
void vlog_close(struct vlog *log);
/* Durable when it returns 0; r->seq and time_s are filled in. -EROFS. */
MUST_CHECK int vlog_append(struct vlog *log, struct vlog_record *r);
/* How many records; reading beyond is -ENODATA, a damaged one -EBADMSG. */
uint64_t vlog_count(struct vlog *log);
MUST_CHECK int vlog_read(struct vlog *log, uint64_t seq, struct vlog_record *r);
/* Check the whole chain. -EBADMSG: *what and *seq tell what and where; 0: NONE
 * and the number of records. */
enum vlog_fault {
	VLOG_FAULT_NONE,
	VLOG_FAULT_RECORD, /* record seq is altered */
	VLOG_FAULT_CHAIN,  /* record seq does not follow the one before */
	VLOG_FAULT_CUT,	   /* the log ends at seq, before its head */
	VLOG_FAULT_HEAD,   /* the head is missing or altered */
	VLOG_FAULT_EXCESS, /* there is more than the head knows */
};
MUST_CHECK int vlog_verify(struct vlog *log, enum vlog_fault *what,
			   uint64_t *seq);

#endif
