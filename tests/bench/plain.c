/*
 * plain -o modules=subdir,subdir=DIR MOUNTPOINT: libfuse's own example
 * passthrough_fh.c, with names, attributes and pages kept by the kernel for
 * long, as passthrough_ll.c keeps them with cache=always,timeout=3600. That one
 * has a descriptor open for each inode that the kernel knows; this one goes by
 * paths, and can have a million files.
 */
#define HAVE_FDATASYNC
#define HAVE_FSTATAT
#define HAVE_POSIX_FALLOCATE
#define HAVE_SETXATTR
#define HAVE_UTIMENSAT
#define main example_main
#include "passthrough_fh.c"
#undef main

enum { KEEP_S = 3600 };

static void *plain_init(struct fuse_conn_info *conn, struct fuse_config *cfg)
{
	xmp_init(conn, cfg);
	cfg->entry_timeout = KEEP_S;
	cfg->attr_timeout = KEEP_S;
	cfg->kernel_cache = 1;
	return NULL;
}

int main(int argc, char **argv)
{
	struct fuse_operations operations = xmp_oper;

	operations.init = plain_init;
	umask(0);
	return fuse_main(argc, argv, &operations, NULL);
}
