/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vhd/io.c and vhd/io_file.c: whole transfers from short counts, real files, real locks. */
#include "vhd/io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "tests/support/runner.h"
#include "vhd/vhd.h"

static char folder[64];

/* Runs a command in the folder; its exit status. */
__attribute__((format(printf, 1, 2))) static int run(const char *fmt, ...)
{
	char command[1024];
	int n = snprintf(command, sizeof(command), "cd '%s' && ", folder);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command + n, sizeof(command) - (size_t)n, fmt, ap);
	va_end(ap);
	fflush(stdout);
	return system(command);
}

static const char *in_folder(const char *name)
{
	static char path[4][256];
	static unsigned turn;

	turn = (turn + 1) % 4;
	snprintf(path[turn], sizeof(path[turn]), "%s/%s", folder, name);
	return path[turn];
}

static struct vhd_io *open_ok(const char *name, bool is_readonly)
{
	struct vhd_io *io = NULL;
	struct vhd_err err = { 0 };
	int rc = io_file_open(&io, in_folder(name), is_readonly, &err);

	if (rc)
		printf("\n%s\n", err.msg);
	CU_ASSERT_EQUAL_FATAL(rc, 0);
	return io;
}

static void shut(struct vhd_io *io)
{
	io->ops->close(io);
}

/* A backend of 4 KiB that never does all that it is asked. */

struct tiny {
	struct vhd_io io;
	uint8_t data[4096];
	size_t most;		/* bytes in one call */
	int calls;
	int fail_at;		/* the call that returns `error` */
	int error;
};

static ssize_t tiny_pread(struct vhd_io *io, void *buf, size_t len, uint64_t off)
{
	struct tiny *tiny = (struct tiny *)io;

	if (++tiny->calls == tiny->fail_at)
		return tiny->error;
	if (off >= sizeof(tiny->data))
		return 0;
	if (len > tiny->most)
		len = tiny->most;
	if (len > sizeof(tiny->data) - off)
		len = sizeof(tiny->data) - off;
	memcpy(buf, tiny->data + off, len);
	return (ssize_t)len;
}

static ssize_t tiny_pwrite(struct vhd_io *io, const void *buf, size_t len, uint64_t off)
{
	struct tiny *tiny = (struct tiny *)io;

	if (++tiny->calls == tiny->fail_at)
		return tiny->error;
	if (off >= sizeof(tiny->data))
		return -ENOSPC;
	if (len > tiny->most)
		len = tiny->most;
	if (len > sizeof(tiny->data) - off)
		len = sizeof(tiny->data) - off;
	memcpy(tiny->data + off, buf, len);
	return (ssize_t)len;
}

static const struct vhd_io_ops tiny_ops = { .pread = tiny_pread, .pwrite = tiny_pwrite };

static struct tiny tiny_of(size_t most)
{
	struct tiny tiny = { .io.ops = &tiny_ops, .most = most };

	for (size_t i = 0; i < sizeof(tiny.data); i++)
		tiny.data[i] = (uint8_t)(i * 13 + i / 256);
	return tiny;
}

static void short_reads_are_made_whole(void)
{
	static const size_t mosts[] = { 1, 3, 511, 512, 4096, 100000 };
	uint8_t buf[4096];

	for (size_t i = 0; i < sizeof(mosts) / sizeof(mosts[0]); i++) {
		struct tiny tiny = tiny_of(mosts[i]);

		memset(buf, 0xee, sizeof(buf));
		CU_ASSERT_EQUAL(io_pread(&tiny.io, buf, 1000, 77), 0);
		CU_ASSERT_EQUAL(memcmp(buf, tiny.data + 77, 1000), 0);
		CU_ASSERT_EQUAL(buf[1000], 0xee);
	}
}

static void reads_past_the_end_are_zeros(void)
{
	struct tiny tiny = tiny_of(100);
	uint8_t buf[300], zeros[300] = { 0 };

	memset(buf, 0xee, sizeof(buf));
	CU_ASSERT_EQUAL(io_pread(&tiny.io, buf, sizeof(buf), 4096 - 120), 0);
	CU_ASSERT_EQUAL(memcmp(buf, tiny.data + 4096 - 120, 120), 0);
	CU_ASSERT_EQUAL(memcmp(buf + 120, zeros, 180), 0);
	CU_ASSERT_EQUAL(io_pread(&tiny.io, buf, sizeof(buf), UINT64_MAX - 5), 0);
	CU_ASSERT_EQUAL(memcmp(buf, zeros, sizeof(zeros)), 0);
}

