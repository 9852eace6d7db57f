/*
 * What the inbox remembers. The first byte chooses what the rest is:
 *
 *   0  a record's file           1  the record that is sealed in it
 *   2  shared.dir                3  what is sealed in that
 *   4  an envelope or a part in the spool, under its right name
 *
 * A record that is read is written, and read, the same again; a scan ends
 * well, whatever lies there.
 */
#include "fuzz_vault.h"

#include "inbox_internal.h"
#include "text.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PLAIN_MAX = 60000 };

#define RECORD_NAME "00112233445566778899aabbccddeeff.set"

static struct inbox *in;
static struct vlog *vlog;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct identity *me = NULL;

	(void)argc;
	(void)argv;
	REQUIRE(vault_identity(fuzz_vault(), true, &me) == 0);
	secret_free(me);
	REQUIRE(vlog_open(fuzz_vault(), &vlog) == 0);
	REQUIRE(inbox_open(fuzz_vault(), vlog, NULL, &in) == 0);
	REQUIRE(inbox_scan(in, NULL) == 0);
	REQUIRE(in->dir_fd >= 0);
	return 0;
}

/* Its name is that of its set, once it is written. */
static void same_again(struct parcel *p)
{
	CLEANUP_SECRET uint8_t *one = NULL, *two = NULL;
	char name[SPOOL_NAME_MAX];
	struct parcel *again = NULL;
	size_t one_len, two_len;

	hex_encode(p->key, PARCEL_KEY_LEN, name);
	strcat(name, p->granted ? ".grant" : ".set");
	REQUIRE(inbox_record_write_(in, p) == 0);
	REQUIRE(inbox_unseal_(in, name, &one, &one_len) == 0);
	REQUIRE(inbox_record_read_(in, name, &again) == 0);
	REQUIRE(inbox_record_write_(in, again) == 0);
	REQUIRE(inbox_unseal_(in, name, &two, &two_len) == 0);
	REQUIRE(one_len == two_len && memcmp(one, two, one_len) == 0);
	inbox_parcel_free_(again);
}

static bool read_record(void)
{
	struct parcel *p = NULL;
	int err = inbox_record_read_(in, RECORD_NAME, &p);

	REQUIRE(err == 0 || err == -EBADMSG || err == -EPROTONOSUPPORT);
	if (err)
		return false;
	same_again(p);
	inbox_parcel_free_(p);
	return true;
}

static void put(const char *name, const uint8_t *data, size_t size, bool seal)
{
	if (size > PLAIN_MAX)
		size = PLAIN_MAX;
	if (seal)
		REQUIRE(inbox_seal_(in, name, data, size) == 0);
	else
		fuzz_put(in->dir_fd, name, data, size);
}

static void put_spooled(const uint8_t *data, size_t size)
{
	char name[SPOOL_NAME_MAX];
	uint8_t hash[SPOOL_HASH_LEN];

	if (size == 0)
		return;
	envelope_hash(data + 1, size - 1, hash);
	hex_encode(hash, sizeof hash, name);
	strcat(name, data[0] & 1 ? ".env" : ".part");
	fuzz_put(in->dir_fd, name, data + 1, size - 1);
}

static int remove_one(int dir, const char *name)
{
	return unlinkat(dir, name, 0) == 0 || errno == EISDIR ? 0 : -errno;
}

/* The next one finds an empty spool. */
static void sweep(void)
{
	CLEANUP_DIR DIR *dir = NULL;
	const struct dirent *e;

	REQUIRE(xio_list(in->dir_fd, &dir) == 0);
	while ((e = readdir(dir)))
		if (e->d_name[0] != '.')
			REQUIRE(remove_one(in->dir_fd, e->d_name) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned kind;

	if (size == 0)
		return 0;
	kind = *data++ % 5;
	size--;
	if (kind == 4)
		put_spooled(data, size);
	else
		put(kind < 2 ? RECORD_NAME : "shared.dir", data, size,
		    kind & 1);
	if (kind >= 2 || read_record()) {
		inbox_close(in);
		REQUIRE(inbox_open(fuzz_vault(), vlog, NULL, &in) == 0);
		REQUIRE(inbox_scan(in, NULL) == 0);
	}
	sweep();
	return 0;
}
