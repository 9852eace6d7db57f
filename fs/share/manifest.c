#include "manifest.h"

#include "bytes.h"
#include "manifest_internal.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>

static void commit(const uint8_t nonce[static 32], const char *label,
		   const uint8_t set_id[static SET_ID_LEN], const uint8_t *what,
		   size_t len, const uint8_t *index,
		   uint8_t out[static MANIFEST_HASH_LEN])
{
	crypto_generichash_state state;

	crypto_generichash_init(&state, nonce, 32, MANIFEST_HASH_LEN);
	crypto_generichash_update(&state, (const uint8_t *)label,
				  strlen(label));
	crypto_generichash_update(&state, set_id, SET_ID_LEN);
	if (index)
		crypto_generichash_update(&state, index, 1);
	crypto_generichash_update(&state, what, len);
	crypto_generichash_final(&state, out, MANIFEST_HASH_LEN);
	sodium_memzero(&state, sizeof state);
}

void manifest_commit_share(const uint8_t nonce[static 32],
			   const uint8_t set_id[static SET_ID_LEN],
			   unsigned index,
			   const uint8_t packed[static SLIP39_PACKED_LEN],
			   uint8_t out[static MANIFEST_HASH_LEN])
{
	const uint8_t number = (uint8_t)index;

	commit(nonce, "share", set_id, packed, SLIP39_PACKED_LEN, &number, out);
}

void manifest_commit_secret(const uint8_t nonce[static 32],
			    const uint8_t set_id[static SET_ID_LEN],
			    const uint8_t secret[static SLIP39_SECRET_LEN],
			    uint8_t out[static MANIFEST_HASH_LEN])
{
	commit(nonce, "secret", set_id, secret, SLIP39_SECRET_LEN, NULL, out);
}

void manifest_code(const struct manifest *m,
		   const uint8_t set_id[static SET_ID_LEN],
		   const struct identity_public *sender,
		   const struct identity_public *recipient, char code[static 7])
{
	static const uint8_t label[] = "frondfs set";
	crypto_generichash_state state;
	uint8_t hash[32];

	crypto_generichash_init(&state, NULL, 0, sizeof hash);
	crypto_generichash_update(&state, label, sizeof label - 1);
	crypto_generichash_update(&state, set_id, SET_ID_LEN);
	crypto_generichash_update(&state, (const uint8_t *)sender,
				  sizeof *sender);
	crypto_generichash_update(&state, (const uint8_t *)recipient,
				  sizeof *recipient);
	crypto_generichash_update(&state, m->secret_commitment,
				  MANIFEST_HASH_LEN);
	crypto_generichash_final(&state, hash, sizeof hash);
	(void)snprintf(code, 7, "%06u", (unsigned)(be64_load(hash) % 1000000));
}

void manifest_free(struct manifest *m)
{
	if (!m)
		return;
	for (size_t i = 0; m->entries && i < m->entry_count; i++) {
		free(m->entries[i].path);
		free(m->entries[i].parts);
		free(m->entries[i].backing_path);
	}
	free(m->entries);
	free(m);
}

static unsigned rank(char c)
{
	return c == '\0' ? 0 : c == '/' ? 1 : (unsigned char)c + 1U;
}

int manifest_path_order(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return (int)rank(*a) - (int)rank(*b);
}

/* Counts, and writes where there is room to write. */
struct writer {
	uint8_t *out; /* NULL: only counting */
	size_t len;
};

static void put(struct writer *w, const void *bytes, size_t len)
{
	if (w->out && len)
		memcpy(w->out + w->len, bytes, len);
	w->len += len;
}

/* The low len bytes of value. */
static void put_int(struct writer *w, uint64_t value, size_t len)
{
	uint8_t bytes[8];

	be64_store(bytes, value);
	put(w, bytes + 8 - len, len);
}

static void put_text(struct writer *w, const char *text, size_t max,
		     size_t len_bytes)
{
	size_t len = strnlen(text, max);

	put_int(w, len, len_bytes);
	put(w, text, len);
}

