/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vhd/guest: the process that looks into the disk is locked in, and is not believed.
 *
 * The real child is run, with a look at the disk that is as hostile as a parser that was taken over
 * can be: it tries what the host must be safe from, and says what the parent must not believe.
 */
#include "vhd/guest.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/support/io_mem.h"
#include "tests/support/runner.h"
#include "vhd/guest/sandbox.h"
#include "vhd/guest/wire.h"

#define DISK_SIZE (16u << 20)
#define CHILD_SOCKET 3

static struct mem_file *file;
static vhd_image *img;

static void set_up(void)
{
	struct vhd_create_opts opts = { .size = DISK_SIZE };
	struct vhd_io *io;

	file = mem_new();
	io = mem_open(file);
	CU_ASSERT_EQUAL_FATAL(vhd_create_io(io, "guest.vhd", &opts, NULL), 0);
	io->ops->close(io);
	CU_ASSERT_EQUAL_FATAL(vhd_open_io(&img, mem_open(file), "guest.vhd", NULL, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(vhd_pwrite(img, "here I am", 9, 5000000, NULL), 0);
}

static void tear_down(void)
{
	vhd_close(img, NULL);
	mem_free(file);
}

/* --- what the child can do ------------------------------------------------------------------- */

struct report {
	char what[40];
	int code;		/* the call's errno; 0: it could */
};

static void report(int fd, const char *what, long ret)
{
	struct report r = { .code = ret < 0 ? errno : 0 };

	snprintf(r.what, sizeof(r.what), "%s", what);
	if (write(fd, &r, sizeof(r)) != sizeof(r))
		_exit(1);
}

/* Each straight to the kernel: what a library would refuse by itself shows nothing. */
static void try_everything(int fd, int memfd, void *arg)
{
	char *const argv[] = { (char *)"true", NULL };
	char name[40];
	struct stat st;

	(void)arg;
	report(fd, "open", syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY));
	report(fd, "create", syscall(SYS_openat, AT_FDCWD, "/tmp/x", O_RDWR | O_CREAT, 0600));
	report(fd, "unlink", syscall(SYS_unlinkat, AT_FDCWD, "/nothing", 0));
	report(fd, "execve", syscall(SYS_execve, "/bin/true", argv, argv));
	report(fd, "clone", syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
	report(fd, "socket", syscall(SYS_socket, AF_INET, SOCK_STREAM, 0));
	report(fd, "kill", syscall(SYS_kill, getppid(), 0));
	report(fd, "ptrace", syscall(SYS_ptrace, 16, getppid(), 0, 0));
	report(fd, "setuid", syscall(SYS_setuid, 0));
	report(fd, "mount", syscall(SYS_mount, "none", "/", "tmpfs", 0, 0));
	report(fd, "ioctl", syscall(SYS_ioctl, fd, 0x5421, 0));
	report(fd, "memory with code", (long)mmap(NULL, 4096, PROT_READ | PROT_EXEC,
						  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == -1 ?
	       -1 : 0);
	report(fd, "mprotect", syscall(SYS_mprotect, 0x10000, 4096, PROT_READ | PROT_EXEC));
	for (int i = 0; i < 300; i++) {
		if (i == fd || i == memfd)
			continue;
		snprintf(name, sizeof(name), "descriptor %d", i);
		report(fd, name, fstat(i, &st));
	}
	/* What it needs it has. */
	if (memfd < 0 || ftruncate(memfd, 100) || pwrite(memfd, "x", 1, 50) != 1)
		report(fd, "no memory file", 0);
	if (!malloc(64 << 20))
		report(fd, "no memory", 0);
	report(fd, "end", 0);
	if (read(fd, name, 1) < 0)	/* until the parent has looked at us */
		_exit(1);
}

/* The lines of /proc/PID/status that say what a process may. */
static bool has_status(pid_t pid, const char *want)
{
	char path[64], line[256];
	bool has = false;
	FILE *status;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	status = fopen(path, "r");
	while (status && fgets(line, sizeof(line), status)) {
		line[strcspn(line, "\n")] = '\0';
		has |= strcmp(line, want) == 0;
	}
	if (status)
		fclose(status);
	return has;
}

static void the_child_can_do_nothing_else(void)
{
	struct sandbox sandbox;
	struct report r = { 0 };
	int heard = 0;

	CU_ASSERT_EQUAL_FATAL(sandbox_start(&sandbox, false, try_everything, NULL), 0);
	while (recv(sandbox.fd, &r, sizeof(r), MSG_WAITALL) == sizeof(r) &&
	       strcmp(r.what, "end")) {
		bool is_refused = strncmp(r.what, "descriptor", 10) ? r.code == EPERM :
								      r.code == EBADF;

		if (!is_refused)
			printf("\n%s: %s\n", r.what, r.code ? strerror(r.code) : "it could");
		CU_ASSERT(is_refused);
		heard++;
	}
	CU_ASSERT_STRING_EQUAL(r.what, "end");
	CU_ASSERT(heard > 300);
	CU_ASSERT(has_status(sandbox.pid, "Seccomp:\t2"));
	CU_ASSERT(has_status(sandbox.pid, "NoNewPrivs:\t1"));
	CU_ASSERT(has_status(sandbox.pid, "CapEff:\t0000000000000000"));
	if (geteuid() == 0)
		CU_ASSERT(has_status(sandbox.pid, "Uid:\t65534\t65534\t65534\t65534"));
	sandbox_end(&sandbox);
	CU_ASSERT_EQUAL(kill(sandbox.pid, 0), -1);
}

/* The check above would see it. */
static void without_the_sandbox_it_can(void)
{
	struct sandbox sandbox;
	struct report r = { 0 };

	CU_ASSERT_EQUAL_FATAL(sandbox_start(&sandbox, true, try_everything, NULL), 0);
	CU_ASSERT_EQUAL(recv(sandbox.fd, &r, sizeof(r), MSG_WAITALL), sizeof(r));
	CU_ASSERT_STRING_EQUAL(r.what, "open");
	CU_ASSERT_EQUAL(r.code, 0);
	CU_ASSERT(has_status(sandbox.pid, "Seccomp:\t0"));
	sandbox_end(&sandbox);
}

/* --- what the child can say ------------------------------------------------------------------ */

static int look_honestly(struct scan *scan)
{
	char text[9];
	struct guest_volume *volume;
	int rc = window_read(scan->disk, text, sizeof(text), 5000000);

	if (rc)
		return rc;
	volume = scan_add_volume(scan);
	snprintf(volume->name, sizeof(volume->name), "%.9s", text);
	volume->length = 100;
	return scan_add_source(scan, &(struct scan_source){
		.start = 4096, .len = 8192, .map = SCAN_ALL_FREE });
}

static void an_honest_child_is_heard(void)
{
	struct guest *guest;
	uint64_t start, len;
	bool none = false;

	set_up();
	CU_ASSERT_EQUAL_FATAL(guest_start(&guest, img, NULL, look_honestly, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(guest_volumes(guest), 1);
	CU_ASSERT_STRING_EQUAL(guest_volume(guest, 0)->name, "here I am");
	CU_ASSERT_EQUAL(guest_next_free(guest, 0, &start, &len, NULL), 1);
	CU_ASSERT_EQUAL(start, 4096);
	CU_ASSERT_EQUAL(len, 8192);
	CU_ASSERT_EQUAL(guest_next_free(guest, 5000, &start, &len, NULL), 1);
	CU_ASSERT_EQUAL(start, 5000);
	CU_ASSERT_EQUAL(guest_next_free(guest, 12288, &start, &len, NULL), 0);
	CU_ASSERT_EQUAL(guest_next_free(guest, 0, &start, &len, NULL), 1);
	CU_ASSERT_EQUAL(guest_select(guest, &none, NULL), 0);
	CU_ASSERT_EQUAL(guest_next_free(guest, 0, &start, &len, NULL), 0);
	guest_close(guest);
	tear_down();
}

/* Twice what one message carries. */
static int look_at_many(struct scan *scan)
{
	struct freemap map;
	size_t number;
	int rc = freemap_init(&map, 0, 512, DISK_SIZE / 512);

	for (uint64_t i = 0; !rc && i < 2 * WIRE_EXTENTS + 1; i++)
		freemap_give(&map, i * 3 + 1, 1);
	if (rc || !scan_add_volume(scan) || scan_add_map(scan, map, &number))
		return -ENOMEM;
	return scan_add_source(scan, &(struct scan_source){ .len = DISK_SIZE, .map = number });
}

static void ranges_go_on_over_many_messages(void)
{
	uint64_t off = 0, start, len, count = 0;
	struct guest *guest;

	set_up();
	CU_ASSERT_EQUAL_FATAL(guest_start(&guest, img, NULL, look_at_many, NULL), 0);
	while (guest_next_free(guest, off, &start, &len, NULL) == 1) {
		CU_ASSERT_EQUAL_FATAL(start, (count * 3 + 1) * 512);
		CU_ASSERT_EQUAL_FATAL(len, 512);
		off = start + len;
		count++;
	}
	CU_ASSERT_EQUAL(count, 2 * WIRE_EXTENTS + 1);
	CU_ASSERT_EQUAL(guest_next_free(guest, 700, &start, &len, NULL), 1);
	CU_ASSERT_EQUAL(start, 700);
	guest_close(guest);
	tear_down();
}

static int look_and_die(struct scan *scan)
{
	(void)scan;
	raise(SIGSEGV);
	_exit(0);
}

static void say_raw(const void *buf, size_t len)
{
	if (write(CHILD_SOCKET, buf, len) != (ssize_t)len)
		_exit(1);
}

static int look_and_babble(struct scan *scan)
{
	(void)scan;
	for (int i = 0; i < 1000; i++)
		say_raw("all work and no play ", 21);
	return 0;
}

static int ask_for_too_much(struct scan *scan)
{
	struct wire_head head = { .kind = WIRE_READ, .want = WIRE_MAX + 1 };

	(void)scan;
	say_raw(&head, sizeof(head));
	return 0;
}

static int find_too_many(struct scan *scan)
{
	struct wire_head head = { .kind = WIRE_FOUND, .len = UINT32_MAX };

	(void)scan;
	say_raw(&head, sizeof(head));
	return 0;
}

static int find_a_volume_past_the_disk(struct scan *scan)
{
	struct guest_volume *volume = scan_add_volume(scan);

	volume->start = DISK_SIZE - 100;
	volume->length = UINT64_MAX - 50;
	return 0;
}

static int find_a_state_that_is_none(struct scan *scan)
{
	scan_add_volume(scan)->state = (enum guest_state)77;
	return 0;
}

static int fail_with_success(struct scan *scan)
{
	struct wire_head head = { .kind = WIRE_FAILED, .code = 0 };

	(void)scan;
	say_raw(&head, sizeof(head));
	return 0;
}

static void a_child_that_misbehaves_is_given_up(void)
{
	static const scan_look_fn looks[] = {
		look_and_die, look_and_babble, ask_for_too_much, find_too_many,
		find_a_volume_past_the_disk, find_a_state_that_is_none, fail_with_success,
	};

	set_up();
	for (size_t i = 0; i < sizeof(looks) / sizeof(looks[0]); i++) {
		struct vhd_err err = { 0 };
		struct guest *guest;

		CU_ASSERT_EQUAL(guest_start(&guest, img, NULL, looks[i], &err), -EPROTO);
		CU_ASSERT_EQUAL(err.code, -EPROTO);
		CU_ASSERT(strlen(err.msg) > 20);
	}
	tear_down();
}

/* A logical volume of 8192 bytes in two places, the second so far from the first; and len bytes. */
static int find_lv(struct scan *scan, uint64_t start, uint64_t len)
{
	struct guest_volume *volume = scan_add_volume(scan);
	int rc = scan_add_place(scan, 8192, 4096);

	*volume = (struct guest_volume){
		.is_logical = true, .length = 8192, .state = GUEST_CLEAN, .name = "vg/lv",
	};
	return rc ? rc : scan_add_place(scan, start, len);
}

static int find_whole_lv(struct scan *scan)
{
	return scan_add_volume(scan) ? find_lv(scan, 0, 4096) : -ENOMEM;
}

static int find_lv_past_the_disk(struct scan *scan)
{
	return find_lv(scan, DISK_SIZE - 512, 4096);
}

static int find_lv_that_is_longer(struct scan *scan)
{
	return find_lv(scan, 0, 4608);
}

static int find_lv_that_is_shorter(struct scan *scan)
{
	return find_lv(scan, 0, 3584);
}

static int find_lv_with_nothing(struct scan *scan)
{
	return find_lv(scan, 0, 0);
}

static void a_logical_volume_lies_on_the_disk_and_is_whole(void)
{
	static const scan_look_fn lies[] = {
		find_lv_past_the_disk, find_lv_that_is_longer, find_lv_that_is_shorter,
		find_lv_with_nothing,
	};
	const struct guest_range *ranges;
	struct guest *guest;
	size_t len;

	set_up();
	CU_ASSERT_EQUAL_FATAL(guest_start(&guest, img, NULL, find_whole_lv, NULL), 0);
	CU_ASSERT_EQUAL(guest_ranges(guest, 0, &ranges, &len, NULL), -EINVAL);
	CU_ASSERT_EQUAL_FATAL(guest_ranges(guest, 1, &ranges, &len, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(len, 2);
	CU_ASSERT(ranges[0].start == 8192 && ranges[0].len == 4096);
	CU_ASSERT(ranges[1].start == 0 && ranges[1].len == 4096);
	guest_close(guest);
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		CU_ASSERT_EQUAL_FATAL(guest_start(&guest, img, NULL, lies[i], NULL), 0);
		CU_ASSERT_EQUAL(guest_ranges(guest, 0, &ranges, &len, NULL), -EPROTO);
		guest_close(guest);
	}
	tear_down();
}

static int find_free_room_past_the_disk(struct scan *scan)
{
	if (!scan_add_volume(scan))
		return -ENOMEM;
	return scan_add_source(scan, &(struct scan_source){
		.start = DISK_SIZE - 512, .len = 1024, .map = SCAN_ALL_FREE });
}

static int find_text_without_end(struct scan *scan)
{
	struct guest_volume *volume = scan_add_volume(scan);

	memset(volume->name, '\033', sizeof(volume->name));
	memset(volume->why, 'w', sizeof(volume->why));
	return 0;
}

static void what_it_says_is_cut_to_size(void)
{
	struct guest *guest;
	uint64_t start, len;

	set_up();
	CU_ASSERT_EQUAL_FATAL(guest_start(&guest, img, NULL, find_text_without_end, NULL), 0);
	CU_ASSERT_EQUAL(strlen(guest_volume(guest, 0)->name), GUEST_LONG_NAME_MAX - 1);
	CU_ASSERT_EQUAL(guest_volume(guest, 0)->name[0], '?');
	CU_ASSERT_EQUAL(strlen(guest_volume(guest, 0)->why), GUEST_WHY_MAX - 1);
	guest_close(guest);
	CU_ASSERT_EQUAL_FATAL(guest_start(&guest, img, NULL, find_free_room_past_the_disk, NULL),
			      0);
	CU_ASSERT_EQUAL(guest_next_free(guest, 0, &start, &len, NULL), -EPROTO);
	guest_close(guest);
	tear_down();
}

/* The parent says nothing that was not asked for. */
static int look_for_ever(struct scan *scan)
{
	char byte;

	(void)scan;
	return read(CHILD_SOCKET, &byte, 1) == 1;
}

static void on_alarm(int number)
{
	(void)number;
}

static bool is_stopping(void *arg)
{
	return ++*(int *)arg > 1;
}

static void it_can_be_stopped(void)
{
	struct sigaction action = { .sa_handler = on_alarm };
	int asked = 0;
	struct guest_opts opts = { .stop = is_stopping, .stop_arg = &asked };
	struct guest *guest;

	set_up();
	sigaction(SIGALRM, &action, NULL);
	ualarm(20000, 20000);
	CU_ASSERT_EQUAL(guest_start(&guest, img, &opts, look_for_ever, NULL), -ECANCELED);
	ualarm(0, 0);
	CU_ASSERT_EQUAL(asked, 2);
	tear_down();
}

/* An error of the image's is told in the image's words. */
static int read_past_the_end(struct scan *scan)
{
	char byte;

	return scan->disk->read(scan->disk, &byte, 1, DISK_SIZE);
}

static void an_error_of_the_image_keeps_its_sentence(void)
{
	struct vhd_err err = { 0 };
	struct guest *guest;

	set_up();
	CU_ASSERT_EQUAL(guest_start(&guest, img, NULL, read_past_the_end, &err), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "guest.vhd"));
	tear_down();
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(the_child_can_do_nothing_else),
		TEST(without_the_sandbox_it_can),
		TEST(an_honest_child_is_heard),
		TEST(ranges_go_on_over_many_messages),
		TEST(a_child_that_misbehaves_is_given_up),
		TEST(a_logical_volume_lies_on_the_disk_and_is_whole),
		TEST(what_it_says_is_cut_to_size),
		TEST(it_can_be_stopped),
		TEST(an_error_of_the_image_keeps_its_sentence),
		{ NULL, NULL },
	};

	return run_suite(argc, argv, "guest", tests);
}
