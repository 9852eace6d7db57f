/*
 * The people whom the vault's owner knows: .tgshare/contacts/NAME.card
 * within the vault holds NAME's card (identity.h) as text,
 * .tgshare/attached/NAME the absolute path of the backing directory where
 * NAME's granted files lie. tgshare and "frondfs attach" write them through the
 * mount (and fsync them); here they are read.
 */
#ifndef FROND_CONTACTS_H
#define FROND_CONTACTS_H

#include "identity.h"
#include "vtree.h"

#define CONTACTS_DIR ".tgshare/contacts"
#define CONTACTS_ATTACHED_DIR ".tgshare/attached"
#define CONTACTS_CARD_SUFFIX ".card"

struct contact {
	char name[CARD_NAME_MAX + 1];
	struct identity_public pub;
	char *attached; /* backing directory, or NULL */
};

struct contacts {
	struct contact *list;
	size_t count;
};
/* Unreadable and foreign files are left out and logged. */
MUST_CHECK int contacts_load(struct vault *vault, struct contacts *out);
void contacts_fini(struct contacts *c);
/* NULL: unknown. */
const struct contact *contacts_find(const struct contacts *c,
				    const struct identity_public *pub);

/*
 * The vault's own identity: .frondfs/identity, a token under subkey 3 of the
 * 32-byte seed. -ENOENT: none yet, unless make. Out: secret_alloc.
 */
MUST_CHECK int vault_identity(struct vault *vault, bool make,
			      struct identity **out);

#endif
