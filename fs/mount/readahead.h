/*
 * How much the kernel reads ahead, and in what pieces. A sequential reader's
 * readahead keeps all cores busy when it is large and comes as several
 * requests, so that several threads open its chunks at once.
 */
#ifndef FROND_READAHEAD_H
#define FROND_READAHEAD_H

#include "mount.h"

#include <sys/types.h>

enum { READAHEAD_KIB = 1024, READAHEAD_REQUEST_BYTES = 256 << 10 };

/* Bytes of one READ: READAHEAD_REQUEST_BYTES unless max_read= is given. */
unsigned readahead_max_read(const struct mount_options *opt);

/*
 * Let the kernel read READAHEAD_KIB ahead on the mount with this device
 * number, unless it reads more already. Only root may; for anybody else, and
 * where sysfs is not writable, it stays at what it was (128 KiB).
 */
void readahead_raise(dev_t dev);

#endif
