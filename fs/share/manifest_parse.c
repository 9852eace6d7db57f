#include "chunk.h"
#include "manifest.h"
#include "manifest_internal.h"
#include "reader.h"
#include "utf8.h"

#include <errno.h>

enum { COMPONENT_MAX = 255 };

/* One name between slashes. */
static bool component_fits(const char *s, size_t len)
{
	if (len == 0 || len > COMPONENT_MAX)
		return false;
	if (s[0] == '.' && (len == 1 || (len == 2 && s[1] == '.')))
		return false;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c < 0x20 || c == 0x7f || c == '/')
			return false;
		/* U+0080 to U+009F: terminals obey some of them */
		if (c == 0xc2 && i + 1 < len &&
		    (unsigned char)s[i + 1] < 0xa0 &&
		    (unsigned char)s[i + 1] >= 0x80)
			return false;
	}
	return true;
}

static bool path_fits(const char *path)
{
	for (;;) {
		size_t len = strcspn(path, "/");

		if (!component_fits(path, len))
			return false;
		if (!path[len])
			return true;
		path += len + 1;
	}
}

/* Ours begin with base64url or "@": .frondfs and the like are not granted. */
static bool backing_path_fits(const char *path)
{
	return path_fits(path) && path[0] != '.' && !strstr(path, "/.");
}

/* A text of at most max bytes into out; one with a NUL is bad. */
static void read_text(struct reader *r, size_t len, char *out, size_t max)
{
	if (len > max) {
		r->bad = true;
		return;
	}
	reader_copy(r, out, len);
	out[len] = '\0';
	if (strlen(out) != len)
		r->bad = true;
}

/* A path, malloced into *out. */
static int read_path(struct reader *r, char **out)
{
	size_t len = reader_u16(r);
	const uint8_t *p = reader_take(r, len);

	if (!p || len > MANIFEST_PATH_MAX || memchr(p, '\0', len))
		return -EBADMSG;
	*out = strndup((const char *)p, len);
	return *out ? 0 : -ENOMEM;
}

static int read_parts(struct reader *r, struct manifest_entry *e)
{
	uint64_t left = chunk_backing_len(e->size);
	size_t count = reader_u32(r);

	if (r->bad || count == 0 || count > MANIFEST_PARTS_MAX ||
	    count > r->left / MANIFEST_PART_LEN)
		return -EBADMSG;
	e->parts = calloc(count, sizeof *e->parts);
	if (!e->parts)
		return -ENOMEM;
	e->part_count = count;
	for (size_t i = 0; i < count; i++) {
		struct manifest_part *part = &e->parts[i];

		part->len = reader_u64(r);
		reader_copy(r, part->hash, MANIFEST_HASH_LEN);
		if (part->len == 0 || part->len > left)
			return -EBADMSG;
		left -= part->len;
	}
	return left == 0 ? 0 : -EBADMSG;
}

static int read_file(struct reader *r, uint8_t kind, struct manifest_entry *e)
{
	uint8_t token_len;
	int err;

	e->size = reader_u64(r);
	reader_copy(r, e->file_id, FILE_ID_LEN);
	token_len = reader_u8(r);
	e->has_key_token = token_len != 0;
	if (e->has_key_token)
		reader_copy(r, e->key_token, HEADER_KEY_TOKEN_LEN);
	if (r->bad || e->size > CHUNK_MAX_PLAIN_LEN ||
	    (token_len != 0 && token_len != HEADER_KEY_TOKEN_LEN))
		return -EBADMSG;
	if (kind == MANIFEST_SEND)
		return read_parts(r, e);
	err = read_path(r, &e->backing_path);
	if (err)
		return err;
	return backing_path_fits(e->backing_path) ? 0 : -EBADMSG;
}

static int read_entry(struct reader *r, uint8_t kind, struct manifest_entry *e)
{
	uint32_t allowed;
	int err;

	e->type = reader_u8(r);
	e->mode = reader_u16(r);
	e->mtime_s = (int64_t)reader_u64(r);
	e->mtime_ns = reader_u32(r);
	if (r->bad || (e->type != MANIFEST_FILE && e->type != MANIFEST_DIR))
		return -EBADMSG;
	allowed = e->type == MANIFEST_FILE ? MANIFEST_MODE_FILE
					   : MANIFEST_MODE_DIR;
	if ((e->mode & ~allowed) != 0 || e->mtime_ns > 999999999)
		return -EBADMSG;
	err = read_path(r, &e->path);
	if (err)
		return err;
	if (!path_fits(e->path))
		return -EBADMSG;
	return e->type == MANIFEST_FILE ? read_file(r, kind, e) : 0;
}

