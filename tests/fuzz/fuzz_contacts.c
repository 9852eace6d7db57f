/*
 * The people whom the owner knows. The first byte chooses what the rest is: a
 * card in the vault, where somebody is attached, the same as they lie in the
 * backing directory, or the name of a card's file. What is not understood is
 * left out; what is found is what was there.
 */
#include "fuzz_vault.h"

#include "contacts.h"
#include "statement.h"
#include "vfile.h"
#include "vtree.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { TEXT_MAX = 8192 };

#define GOOD_NAME "alice"

static struct vtree_dir cards, attached;
static char good_card[CARD_TEXT_MAX];
static struct identity_public good_pub;

static void make_card(void)
{
	struct identity *id = secret_alloc(sizeof *id);
	const uint8_t seed[IDENTITY_SEED_LEN] = {1};
	struct card card = {.name = GOOD_NAME};
	struct statement st = {.kind = STATEMENT_CARD};
	uint8_t signature[IDENTITY_SIGNATURE_LEN];

	REQUIRE(id);
	identity_from_seed(seed, id);
	card.pub = st.sender = good_pub = id->pub;
	REQUIRE(card_digest(&card, st.digest) == 0);
	REQUIRE(statement_sign(&st, id, signature) == 0);
	REQUIRE(card_format(&card, signature, good_card) == 0);
	secret_free(id);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	REQUIRE(vtree_open_dir(fuzz_vault(), CONTACTS_DIR, true, 0700,
			       &cards) == 0);
	REQUIRE(vtree_open_dir(fuzz_vault(), CONTACTS_ATTACHED_DIR, true, 0700,
			       &attached) == 0);
	make_card();
	return 0;
}

/* -ENAMETOOLONG, -EINVAL: no file can have that name. */
static int name_in(const struct vtree_dir *dir, const char *name, size_t len,
		   struct backing_name *b)
{
	return name_encode(fuzz_vault()->names, dir->id, name, len, b);
}

static void put(const struct vtree_dir *dir, const struct backing_name *name,
		const void *bytes, size_t len)
{
	const struct vfile_write w = {.data = bytes, .len = len};
	struct vfile *f = NULL;
	uint64_t bad = 0;

	(void)unlinkat(dir->fd, name->entry, 0);
	REQUIRE(vfile_create(fuzz_vault(), dir->fd, dir->id, name, 0600, &f) ==
		0);
	REQUIRE(len == 0 || vfile_write(f, workspace_get(), &w, &bad) == 0);
	vfile_close(f);
}

static void check(const struct contacts *c)
{
	for (size_t i = 0; i < c->count; i++) {
		const struct contact *one = &c->list[i];
		const struct contact *found = contacts_find(c, &one->pub);

		REQUIRE(contact_name_check(one->name) == 0);
		REQUIRE(!one->attached || one->attached[0] == '/');
		REQUIRE(found &&
			memcmp(&found->pub, &one->pub, sizeof one->pub) == 0);
		/* a card that is valid is the one that was made */
		REQUIRE(memcmp(&one->pub, &good_pub, sizeof good_pub) == 0);
		REQUIRE(i == 0 || strcmp(c->list[i - 1].name, one->name) < 0);
	}
}

static void load(const char *attached_text, size_t len)
{
	struct contacts c = {0};

	REQUIRE(contacts_load(fuzz_vault(), &c) == 0);
	check(&c);
	if (attached_text && c.count == 1 && c.list[0].attached)
		REQUIRE(strlen(c.list[0].attached) <= len &&
			memcmp(c.list[0].attached, attached_text,
			       strlen(c.list[0].attached)) == 0);
	contacts_fini(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char card_file[] = GOOD_NAME CONTACTS_CARD_SUFFIX;
	struct backing_name card, place, other;
	unsigned kind;

	if (size == 0)
		return 0;
	kind = *data++ % 5;
	if (--size > TEXT_MAX)
		size = TEXT_MAX;
	REQUIRE(name_in(&cards, card_file, strlen(card_file), &card) == 0);
	REQUIRE(name_in(&attached, GOOD_NAME, strlen(GOOD_NAME), &place) == 0);
	put(&cards, &card, kind ? good_card : (const char *)data,
	    kind ? strlen(good_card) : size);
	put(&attached, &place, data, kind == 1 ? size : 0);
	if (kind == 2)
		fuzz_put(cards.fd, card.entry, data, size);
	if (kind == 3)
		fuzz_put(attached.fd, place.entry, data, size);
	if (kind == 4 && name_in(&cards, (const char *)data, size, &other) == 0)
		put(&cards, &other, good_card, strlen(good_card));
	else
		kind = kind == 4 ? 0 : kind;
	load(kind == 1 ? (const char *)data : NULL, size);
	if (kind == 4) {
		(void)unlinkat(cards.fd, other.entry, 0);
		vdir_long_name_drop(cards.fd, other.entry);
	}
	return 0;
}