static void short_writes_are_made_whole(void)
{
	static const size_t mosts[] = { 1, 3, 511, 512, 4096, 100000 };
	uint8_t buf[1000];

	memset(buf, 0x5a, sizeof(buf));
	for (size_t i = 0; i < sizeof(mosts) / sizeof(mosts[0]); i++) {
		struct tiny tiny = tiny_of(mosts[i]), before = tiny_of(0);

		CU_ASSERT_EQUAL(io_pwrite(&tiny.io, buf, sizeof(buf), 77), 0);
		CU_ASSERT_EQUAL(memcmp(tiny.data + 77, buf, sizeof(buf)), 0);
		CU_ASSERT_EQUAL(memcmp(tiny.data, before.data, 77), 0);
		CU_ASSERT_EQUAL(memcmp(tiny.data + 1077, before.data + 1077, 4096 - 1077), 0);
	}
}

static void zeros_are_written_over_any_length(void)
{
	struct tiny tiny = tiny_of(700), before = tiny_of(0);
	uint8_t zeros[4096] = { 0 };

	CU_ASSERT_EQUAL(io_write_zeros(&tiny.io, 3000, 50), 0);
	CU_ASSERT_EQUAL(memcmp(tiny.data, before.data, 50), 0);
	CU_ASSERT_EQUAL(memcmp(tiny.data + 50, zeros, 3000), 0);
	CU_ASSERT_EQUAL(memcmp(tiny.data + 3050, before.data + 3050, 4096 - 3050), 0);
	CU_ASSERT_EQUAL(io_write_zeros(&tiny.io, 0, UINT64_MAX), 0);
	CU_ASSERT_EQUAL(io_write_zeros(&tiny.io, 4096, 1), -ENOSPC);
}

static void errors_after_a_short_count_are_told(void)
{
	struct tiny tiny = tiny_of(10);
	uint8_t buf[100] = { 0 };

	tiny.fail_at = 4;
	tiny.error = -EIO;
	CU_ASSERT_EQUAL(io_pread(&tiny.io, buf, sizeof(buf), 0), -EIO);
	CU_ASSERT_EQUAL(tiny.calls, 4);
	tiny.calls = 0;
	tiny.error = -ENOSPC;
	CU_ASSERT_EQUAL(io_pwrite(&tiny.io, buf, sizeof(buf), 0), -ENOSPC);
	CU_ASSERT_EQUAL(tiny.calls, 4);
	/* A write that does nothing for no reason must not be tried for ever. */
	tiny.calls = 0;
	tiny.error = 0;
	CU_ASSERT_EQUAL(io_pwrite(&tiny.io, buf, sizeof(buf), 0), -EIO);
	CU_ASSERT_EQUAL(tiny.calls, 4);
}

/* Files. */

