/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A child process that looks at what an attacker may have written.
 *
 * It keeps one end of a socket and an empty memory file, and nothing else: no other descriptor, no
 * privileges, and of all system calls only those that read, write and seek what it has, and that
 * manage memory. Whatever a parser is led to do, the host stays out of its reach.
 */
#ifndef VHD_GUEST_SANDBOX_H
#define VHD_GUEST_SANDBOX_H

#include <stdbool.h>
#include <sys/types.h>

struct sandbox {
	pid_t pid;
	int fd;			/* the parent's end of the socket */
};

/* The child's job; the process ends when it returns. memfd is -1 where the host has none. */
typedef void (*sandbox_fn)(int fd, int memfd, void *arg);

/* What the child sends first: 0, or the errno with which locking itself in failed. */
typedef int sandbox_greeting;

/*
 * Starts job in a child. With is_open it is not locked in: a process of its own, that can do what
 * the caller can. 0; -ENOSYS when the sandbox cannot be had; or -errno. Call it from a process
 * with one thread. Blocks until the child is locked in.
 */
int sandbox_start(struct sandbox *sandbox, bool is_open, sandbox_fn job, void *arg);
/* Ends the child, whatever it is at, and waits for it. */
void sandbox_end(struct sandbox *sandbox);

#endif
