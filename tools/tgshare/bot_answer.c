#include "bot_answer.h"

#include "json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
	/* A hundred updates with a hundred marks in each text have fewer. One
	 * takes a few hundred bytes of memory. */
	VALUES_MAX = 1 << 17,
	WAIT_MAX_S = 86400,
};

/* At least as many as the text has, strings aside. */
static size_t count_values(const char *body, size_t len)
{
	size_t n = 1;
	bool quoted = false;

	for (size_t i = 0; i < len; i++) {
		if (body[i] == '"')
			quoted = !quoted;
		else if (quoted)
			i += body[i] == '\\';
		else
			n += body[i] == '{' || body[i] == '[' || body[i] == ',';
	}
	return n;
}

void bot_answer_plain(const char *text, char *out, size_t size)
{
	CLEANUP_FREE char *plain = NULL;
	size_t len;
	FILE *f = open_memstream(&plain, &len);

	if (f)
		json_put_plain(f, text);
	snprintf(out, size, "%s", f && fclose(f) == 0 ? plain : "");
}

static void read_error(const json_t *answer, struct bot_reply *reply)
{
	const json_t *parameters = json_object_get(answer, "parameters");
	const char *words =
		json_string_value(json_object_get(answer, "description"));
	json_int_t wait =
		json_integer_value(json_object_get(parameters, "retry_after"));
	json_int_t code =
		json_integer_value(json_object_get(answer, "error_code"));

	reply->error_code = code > 0 && code < 1000 ? (int)code : reply->status;
	if (reply->error_code < 400)
		reply->error_code = 502;
	if (words)
		bot_answer_plain(words, reply->description,
				 sizeof reply->description);
	if (wait > 0)
		reply->retry_after_s =
			wait < WAIT_MAX_S ? (unsigned)wait : WAIT_MAX_S;
}

void bot_answer_read(const char *body, size_t len, struct bot_reply *reply,
		     json_t **answer)
{
	json_t *read = body && count_values(body, len) <= VALUES_MAX
			       ? json_loadb(body, len, 0, NULL)
			       : NULL;

	*answer = NULL;
	if (!json_is_object(read)) {
		json_decref(read);
		reply->garbled = reply->status == 200;
		reply->error_code = reply->status >= 400 ? reply->status : 502;
		snprintf(reply->description, sizeof reply->description,
			 "what the server answered (HTTP status %d) cannot be "
			 "understood",
			 reply->status);
		return;
	}
	if (json_is_true(json_object_get(read, "ok")))
		reply->result = json_object_get(read, "result");
	else
		read_error(read, reply);
	*answer = read;
}

int64_t bot_answer_update_id(const char *body, size_t len)
{
	static const char key[] = "\"update_id\":";
	const char *at = body ? memmem(body, len, key, sizeof key - 1) : NULL;
	char digits[24] = "";
	size_t n = 0;
	long long id;

	if (!at)
		return 0;
	at += sizeof key - 1;
	while (at < body + len && *at == ' ')
		at++;
	while (at < body + len && n < sizeof digits - 1 && *at >= '0' &&
	       *at <= '9')
		digits[n++] = *at++;
	digits[n] = '\0';
	errno = 0;
	id = strtoll(digits, NULL, 10);
	return errno || id == INT64_MAX ? 0 : id;
}
