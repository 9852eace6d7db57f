/* What a mount has done since it began, as its daemon counts it. */
#ifndef FROND_MOUNT_COUNTERS_H
#define FROND_MOUNT_COUNTERS_H

#include "control.h"

#include <stdbool.h>

/*
 * False: path is not where a vault is mounted, or its counters are not for
 * this user.
 */
bool mount_counters_get(const char *path, struct control_counters *c);

/* As lines of "label: number", and as members of a JSON object. */
void mount_counters_print(const struct control_counters *c);
void mount_counters_print_json(const struct control_counters *c);

#endif
