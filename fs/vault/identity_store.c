#include "contacts.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>

#define IDENTITY_FILE "identity"

enum { TOKEN_LEN = FERNET_TOKEN_LEN(IDENTITY_SEED_LEN) };

struct seed_work {
	struct fernet_key key; /* subkey 3 */
	uint8_t raw[FERNET_KEY_LEN];
	_Alignas(64) uint8_t seed[FERNET_OPEN_ROOM(TOKEN_LEN)];
};

static struct seed_work *seed_work_new(const struct vault *vault)
{
	struct seed_work *w = secret_alloc(sizeof *w);

	if (!w)
		return NULL;
	kdf_subkey(vault->keys->master, KDF_IDENTITY, w->raw, sizeof w->raw);
	fernet_key_init(&w->key, w->raw);
	return w;
}

static int read_seed(struct vault *vault, struct seed_work *w)
{
	struct workspace *ws = workspace_get();
	uint8_t token[TOKEN_LEN];
	struct fernet_open_job job = {.token = token,
				      .token_len = sizeof token,
				      .plaintext = w->seed};
	size_t len = 0;
	int err;

	if (!ws)
		return -ENOMEM;
	err = xio_read_file(vault->meta_fd, IDENTITY_FILE, token, sizeof token,
			    &len);
	if (err)
		return err == -EFBIG ? -EBADMSG : err;
	if (len != sizeof token || fernet_open(ws->fernet, &w->key, &job, 1) ||
	    job.plaintext_len != IDENTITY_SEED_LEN)
		return -EBADMSG;
	return 0;
}

/* The file appears whole, and never in the place of another. */
static int put_token(struct vault *vault, const char *temp,
		     const uint8_t *token)
{
	CLEANUP_FD int dir =
		openat(vault->meta_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_FD int fd = -1;
	int err;

	if (dir < 0)
		return -errno;
	fd = openat(dir, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	err = xio_write(fd, token, TOKEN_LEN);
	if (!err)
		err = vtree_own(vault, fd);
	if (!err && fsync(fd) < 0)
		err = -errno;
	if (!err)
		err = vdir_rename_exclusive(dir, temp, dir, IDENTITY_FILE);
	if (!err)
		return fsync(dir) < 0 ? -errno : 0;
	unlinkat(dir, temp, 0);
	return err;
}

static int make_seed(struct vault *vault, struct seed_work *w)
{
	struct workspace *ws = workspace_get();
	uint8_t token[TOKEN_LEN];
	struct fernet_seal_job job = {.head = w->seed,
				      .head_len = IDENTITY_SEED_LEN,
				      .body = w->seed,
				      .token = token};
	char temp[64];
	int err;

	if (!ws)
		return -ENOMEM;
	randombytes_buf(w->seed, IDENTITY_SEED_LEN);
	err = fernet_seal(ws->fernet, &w->key, (uint64_t)time(NULL), &job, 1);
	if (err)
		return err;
	xio_temp_name(NAME_TEMP_PREFIX, temp, sizeof temp);
	err = put_token(vault, temp, token);
	/* another mount of a shared vault was faster */
	return err == -EEXIST ? read_seed(vault, w) : err;
}

int vault_identity(struct vault *vault, bool make, struct identity **out)
{
	CLEANUP_SECRET struct seed_work *w = seed_work_new(vault);
	CLEANUP_SECRET struct identity *id = secret_alloc(sizeof *id);
	int err;

	if (!w || !id)
		return -ENOMEM;
	err = read_seed(vault, w);
	if (err == -ENOENT && make)
		err = make_seed(vault, w);
	/* whoever made it may have been killed before it was durable */
	else if (!err && make)
		err = xio_sync_dir(vault->meta_fd);
	if (err)
		return err;
	identity_from_seed(w->seed, id);
	*out = TAKE_PTR(id);
	return 0;
}
