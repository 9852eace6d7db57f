#include "dumps.h"

#include <sys/prctl.h>
#include <sys/resource.h>

void dumps_refuse(void)
{
	struct rlimit none = {0, 0};

	setrlimit(RLIMIT_CORE, &none);
	/* LeakSanitizer is such a debugger */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KEEP_DUMPABLE 1
#endif
#endif
#if !defined(__SANITIZE_ADDRESS__) && !defined(KEEP_DUMPABLE)
	prctl(PR_SET_DUMPABLE, 0);
#endif
}
