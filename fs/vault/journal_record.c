#include "journal_record.h"

#include "bytes.h"
#include "chunk.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

static const uint8_t segment_magic[8] = "FRONDJR1";
static const uint8_t record_magic[4] = "FRJR";

enum {
	HEAD_MAC_OFFSET = JOURNAL_HEAD_LEN - JOURNAL_MAC_LEN,
	RECORD_MAC_OFFSET = JOURNAL_RECORD_HEAD_LEN - JOURNAL_MAC_LEN,
	END_LEN = 32, /* of each token, covered by the record's MAC */
	FLAG_MARKED = 1,
	FLAG_HOLES = 2,
	FLAG_MAPPED = 4,
};

static const uint8_t marks_of[] = {
	[CHUNK_HOLES_NONE] = FLAG_MARKED,
	[CHUNK_HOLES_ANYWHERE] = FLAG_MARKED | FLAG_HOLES,
	[CHUNK_HOLES_MAPPED] = FLAG_MARKED | FLAG_HOLES | FLAG_MAPPED,
};

static bool read_marks(uint8_t marks, bool *marked, enum chunk_holes *holes)
{
	*marked = marks != 0;
	*holes = CHUNK_HOLES_NONE;
	while (marks && *holes <= CHUNK_HOLES_MAPPED &&
	       marks != marks_of[*holes])
		++*holes;
	return *holes <= CHUNK_HOLES_MAPPED;
}

static void mac_begin(const struct journal_ids *ids, const char *what,
		      crypto_generichash_state *st)
{
	crypto_generichash_init(st, ids->key, JOURNAL_MAC_LEN, JOURNAL_MAC_LEN);
	crypto_generichash_update(st, (const uint8_t *)what, 8);
}

static void head_mac(const struct journal_ids *ids, const uint8_t *head,
		     uint8_t mac[static JOURNAL_MAC_LEN])
{
	crypto_generichash_state st;

	mac_begin(ids, "segment ", &st);
	crypto_generichash_update(&st, head, HEAD_MAC_OFFSET);
	crypto_generichash_final(&st, mac, JOURNAL_MAC_LEN);
}

void journal_head_build(const struct journal_ids *ids,
			uint8_t out[static JOURNAL_HEAD_LEN])
{
	memcpy(out, segment_magic, sizeof segment_magic);
	memcpy(out + 8, ids->vault_id, VAULT_ID_LEN);
	memcpy(out + 24, ids->session, JOURNAL_ID_LEN);
	be64_store(out + 40, ids->number);
	head_mac(ids, out, out + HEAD_MAC_OFFSET);
}

int journal_head_parse(const uint8_t in[static JOURNAL_HEAD_LEN],
		       struct journal_ids *ids)
{
	uint8_t mac[JOURNAL_MAC_LEN];

	if (memcmp(in, segment_magic, sizeof segment_magic) != 0 ||
	    memcmp(in + 8, ids->vault_id, VAULT_ID_LEN) != 0 ||
	    memcmp(in + 24, ids->session, JOURNAL_ID_LEN) != 0)
		return -EBADMSG;
	head_mac(ids, in, mac);
	if (sodium_memcmp(mac, in + HEAD_MAC_OFFSET, sizeof mac) != 0)
		return -EBADMSG;
	ids->number = be64_load(in + 40);
	return 0;
}

/*
 * The tokens have MACs of their own, under a key that the whole file hangs
 * on; what has to be said here is which they are, and their ends do.
 */
static void record_mac(const struct journal_ids *ids, const uint8_t *head,
		       uint64_t offset, const uint8_t *tokens, uint32_t len,
		       uint8_t mac[static JOURNAL_MAC_LEN])
{
	uint8_t place[JOURNAL_ID_LEN + 16];
	crypto_generichash_state st;

	memcpy(place, ids->session, JOURNAL_ID_LEN);
	be64_store(place + JOURNAL_ID_LEN, ids->number);
	be64_store(place + JOURNAL_ID_LEN + 8, offset);
	mac_begin(ids, "record  ", &st);
	crypto_generichash_update(&st, place, sizeof place);
	crypto_generichash_update(&st, head, RECORD_MAC_OFFSET);
	while (len > CHUNK_LAST_MAX) {
		crypto_generichash_update(
			&st, tokens + CHUNK_TOKEN_LEN - END_LEN, END_LEN);
		tokens += CHUNK_TOKEN_LEN;
		len -= CHUNK_TOKEN_LEN;
	}
	if (len > 0)
		crypto_generichash_update(
			&st, len > END_LEN ? tokens + len - END_LEN : tokens,
			len > END_LEN ? END_LEN : len);
	crypto_generichash_final(&st, mac, JOURNAL_MAC_LEN);
}

