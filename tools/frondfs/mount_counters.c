#include "mount_counters.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

static const struct {
	unsigned opcode;
	const char *name;
} kinds[] = {
	{FUSE_LOOKUP, "lookup"},
	{FUSE_FORGET, "forget"},
	{FUSE_BATCH_FORGET, "batch_forget"},
	{FUSE_GETATTR, "getattr"},
	{FUSE_SETATTR, "setattr"},
	{FUSE_READLINK, "readlink"},
	{FUSE_SYMLINK, "symlink"},
	{FUSE_MKNOD, "mknod"},
	{FUSE_MKDIR, "mkdir"},
	{FUSE_UNLINK, "unlink"},
	{FUSE_RMDIR, "rmdir"},
	{FUSE_RENAME, "rename"},
	{FUSE_RENAME2, "rename2"},
	{FUSE_LINK, "link"},
	{FUSE_CREATE, "create"},
	{FUSE_OPEN, "open"},
	{FUSE_READ, "read"},
	{FUSE_WRITE, "write"},
	{FUSE_LSEEK, "lseek"},
	{FUSE_FALLOCATE, "fallocate"},
	{FUSE_COPY_FILE_RANGE, "copy_file_range"},
	{FUSE_FSYNC, "fsync"},
	{FUSE_FLUSH, "flush"},
	{FUSE_RELEASE, "release"},
	{FUSE_OPENDIR, "opendir"},
	{FUSE_READDIR, "readdir"},
	{FUSE_READDIRPLUS, "readdirplus"},
	{FUSE_RELEASEDIR, "releasedir"},
	{FUSE_FSYNCDIR, "fsyncdir"},
	{FUSE_GETXATTR, "getxattr"},
	{FUSE_SETXATTR, "setxattr"},
	{FUSE_LISTXATTR, "listxattr"},
	{FUSE_REMOVEXATTR, "removexattr"},
	{FUSE_STATFS, "statfs"},
	{FUSE_SYNCFS, "syncfs"},
	{FUSE_ACCESS, "access"},
	{FUSE_GETLK, "getlk"},
	{FUSE_SETLK, "setlk"},
	{FUSE_SETLKW, "setlkw"},
	{FUSE_INTERRUPT, "interrupt"},
	{FUSE_IOCTL, "ioctl"},
	{FUSE_POLL, "poll"},
};

enum { KINDS = sizeof kinds / sizeof *kinds };

static bool is_mount_point(int fd, const char *path)
{
	CLEANUP_FREE char *real = realpath(path, NULL);
	CLEANUP_FREE struct control_vault *v = malloc(sizeof *v);

	return real && v && ioctl(fd, CONTROL_VAULT, v) == 0 &&
	       strcmp(v->mountpoint, real) == 0;
}

bool mount_counters_get(const char *path, struct control_counters *c)
{
	CLEANUP_FD int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd >= 0 && is_mount_point(fd, path) &&
	       ioctl(fd, CONTROL_COUNTERS, c) == 0;
}

void mount_counters_print(const struct control_counters *c)
{
	uint64_t sum = 0;

	for (size_t k = 0; k < CONTROL_REQUEST_KINDS; k++)
		sum += c->requests[k];
	printf("requests:     %" PRIu64 "\n", sum);
	for (size_t k = 0; k < KINDS; k++)
		if (c->requests[kinds[k].opcode])
			printf("  %-16s%" PRIu64 "\n", kinds[k].name,
			       c->requests[kinds[k].opcode]);
	printf("read:         %" PRIu64 " bytes\n", c->read_bytes);
	printf("written:      %" PRIu64 " bytes\n", c->written_bytes);
	printf("opened:       %" PRIu64 " chunks\n", c->chunks_opened);
	printf("sealed:       %" PRIu64 " chunks\n", c->chunks_sealed);
	printf("ready reads:  %" PRIu64 "\n", c->ready_reads);
	printf("joined writes: %" PRIu64 "\n", c->joined_writes);
	printf("journal:      %" PRIu64 " records, %" PRIu64
	       " bytes, made durable %" PRIu64 " times\n",
	       c->journal_records, c->journal_bytes, c->journal_commits);
	printf("in place:     %" PRIu64 " chunks, %" PRIu64 " to come\n",
	       c->journal_applied, c->journal_pending);
}

void mount_counters_print_json(const struct control_counters *c)
{
	const char *comma = "";

	printf(", \"requests\": {");
	for (size_t k = 0; k < KINDS; k++, comma = ", ")
		printf("%s\"%s\": %" PRIu64, comma, kinds[k].name,
		       c->requests[kinds[k].opcode]);
	printf("}, \"read_bytes\": %" PRIu64 ", \"written_bytes\": %" PRIu64
	       ", \"chunks_opened\": %" PRIu64 ", \"chunks_sealed\": %" PRIu64
	       ", \"ready_reads\": %" PRIu64 ", \"joined_writes\": %" PRIu64
	       ", \"journal\": {\"records\": %" PRIu64 ", \"bytes\": %" PRIu64
	       ", \"commits\": %" PRIu64 ", \"applied\": %" PRIu64
	       ", \"pending\": %" PRIu64 "}",
	       c->read_bytes, c->written_bytes, c->chunks_opened,
	       c->chunks_sealed, c->ready_reads, c->joined_writes,
	       c->journal_records, c->journal_bytes, c->journal_commits,
	       c->journal_applied, c->journal_pending);
}
