#include "cargo.h"
#include "bytes.h"
#include "fernet_text.h"
#include "report.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

void cargo_file_key(const struct cargo *c, uint64_t index,
		    uint8_t id[static FILE_ID_LEN],
		    uint8_t key[static FERNET_KEY_LEN])
{
	struct {
		uint8_t id[FILE_ID_LEN], key[FERNET_KEY_LEN];
	} made;
	uint8_t number[8];

	be64_store(number, index);
	crypto_generichash((uint8_t *)&made, sizeof made, number, sizeof number,
			   c->keys->seed, sizeof c->keys->seed);
	memcpy(id, made.id, sizeof made.id);
	memcpy(key,
	       c->manifest.folder ? (const uint8_t *)made.key : c->keys->secret,
	       FERNET_KEY_LEN);
	sodium_memzero(&made, sizeof made);
}

int cargo_wrap_key(const struct cargo *c, struct manifest_entry *e,
		   const uint8_t key[static FERNET_KEY_LEN])
{
	uint8_t plain[FILE_ID_LEN + FERNET_KEY_LEN];
	struct fernet_key *set_key = secret_alloc(sizeof *set_key);
	int err;

	if (!set_key)
		return -ENOMEM;
	fernet_key_init(set_key, c->keys->secret);
	memcpy(plain, e->file_id, FILE_ID_LEN);
	memcpy(plain + FILE_ID_LEN, key, FERNET_KEY_LEN);
	err = fernet_seal_one(set_key, plain, sizeof plain, e->key_token);
	sodium_memzero(plain, sizeof plain);
	secret_free(set_key);
	e->has_key_token = !err;
	return err;
}

static int fill_entry(const struct source_entry *from, struct manifest_entry *e)
{
	e->type = S_ISDIR(from->st.st_mode) ? MANIFEST_DIR : MANIFEST_FILE;
	e->path = strdup(from->path);
	if (!e->path)
		return -ENOMEM;
	e->mtime_s = from->st.st_mtim.tv_sec;
	e->mtime_ns = (uint32_t)from->st.st_mtim.tv_nsec;
	e->mode = from->st.st_mode & (e->type == MANIFEST_DIR ? 0777 : 0666);
	if (e->type == MANIFEST_FILE)
		e->size = (uint64_t)from->st.st_size;
	return 0;
}

/* Whether it is the same tells whether a copy of it can be gone on with. */
static void hash_source(const struct source *from, uint8_t hash[static 32])
{
	crypto_generichash_state state;

	crypto_generichash_init(&state, NULL, 0, 32);
	for (size_t i = 0; i < from->count; i++) {
		const struct source_entry *e = &from->entries[i];
		const int64_t look[] = {
			e->st.st_mode,	      e->st.st_size,
			e->st.st_mtim.tv_sec, e->st.st_mtim.tv_nsec,
			e->st.st_ctim.tv_sec, e->st.st_ctim.tv_nsec};

		crypto_generichash_update(&state, (const uint8_t *)e->path,
					  strlen(e->path) + 1);
		crypto_generichash_update(&state, (const uint8_t *)look,
					  sizeof look);
	}
	crypto_generichash_final(&state, hash, 32);
}

static int make_keys(const struct source *from, struct cargo *c)
{
	c->keys = secret_alloc(sizeof *c->keys);
	if (!c->keys)
		return -ENOMEM;
	randombytes_buf(c->keys->secret, sizeof c->keys->secret);
	randombytes_buf(c->keys->seed, sizeof c->keys->seed);
	hash_source(from, c->keys->source);
	return 0;
}

static int begin_cargo(struct session *s, const struct source *from,
		       uint8_t kind, struct cargo *c)
{
	struct manifest *m = &c->manifest;
	int err;

	memset(c, 0, sizeof *c);
	if (strlen(from->name) >= sizeof m->name)
		return -ENAMETOOLONG;
	m->kind = kind;
	strcpy(m->name, from->name);
	m->folder = from->folder;
	memcpy(m->vault_id, s->m.info.vault_id, MANIFEST_VAULT_ID_LEN);
	if (kind == MANIFEST_SEND)
		memset(m->vault_id, 0, MANIFEST_VAULT_ID_LEN);
	m->entries = calloc(from->count, sizeof *m->entries);
	err = make_keys(from, c);
	if (err || !m->entries)
		return -ENOMEM;
	m->entry_count = from->count;
	for (size_t i = 0; !err && i < from->count; i++)
		err = fill_entry(&from->entries[i], &m->entries[i]);
	return err;
}