static void file_does_what_the_seam_promises(void)
{
	struct vhd_io_stat st;
	struct vhd_io *io;
	struct stat sb;
	uint8_t buf[8192];

	CU_ASSERT_EQUAL_FATAL(run("umask 022; : > plain"), 0);
	io = open_ok("plain", false);
	memset(buf, 0xab, sizeof(buf));
	CU_ASSERT_EQUAL(io_pwrite(io, buf, 4096, 1u << 20), 0);
	CU_ASSERT_EQUAL(io_barrier(io), 0);
	io->ops->drop_cache(io);
	CU_ASSERT_EQUAL(io_stat(io, &st), 0);
	CU_ASSERT_EQUAL(stat(in_folder("plain"), &sb), 0);
	CU_ASSERT_EQUAL(st.size, (1u << 20) + 4096);
	CU_ASSERT_TRUE(st.allocated < 1u << 20);
	CU_ASSERT_EQUAL(st.mtime, sb.st_mtime);
	CU_ASSERT_EQUAL(st.dev, sb.st_dev);
	CU_ASSERT_EQUAL(st.ino, sb.st_ino);
	CU_ASSERT_EQUAL(st.mode, 0644);
	CU_ASSERT_EQUAL(io_pread(io, buf, 8192, 1u << 20), 0);
	CU_ASSERT_EQUAL(buf[4095], 0xab);
	CU_ASSERT_EQUAL(buf[4096], 0);
	CU_ASSERT_EQUAL(io_pread(io, buf, 1, UINT64_MAX - 1), 0);
	CU_ASSERT_EQUAL(io_pwrite(io, buf, 1, UINT64_MAX - 1), -EFBIG);
	CU_ASSERT_EQUAL(io->ops->truncate(io, 4096), 0);
	CU_ASSERT_EQUAL(io_stat(io, &st), 0);
	CU_ASSERT_EQUAL(st.size, 4096);
	shut(io);
	io = open_ok("plain", true);
	CU_ASSERT_EQUAL(io_pwrite(io, buf, 1, 0), -EBADF);
	CU_ASSERT_EQUAL(io_barrier(io), 0);
	shut(io);
}

#define SPARSE_LEN (40u << 20)
#define SPARSE_PART (1u << 20)

/* A sparse file, part of which only the cache has yet, and what it reads as. */
static uint8_t *make_sparse(struct vhd_io *io)
{
	static const struct { uint32_t off, len; } data[] = {
		{ 0, 1 }, { (3u << 20) + 700, 9000 }, { (5u << 20) - 3, 6 },
		{ 6u << 20, 300u << 10 }, { (11u << 20) + 4096, 512 }, { SPARSE_LEN - 1, 1 },
	};
	uint8_t *is = calloc(1, SPARSE_LEN);

	CU_ASSERT_PTR_NOT_NULL_FATAL(is);
	for (size_t i = 0; i < sizeof(data) / sizeof(*data); i++) {
		memset(is + data[i].off, (int)i + 1, data[i].len);
		CU_ASSERT_EQUAL(io_pwrite(io, is + data[i].off, data[i].len, data[i].off), 0);
		if (i == 2)
			CU_ASSERT_EQUAL(io_barrier(io), 0);
	}
	return is;
}

/* In parts that begin at `first`, into memory that is `shift` off from a page. */
static bool reads_sparse(struct vhd_io *io, const uint8_t *is, uint32_t first, uint32_t shift)
{
	uint8_t *room = aligned_alloc(4096, SPARSE_PART + 4096);
	bool is_same = room;

	for (uint32_t off = first; is_same && off < SPARSE_LEN; off += SPARSE_PART) {
		uint32_t len = SPARSE_LEN - off < SPARSE_PART ? SPARSE_LEN - off : SPARSE_PART;

		memset(room, 0xee, SPARSE_PART + 4096);
		is_same = !io_pread(io, room + shift, SPARSE_PART, off) &&
			  !memcmp(room + shift, is + off, len);
	}
	free(room);
	return is_same;
}

/* Pages of the file's part from `first` on that are in the host's cache, or -1. */
static int cached_pages(const char *name, uint32_t first)
{
	unsigned char pages[SPARSE_PART / 4096];
	int fd = open(in_folder(name), O_RDONLY | O_DIRECT | O_CLOEXEC), n = -1;
	void *map = fd < 0 ? MAP_FAILED : mmap(NULL, SPARSE_PART, PROT_READ, MAP_SHARED, fd, first);
	struct statfs fs;

	if (map != MAP_FAILED && !fstatfs(fd, &fs) && fs.f_type != TMPFS_MAGIC &&
	    !mincore(map, SPARSE_PART, pages)) {
		n = 0;
		for (size_t i = 0; i < sizeof(pages); i++)
			n += pages[i] & 1;
	}
	if (map != MAP_FAILED)
		munmap(map, SPARSE_PART);
	if (fd >= 0)
		close(fd);
	return n;
}