/* entry_count is set with the entries, so that manifest_free() knows them. */
static int read_entries(struct reader *r, struct manifest *m)
{
	size_t count = reader_u32(r);

	if (r->bad || count > MANIFEST_ENTRIES_MAX ||
	    count > r->left / MANIFEST_ENTRY_MIN_LEN)
		return -EBADMSG;
	m->entries = calloc(count ? count : 1, sizeof *m->entries);
	if (!m->entries)
		return -ENOMEM;
	m->entry_count = count;
	for (size_t i = 0; i < count; i++) {
		int err = read_entry(r, m->kind, &m->entries[i]);

		if (err)
			return err;
	}
	return r->left == 0 ? 0 : -EBADMSG;
}

static int read_shares(struct reader *r, struct manifest *m)
{
	for (unsigned i = 0; i < m->n; i++) {
		struct manifest_share *share = &m->shares[i];
		uint8_t direct;

		reader_copy(r, share->commitment, MANIFEST_HASH_LEN);
		direct = reader_u8(r);
		read_text(r, reader_u8(r), share->holder, CARD_NAME_MAX);
		if (r->bad || direct > 1 ||
		    (share->holder[0] && contact_name_check(share->holder)))
			return -EBADMSG;
		share->direct = direct;
	}
	return 0;
}

/* All in front of the entries. */
static int read_front(struct reader *r, struct manifest *m)
{
	uint8_t flags;

	m->kind = reader_u8(r);
	flags = reader_u8(r);
	m->k = reader_u8(r);
	m->n = reader_u8(r);
	if ((m->kind != MANIFEST_SEND && m->kind != MANIFEST_GRANT) ||
	    (flags & ~(MANIFEST_FLAG_NO_CONTENT | MANIFEST_FLAG_FOLDER)) != 0 ||
	    m->k < 1 || m->k > m->n || m->n > SLIP39_SHARES_MAX)
		return -EBADMSG;
	m->no_content = flags & MANIFEST_FLAG_NO_CONTENT;
	m->folder = flags & MANIFEST_FLAG_FOLDER;
	reader_copy(r, m->nonce, sizeof m->nonce);
	reader_copy(r, m->secret_commitment, MANIFEST_HASH_LEN);
	m->expires_s = reader_u64(r);
	reader_copy(r, m->replaces, SET_ID_LEN);
	if (m->kind == MANIFEST_GRANT)
		reader_copy(r, m->vault_id, MANIFEST_VAULT_ID_LEN);
	if (read_shares(r, m) != 0)
		return -EBADMSG;
	read_text(r, reader_u8(r), m->name, sizeof m->name - 1);
	read_text(r, reader_u16(r), m->note, MANIFEST_NOTE_MAX);
	if (r->bad || !component_fits(m->name, strlen(m->name)) ||
	    !utf8_valid(m->note, strlen(m->note), UTF8_TEXT) ||
	    (m->kind == MANIFEST_GRANT && m->no_content))
		return -EBADMSG;
	return 0;
}

/*
 * May next stand behind prev? Later in order, and in a directory that is an
 * entry: prev itself, or one that prev lies in (by induction an entry, too).
 */
static bool follows(const struct manifest_entry *prev,
		    const struct manifest_entry *next)
{
	const char *slash = strrchr(next->path, '/');
	size_t parent_len = slash ? (size_t)(slash - next->path) : 0;

	if (prev && manifest_path_order(prev->path, next->path) >= 0)
		return false;
	if (!slash)
		return true;
	if (!prev || strncmp(prev->path, next->path, parent_len) != 0)
		return false;
	return prev->path[parent_len] == '/' ||
	       (prev->path[parent_len] == '\0' && prev->type == MANIFEST_DIR);
}

/* What the entries must be together. */
static int check_entries(const struct manifest *m)
{
	size_t files = 0, bare = 0;

	for (size_t i = 0; i < m->entry_count; i++) {
		const struct manifest_entry *e = &m->entries[i];

		if (!follows(i ? e - 1 : NULL, e))
			return -EBADMSG;
		files += e->type == MANIFEST_FILE;
		bare += e->type == MANIFEST_FILE && !e->has_key_token;
	}
	if (!m->folder && (m->entry_count != 1 || files != 1 ||
			   strcmp(m->entries[0].path, m->name) != 0))
		return -EBADMSG;
	/* two files under one key could be exchanged chunk by chunk */
	return bare && files != 1 ? -EBADMSG : 0;
}

static int parse(struct reader *r, struct manifest *m)
{
	uint8_t version = reader_u8(r);
	int err;

	if (version > MANIFEST_VERSION)
		return -EPROTONOSUPPORT;
	if (version != MANIFEST_VERSION)
		return -EBADMSG;
	err = read_front(r, m);
	if (!err)
		err = read_entries(r, m);
	return err ? err : check_entries(m);
}

int manifest_parse(const uint8_t *bytes, size_t len, struct manifest **out)
{
	struct reader r = {bytes, len, false};
	struct manifest *m = calloc(1, sizeof *m);
	int err;

	if (!m)
		return -ENOMEM;
	err = parse(&r, m);
	if (err) {
		manifest_free(m);
		return err;
	}
	*out = m;
	return 0;
}
