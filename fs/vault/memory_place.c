/* What no longer lies under a name. */
#include "memory_internal.h"

#include <errno.h>
#include <string.h>

enum { SWEEP_MIN = 1024 };

static int take_left(const uint8_t *body, size_t len, void *out)
{
	return memory_left_parse_(body, len, out);
}

/* What the database knows of it; false: nothing. */
static bool recall(struct memory *m, const uint8_t *row,
		   struct memory_left *left)
{
	int err;

	if (!m->has_rows[MEMORY_PLACE])
		return false;
	pthread_mutex_lock(&m->db_lock);
	err = memory_db_find_(m, MEMORY_PLACE, row, take_left, left);
	pthread_mutex_unlock(&m->db_lock);
	return err == 0;
}

/* What the process knows of it; false: nothing. */
static bool recollect(struct memory *m, const uint8_t *row,
		      struct memory_left *left)
{
	const struct memory_entry *e;

	pthread_mutex_lock(&m->lock);
	e = memory_table_find_(&m->places, row);
	if (e)
		*left = ((const struct memory_spot *)e)->left;
	pthread_mutex_unlock(&m->lock);
	return e != NULL;
}

/* Needs m->lock. Where memory is short, nothing. */
static struct memory_spot *spot_at(struct memory *m, const uint8_t *row,
				   const uint8_t *parent)
{
	struct memory_entry *e = memory_table_find_(&m->places, row);
	struct memory_spot *spot;

	if (e)
		return memory_spot_of_(e);
	spot = calloc(1, sizeof *spot);
	if (!spot)
		return NULL;
	spot->entry.kind = MEMORY_PLACE;
	memcpy(spot->entry.key, row, MEMORY_KEY_LEN);
	memcpy(spot->parent, parent, DIRID_LEN);
	if (memory_table_add_(&m->places, &spot->entry) == 0)
		return spot;
	free(spot);
	return NULL;
}

/* False: it could not be noted. */
static bool note_left(struct memory *m, const uint8_t *row,
		      const uint8_t *parent, const struct memory_left *left)
{
	struct memory_spot *spot;

	pthread_mutex_lock(&m->lock);
	spot = spot_at(m, row, parent);
	if (spot) {
		spot->left = *left;
		memory_revoke_(m, &spot->entry);
	}
	pthread_mutex_unlock(&m->lock);
	return spot != NULL;
}

void memory_place_left(struct vault *vault, const struct memory_place *place,
		       const uint8_t *dirid)
{
	struct memory *m = vault->memory;
	struct memory_left left = {.has_dirid = dirid != NULL};
	uint8_t row[MEMORY_KEY_LEN];

	if (!m || m->noted >= MEMORY_NOTED_MAX)
		return;
	left.left_s = vault_now(vault);
	if (dirid)
		memcpy(left.dirid, dirid, DIRID_LEN);
	memory_row_place_(m->keys, place, row);
	(void)!note_left(m, row, place->parent, &left);
}

static bool speaks_against(const struct memory_left *left, uint64_t born_s,
			   const uint8_t *dirid)
{
	if (dirid)
		return left->has_dirid &&
		       memcmp(left->dirid, dirid, DIRID_LEN) == 0;
	return born_s < left->left_s;
}

/*
 * The database would say that it was put back, if the process died before that
 * is kept; so it is told at once not to be believed then. Once, mostly: and
 * not, where it cannot be written.
 */
static void doubt(struct memory *m, const uint8_t *row)
{
	struct memory_left left;

	pthread_mutex_lock(&m->db_lock);
	if (!m->db)
		m->doubts++; /* another process has it, and who knows? */
	else if (memory_db_find_(m, MEMORY_PLACE, row, take_left, &left) == 0) {
		m->doubts++;
		if (!m->doubted)
			(void)!memory_db_doubt_(m, true);
	}
	pthread_mutex_unlock(&m->db_lock);
}