static void holes_are_read_as_they_are_and_past_the_cache(void)
{
	struct vhd_io *io;
	uint8_t *is;
	int pages;

	CU_ASSERT_EQUAL_FATAL(run(": > holes"), 0);
	io = open_ok("holes", false);
	is = make_sparse(io);
	CU_ASSERT(reads_sparse(io, is, 0, 0));
	CU_ASSERT(reads_sparse(io, is, 512, 512));
	CU_ASSERT(reads_sparse(io, is, 0, 8));
	CU_ASSERT(reads_sparse(io, is, 77, 0));
	CU_ASSERT_EQUAL(io_barrier(io), 0);
	io->ops->drop_cache(io);
	CU_ASSERT(reads_sparse(io, is, 0, 0));
	pages = cached_pages("holes", 30u << 20);	/* far from what is read ahead of data */
	if (pages < 0)
		printf("(this host has no direct I/O) ");
	else
		CU_ASSERT_EQUAL(pages, 0);
	CU_ASSERT_EQUAL(io->ops->pread(io, is, SPARSE_PART, SPARSE_LEN), 0);
	shut(io);
	free(is);
}

static void punch_gives_room_back_and_keeps_the_length(void)
{
	struct vhd_io *io;
	struct vhd_io_stat before, after;
	uint8_t buf[65536];
	int rc;

	CU_ASSERT_EQUAL_FATAL(run(": > punched"), 0);
	io = open_ok("punched", false);
	memset(buf, 0xcd, sizeof(buf));
	for (uint64_t off = 0; off < 1u << 20; off += sizeof(buf))
		CU_ASSERT_EQUAL(io_pwrite(io, buf, sizeof(buf), off), 0);
	CU_ASSERT_EQUAL(io_barrier(io), 0);
	CU_ASSERT_EQUAL(io_stat(io, &before), 0);
	rc = io->ops->punch(io, 512u << 10, 256u << 10);
	if (rc == -EOPNOTSUPP) {
		printf("(this host cannot punch holes) ");
		shut(io);
		return;
	}
	CU_ASSERT_EQUAL(rc, 0);
	CU_ASSERT_EQUAL(io_barrier(io), 0);
	CU_ASSERT_EQUAL(io_stat(io, &after), 0);
	CU_ASSERT_EQUAL(after.size, before.size);
	CU_ASSERT_TRUE(after.allocated <= before.allocated - (500u << 10));
	CU_ASSERT_EQUAL(io_pread(io, buf, 2, (256u << 10) - 1), 0);
	CU_ASSERT_EQUAL(buf[0], 0xcd);
	CU_ASSERT_EQUAL(buf[1], 0);
	CU_ASSERT_EQUAL(io->ops->punch(io, 4096, 1u << 30), 0);	/* beyond the end: nothing */
	CU_ASSERT_EQUAL(io_stat(io, &after), 0);
	CU_ASSERT_EQUAL(after.size, before.size);
	shut(io);
}

static void expect_open_fails(const char *name, bool is_readonly, int rc, const char *word)
{
	struct vhd_err err = { 0 };
	struct vhd_io *io;

	CU_ASSERT_EQUAL(io_file_open(&io, in_folder(name), is_readonly, &err), rc);
	CU_ASSERT_EQUAL(err.code, rc);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, name));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, word));
	CU_ASSERT_EQUAL(io_file_open(&io, in_folder(name), is_readonly, NULL), rc);
}

static void what_is_no_file_is_refused_at_once(void)
{
	CU_ASSERT_EQUAL_FATAL(run("mkdir dir && mkfifo pipe && ln -s nowhere dangling"), 0);
	expect_open_fails("missing", true, -ENOENT, "No such file");
	expect_open_fails("missing", false, -ENOENT, "No such file");
	expect_open_fails("dangling", true, -ENOENT, "No such file");
	expect_open_fails("dir", true, -EILSEQ, "folder");
	expect_open_fails("dir", false, -EILSEQ, "folder");
	expect_open_fails("pipe", true, -EILSEQ, "neither");
	expect_open_fails("pipe", false, -EILSEQ, "neither");
}

static void sentences_are_one_harmless_line(void)
{
	struct vhd_err err;
	struct vhd_io *io;

	CU_ASSERT_EQUAL(io_file_open(&io, "/no\nsuch\033[2J/file", true, &err), -ENOENT);
	CU_ASSERT_STRING_EQUAL(err.msg, "/no?such?[2J/file: cannot be opened for reading: "
			       "No such file or directory");
}

