/* Making files that are written through the journal durable. */
#include "vfile_internal.h"

#include <errno.h>

/* The end is marked first: only then the length is right. */
static int settle_for_sync(struct vfile *f)
{
	struct workspace *ws = workspace_get();
	struct range r;
	int err;

	if (!ws)
		return -ENOMEM;
	rangelock_acquire(&f->ranges, &r, 0, RANGE_END, true);
	err = vfile_settle_locked_(f, ws);
	f->journaled = 0;
	rangelock_release(&f->ranges, &r);
	return err;
}

static void raise_floor(struct vfile *f, uint64_t size, unsigned cuts)
{
	pthread_mutex_lock(&f->marks_lock);
	if (f->cuts == cuts && f->floor < size)
		f->floor = size;
	pthread_mutex_unlock(&f->marks_lock);
}

/*
 * What was written in place; and what the journal has brought there: should
 * that be lost, whoever empties the journal must not find all well meanwhile.
 */
static int sync_file(struct vfile *f, bool data_only)
{
	struct journal_file *jf = f->jf;
	bool known = jf;
	int err = 0;

	if (known)
		pthread_mutex_lock(&jf->sync_lock);
	if ((data_only ? fdatasync(f->fd) : fsync(f->fd)) < 0)
		err = -errno;
	/* it may have become known meanwhile */
	if (err && !known) {
		jf = f->jf;
		known = jf;
		if (known)
			pthread_mutex_lock(&jf->sync_lock);
	}
	if (err && known) {
		jf->lost = true;
		jf->changed++;
	}
	if (known)
		pthread_mutex_unlock(&jf->sync_lock);
	if (err)
		journal_wake_(f->journal, false);
	return err;
}

static void owe(struct vfile *f, int err)
{
	f->failures++;
	f->why = err;
	f->failed = ++f->journal->failures;
}

/*
 * Who comes while another is at it waits, and is told the same: the kernel
 * tells only one.
 */
static int sync_in_place(struct vfile *f, bool data_only)
{
	unsigned failures = f->failures;
	uint64_t written;
	int err = 0;

	pthread_mutex_lock(&f->sync_lock);
	written = f->written;
	if (f->failures != failures) {
		err = -EIO;
	} else if (!data_only || written != f->synced) {
		err = sync_file(f, data_only);
		if (!err)
			f->synced = written;
		else
			owe(f, err);
	}
	pthread_mutex_unlock(&f->sync_lock);
	return err;
}

static int settle_for_sync_with_room(struct vfile *f)
{
	bool tried = false;
	int err;

	do {
		err = vfile_lacks_end_(f) ? settle_for_sync(f) : 0;
	} while (err && !vfile_make_room_(f, &tried, err));
	return err;
}

uint64_t vfile_told(const struct vfile *f)
{
	const struct journal_file *jf = f->jf;
	uint64_t told = f->failed, failed = jf ? jf->failed : 0;

	/* nobody has heard of this one */
	if (failed > 0 && jf->untold)
		failed--;
	return failed > told ? failed : told;
}

struct vfile_owed vfile_owed(const struct vfile *f)
{
	const struct journal_file *jf = f->jf;
	struct vfile_owed owed = {.failed = f->failed, .why = f->why};

	if (jf && jf->failed > owed.failed)
		owed = (struct vfile_owed){.failed = jf->failed,
					   .why = jf->why};
	return owed;
}

void vfile_owe(struct vfile *f, const struct vfile_owed *owed)
{
	f->why = owed->why;
	f->failed = owed->failed;
}

/* What has failed before, if the caller has not heard of it. */
static int tell(const struct vfile *f, struct journal_file *jf,
		_Atomic uint64_t *told)
{
	int untold = jf ? atomic_exchange(&jf->untold, 0) : 0;
	struct vfile_owed owed = vfile_owed(f);

	if (!told || atomic_exchange(told, owed.failed) >= owed.failed)
		return untold;
	return owed.why;
}

/* Once something was not made durable it is said, and not tried again: the
 * next time the kernel would say that all is well. */
int vfile_sync_journaled_(struct vfile *f, bool data_only,
			  _Atomic uint64_t *told)
{
	unsigned cuts = f->cuts;
	int err = settle_for_sync_with_room(f), owed, met = 0;
	uint64_t size = f->size;
	struct journal_file *jf;

	if (err)
		return err;
	vfile_stop_filling_(f, size);
	if (!data_only || f->written != f->synced)
		err = sync_in_place(f, data_only);
	/* what filled the holes in place is durable now */
	if (!err)
		vfile_tighten_(f);
	jf = f->jf;
	if (!err && jf)
		err = journal_commit_(f->journal, jf->position, &met);
	if (!err)
		err = met;
	/* what kept it from its place may be over, and is told as it is now */
	if (!err && jf && jf->error)
		err = journal_drain_(jf);
	owed = tell(f, jf, told);
	if (!err)
		err = owed;
	if (!err)
		raise_floor(f, size, cuts);
	return err;
}

int vfile_drain(struct vfile *f)
{
	struct journal_file *jf;
	int err;

	if (!f->journal)
		return 0;
	err = f->flux ? settle_for_sync(f) : 0;
	jf = f->jf;
	return !err && jf ? journal_drain_(jf) : err;
}

int vfile_retry_(struct vfile *f, struct workspace *ws, bool *tried, int err,
		 uint64_t *bad_chunk)
{
	return err == -EAGAIN ? vfile_learn_holes_(f, ws, bad_chunk)
			      : vfile_make_room_(f, tried, err);
}

int vfile_make_room_(struct vfile *f, bool *tried, int err)
{
	if ((err != -ENOSPC && err != -EDQUOT) || !f->journal || *tried)
		return err;
	*tried = true;
	(void)!journal_retire_(f->journal, true, false, NULL);
	(void)journal_sweep_(f->journal, true);
	return 0;
}