int cargo_begin(struct session *s, const struct source *from, struct cargo *c)
{
	uint8_t id[ITEM_COPY_LEN / 2];
	int err = begin_cargo(s, from, MANIFEST_SEND, c);

	randombytes_buf(id, sizeof id);
	hex_encode(id, sizeof id, c->copy);
	return err;
}

int cargo_begin_as(struct session *s, const struct source *from,
		   const struct item *draft, struct cargo *c)
{
	uint8_t look[sizeof c->keys->source];
	int err = begin_cargo(s, from, MANIFEST_SEND, c);

	if (err)
		return err;
	strcpy(c->copy, draft->copy);
	memcpy(look, c->keys->source, sizeof look);
	err = item_load_keys(s->outbox_fd, draft, c->keys);
	if (!err && memcmp(look, c->keys->source, sizeof look) != 0)
		err = -EAGAIN;
	return err;
}

static int add_file(struct cargo *c, const struct source *from,
		    const struct manifest_entry *e)
{
	struct item_file *f = &c->files[c->file_count];
	int n = from->folder
			? asprintf(&f->path, "%s/%s", from->relative, e->path)
			: asprintf(&f->path, "%s", from->relative);

	if (n < 0)
		return -ENOMEM;
	memcpy(f->id, e->file_id, FILE_ID_LEN);
	c->file_count++;
	return 0;
}

static int grant_entry(const struct source *from, size_t i, struct cargo *c,
		       struct control_file_key *got)
{
	struct manifest_entry *e = &c->manifest.entries[i];
	CLEANUP_FD int fd = -1;
	int err;

	if (e->type != MANIFEST_FILE)
		return 0;
	err = source_open(from, &from->entries[i], O_RDWR, &fd);
	if (!err)
		err = mounted_ask(fd, CONTROL_FILE_KEY, got);
	if (err)
		return err;
	memcpy(e->file_id, got->file_id, FILE_ID_LEN);
	e->size = got->size;
	e->backing_path = strdup(got->backing);
	if (!e->backing_path)
		return -ENOMEM;
	if (from->folder)
		err = cargo_wrap_key(c, e, got->key);
	else
		memcpy(c->keys->secret, got->key, FERNET_KEY_LEN);
	return err ? err : add_file(c, from, e);
}

static int report_no_key(const struct source *from, size_t at, int err)
{
	const char *below = from->folder ? from->entries[at].path : "";

	if (err == -EACCES || err == -EPERM || err == -EROFS)
		return report_as(CMD_FAILED,
				 "cannot grant '%s%s%s': only who may write a "
				 "file can give its key away; look at its "
				 "permissions, and at how the vault is mounted",
				 from->given, from->folder ? "/" : "", below);
	return cargo_report(from, at, err);
}

int cargo_grant(struct session *s, const struct source *from, struct cargo *c)
{
	struct control_file_key *got = secret_alloc(sizeof *got);
	size_t i = 0;
	int err;

	err = got ? begin_cargo(s, from, MANIFEST_GRANT, c) : -ENOMEM;
	if (!err)
		c->files = calloc(from->count, sizeof *c->files);
	if (!err && !c->files)
		err = -ENOMEM;
	while (!err && i < from->count) {
		err = grant_entry(from, i, c, got);
		i += !err;
	}
	secret_free(got);
	if (err && i < from->count)
		return report_no_key(from, i, err);
	return err ? report_as(CMD_FAILED, "cannot grant '%s': %s", from->given,
			       strerror(-err))
		   : CMD_OK;
}

void cargo_free(struct cargo *c)
{
	struct manifest *m = &c->manifest;

	for (size_t i = 0; i < m->entry_count; i++) {
		free(m->entries[i].path);
		free(m->entries[i].parts);
		free(m->entries[i].backing_path);
	}
	free(m->entries);
	for (size_t i = 0; i < c->file_count; i++)
		free(c->files[i].path);
	free(c->files);
	secret_free(c->keys);
	memset(c, 0, sizeof *c);
}