/* Locks between our own descriptors: they belong to the open file, not to the process. */

static void expect_locks(enum vhd_io_lock first, enum vhd_io_lock second, int rc)
{
	struct vhd_io *a = open_ok("locked", first == VHD_IO_LOCK_READ);
	struct vhd_io *b = open_ok("locked", second == VHD_IO_LOCK_READ);

	CU_ASSERT_EQUAL(a->ops->lock(a, first), 0);
	CU_ASSERT_EQUAL(b->ops->lock(b, second), rc);
	/* What was refused holds nothing: a third may come when the first has gone. */
	shut(a);
	CU_ASSERT_EQUAL(b->ops->lock(b, second), 0);
	shut(b);
}

static void one_writer_or_many_readers(void)
{
	CU_ASSERT_EQUAL_FATAL(run(": > locked"), 0);
	expect_locks(VHD_IO_LOCK_READ, VHD_IO_LOCK_READ, 0);
	expect_locks(VHD_IO_LOCK_READ, VHD_IO_LOCK_WRITE, -EBUSY);
	expect_locks(VHD_IO_LOCK_WRITE, VHD_IO_LOCK_READ, -EBUSY);
	expect_locks(VHD_IO_LOCK_WRITE, VHD_IO_LOCK_WRITE, -EBUSY);
}

static void refused_lock_leaves_nothing_behind(void)
{
	struct vhd_io *a = open_ok("locked", true), *b = open_ok("locked", false);
	struct vhd_io *c = open_ok("locked", true);

	CU_ASSERT_EQUAL(a->ops->lock(a, VHD_IO_LOCK_READ), 0);
	CU_ASSERT_EQUAL(b->ops->lock(b, VHD_IO_LOCK_WRITE), -EBUSY);
	CU_ASSERT_EQUAL(c->ops->lock(c, VHD_IO_LOCK_READ), 0);
	shut(a);
	shut(b);
	shut(c);
}

/* Locks against qemu. */

static bool has_qemu(void)
{
	if (!run("command -v qemu-img qemu-io >/dev/null"))
		return true;
	printf("(no qemu here) ");
	return false;
}

/* Of a raw file qemu forbids its own readers nothing; of an image it does. */
static int make_shared(void)
{
	return run("qemu-img create -q -f vpc shared 1M");
}

/* Starts qemu-io on the file and waits until it holds its locks; it ends when its input does. */
static FILE *hold_by_qemu(const char *options, enum vhd_io_lock refused)
{
	char command[512];
	FILE *qemu;
	double deadline = runner_clock() + 20;

	snprintf(command, sizeof(command), "exec qemu-io -f vpc %s '%s' >/dev/null", options,
		 in_folder("shared"));
	qemu = popen(command, "we");
	CU_ASSERT_PTR_NOT_NULL_FATAL(qemu);
	while (runner_clock() < deadline) {
		struct vhd_io *io = open_ok("shared", false);
		int rc = io->ops->lock(io, refused);

		shut(io);
		if (rc == -EBUSY)
			return qemu;
		usleep(20000);
	}
	CU_FAIL("qemu-io's locks never showed");
	return qemu;
}

static int try_lock(enum vhd_io_lock what)
{
	struct vhd_io *io = open_ok("shared", what == VHD_IO_LOCK_READ);
	int rc = io->ops->lock(io, what);

	shut(io);
	return rc;
}

static void we_respect_qemu_s_locks(void)
{
	FILE *qemu;

	if (!has_qemu())
		return;
	CU_ASSERT_EQUAL_FATAL(make_shared(), 0);
	qemu = hold_by_qemu("", VHD_IO_LOCK_READ);
	CU_ASSERT_EQUAL(try_lock(VHD_IO_LOCK_READ), -EBUSY);
	CU_ASSERT_EQUAL(try_lock(VHD_IO_LOCK_WRITE), -EBUSY);
	pclose(qemu);
	CU_ASSERT_EQUAL(try_lock(VHD_IO_LOCK_WRITE), 0);
	qemu = hold_by_qemu("-r", VHD_IO_LOCK_WRITE);
	CU_ASSERT_EQUAL(try_lock(VHD_IO_LOCK_READ), 0);
	CU_ASSERT_EQUAL(try_lock(VHD_IO_LOCK_WRITE), -EBUSY);
	pclose(qemu);
}