void journal_record_build(const struct journal_ids *ids,
			  const struct journal_head *h, uint64_t offset,
			  const uint8_t *tokens,
			  uint8_t out[static JOURNAL_RECORD_HEAD_LEN])
{
	memcpy(out, record_magic, sizeof record_magic);
	be64_store(out + 4, 0);
	out[4] = (uint8_t)h->kind;
	out[5] = h->marked ? marks_of[h->holes] : 0;
	be64_store(out + 8, h->ino);
	memcpy(out + 16, h->file_id, FILE_ID_LEN);
	be64_store(out + 32, h->size);
	be64_store(out + 40, h->before);
	be64_store(out + 48, h->floor);
	be64_store(out + 56, h->first);
	be64_store(out + 64, h->count);
	be64_store(out + 72, h->len);
	be64_store(out + 80, 0);
	record_mac(ids, out, offset, tokens, h->len, out + RECORD_MAC_OFFSET);
}

void journal_end_build(const struct journal_ids *ids, uint64_t offset,
		       uint8_t out[static JOURNAL_RECORD_HEAD_LEN])
{
	const struct journal_head end = {.kind = JOURNAL_KIND_END};

	journal_record_build(ids, &end, offset, NULL, out);
}

/* How long the tokens of a record must be. */
static uint64_t tokens_len(const struct journal_head *h)
{
	uint64_t end = h->first + h->count;

	if (h->kind != JOURNAL_KIND_TOKENS || h->count == 0)
		return 0;
	if (h->size != JOURNAL_SIZE_KEPT &&
	    end - 1 == chunk_last_index(h->size))
		return chunk_backing_len(h->size) - chunk_offset(h->first);
	return h->count * CHUNK_TOKEN_LEN;
}

static bool makes_sense(const struct journal_head *h)
{
	const uint64_t max = CHUNK_MAX_PLAIN_LEN;
	uint64_t chunks;

	if (h->kind < JOURNAL_KIND_TOKENS || h->kind > JOURNAL_KIND_END)
		return false;
	if ((h->size > max && h->size != JOURNAL_SIZE_KEPT) ||
	    h->before > max || h->floor > max)
		return false;
	chunks = chunk_last_index(h->size > max ? max : h->size) + 1;
	if (h->first > chunks || h->count > chunks - h->first)
		return false;
	return h->len <= JOURNAL_TOKENS_MAX && h->len == tokens_len(h);
}

size_t journal_record_find_(const uint8_t *bytes, size_t len)
{
	const size_t most = sizeof record_magic;
	size_t at = 0;

	while (at < len) {
		const uint8_t *f = memchr(bytes + at, *record_magic, len - at);

		if (!f)
			return len;
		at = (size_t)(f - bytes);
		if (memcmp(f, record_magic,
			   len - at < most ? len - at : most) == 0)
			return at;
		at++;
	}
	return len;
}

uint64_t journal_record_tokens_(const uint8_t *head)
{
	return be64_load(head + 72);
}

int journal_record_parse(const struct journal_ids *ids, uint64_t offset,
			 const uint8_t *bytes, size_t len,
			 struct journal_head *out)
{
	struct journal_head h;
	uint8_t mac[JOURNAL_MAC_LEN];

	if (len < JOURNAL_RECORD_HEAD_LEN ||
	    memcmp(bytes, record_magic, sizeof record_magic) != 0 ||
	    !read_marks(bytes[5], &h.marked, &h.holes) ||
	    !bytes_all_zero(bytes + 6, 2) || be64_load(bytes + 80) != 0 ||
	    be64_load(bytes + 72) > JOURNAL_TOKENS_MAX)
		return -EBADMSG;
	h.kind = bytes[4];
	h.ino = be64_load(bytes + 8);
	memcpy(h.file_id, bytes + 16, FILE_ID_LEN);
	h.size = be64_load(bytes + 32);
	h.before = be64_load(bytes + 40);
	h.floor = be64_load(bytes + 48);
	h.first = be64_load(bytes + 56);
	h.count = be64_load(bytes + 64);
	h.len = (uint32_t)be64_load(bytes + 72);
	if (h.len > len - JOURNAL_RECORD_HEAD_LEN || !makes_sense(&h))
		return -EBADMSG;
	record_mac(ids, bytes, offset, bytes + JOURNAL_RECORD_HEAD_LEN, h.len,
		   mac);
	if (sodium_memcmp(mac, bytes + RECORD_MAC_OFFSET, sizeof mac) != 0)
		return -EBADMSG;
	*out = h;
	return 0;
}
