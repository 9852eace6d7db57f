#include "cmd.h"
#include "report.h"
#include "secret.h"
#include "slip39.h"
#include "text.h"
#include "tty.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

const char cmd_combine_help[] =
	"Usage: tgshare combine [-o KEYFILE] [FILE...]\n"
	"\n"
	"Words back into a key: shares are read from files, from standard "
	"input, or asked for\n"
	"on the terminal. The key is a Fernet key in base64url, on standard "
	"output.\n"
	"  -o KEYFILE  into a new file that only you can read\n"
	"  --help      this text\n";

enum {
	INPUT_MAX = 65536,
	SHOWN_MAX = 24,
	KEY_TEXT_MAX = BASE64URL_PADDED_LEN(SLIP39_SECRET_LEN) + 2,
};

/* All in locked memory. */
struct combining {
	struct slip39_share *shares; /* room for SLIP39_SHARES_MAX */
	size_t count;
	char *input; /* INPUT_MAX */
	uint8_t *secret;
	char *key;
};

static bool is_blank(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r' &&
		    text[i] != '\n')
			return false;
	return true;
}

/* The n-th word, from 1; *len 0: there are less. */
static const char *word_at(const char *text, size_t size, unsigned n,
			   size_t *len)
{
	size_t begin = 0, end = 0;

	for (unsigned i = 0; i < n; i++) {
		begin = end;
		while (begin < size && is_blank(text + begin, 1))
			begin++;
		end = begin;
		while (end < size && !is_blank(text + end, 1))
			end++;
	}
	*len = end - begin;
	return text + begin;
}

static unsigned count_words(const char *text, size_t size)
{
	unsigned n = 0;
	size_t len;

	do
		word_at(text, size, ++n, &len);
	while (len > 0);
	return n - 1;
}

/* What is on no list is no secret; and it may be anything. */
static int report_bad_word(const char *text, size_t size, unsigned n,
			   const char *from)
{
	char shown[SHOWN_MAX + 1];
	size_t len;
	const char *word = word_at(text, size, n, &len);

	len = len < SHOWN_MAX ? len : SHOWN_MAX;
	for (size_t i = 0; i < len; i++)
		shown[i] = word[i] > ' ' && word[i] < 0x7f ? word[i] : '?';
	shown[len] = '\0';
	return report_as(CMD_FAILED,
			 "word %u of the share in %s, '%s', is not on the "
			 "SLIP-39 list; look at it again",
			 n, from, shown);
}

static int report_words(int err, const char *text, size_t size,
			const char *from)
{
	unsigned n = count_words(text, size);

	if (err == -EBADMSG)
		return report_as(CMD_FAILED,
				 "the checksum of the share in %s is wrong: a "
				 "word is another, or in another place",
				 from);
	if (n != SLIP39_WORDS)
		return report_as(CMD_FAILED,
				 "what is in %s is not a share of a key: it "
				 "has %u word%s, such a share has %d",
				 from, n, n == 1 ? "" : "s", SLIP39_WORDS);
	return report_as(CMD_FAILED,
			 "what is in %s is not a share of a key, though its "
			 "words are on the list",
			 from);
}

static bool same_share(const struct slip39_share *a,
		       const struct slip39_share *b)
{
	return a->id == b->id && a->group_index == b->group_index &&
	       a->member_index == b->member_index;
}

/* The same one twice counts once; those of a single group are enough when
 * there are as many as it takes. */
static int take_share(struct combining *c, const struct slip39_share *share)
{
	for (size_t i = 0; i < c->count; i++)
		if (same_share(&c->shares[i], share))
			return CMD_OK;
	if (share->group_count == 1 && c->count > 0 &&
	    c->count >= c->shares[0].member_threshold &&
	    share->id == c->shares[0].id)
		return CMD_OK;
	if (c->count == SLIP39_SHARES_MAX)
		return report_as(CMD_FAILED, "there are more than %d shares",
				 SLIP39_SHARES_MAX);
	c->shares[c->count++] = *share;
	return CMD_OK;
}

static int take_words(struct combining *c, const char *text, size_t len,
		      const char *from)
{
	CLEANUP_SECRET struct slip39_share *share = secret_alloc(sizeof *share);
	unsigned bad_word = 0;
	int err;

	if (!share)
		return report_as(CMD_FAILED, "memory is short");
	err = slip39_from_words(text, len, share, &bad_word);
	if (bad_word)
		return report_bad_word(text, len, bad_word, from);
	return err ? report_words(err, text, len, from) : take_share(c, share);
}

static bool is_share(const char *text, size_t len)
{
	CLEANUP_SECRET struct slip39_share *share = secret_alloc(sizeof *share);
	unsigned bad_word;

	return share && slip39_from_words(text, len, share, &bad_word) == 0;
}

/* A share is a line, or lines up to a blank one where it was broken. */
static int take_text(struct combining *c, const char *text, size_t len,
		     const char *from)
{
	size_t begin = 0, at = 0;
	int status = CMD_OK;

	while (at < len && !status) {
		const char *nl = memchr(text + at, '\n', len - at);
		size_t end = nl ? (size_t)(nl - text) + 1 : len;
		bool blank = is_blank(text + at, end - at);
		bool last = end == len;

		at = end;
		if (is_blank(text + begin, end - begin)) {
			begin = end;
		} else if (blank || last ||
			   is_share(text + begin, end - begin)) {
			status = take_words(c, text + begin, end - begin, from);
			begin = end;
		}
	}
	return status;
}

