/* How long a Bot API server may keep us waiting. */
#include "bot_api.h"

#include <curl/curl.h>
#include <errno.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#undef curl_easy_setopt

CURLcode __real_curl_easy_setopt(CURL *easy, CURLoption option, ...);
CURLcode __wrap_curl_easy_setopt(CURL *easy, CURLoption option, ...);

static long timeout_s, low_speed_s;
static char url[4096], protocols[32];

/* All values are as large as a pointer. */
CURLcode __wrap_curl_easy_setopt(CURL *easy, CURLoption option, ...)
{
	va_list ap;
	void *value;

	va_start(ap, option);
	value = va_arg(ap, void *);
	va_end(ap);
	if (option == CURLOPT_TIMEOUT)
		timeout_s = (long)(intptr_t)value;
	if (option == CURLOPT_LOW_SPEED_TIME)
		low_speed_s = (long)(intptr_t)value;
	if (option == CURLOPT_PROTOCOLS_STR)
		snprintf(protocols, sizeof protocols, "%s",
			 (const char *)value);
	if (option == CURLOPT_URL)
		snprintf(url, sizeof url, "%s", (const char *)value);
	return __real_curl_easy_setopt(easy, option, value);
}

static int begin(void **state)
{
	timeout_s = low_speed_s = 0;
	return bot_api_new("http://127.0.0.1:1", "123456:AAAAAAAAAAAAAAAAAAAA",
			   (struct bot_api **)state);
}

static int end(void **state)
{
	bot_api_free(*state);
	return 0;
}

static void nothing(void *arg, const struct bot_reply *r)
{
	(void)arg;
	(void)r;
}

static const struct bot_callback cb = {.done = nothing};

static void test_bot_api__drips_end(void **state)
{
	const struct bot_upload up = {.chat_id = "5",
				      .filename = "x.part",
				      .fd = -1,
				      .len = 40 << 20};

	assert_int_equal(bot_api_upload(*state, &up, &cb), 0);
	assert_int_equal(timeout_s, 120 + (40 << 20) / 4096);
	assert_true(low_speed_s > 0);
	timeout_s = low_speed_s = 0;
	assert_int_equal(bot_api_download(*state, "x", -1, 4096, &cb), 0);
	assert_int_equal(timeout_s, 121);
	assert_true(low_speed_s > 0);
}

static void test_bot_api__answers_have_their_time(void **state)
{
	assert_int_equal(
		bot_api_call(*state, "getUpdates", json_object(), 50, &cb), 0);
	assert_true(timeout_s > 50 && timeout_s < 200);
}

static void test_bot_api__longest_paths_fit(void **state)
{
	char path[BOT_FILE_PATH_MAX + 2];

	memset(path, '?', sizeof path);
	path[BOT_FILE_PATH_MAX] = '\0';
	assert_int_equal(bot_api_download(*state, path, -1, 1, &cb), 0);
	assert_int_equal(strlen(strstr(url, "AAAA/") + 5),
			 3 * BOT_FILE_PATH_MAX);
	assert_null(strchr(url, '?'));
	path[BOT_FILE_PATH_MAX] = '?';
	path[BOT_FILE_PATH_MAX + 1] = '\0';
	assert_int_equal(bot_api_download(*state, path, -1, 1, &cb), -EINVAL);
}

/* The token is in the path of each request. */
static void test_bot_api__no_token_goes_in_the_clear(void **state)
{
	static const char token[] = "123456:AAAAAAAAAAAAAAAAAAAA";
	static const char *const good[] = {
		"http://127.0.0.1:1", "http://[::1]/bots", "http://localhost"};
	static const char *const bad[] = {"http://api.telegram.org",
					  "http://127.0.0.1.example.org",
					  "http://localhost@example.org",
					  "ftp://127.0.0.1",
					  "https://example.org/?",
					  "https://example.org/ a",
					  ""};
	struct bot_api *api = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(bot_api_new(bad[i], token, &api), -EPROTO);
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		assert_true(bot_api_base_ok(good[i]));
	assert_int_equal(bot_api_new("https://127.0.0.1:1", token, &api), 0);
	assert_int_equal(bot_api_call(api, "getMe", json_object(), 0, &cb), 0);
	assert_string_equal(protocols, "https");
	bot_api_free(api);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_bot_api__drips_end, begin,
						end),
		cmocka_unit_test_setup_teardown(
			test_bot_api__answers_have_their_time, begin, end),
		cmocka_unit_test_setup_teardown(test_bot_api__longest_paths_fit,
						begin, end),
		cmocka_unit_test(test_bot_api__no_token_goes_in_the_clear),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
