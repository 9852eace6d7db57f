/*
 * What a change of the passphrase leaves that is killed before vault.ini has
 * its new contents: these, aside. Whoever learns that passphrase has the vault
 * with them, though it was never given.
 */
#include "vault_aborted.h"

#include "log.h"
#include "vault_lock.h"
#include "xio.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* How vault.ini begins whatever passphrase it has. 0: there is none. */
static size_t read_head(const struct vault *vault, char *text)
{
	size_t len;
	const char *end;

	if (xio_read_file(vault->meta_fd, VAULT_INI_FILE, text, VAULT_INI_MAX,
			  &len))
		return 0;
	end = memmem(text, len, "\n\n", 2);
	return end ? (size_t)(end - text) : 0;
}

/* It may have been killed while it wrote, too. */
bool vault_is_aborted(const struct vault *vault, const char *name)
{
	CLEANUP_FREE char *ini = malloc(VAULT_INI_MAX);
	CLEANUP_FREE char *text = malloc(VAULT_INI_MAX);
	size_t head, len;

	if (!xio_is_temp_name(NAME_TEMP_PREFIX, name) || !ini || !text)
		return false;
	head = read_head(vault, ini);
	return head > 0 &&
	       !xio_read_file(vault->meta_fd, name, text, VAULT_INI_MAX,
			      &len) &&
	       len > head && memcmp(text, ini, head) == 0;
}

void vault_clear_aborted_locked(const struct vault *vault)
{
	CLEANUP_DIR DIR *dir = NULL;
	const struct dirent *e;
	bool any = false;

	if (xio_list(vault->meta_fd, &dir))
		return;
	while ((e = readdir(dir))) {
		if (!vault_is_aborted(vault, e->d_name))
			continue;
		if (unlinkat(vault->meta_fd, e->d_name, 0) == 0)
			any = true;
		else
			log_warning("%s/.frondfs/%s opens with a passphrase "
				    "that was never changed to, and cannot be "
				    "removed: %s",
				    vault->path, e->d_name, strerror(errno));
	}
	if (any)
		(void)!xio_sync_dir(vault->meta_fd);
}

void vault_clear_aborted(const struct vault *vault)
{
	CLEANUP_FD int lock = -1;

	if (!vault_try_lock_ini(vault->meta_fd, &lock))
		vault_clear_aborted_locked(vault);
}