/* stdio would leave words behind in its buffers. */
static int take_file(struct combining *c, int fd, const char *from)
{
	size_t len = 0;

	for (;;) {
		ssize_t n = read(fd, c->input + len, INPUT_MAX - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return report_as(CMD_FAILED, "cannot read %s: %s", from,
					 strerror(errno));
		if (n == 0)
			return take_text(c, c->input, len, from);
		len += (size_t)n;
		if (len == INPUT_MAX)
			return report_as(CMD_FAILED,
					 "%s is too long to be shares", from);
	}
}

static int take_named(struct combining *c, const char *name)
{
	CLEANUP_FD int fd = open(name, O_RDONLY | O_CLOEXEC);

	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return report_as(CMD_UNKNOWN,
				 "there is no file '%s'; name files with "
				 "shares, or give them on standard input",
				 name);
	if (fd < 0)
		return report_as(CMD_FAILED, "cannot read '%s': %s", name,
				 strerror(errno));
	return take_file(c, fd, name);
}

/* As many as the first one says it takes. */
static int ask(struct combining *c)
{
	size_t need = 1;

	while (c->count < need) {
		char prompt[64];
		size_t len = 0, before = c->count;
		int err, status;

		snprintf(prompt, sizeof prompt,
			 "Words of share %zu: ", c->count + 1);
		err = tty_ask(prompt, c->input, INPUT_MAX - 1, &len);
		if (err)
			return report_as(CMD_FAILED,
					 "no shares: name files with them, or "
					 "give them on standard input");
		status = take_words(c, c->input, len, "the answer");
		if (status == CMD_OK && c->count == before)
			report("that one was given already");
		if (c->count)
			need = c->shares[0].member_threshold;
		/* a mistyped word is said, and asked for again */
	}
	return CMD_OK;
}

static int combine(struct combining *c)
{
	size_t len = 0;
	int err;

	if (c->count == 0)
		return report_as(CMD_FAILED, "there are no shares in what was "
					     "given");
	err = slip39_combine(c->shares, c->count, "", c->secret, &len);
	if (err == -EINVAL && c->shares[0].group_count == 1 &&
	    c->count < c->shares[0].member_threshold)
		return report_as(
			CMD_FAILED,
			"%zu of the %u shares that it takes are there; "
			"find more",
			c->count, c->shares[0].member_threshold);
	if (err == -EINVAL)
		return report_as(CMD_FAILED,
				 "these shares do not belong together; take "
				 "those of one key");
	if (err)
		return report_as(
			CMD_FAILED,
			"these shares do not give back what was split; "
			"one of them is of another key");
	if (len != SLIP39_SECRET_LEN)
		return report_as(CMD_FAILED,
				 "what was split has %zu bytes, a Fernet key "
				 "has %d: these are shares of something else",
				 len, SLIP39_SECRET_LEN);
	base64url_encode_padded(c->secret, len, c->key);
	strcat(c->key, "\n");
	return CMD_OK;
}

static int write_key(const struct combining *c, const char *output)
{
	CLEANUP_FD int fd = -1;
	int err;

	if (output) {
		fd = open(output, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
			  0600);
		if (fd < 0 && errno == EEXIST)
			return report_as(CMD_FAILED,
					 "'%s' exists already; name a new file",
					 output);
		if (fd < 0)
			return report_as(CMD_FAILED,
					 "cannot make the key file '%s': %s",
					 output, strerror(errno));
	}
	err = xio_write(output ? fd : STDOUT_FILENO, c->key, strlen(c->key));
	if (!err && output && fsync(fd) < 0)
		err = -errno;
	if (!err)
		return CMD_OK;
	if (output)
		unlink(output);
	return report_as(CMD_FAILED, "cannot write the key: %s",
			 strerror(-err));
}

static int run(struct combining *c, const char *output, char **files)
{
	int status = CMD_OK;

	if (!c->shares || !c->input || !c->secret || !c->key)
		return report_as(CMD_FAILED, "memory is short");
	if (!files[0])
		status = isatty(STDIN_FILENO)
				 ? ask(c)
				 : take_file(c, STDIN_FILENO, "standard input");
	for (; *files && !status; files++)
		status = take_named(c, *files);
	if (!status)
		status = combine(c);
	return status ? status : write_key(c, output);
}

int cmd_combine(int argc, char **argv)
{
	static const struct option options[] = {
		{"output", required_argument, NULL, 'o'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	const char *output = NULL;
	int c, status;

	while ((c = getopt_long(argc, argv, ":ho:", options, NULL)) != -1) {
		if (c == 'o')
			output = optarg;
		else if (c == 'h')
			return report_help(cmd_combine_help);
		else
			return report_bad_option("combine", c, argv);
	}
	struct combining work = {
		.shares = secret_alloc(SLIP39_SHARES_MAX *
				       sizeof(struct slip39_share)),
		.input = secret_alloc(INPUT_MAX),
		.secret = secret_alloc(SLIP39_SECRET_MAX_LEN),
		.key = secret_alloc(KEY_TEXT_MAX),
	};

	status = run(&work, output, argv + optind);
	secret_free(work.shares);
	secret_free(work.input);
	secret_free(work.secret);
	secret_free(work.key);
	return status;
}