static void qemu_respects_our_locks(void)
{
	struct vhd_io *io;

	if (!has_qemu())
		return;
	CU_ASSERT_EQUAL_FATAL(make_shared(), 0);
	io = open_ok("shared", false);
	CU_ASSERT_EQUAL(io->ops->lock(io, VHD_IO_LOCK_WRITE), 0);
	CU_ASSERT_NOT_EQUAL(run("qemu-img info -f vpc shared >/dev/null 2>&1"), 0);
	CU_ASSERT_NOT_EQUAL(run("qemu-io -f vpc -r -c 'read 0 512' shared >/dev/null 2>&1"), 0);
	CU_ASSERT_NOT_EQUAL(run("qemu-io -f vpc -c 'write 0 512' shared >/dev/null 2>&1"), 0);
	CU_ASSERT_EQUAL(run("qemu-img info -U -f vpc shared >/dev/null"), 0);
	shut(io);
	io = open_ok("shared", true);
	CU_ASSERT_EQUAL(io->ops->lock(io, VHD_IO_LOCK_READ), 0);
	CU_ASSERT_EQUAL(run("qemu-img info -f vpc shared >/dev/null"), 0);
	CU_ASSERT_EQUAL(run("qemu-io -f vpc -r -c 'read 0 512' shared >/dev/null"), 0);
	CU_ASSERT_NOT_EQUAL(run("qemu-io -f vpc -c 'write 0 512' shared >/dev/null 2>&1"), 0);
	shut(io);
	CU_ASSERT_EQUAL(run("qemu-io -f vpc -c 'write 0 512' shared >/dev/null"), 0);
}

/* Making files. */

static bool is_empty_folder(const char *name)
{
	return !run("test -z \"$(ls -A '%s')\"", name);
}

static void file_gets_its_name_only_when_published(void)
{
	struct vhd_io *io;

	CU_ASSERT_EQUAL_FATAL(run("mkdir new"), 0);
	CU_ASSERT_EQUAL_FATAL(io_file_create(&io, in_folder("new/a.vhd"), NULL), 0);
	CU_ASSERT_EQUAL(io_pwrite(io, "hello", 5, 0), 0);
	CU_ASSERT_NOT_EQUAL(access(in_folder("new/a.vhd"), F_OK), 0);
	CU_ASSERT_EQUAL(io_file_publish(io, NULL), 0);
	shut(io);
	CU_ASSERT_EQUAL(run("test \"$(cat new/a.vhd)\" = hello && test $(ls -A new | wc -l) = 1"),
			0);
	CU_ASSERT_EQUAL(run("test $(stat -c %%a new/a.vhd) = $(printf %%o $((0666 & ~0$(umask))))"),
			0);
	CU_ASSERT_EQUAL(run("rm -r new"), 0);
}

static void file_that_is_not_published_leaves_nothing(void)
{
	struct vhd_io *io;

	CU_ASSERT_EQUAL_FATAL(run("mkdir new"), 0);
	CU_ASSERT_EQUAL_FATAL(io_file_create(&io, in_folder("new/a.vhd"), NULL), 0);
	CU_ASSERT_EQUAL(io_pwrite(io, "hello", 5, 0), 0);
	shut(io);
	CU_ASSERT_TRUE(is_empty_folder("new"));
	CU_ASSERT_EQUAL(run("rmdir new"), 0);
}

static void expect_create_fails(const char *name, int rc)
{
	struct vhd_err err = { 0 };
	struct vhd_io *io;

	CU_ASSERT_EQUAL(io_file_create(&io, in_folder(name), &err), rc);
	CU_ASSERT_EQUAL(err.code, rc);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, name));
}

