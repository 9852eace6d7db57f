/*
 * The state directory is full, or its disk fails: SQLite asks a file system of
 * its own, which is the usual one but for one call.
 */
#include "recorder.h"

#include <sqlite3.h>
#include <stdatomic.h>
#include <stdlib.h>

static struct {
	sqlite3_vfs vfs, *usual;
	atomic_long left, count;
	atomic_bool fired;
} disk = {.left = -1};

struct file {
	sqlite3_file base;
	sqlite3_file usual[]; /* with what is its own behind it */
};

static sqlite3_file *usual(sqlite3_file *f)
{
	return ((struct file *)f)->usual;
}

/* Is it this call that fails? */
static bool fails(void)
{
	disk.count++;
	if (disk.left < 0 || disk.left-- != 0)
		return false;
	disk.fired = true;
	return true;
}

static int on_close(sqlite3_file *f)
{
	return usual(f)->pMethods->xClose(usual(f));
}

static int on_read(sqlite3_file *f, void *buf, int len, sqlite3_int64 at)
{
	return fails() ? SQLITE_IOERR_READ
		       : usual(f)->pMethods->xRead(usual(f), buf, len, at);
}

static int on_write(sqlite3_file *f, const void *buf, int len, sqlite3_int64 at)
{
	return fails() ? SQLITE_FULL
		       : usual(f)->pMethods->xWrite(usual(f), buf, len, at);
}

static int on_truncate(sqlite3_file *f, sqlite3_int64 len)
{
	return fails() ? SQLITE_IOERR_TRUNCATE
		       : usual(f)->pMethods->xTruncate(usual(f), len);
}

static int on_sync(sqlite3_file *f, int flags)
{
	return fails() ? SQLITE_IOERR_FSYNC
		       : usual(f)->pMethods->xSync(usual(f), flags);
}

static int on_size(sqlite3_file *f, sqlite3_int64 *size)
{
	return usual(f)->pMethods->xFileSize(usual(f), size);
}

static int on_lock(sqlite3_file *f, int lock)
{
	return usual(f)->pMethods->xLock(usual(f), lock);
}

static int on_unlock(sqlite3_file *f, int lock)
{
	return usual(f)->pMethods->xUnlock(usual(f), lock);
}

static int on_reserved(sqlite3_file *f, int *is)
{
	return usual(f)->pMethods->xCheckReservedLock(usual(f), is);
}

static int on_control(sqlite3_file *f, int op, void *arg)
{
	return usual(f)->pMethods->xFileControl(usual(f), op, arg);
}

static int on_sector(sqlite3_file *f)
{
	return usual(f)->pMethods->xSectorSize(usual(f));
}

static int on_traits(sqlite3_file *f)
{
	return usual(f)->pMethods->xDeviceCharacteristics(usual(f));
}

static const sqlite3_io_methods methods = {
	.iVersion = 1,
	.xClose = on_close,
	.xRead = on_read,
	.xWrite = on_write,
	.xTruncate = on_truncate,
	.xSync = on_sync,
	.xFileSize = on_size,
	.xLock = on_lock,
	.xUnlock = on_unlock,
	.xCheckReservedLock = on_reserved,
	.xFileControl = on_control,
	.xSectorSize = on_sector,
	.xDeviceCharacteristics = on_traits,
};

static int on_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f,
		   int flags, int *out_flags)
{
	int code = fails() ? SQLITE_CANTOPEN
			   : disk.usual->xOpen(disk.usual, name, usual(f),
					       flags, out_flags);

	(void)vfs;
	f->pMethods = code == SQLITE_OK ? &methods : NULL;
	return code;
}

void seen_disk_begin(void)
{
	if (disk.usual)
		return;
	disk.usual = sqlite3_vfs_find(NULL);
	disk.vfs = *disk.usual;
	disk.vfs.zName = "failing";
	disk.vfs.szOsFile = (int)sizeof(struct file) + disk.usual->szOsFile;
	disk.vfs.xOpen = on_open;
	if (sqlite3_vfs_register(&disk.vfs, 1) != SQLITE_OK)
		abort();
}

void seen_disk_fails(long n)
{
	disk.fired = false;
	disk.left = n;
}

bool seen_disk_failed(void)
{
	disk.left = -1;
	return disk.fired;
}
