#include "bytes.h"
#include "inbox_internal.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

/*
 * A sealed file: tokens under subkey 9 one after the other, each of
 *   digest of its name 16 | random of this writing 16 | index u32 | count u32 |
 *   data, SLICE bytes, less in the last
 * so that nothing of it can be left out, exchanged, or called otherwise.
 */
enum {
	SLICE_HEAD = 16 + 16 + 4 + 4,
	SLICE = 60000,
	SLICE_TOKEN = FERNET_TOKEN_LEN(SLICE_HEAD + SLICE),
	SEALED_MAX = 64 << 20,
};
_Static_assert(SLICE_HEAD + SLICE <= FERNET_MAX_PLAINTEXT, "one token each");

static void put_u32(uint8_t *p, uint32_t v)
{
	be16_store(p, (uint16_t)(v >> 16));
	be16_store(p + 2, (uint16_t)v);
}

static uint32_t get_u32(const uint8_t *p)
{
	return (uint32_t)be16_load(p) << 16 | be16_load(p + 2);
}

static void name_digest(const char *name, uint8_t out[static 16])
{
	crypto_generichash(out, 16, (const uint8_t *)name, strlen(name), NULL,
			   0);
}

static int seal_slices(struct inbox *in, const char *name, const uint8_t *bytes,
		       size_t len, uint8_t *tokens, size_t *tokens_len)
{
	struct workspace *ws = workspace_get();
	uint32_t count = len ? (uint32_t)((len + SLICE - 1) / SLICE) : 1;
	uint8_t head[SLICE_HEAD], *at = tokens;

	if (!ws)
		return -ENOMEM;
	name_digest(name, head);
	randombytes_buf(head + 16, 16);
	put_u32(head + 36, count);
	for (uint32_t i = 0; i < count; i++) {
		size_t done = (size_t)i * SLICE;
		size_t part = len - done < SLICE ? len - done : SLICE;
		struct fernet_seal_job job = {.head = head,
					      .head_len = sizeof head,
					      .body = bytes + done,
					      .body_len = part,
					      .token = at};
		int err;

		put_u32(head + 32, i);
		err = fernet_seal(ws->fernet, in->seal, inbox_now_(), &job, 1);
		if (err)
			return err;
		at += FERNET_TOKEN_LEN(SLICE_HEAD + part);
	}
	*tokens_len = (size_t)(at - tokens);
	return 0;
}