static void nothing_is_ever_replaced(void)
{
	struct vhd_io *io;

	CU_ASSERT_EQUAL_FATAL(run("mkdir new && cd new && echo old > a && ln -s nowhere b"), 0);
	expect_create_fails("new/a", -EEXIST);
	expect_create_fails("new/b", -EEXIST);
	expect_create_fails("new/", -EISDIR);
	expect_create_fails("missing/a", -ENOENT);
	expect_create_fails("new/a/b", -ENOTDIR);
	/* One that appears meanwhile is kept too. */
	CU_ASSERT_EQUAL_FATAL(io_file_create(&io, in_folder("new/c"), NULL), 0);
	CU_ASSERT_EQUAL(run("echo other > new/c"), 0);
	CU_ASSERT_EQUAL(io_file_publish(io, NULL), -EEXIST);
	shut(io);
	CU_ASSERT_EQUAL(run("test \"$(cat new/a new/c)\" = 'old\nother'"), 0);
	CU_ASSERT_EQUAL(run("test \"$(ls -A new | wc -l)\" = 3 && rm -r new"), 0);
}

static void a_name_without_a_folder_is_in_the_current_one(void)
{
	char *before = getcwd(NULL, 0);
	struct vhd_io *io;

	CU_ASSERT_EQUAL_FATAL(chdir(folder), 0);
	CU_ASSERT_EQUAL_FATAL(io_file_create(&io, "bare", NULL), 0);
	CU_ASSERT_EQUAL(io_file_publish(io, NULL), 0);
	shut(io);
	CU_ASSERT_EQUAL(unlink("bare"), 0);
	CU_ASSERT_EQUAL(chdir(before), 0);
	free(before);
}

/* Written, read, and gone. While it is open, hosts that are FUSE drivers themselves have it by a
 * name of their own. */
static void expect_scratch_has_no_name(const char *name)
{
	struct vhd_io_stat st;
	struct vhd_io *io;
	char buf[5];

	CU_ASSERT_EQUAL_FATAL(run("ls -A '%s' >names", name), 0);
	CU_ASSERT_EQUAL_FATAL(io_file_scratch(&io, in_folder(name), NULL), 0);
	CU_ASSERT_EQUAL(run("ls -A '%s' | grep -v '^.fuse_hidden' | cmp - names", name), 0);
	CU_ASSERT_EQUAL(io_pwrite(io, "hello", 5, 0), 0);
	CU_ASSERT_EQUAL(io_pread(io, buf, 5, 0), 0);
	CU_ASSERT_EQUAL(memcmp(buf, "hello", 5), 0);
	CU_ASSERT_EQUAL(io_stat(io, &st), 0);
	CU_ASSERT_EQUAL(st.size, 5);
	shut(io);
	CU_ASSERT_EQUAL(run("ls -A '%s' | cmp - names", name), 0);
	CU_ASSERT_EQUAL(run("rm names"), 0);
}

static void scratch_file_has_no_name(void)
{
	struct vhd_err err = { 0 };
	struct vhd_io *io;

	CU_ASSERT_EQUAL_FATAL(run("mkdir scratch"), 0);
	expect_scratch_has_no_name("scratch");
	CU_ASSERT_EQUAL(run("rmdir scratch"), 0);
	CU_ASSERT_EQUAL(io_file_scratch(&io, in_folder("scratch"), &err), -ENOENT);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "scratch"));
}

static void expect_named_creation_works(void)
{
	struct vhd_io *io;

	expect_scratch_has_no_name("mnt");
	CU_ASSERT_EQUAL(io_file_create(&io, in_folder("mnt/a.vhd"), NULL), 0);
	CU_ASSERT_EQUAL(run("test \"$(ls -A mnt | wc -l)\" = 1 && test ! -e mnt/a.vhd"), 0);
	CU_ASSERT_EQUAL(io_file_publish(io, NULL), 0);
	shut(io);
	CU_ASSERT_EQUAL(run("test \"$(ls -A mnt)\" = a.vhd"), 0);
	CU_ASSERT_EQUAL(io_file_create(&io, in_folder("mnt/b.vhd"), NULL), 0);
	CU_ASSERT_EQUAL(run("echo other > mnt/b.vhd"), 0);
	CU_ASSERT_EQUAL(io_file_publish(io, NULL), -EEXIST);
	shut(io);
	CU_ASSERT_EQUAL(io_file_create(&io, in_folder("mnt/c.vhd"), NULL), 0);
	shut(io);
	CU_ASSERT_EQUAL(run("test \"$(cd mnt && echo *)\" = 'a.vhd b.vhd' && "
			    "test \"$(ls -A mnt | wc -l)\" = 2"), 0);
}

