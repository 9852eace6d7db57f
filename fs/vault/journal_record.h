/*
 * A segment's head and its records as bytes (frondfs-format(5), "The redo
 * journal"). No I/O.
 */
#ifndef FROND_JOURNAL_RECORD_H
#define FROND_JOURNAL_RECORD_H

#include "journal.h"
#include "workspace.h"

enum {
	JOURNAL_ID_LEN = 16,
	JOURNAL_MAC_LEN = 32,
	JOURNAL_HEAD_LEN = 80, /* in front of a segment's records */
	JOURNAL_RECORD_HEAD_LEN = 120,
	/* of a segment without records: its head and the mark */
	JOURNAL_EMPTY_LEN = JOURNAL_HEAD_LEN + JOURNAL_RECORD_HEAD_LEN,
	/* of one record: the longest run, and what follows a last token */
	JOURNAL_TOKENS_MAX = WORKSPACE_CHUNKS * CHUNK_TOKEN_LEN +
			     CHUNK_LAST_MAX - CHUNK_TOKEN_LEN,
};

/* A segment and all within is bound to these. */
struct journal_ids {
	uint8_t vault_id[VAULT_ID_LEN];
	uint8_t session[JOURNAL_ID_LEN];
	uint64_t number;    /* the segment's, one more for each that is begun */
	const uint8_t *key; /* JOURNAL_MAC_LEN bytes */
};

enum journal_kind {
	JOURNAL_KIND_TOKENS = 1,
	JOURNAL_KIND_HOLES = 2,
	/* holes that are being filled in place: no tokens */
	JOURNAL_KIND_FILL = 3,
	/* No more records follow, though bytes may: those of a time before the
	 * segment was emptied. Written with each record, behind it, and with
	 * the head; the next record takes its place. */
	JOURNAL_KIND_END = 4,
};

/* A record but for its tokens (frondfs-format(5)). */
struct journal_head {
	enum journal_kind kind;
	uint64_t ino;
	uint8_t file_id[FILE_ID_LEN];
	uint64_t size;	 /* the file's, from now on; or JOURNAL_SIZE_KEPT,
			    for writers of its middle, who do not know */
	uint64_t before; /* what it was, unless kept; of holes: when they were
			    made, in seconds */
	uint64_t floor;	 /* this much was durable */
	uint64_t first, count;
	uint32_t len; /* of the tokens */
	bool marked;  /* whether the file may have holes is known: */
	enum chunk_holes holes;
};

void journal_head_build(const struct journal_ids *ids,
			uint8_t out[static JOURNAL_HEAD_LEN]);
/* Takes number from it. -EBADMSG: not of this session. */
MUST_CHECK int journal_head_parse(const uint8_t in[static JOURNAL_HEAD_LEN],
				  struct journal_ids *ids);
/* offset: where the record begins in its segment. */
void journal_record_build(const struct journal_ids *ids,
			  const struct journal_head *h, uint64_t offset,
			  const uint8_t *tokens,
			  uint8_t out[static JOURNAL_RECORD_HEAD_LEN]);
/* The mark behind the last record, which ends at offset. */
void journal_end_build(const struct journal_ids *ids, uint64_t offset,
		       uint8_t out[static JOURNAL_RECORD_HEAD_LEN]);
/*
 * The record at bytes, of which there are len up to the segment's end.
 * -EBADMSG: it is not whole. What it says makes sense then: kind, ranges, and
 * a length that fits them. The tokens' own MACs have not been looked at.
 */
MUST_CHECK int journal_record_parse(const struct journal_ids *ids,
				    uint64_t offset, const uint8_t *bytes,
				    size_t len, struct journal_head *h);

/* Where something begins as records do, as far as these bytes go; or len. */
size_t journal_record_find_(const uint8_t *bytes, size_t len);
/* How many bytes follow a record's head, if it is to be believed. */
uint64_t journal_record_tokens_(const uint8_t *head);

#endif