/* Of this place nothing is known any more. */
static void forget(struct memory *m, const uint8_t *row, const uint8_t *parent)
{
	const struct memory_left nothing = {0};

	if (!note_left(m, row, parent, &nothing))
		m->forgets_places = true;
	doubt(m, row);
}

bool memory_place_taken(struct vault *vault, const struct memory_place *place,
			uint64_t born_s)
{
	struct memory *m = vault->memory;
	struct memory_left left = {0};
	uint8_t row[MEMORY_KEY_LEN];

	/* nothing was left later than now */
	if (!m || born_s >= vault_now(vault))
		return false;
	memory_row_place_(m->keys, place, row);
	if (!recollect(m, row, &left) && !recall(m, row, &left) && m->is_open)
		return false;
	if (!m->is_open || left.has_dirid || born_s < left.left_s)
		forget(m, row, place->parent);
	return true;
}

void memory_place_replaced(struct vault *vault,
			   const struct memory_place *place, uint64_t born_s)
{
	struct memory_left left = {.left_s = born_s};
	struct memory *m = vault->memory;
	uint8_t row[MEMORY_KEY_LEN];

	if (!m || m->noted >= MEMORY_NOTED_MAX)
		return;
	/* of a clock that was ahead: what is made now may take its place */
	if (left.left_s > vault_now(vault))
		left.left_s = vault_now(vault);
	memory_row_place_(m->keys, place, row);
	(void)!note_left(m, row, place->parent, &left);
}

bool memory_place_is_old(struct vault *vault, const struct memory_place *place,
			 uint64_t born_s, const uint8_t *dirid)
{
	struct memory *m = vault->memory;
	struct memory_left left = {0};
	uint8_t row[MEMORY_KEY_LEN];

	if (!m || m->forgets_places)
		return false;
	memory_row_place_(m->keys, place, row);
	if (!recollect(m, row, &left) && recall(m, row, &left))
		/* it may have been taken meanwhile */
		(void)recollect(m, row, &left);
	if (!left.left_s || !speaks_against(&left, born_s, dirid))
		return false;
	if (!m->accept)
		return true;
	forget(m, row, place->parent);
	return false;
}

void memory_place_accept(struct vault *vault, const struct memory_place *place)
{
	struct memory *m = vault->memory;
	uint8_t row[MEMORY_KEY_LEN];

	if (!m)
		return;
	memory_row_place_(m->keys, place, row);
	forget(m, row, place->parent);
	pthread_mutex_lock(&m->db_lock);
	/* or else when the next is kept */
	(void)!memory_db_drop_(m, MEMORY_PLACE, row);
	pthread_mutex_unlock(&m->db_lock);
}

/* Unless it is being kept. */
static void sweep_one(void *arg, struct memory_entry *e)
{
	struct memory *m = arg;
	struct memory_spot *spot = memory_spot_of_(e);

	if (e->refs > 0 || !memory_table_find_(&m->gone, spot->parent))
		return;
	memory_table_remove_(&m->places, e);
	if (e->noted)
		m->noted--;
	free(spot);
}

/* Whoever makes and removes for long takes no more and more memory. */
static void sweep(struct memory *m)
{
	if (m->places.count < m->sweep_at)
		return;
	memory_table_each_(&m->places, sweep_one, m);
	m->sweep_at = 2 * m->places.count + SWEEP_MIN;
}

void memory_dir_gone(struct vault *vault, const uint8_t dirid[static DIRID_LEN])
{
	struct memory *m = vault->memory;
	struct memory_entry *e;

	if (!m)
		return;
	pthread_mutex_lock(&m->lock);
	e = m->gone.count < MEMORY_NOTED_MAX &&
			    !memory_table_find_(&m->gone, dirid)
		    ? calloc(1, sizeof *e)
		    : NULL;
	if (e) {
		e->kind = MEMORY_TIME;
		memcpy(e->key, dirid, DIRID_LEN);
		/* its places' rows stay, and nobody asks for them */
		if (memory_table_add_(&m->gone, e))
			free(e);
		sweep(m);
	}
	pthread_mutex_unlock(&m->lock);
}
