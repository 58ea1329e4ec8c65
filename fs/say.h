/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the driver tells its user: one sentence, to where somebody may read it. */
#ifndef FS_SAY_H
#define FS_SAY_H

/* "vhdfuse: sentence" to standard error, or to syslog once daemonised. Any thread. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* From here on nobody sees standard error. Called before there are threads. */
void say_to_syslog(void);

#endif