int inbox_seal_(struct inbox *in, const char *name, const uint8_t *bytes,
		size_t len)
{
	CLEANUP_FREE uint8_t *tokens = NULL;
	CLEANUP_FD int fd = -1;
	size_t tokens_len = 0;
	int err;

	if (len > SEALED_MAX)
		return -EFBIG;
	tokens = malloc((len / SLICE + 1) * SLICE_TOKEN);
	if (!tokens)
		return -ENOMEM;
	err = seal_slices(in, name, bytes, len, tokens, &tokens_len);
	if (!err)
		err = xio_replace_file(in->dir_fd, name, tokens, tokens_len,
				       0600);
	if (err)
		return err;
	fd = openat(in->dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : vtree_own(in->vault, fd);
}

/* Open one slice of a file into bytes; head[16..] must stay what it was. */
static int open_slice(struct inbox *in, const uint8_t *token, size_t token_len,
		      uint8_t *plain, size_t *len)
{
	struct workspace *ws = workspace_get();
	struct fernet_open_job job = {
		.token = token, .token_len = token_len, .plaintext = plain};

	if (!ws)
		return -ENOMEM;
	if (token_len < FERNET_TOKEN_LEN(SLICE_HEAD) ||
	    fernet_open(ws->fernet, in->seal, &job, 1) ||
	    job.plaintext_len < SLICE_HEAD)
		return -EBADMSG;
	*len = job.plaintext_len - SLICE_HEAD;
	return 0;
}

static int open_slices(struct inbox *in, const char *name,
		       const uint8_t *tokens, size_t tokens_len, uint8_t *bytes,
		       size_t *len)
{
	CLEANUP_SECRET uint8_t *plain = secret_alloc(SLICE_TOKEN);
	uint8_t head[SLICE_HEAD];
	size_t at = 0, total = 0;
	uint32_t count = 1;

	if (!plain)
		return -ENOMEM;
	name_digest(name, head);
	for (uint32_t i = 0; i < count; i++) {
		size_t left = tokens_len - at, slice = 0;
		size_t take = left < SLICE_TOKEN ? left : SLICE_TOKEN;
		int err = open_slice(in, tokens + at, take, plain, &slice);

		if (err)
			return err;
		if (i == 0) {
			memcpy(head + 16, plain + 16, SLICE_HEAD - 16);
			count = get_u32(plain + 36);
		}
		put_u32(head + 32, i);
		if (memcmp(plain, head, sizeof head) != 0)
			return -EBADMSG;
		memcpy(bytes + total, plain + SLICE_HEAD, slice);
		total += slice;
		at += take;
	}
	if (at != tokens_len)
		return -EBADMSG;
	*len = total;
	return 0;
}

int inbox_unseal_(struct inbox *in, const char *name, uint8_t **bytes,
		  size_t *len)
{
	CLEANUP_FREE uint8_t *tokens = NULL;
	CLEANUP_SECRET uint8_t *plain = NULL;
	struct stat st;
	size_t tokens_len = 0;
	int err;

	if (fstatat(in->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size > 2 * (off_t)SEALED_MAX)
		return -EBADMSG;
	tokens = malloc((size_t)st.st_size + 1);
	plain = secret_alloc((size_t)st.st_size + 1);
	if (!tokens || !plain)
		return -ENOMEM;
	err = xio_read_file(in->dir_fd, name, tokens, (size_t)st.st_size,
			    &tokens_len);
	if (!err)
		err = open_slices(in, name, tokens, tokens_len, plain, len);
	if (err)
		return err;
	*bytes = TAKE_PTR(plain);
	return 0;
}

/*
 * A set's record:
 *   version u8 | flags u8 | set id 16 | sender 64 | first seen u64 |
 *   expires u64 | base length u16 | base | place of the whole |
 *   secret 32, with FLAG_GRANTED | manifest length u32 | manifest |
 *   places count u32 | places
 * a place: state u8 | id 16 | ino u64 | btime u64, u32 | digest 32
 */
enum {
	RECORD_VERSION = 1,
	FLAG_NUMBERED = 1,
	FLAG_REVOKED = 2,
	FLAG_DAMAGED = 4,
	FLAG_GRANTED = 8,
	FLAG_PLACED = 16,
	FLAGS_ALL = 31,
	PLACE_LEN = 1 + FILE_ID_LEN + 8 + 8 + 4 + 32,
	PLACE_DAMAGED = 0x80, /* in the state */
	RECORD_FIXED = 2 + SET_ID_LEN + 64 + 8 + 8 + 2 + PLACE_LEN + 32 + 4 + 4,
};

struct writer {
	uint8_t *at;
};

static void w_bytes(struct writer *w, const void *bytes, size_t len)
{
	if (len)
		memcpy(w->at, bytes, len);
	w->at += len;
}

static void w_u8(struct writer *w, uint8_t v)
{
	*w->at++ = v;
}

static void w_u32(struct writer *w, uint32_t v)
{
	put_u32(w->at, v);
	w->at += 4;
}

static void w_u64(struct writer *w, uint64_t v)
{
	be64_store(w->at, v);
	w->at += 8;
}

static void w_place(struct writer *w, const struct place *p)
{
	w_u8(w, (uint8_t)(p->state | (p->damaged ? PLACE_DAMAGED : 0)));
	w_bytes(w, p->id, sizeof p->id);
	w_u64(w, p->ino);
	w_u64(w, (uint64_t)p->btime_s);
	w_u32(w, p->btime_ns);
	w_bytes(w, p->digest, sizeof p->digest);
}

static size_t encode(const struct parcel *p, const uint8_t *manifest,
		     size_t manifest_len, uint8_t *out)
{
	struct writer w = {out};
	size_t base_len = p->base ? strlen(p->base) : 0;

	w_u8(&w, RECORD_VERSION);
	w_u8(&w, (uint8_t)((p->numbered ? FLAG_NUMBERED : 0) |
			   (p->revoked ? FLAG_REVOKED : 0) |
			   (p->damaged ? FLAG_DAMAGED : 0) |
			   (p->granted ? FLAG_GRANTED : 0) |
			   (p->base ? FLAG_PLACED : 0)));
	w_bytes(&w, p->set_id, sizeof p->set_id);
	w_bytes(&w, p->sender.sign, sizeof p->sender.sign);
	w_bytes(&w, p->sender.box, sizeof p->sender.box);
	w_u64(&w, p->first_seen_s);
	w_u64(&w, p->expires_s);
	be16_store(w.at, (uint16_t)base_len);
	w.at += 2;
	w_bytes(&w, p->base, base_len);
	w_place(&w, &p->whole);
	if (p->granted)
		w_bytes(&w, p->secret, FERNET_KEY_LEN);
	w_u32(&w, (uint32_t)manifest_len);
	w_bytes(&w, manifest, manifest_len);
	w_u32(&w, (uint32_t)p->place_count);
	for (size_t i = 0; i < p->place_count; i++)
		w_place(&w, &p->places[i]);
	return (size_t)(w.at - out);
}

int inbox_record_write_(struct inbox *in, struct parcel *p)
{
	CLEANUP_FREE uint8_t *manifest = NULL;
	CLEANUP_SECRET uint8_t *bytes = NULL;
	char name[SPOOL_NAME_MAX];
	size_t manifest_len = 0, room, len;
	int err;

	if (p->granted) {
		err = manifest_encode(p->m, &manifest, &manifest_len);
		if (err)
			return err;
	}
	room = RECORD_FIXED + (p->base ? strlen(p->base) : 0) + manifest_len +
	       p->place_count * PLACE_LEN;
	bytes = secret_alloc(room);
	if (!bytes)
		return -ENOMEM;
	inbox_write_begin_(in);
	len = encode(p, manifest, manifest_len, bytes);
	p->dirty = false;
	inbox_write_end_(in);
	inbox_key_name_(p, p->granted ? RECORD_GRANT : RECORD_SET, name);
	err = inbox_seal_(in, name, bytes, len);
	inbox_write_begin_(in);
	if (err)
		p->dirty = true;
	else
		p->recorded = true;
	inbox_write_end_(in);
	return err;
}

void inbox_record_remove_(struct inbox *in, struct parcel *p)
{
	char name[SPOOL_NAME_MAX];

	inbox_key_name_(p, RECORD_SET, name);
	unlinkat(in->dir_fd, name, 0);
	inbox_key_name_(p, RECORD_GRANT, name);
	unlinkat(in->dir_fd, name, 0);
	inbox_write_begin_(in);
	p->recorded = false;
	inbox_write_end_(in);
}

struct reader {
	const uint8_t *at;
	size_t left;
	bool bad;
};

/* The next len bytes; zeros of the caller's own when they are not there. */
static const uint8_t *r_bytes(struct reader *r, size_t len)
{
	const uint8_t *p = r->at;

	if (r->bad || r->left < len) {
		r->bad = true;
		return NULL;
	}
	r->at += len;
	r->left -= len;
	return p;
}

static void r_copy(struct reader *r, void *to, size_t len)
{
	const uint8_t *p = r_bytes(r, len);

	if (p)
		memcpy(to, p, len);
}

static uint8_t r_u8(struct reader *r)
{
	const uint8_t *p = r_bytes(r, 1);

	return p ? *p : 0;
}

static uint32_t r_u32(struct reader *r)
{
	const uint8_t *p = r_bytes(r, 4);

	return p ? get_u32(p) : 0;
}

static uint64_t r_u64(struct reader *r)
{
	const uint8_t *p = r_bytes(r, 8);

	return p ? be64_load(p) : 0;
}

static void r_place(struct reader *r, struct place *p)
{
	uint8_t state = r_u8(r);

	p->damaged = state & PLACE_DAMAGED;
	p->state = state & (uint8_t)~PLACE_DAMAGED;
	if (p->state > PLACE_DECLINED)
		r->bad = true;
	r_copy(r, p->id, sizeof p->id);
	p->ino = r_u64(r);
	p->btime_s = (int64_t)r_u64(r);
	p->btime_ns = r_u32(r);
	r_copy(r, p->digest, sizeof p->digest);
}

static int r_base(struct reader *r, struct parcel *p, bool placed)
{
	const uint8_t *len = r_bytes(r, 2);
	const uint8_t *text = len ? r_bytes(r, be16_load(len)) : NULL;

	if (!text || !placed)
		return 0;
	p->base = strndup((const char *)text, be16_load(len));
	return p->base ? 0 : -ENOMEM;
}

static int r_manifest(struct reader *r, struct parcel *p)
{
	uint32_t len = r_u32(r);
	const uint8_t *bytes = r_bytes(r, len);

	if (!bytes || len == 0)
		return p->granted ? -EBADMSG : 0;
	return manifest_parse(bytes, len, &p->m);
}

static int r_places(struct reader *r, struct parcel *p)
{
	uint32_t count = r_u32(r);

	if (r->bad || r->left != (size_t)count * PLACE_LEN)
		return -EBADMSG;
	if (p->m && count != p->m->entry_count)
		return -EBADMSG;
	if (count == 0)
		return 0;
	p->places = calloc(count, sizeof *p->places);
	if (!p->places)
		return -ENOMEM;
	p->place_count = count;
	for (uint32_t i = 0; i < count; i++)
		r_place(r, &p->places[i]);
	return r->bad ? -EBADMSG : 0;
}

static int r_body(struct reader *r, struct parcel *p, uint8_t flags)
{
	int err;

	p->numbered = flags & FLAG_NUMBERED;
	p->revoked = flags & FLAG_REVOKED;
	p->damaged = flags & FLAG_DAMAGED;
	p->granted = flags & FLAG_GRANTED;
	p->first_seen_s = r_u64(r);
	p->expires_s = r_u64(r);
	err = r_base(r, p, flags & FLAG_PLACED);
	if (err)
		return err;
	r_place(r, &p->whole);
	if (p->granted) {
		p->secret = secret_alloc(FERNET_KEY_LEN);
		if (!p->secret)
			return -ENOMEM;
		r_copy(r, p->secret, FERNET_KEY_LEN);
	}
	err = r_manifest(r, p);
	return err ? err : r_places(r, p);
}

/* What stands in the tree stands, most likely, on the root's device. */
static void set_devices(struct inbox *in, struct parcel *p)
{
	struct stat st;

	if (fstat(in->vault->root_fd, &st) < 0)
		return;
	p->whole.dev = st.st_dev;
	for (size_t i = 0; i < p->place_count; i++)
		p->places[i].dev = st.st_dev;
}

int inbox_record_read_(struct inbox *in, const char *name, struct parcel **out)
{
	CLEANUP_SECRET uint8_t *bytes = NULL;
	uint8_t set_id[SET_ID_LEN], flags;
	struct identity_public sender;
	struct reader r = {0};
	struct parcel *p;
	int err = inbox_unseal_(in, name, &bytes, &r.left);

	if (err)
		return err;
	r.at = bytes;
	if (r_u8(&r) != RECORD_VERSION)
		return -EPROTONOSUPPORT;
	flags = r_u8(&r);
	r_copy(&r, set_id, sizeof set_id);
	r_copy(&r, sender.sign, sizeof sender.sign);
	r_copy(&r, sender.box, sizeof sender.box);
	if (r.bad || flags & ~FLAGS_ALL)
		return -EBADMSG;
	p = inbox_parcel_new_(set_id, &sender, 0);
	if (!p)
		return -ENOMEM;
	err = r_body(&r, p, flags);
	if (err) {
		inbox_parcel_free_(p);
		return err;
	}
	p->recorded = true;
	set_devices(in, p);
	*out = p;
	return 0;
}
