/* Tells whoever sits at the desktop. */
#ifndef TGSHARE_NOTIFY_H
#define TGSHARE_NOTIFY_H

/*
 * Something that who sent is open now; who asks to pass a share on to
 * recipient. Where there is no session bus or no notify-send, nothing happens;
 * nothing is waited for. The caller ignores SIGCHLD.
 */
void notify_opened(const char *name, const char *who);
void notify_asked(const char *recipient, const char *who);

#endif