static void put_file(struct writer *w, uint8_t kind,
		     const struct manifest_entry *e)
{
	put_int(w, e->size, 8);
	put(w, e->file_id, FILE_ID_LEN);
	put_int(w, e->has_key_token ? HEADER_KEY_TOKEN_LEN : 0, 1);
	if (e->has_key_token)
		put(w, e->key_token, HEADER_KEY_TOKEN_LEN);
	if (kind == MANIFEST_GRANT) {
		put_text(w, e->backing_path, MANIFEST_PATH_MAX + 1, 2);
		return;
	}
	put_int(w, e->part_count, 4);
	for (size_t i = 0; i < e->part_count; i++) {
		put_int(w, e->parts[i].len, 8);
		put(w, e->parts[i].hash, MANIFEST_HASH_LEN);
	}
}

static void put_entry(struct writer *w, uint8_t kind,
		      const struct manifest_entry *e)
{
	bool file = e->type == MANIFEST_FILE;

	put_int(w, e->type, 1);
	put_int(w, e->mode & (file ? MANIFEST_MODE_FILE : MANIFEST_MODE_DIR),
		2);
	put_int(w, (uint64_t)e->mtime_s, 8);
	put_int(w, e->mtime_ns, 4);
	put_text(w, e->path, MANIFEST_PATH_MAX + 1, 2);
	if (file)
		put_file(w, kind, e);
}

static void put_manifest(struct writer *w, const struct manifest *m,
			 const struct manifest_entry *const *order)
{
	put_int(w, MANIFEST_VERSION, 1);
	put_int(w, m->kind, 1);
	put_int(w,
		(m->no_content ? MANIFEST_FLAG_NO_CONTENT : 0U) |
			(m->folder ? MANIFEST_FLAG_FOLDER : 0U),
		1);
	put_int(w, m->k, 1);
	put_int(w, m->n, 1);
	put(w, m->nonce, sizeof m->nonce);
	put(w, m->secret_commitment, MANIFEST_HASH_LEN);
	put_int(w, m->expires_s, 8);
	put(w, m->replaces, SET_ID_LEN);
	if (m->kind == MANIFEST_GRANT)
		put(w, m->vault_id, MANIFEST_VAULT_ID_LEN);
	for (unsigned i = 0; i < m->n; i++) {
		put(w, m->shares[i].commitment, MANIFEST_HASH_LEN);
		put_int(w, m->shares[i].direct, 1);
		put_text(w, m->shares[i].holder, CARD_NAME_MAX + 1, 1);
	}
	put_text(w, m->name, sizeof m->name - 1, 1);
	put_text(w, m->note, MANIFEST_NOTE_MAX + 1, 2);
	put_int(w, m->entry_count, 4);
	for (size_t i = 0; i < m->entry_count; i++)
		put_entry(w, m->kind, order[i]);
}

/* Can it be written down at all? What it says is the parser's to judge. */
static bool is_complete(const struct manifest *m)
{
	if (m->n > SLIP39_SHARES_MAX || m->entry_count > MANIFEST_ENTRIES_MAX ||
	    (m->entry_count && !m->entries))
		return false;
	for (size_t i = 0; i < m->entry_count; i++) {
		const struct manifest_entry *e = &m->entries[i];

		if (!e->path || e->part_count > MANIFEST_PARTS_MAX ||
		    (e->part_count && !e->parts))
			return false;
		if (e->type == MANIFEST_FILE && m->kind == MANIFEST_GRANT &&
		    !e->backing_path)
			return false;
	}
	return true;
}

static int compare_entries(const void *a, const void *b)
{
	const struct manifest_entry *const *x = a, *const *y = b;

	return manifest_path_order((*x)->path, (*y)->path);
}

int manifest_encode(const struct manifest *m, uint8_t **out, size_t *out_len)
{
	CLEANUP_FREE const struct manifest_entry **order = NULL;
	CLEANUP_FREE uint8_t *bytes = NULL;
	struct manifest *again;
	struct writer w = {NULL, 0};
	int err;

	if (!is_complete(m))
		return -EINVAL;
	order = calloc(m->entry_count + 1, sizeof *order);
	if (!order)
		return -ENOMEM;
	for (size_t i = 0; i < m->entry_count; i++)
		order[i] = &m->entries[i];
	qsort(order, m->entry_count, sizeof *order, compare_entries);
	put_manifest(&w, m, order);
	bytes = malloc(w.len);
	if (!bytes)
		return -ENOMEM;
	w = (struct writer){bytes, 0};
	put_manifest(&w, m, order);
	err = manifest_parse(bytes, w.len, &again);
	if (err)
		return err == -ENOMEM ? err : -EINVAL;
	manifest_free(again);
	*out_len = w.len;
	*out = TAKE_PTR(bytes);
	return 0;
}
