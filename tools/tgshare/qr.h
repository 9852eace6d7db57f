/* QR codes in the terminal. */
#ifndef TGSHARE_QR_H
#define TGSHARE_QR_H

#include "cleanup.h"

#include <stdio.h>

/* Two rows of modules a line, dark on light. -ENOMEM, -EMSGSIZE. */
MUST_CHECK int qr_draw(FILE *out, const char *text);

#endif
