#include "readahead.h"

#include "cleanup.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

unsigned readahead_max_read(const struct mount_options *opt)
{
	static const char key[] = "max_read=";
	const char *word =
		opt->fuse_options ? strstr(opt->fuse_options, key) : NULL;

	return word ? (unsigned)strtoul(word + strlen(key), NULL, 10)
		    : READAHEAD_REQUEST_BYTES;
}

void readahead_raise(dev_t dev)
{
	char text[64];
	CLEANUP_FD int fd = -1;
	ssize_t n;
	int len;

	snprintf(text, sizeof text, "/sys/class/bdi/%u:%u/read_ahead_kb",
		 major(dev), minor(dev));
	fd = open(text, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return;
	n = read(fd, text, sizeof text - 1);
	if (n <= 0)
		return;
	text[n] = '\0';
	if (strtoul(text, NULL, 10) >= READAHEAD_KIB)
		return;
	len = snprintf(text, sizeof text, "%d\n", READAHEAD_KIB);
	/* refused: slower, and nothing else */
	(void)!pwrite(fd, text, (size_t)len, 0);
}
