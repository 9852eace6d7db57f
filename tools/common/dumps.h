/* Keys must not reach a core file or a debugger of the same user. */
#ifndef FROND_DUMPS_H
#define FROND_DUMPS_H

/* First thing in main(). */
void dumps_refuse(void);

#endif
