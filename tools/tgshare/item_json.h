/* set.json of an item (item.h). */
#ifndef TGSHARE_ITEM_JSON_H
#define TGSHARE_ITEM_JSON_H

#include "item.h"

/* Malloced text. -ENOMEM. */
MUST_CHECK int item_json_format(const struct item *item, char **text);
/* -EBADMSG, -ENOMEM. Fills what set.json tells. */
MUST_CHECK int item_json_parse(const char *text, size_t len, struct item *item);

#endif
