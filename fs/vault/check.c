#include "check_internal.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>

static unsigned count_cpus(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
							    : 1;

	return n > 0 ? (unsigned)n : 1;
}

/* How much there is below a directory, for whoever wants to see progress. */
static void count_below(struct check *c, int dirfd, unsigned depth)
{
	CLEANUP_DIR DIR *dir = NULL;
	const struct dirent *e;
	struct stat st;
	int fd;

	if (xio_list(dirfd, &dir))
		return;
	while (!check_stopped(c) && (e = readdir(dir))) {
		if (e->d_name[0] == '.' ||
		    fstatat(dirfd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (S_ISREG(st.st_mode))
			c->bytes_found += st.st_blocks * 512 < st.st_size
						  ? (uint64_t)st.st_blocks * 512
						  : (uint64_t)st.st_size;
		if (!S_ISDIR(st.st_mode) || depth == 0)
			continue;
		fd = openat(dirfd, e->d_name,
			    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			continue;
		count_below(c, fd, depth - 1);
		close(fd);
	}
}

static void *count_all(void *arg)
{
	enum { DEPTH_MAX = 200 };
	struct check *c = arg;

	count_below(c, c->vault->root_fd, DEPTH_MAX);
	c->counted = true;
	return NULL;
}

static int check_init(struct check *c)
{
	static const struct check_result none;
	int err;

	c->jobs = c->opt->jobs ? c->opt->jobs : count_cpus();
	if (c->jobs > CHECK_JOBS_MAX)
		c->jobs = CHECK_JOBS_MAX;
	c->result = none;
	c->troubles_end = &c->troubles;
	pthread_mutex_init(&c->lock, NULL);
	pthread_mutex_init(&c->report_lock, NULL);
	pthread_cond_init(&c->work, NULL);
	pthread_cond_init(&c->idle, NULL);
	err = c->opt->repair ? check_repair_before(c) : check_redo_load(c);
	if (!err && !check_is_live(c))
		err = check_journal_begin(c);
	if (!err)
		err = check_twins_begin(c);
	return err ? err : check_push(c, check_meta, NULL);
}

static void check_fini(struct check *c)
{
	struct check_task *task;
	struct trouble *t, *list = check_take_troubles(c);

	while ((task = c->tasks)) {
		c->tasks = task->next;
		free(task);
	}
	while ((t = list)) {
		list = t->next;
		check_trouble_free(t);
	}
	check_redo_free(c->redo);
	check_journal_free(c->crashed);
	check_twins_free(c->twins);
	check_ids_free(&c->hints);
	pthread_cond_destroy(&c->idle);
	pthread_cond_destroy(&c->work);
	pthread_mutex_destroy(&c->report_lock);
	pthread_mutex_destroy(&c->lock);
}

static int run(struct check *c)
{
	pthread_t counter;
	bool counting = c->opt->count &&
			pthread_create(&counter, NULL, count_all, c) == 0;
	int err;

	check_start_at_root(c);
	err = check_run_all(c);
	if (counting)
		pthread_join(counter, NULL);
	if (err)
		return err;
	/* The threads are gone: from here on nobody helps. */
	c->jobs = 1;
	err = c->opt->repair ? check_repair_all(c) : check_look_again(c);
	/* once everything has its place */
	if (!err)
		check_twins_tell(c);
	return err;
}

int vault_check(struct vault *vault, const struct check_options *opt,
		struct check_result *result)
{
	struct check c = {.vault = vault, .opt = opt};
	int err = check_init(&c);

	if (!err)
		err = run(&c);
	c.result.files = c.files;
	c.result.directories = c.directories;
	c.result.links = c.links;
	c.result.others = c.others;
	c.result.locked = c.locked;
	c.result.bytes = c.bytes;
	*result = c.result;
	check_fini(&c);
	return err;
}