/* The real things for the other ways: FAT has neither nameless files nor links, ntfs-3g has links
 * but no rename that never replaces. */
static void hosts_without_nameless_files_work_too(void)
{
	static const char *const mounts[] = {
		"mkfs.vfat disk.img && mount -o loop disk.img mnt",
		"mkfs.ntfs -q -F disk.img && ntfs-3g disk.img mnt",
	};

	for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
		if (geteuid() ||
		    run("mkdir -p mnt && truncate -s 16M disk.img && (%s) >/dev/null 2>&1",
			mounts[i])) {
			printf("(not to be had here: %s) ", mounts[i]);
			continue;
		}
		expect_named_creation_works();
		CU_ASSERT_EQUAL(run("umount mnt"), 0);
	}
}

static void block_devices_have_the_size_of_their_disk(void)
{
	struct vhd_io_stat st;
	struct vhd_io *io;
	char path[64] = "";
	FILE *from;

	if (!geteuid() && !run("truncate -s 3M disk.img && losetup -f --show disk.img > loop "
			       "2>/dev/null")) {
		from = fopen(in_folder("loop"), "re");
		if (from && fscanf(from, "%63s", path) != 1)
			path[0] = '\0';
		if (from)
			fclose(from);
	}
	if (!path[0]) {
		printf("(no loop device to be had here) ");
		return;
	}
	if (!io_file_open(&io, path, false, NULL)) {
		CU_ASSERT_EQUAL(io_stat(io, &st), 0);
		CU_ASSERT_EQUAL(st.size, 3u << 20);
		CU_ASSERT_NOT_EQUAL(st.dev, 0);
		CU_ASSERT_EQUAL(io_pwrite(io, "x", 1, (3u << 20) - 1), 0);
		CU_ASSERT_EQUAL(io_barrier(io), 0);
		CU_ASSERT_EQUAL(io->ops->truncate(io, 512), -EOPNOTSUPP);
		CU_ASSERT_EQUAL(io->ops->lock(io, VHD_IO_LOCK_WRITE), 0);
		shut(io);
	} else {
		CU_FAIL("the loop device cannot be opened");
	}
	CU_ASSERT_EQUAL(run("losetup -d %s", path), 0);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
#define T(name) { #name, name }
		T(short_reads_are_made_whole),
		T(reads_past_the_end_are_zeros),
		T(short_writes_are_made_whole),
		T(zeros_are_written_over_any_length),
		T(errors_after_a_short_count_are_told),
		T(file_does_what_the_seam_promises),
		T(holes_are_read_as_they_are_and_past_the_cache),
		T(punch_gives_room_back_and_keeps_the_length),
		T(what_is_no_file_is_refused_at_once),
		T(sentences_are_one_harmless_line),
		T(one_writer_or_many_readers),
		T(refused_lock_leaves_nothing_behind),
		T(we_respect_qemu_s_locks),
		T(qemu_respects_our_locks),
		T(file_gets_its_name_only_when_published),
		T(file_that_is_not_published_leaves_nothing),
		T(nothing_is_ever_replaced),
		T(a_name_without_a_folder_is_in_the_current_one),
		T(scratch_file_has_no_name),
		T(hosts_without_nameless_files_work_too),
		T(block_devices_have_the_size_of_their_disk),
		{ NULL, NULL },
	};
	const char *tmp = getenv("TMPDIR");
	int status;

	snprintf(folder, sizeof(folder), "%.40s/vhd-io.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(folder))
		runner_skip("no folder for temporary files");
	status = run_suite(argc, argv, "io", tests);
	run("mountpoint -q mnt && umount mnt");	/* where an assertion jumped */
	run("rm -rf --one-file-system '%s'", folder);
	return status;
}
