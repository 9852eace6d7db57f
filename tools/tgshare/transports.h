/* The transport that the settings name. */
#ifndef TGSHARE_TRANSPORTS_H
#define TGSHARE_TRANSPORTS_H

#include "session.h"

/* Sets s->transport; returns an exit status, having said what is wrong. */
MUST_CHECK int transports_open(struct session *s);

#endif
