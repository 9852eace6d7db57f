/* What is wrong with regular files, or went wrong, told in the log. */
#include "fs.h"

#include "log.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

enum { SLOTS = 1024 };
/* in place of a chunk */
#define PUT_BACK (VFILE_NO_CHUNK - 1)
#define ADVISED (VFILE_NO_CHUNK - 2)
#define UNSTORED (VFILE_NO_CHUNK - 3)

struct damage_log {
	pthread_mutex_t lock;
	struct {
		ino_t ino;
		uint64_t chunk;
	} logged[SLOTS]; /* lock: what has been said already */
};

int damage_log_new(struct damage_log **out)
{
	struct damage_log *log = calloc(1, sizeof *log);

	if (!log)
		return -ENOMEM;
	pthread_mutex_init(&log->lock, NULL);
	*out = log;
	return 0;
}

void damage_log_free(struct damage_log *log)
{
	if (!log)
		return;
	pthread_mutex_destroy(&log->lock);
	free(log);
}

/* Is this the first word of it? */
static bool is_new(struct damage_log *log, ino_t ino, uint64_t chunk)
{
	size_t slot = (size_t)((ino * 0x9e3779b97f4a7c15u) ^ chunk) % SLOTS;
	bool new;

	pthread_mutex_lock(&log->lock);
	new = log->logged[slot].ino != ino || log->logged[slot].chunk != chunk;
	log->logged[slot].ino = ino;
	log->logged[slot].chunk = chunk;
	pthread_mutex_unlock(&log->lock);
	return new;
}

bool damage_log_is_new(struct fs *fs, const struct inode *dir,
		       const char *entry)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (; *entry; entry++)
		hash = (hash ^ (uint8_t)*entry) * UINT64_C(0x100000001b3);
	return is_new(fs->damage, dir->ino, hash);
}

static void log_older(const char *path)
{
	log_error(
		"%s: older than what this machine has seen of it, at least "
		"in part: if a backup was restored on purpose, run "
		"\"frondfs accept-old\" on it, or mount with -o accept-old to "
		"accept all that is older; should it be older again after "
		"that, \"frondfs check\" tells whether another file has its "
		"id",
		path);
}

/* advise: what to do about it, too. */
static void log_damage(const char *path, uint64_t chunk, const char *vault,
		       bool advise)
{
	static const char advice[] =
		"; restore the file from a backup, \"frondfs check\" tells "
		"what else is damaged in ";
	const char *words = advise ? advice : "", *where = advise ? vault : "";

	if (chunk == VFILE_NO_CHUNK)
		log_error("%s: damaged: its header or its length is not what "
			  "was written%s%s",
			  path, words, where);
	else
		log_error("%s: chunk %llu is damaged (4096 bytes from offset "
			  "%llu)%s%s",
			  path, (unsigned long long)chunk,
			  (unsigned long long)chunk * CHUNK_SIZE, words, where);
}

/* Of what lies in another's vault, where its key is their matter. */
static void log_granted(const char *path)
{
	log_error("%s: damaged, or read from a copy of their vault that is "
		  "older than the key: have that brought up to date, by "
		  "contents, as a new key changes neither length nor time",
		  path);
}

void file_log_damage(struct fs *fs, struct inode *i, int err, uint64_t chunk)
{
	CLEANUP_FREE char *found = NULL;
	const char *path;

	if (err == -ETIME)
		chunk = PUT_BACK;
	if ((err != -EBADMSG && err != -ETIME) ||
	    !is_new(fs->damage, i->ino, chunk))
		return;
	found = inode_plain_path(fs->inodes, i);
	path = found ? found : "(no path)";
	if (err == -ETIME)
		log_older(path);
	else if (i->grant && chunk == VFILE_NO_CHUNK)
		log_granted(path);
	else
		log_damage(path, chunk, fs->vault->path,
			   is_new(fs->damage, i->ino, ADVISED));
}

void file_log_unstored(struct fs *fs, struct inode *i, int err)
{
	CLEANUP_FREE char *path = NULL;

	if (err == -EBADMSG || err == -ETIME ||
	    !is_new(fs->damage, i->ino, UNSTORED))
		return;
	path = inode_plain_path(fs->inodes, i);
	log_error("%s: not all that was written to it could be stored: %s; a "
		  "program hears of that when it closes the file or calls "
		  "fsync, and the rest is in the page cache alone",
		  path ? path : "(no path)", strerror(-err));
}
