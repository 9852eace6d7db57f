#include "fuzz_vault.h"

#include "xio.h"

#include <fcntl.h>
#include <ftw.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static char path[64];

static int remove_one(const char *name, const struct stat *st, int type,
		      struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(name);
}

static void remove_vault(void)
{
	(void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

struct vault *fuzz_vault(void)
{
	static const struct vault_create_options options = {
		.passphrase = "fern",
		.passphrase_len = 4,
		.ops = 1,
		.mem_bytes = 8 << 20,
	};
	static struct vault *vault;
	struct vault_fault fault;

	if (vault)
		return vault;
	snprintf(path, sizeof path, "%s/frond-fuzz-XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	REQUIRE(sodium_init() >= 0 && fernet_init("openssl") == 0);
	REQUIRE(mkdtemp(path));
	REQUIRE(atexit(remove_vault) == 0);
	REQUIRE(vault_create(path, &options) == 0);
	REQUIRE(vault_open(path, "fern", 4, 64, &vault, &fault) == 0);
	return vault;
}

void fuzz_subkey(enum kdf_subkey which, struct fernet_key *key)
{
	uint8_t raw[FERNET_KEY_LEN];

	kdf_subkey(fuzz_vault()->keys->master, which, raw, sizeof raw);
	fernet_key_init(key, raw);
}

static void fill(int fd, const void *data, size_t len)
{
	REQUIRE(fd >= 0);
	REQUIRE(len == 0 || xio_pwrite(fd, data, len, 0) == 0);
}

void fuzz_put(int dirfd, const char *name, const void *data, size_t len)
{
	CLEANUP_FD int fd = -1;

	(void)unlinkat(dirfd, name, 0);
	fd = openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	fill(fd, data, len);
}

int fuzz_file(const void *data, size_t len)
{
	int fd = memfd_create("fuzzed", MFD_CLOEXEC);

	fill(fd, data, len);
	return fd;
}
