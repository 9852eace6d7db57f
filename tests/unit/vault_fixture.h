/* A fresh vault in a temporary directory, for tests of fs/vault. */
#ifndef FROND_VAULT_FIXTURE_H
#define FROND_VAULT_FIXTURE_H

#include "fernet.h"
#include "journal.h"
#include "vault.h"
#include "vdir.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#define FX_PASS "correct horse battery staple"
enum { FX_MEM = KDF_MIN_MEM_MIB << 20, FX_NOBODY = 65534 };

struct fixture {
	char top[80];  /* a temporary directory */
	char path[96]; /* the vault in it */
	struct vault *vault;
	uint8_t root_id[DIRID_LEN];
};

static inline int fx_remove_one(const char *path, const struct stat *st,
				int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static inline int fx_open(struct fixture *fx)
{
	struct vault_fault fault = {0};

	return vault_open(fx->path, FX_PASS, strlen(FX_PASS), 4, &fx->vault,
			  &fault);
}

static inline int fx_setup(void **state)
{
	const struct vault_create_options opt = {
		.passphrase = FX_PASS,
		.passphrase_len = strlen(FX_PASS),
		.ops = 1,
		.mem_bytes = FX_MEM,
	};
	struct fixture *fx = calloc(1, sizeof *fx);
	const char *tmp = getenv("TMPDIR");

	if (!fx || sodium_init() < 0)
		return -1;
	umask(022);
	snprintf(fx->top, sizeof fx->top, "%.50s/frond-unit-XXXXXX",
		 tmp ? tmp : "/tmp");
	if (!mkdtemp(fx->top))
		return -1;
	snprintf(fx->path, sizeof fx->path, "%s/vault", fx->top);
	if (chmod(fx->top, 0755) < 0 || vault_create(fx->path, &opt) ||
	    fx_open(fx) || vdir_read_id(fx->vault->root_fd, fx->root_id))
		return -1;
	/* the same tests, through the journal */
	if (getenv("FROND_TEST_JOURNAL") &&
	    (vault_lock(fx->vault, false, false) || journal_start(fx->vault)))
		return -1;
	*state = fx;
	return 0;
}

static inline int fx_teardown(void **state)
{
	struct fixture *fx = *state;

	umask(022);
	if (journal_stop(fx->vault))
		return -1;
	vault_close(fx->vault);
	nftw(fx->top, fx_remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(fx);
	return 0;
}

/* Call before cmocka's runner: 0, or the exit status for main(). */
static inline int fx_init(void)
{
	return sodium_init() < 0 || fernet_init(NULL) ? 1 : 0;
}

static inline struct backing_name
fx_name(const struct fixture *fx, const uint8_t *dirid, const char *plain)
{
	struct backing_name name;

	assert_int_equal(name_encode(fx->vault->names, dirid, plain,
				     strlen(plain), &name),
			 0);
	return name;
}

static inline void fx_write(int dirfd, const char *name, const void *bytes,
			    size_t len)
{
	int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	close(fd);
}

/* The byte there is another one then, whatever it was. */
static inline void fx_spoil(int fd, off_t offset)
{
	uint8_t byte;

	assert_int_equal(pread(fd, &byte, 1, offset), 1);
	byte = (uint8_t)~byte;
	assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
}

static inline bool fx_exists(int dirfd, const char *name)
{
	struct stat st;

	return fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* How many entries there are besides "." and "..". */
static inline int fx_count(int dirfd)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY), n = -2;
	DIR *dir = fdopendir(fd);

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* How many of them are called ".tmp-...". */
static inline int fx_count_temps(int dirfd)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY), n = 0;
	DIR *dir = fdopendir(fd);
	const struct dirent *e;

	assert_non_null(dir);
	while ((e = readdir(dir)))
		n += strncmp(e->d_name, NAME_TEMP_PREFIX,
			     strlen(NAME_TEMP_PREFIX)) == 0;
	closedir(dir);
	return n;
}

static inline void fx_mkdir(const struct fixture *fx, int parent_fd,
			    const uint8_t *parent_id, const char *plain,
			    struct backing_name *name, uint8_t *dirid, int *fd)
{
	*name = fx_name(fx, parent_id, plain);
	assert_int_equal(vdir_make(parent_fd, parent_id, name, 0755), 0);
	assert_int_equal(vdir_open_path(parent_fd, name->entry, fd), 0);
	assert_int_equal(vdir_read_id(*fd, dirid), 0);
}

/*
 * Run check(arg) in a child that is an ordinary user (the present one where
 * this is not root). It returns 0, or the line that failed.
 */
static inline int fx_as_user(int (*check)(void *arg), void *arg)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		int line;

		if (geteuid() == 0 &&
		    (setgroups(0, NULL) < 0 ||
		     setresgid(FX_NOBODY, FX_NOBODY, FX_NOBODY) < 0 ||
		     setresuid(FX_NOBODY, FX_NOBODY, FX_NOBODY) < 0))
			_exit(2);
		line = check(arg);
		if (line)
			fprintf(stderr, "as a user: line %d\n", line);
		_exit(line ? 1 : 0);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

#define FX_EXPECT(condition)                                                   \
	do {                                                                   \
		if (!(condition))                                              \
			return __LINE__;                                       \
	} while (0)

/* Give the directory to the user of fx_as_user(). */
static inline void fx_give(int dirfd, const char *name)
{
	if (geteuid() == 0)
		assert_int_equal(fchownat(dirfd, name, FX_NOBODY, FX_NOBODY,
					  AT_SYMLINK_NOFOLLOW),
				 0);
}

static inline void fx_fill(char *text, char c, size_t len)
{
	memset(text, c, len);
	text[len] = '\0';
}

#endif
