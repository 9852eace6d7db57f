/*
 * Redo files. The first byte: even: the rest is one; odd: the rest is the
 * plaintext of a record's token behind a few bytes. No file is what it is
 * about: a good one may stay for it, and no other does.
 */
#include "fuzz_vault.h"

#include "bytes.h"
#include "fernet_text.h"
#include "rekey.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PLAIN_MAX = 5000, FRONT_LEN = 257 };

#define REDO_FILE "000000000000000000000000.rekey"

static struct fernet_key key;
static int journal_fd;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_subkey(KDF_JOURNAL, &key);
	return rekey_open_journal(fuzz_vault(), true, &journal_fd);
}

static size_t make_redo(const uint8_t *data, size_t size, uint8_t *out)
{
	size_t len = FRONT_LEN;

	if (size > PLAIN_MAX)
		size = PLAIN_MAX;
	memset(out, 0, FRONT_LEN);
	REQUIRE(fernet_seal_one(&key, data, size, out + len) == 0);
	len += FERNET_TOKEN_LEN(size);
	memset(out + len, 0, 4);
	be16_store(out + len + 2, (uint16_t)FERNET_TOKEN_LEN(size));
	return len + 4;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t made[FRONT_LEN + FERNET_TOKEN_LEN(PLAIN_MAX) + 4];
	static struct rekey_record r;
	struct stat st;
	int fd, err;
	bool good;

	if (size == 0)
		return 0;
	if (data[0] & 1) {
		size = make_redo(data + 1, size - 1, made);
		data = made;
	}
	fd = fuzz_file(data, size);
	err = rekey_read_record(fuzz_vault(), fd, &r);
	close(fd);
	REQUIRE(err == 0 || err == -EBADMSG);
	if (!err)
		REQUIRE(memchr(r.path, 0, sizeof r.path));

	fuzz_put(journal_fd, REDO_FILE, data, size);
	good = !err;
	err = vault_rekey_finish(fuzz_vault());
	REQUIRE(err == 0);
	if (!good)
		REQUIRE(fstatat(journal_fd, REDO_FILE, &st, 0) < 0);
	return 0;
}
