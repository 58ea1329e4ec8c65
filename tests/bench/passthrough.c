/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A FUSE file that is one raw file and nothing else: what any driver of this kind costs at least,
 * and so the ceiling that the benchmark holds vhdfuse against.
 *
 *	passthrough [-w] FILE MOUNTPOINT
 *
 * MOUNTPOINT is a regular file. Served in the foreground until it is unmounted. As it does for
 * speed what vhdfuse does (buffers kept per thread, requests and read-ahead of 1 MiB, the kernel's
 * cache kept), the difference between the two is what a VHD costs. With -w the kernel's write-back
 * cache is on, which is the better form in some jobs and the worse one in others.
 *
 * Threads: four, which share the descriptor and nothing else.
 */
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define MAX_IO (1u << 20)
#define THREADS 4
#define FOREVER 3600.0

static int file = -1;
static bool has_write_back;
static _Thread_local char *own_buffer;

static void stop(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE);
}

static void op_init(void *data, struct fuse_conn_info *conn)
{
	(void)data;
	conn->max_write = MAX_IO;
	conn->max_read = MAX_IO;
	conn->max_background = 64;
	conn->congestion_threshold = 48;
	conn->want &= ~(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
			FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_ATOMIC_O_TRUNC |
			FUSE_CAP_WRITEBACK_CACHE);
	conn->want |= conn->capable & FUSE_CAP_ASYNC_DIO;
	if (has_write_back)
		conn->want |= conn->capable & FUSE_CAP_WRITEBACK_CACHE;
}

static void reply(fuse_req_t req, bool is_done)
{
	fuse_reply_err(req, is_done ? 0 : errno);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;

	(void)fi;
	if (fstat(file, &st) < 0) {
		reply(req, false);
		return;
	}
	st.st_ino = ino;
	fuse_reply_attr(req, &st, FOREVER);
}

/* The file stays as long as it is, as a disk does; nothing else is worth keeping. */
static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		       struct fuse_file_info *fi)
{
	(void)attr;
	(void)to_set;
	op_getattr(req, ino, fi);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	fi->keep_cache = 1;
	fuse_reply_open(req, fi);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	fuse_reply_err(req, 0);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)ino;
	(void)datasync;
	(void)fi;
	reply(req, fdatasync(file) == 0);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	ssize_t len = pread(file, own_buffer, size < MAX_IO ? size : MAX_IO, off);

	(void)ino;
	(void)fi;
	if (len < 0)
		reply(req, false);
	else
		fuse_reply_buf(req, own_buffer, (size_t)len);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	ssize_t len = pwrite(file, buf, size, off);

	(void)ino;
	(void)fi;
	if (len < 0)
		reply(req, false);
	else
		fuse_reply_write(req, (size_t)len);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
			 struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	reply(req, fallocate(file, mode, off, len) == 0);
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
		     struct fuse_file_info *fi)
{
	off_t found = lseek(file, off, whence);

	(void)ino;
	(void)fi;
	if (found < 0)
		reply(req, false);
	else
		fuse_reply_lseek(req, found);
}

/* A loop device takes the block size for the granularity of its discards. */
static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs st = { 0 };

	(void)ino;
	fstatvfs(file, &st);
	st.f_bsize = 4096;
	fuse_reply_statfs(req, &st);
}

static const struct fuse_lowlevel_ops ops = {
	.init = op_init,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.open = op_open,
	.release = op_release,
	.fsync = op_fsync,
	.read = op_read,
	.write = op_write,
	.fallocate = op_fallocate,
	.lseek = op_lseek,
	.statfs = op_statfs,
};

static void *serve(void *arg)
{
	struct fuse_session *session = arg;
	struct fuse_buf buf = { .mem = NULL };
	int ret;

	own_buffer = aligned_alloc(4096, MAX_IO);
	if (!own_buffer)
		stop("memory");
	memset(own_buffer, 0, MAX_IO);
	while (!fuse_session_exited(session)) {
		ret = fuse_session_receive_buf(session, &buf);
		if (ret == -EINTR || ret == -EAGAIN)
			continue;
		if (ret <= 0)
			break;
		fuse_session_process_buf(session, &buf);
	}
	free(buf.mem);
	free(own_buffer);
	return NULL;
}

/* As far as the kernel lets us: only root may. */
static void set_read_ahead(const char *mountpoint)
{
	struct statx st;
	char path[80];
	FILE *out;

	if (statx(AT_FDCWD, mountpoint, AT_STATX_DONT_SYNC, 0, &st) < 0)
		return;
	snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", st.stx_dev_major,
		 st.stx_dev_minor);
	out = fopen(path, "w");
	if (!out)
		return;
	fputs("1024", out);
	fclose(out);
}

/* With the write-back cache the kernel thinks that a file as mountpoint is empty until told. */
static void tell_size(const char *mountpoint)
{
	struct stat st;

	if (has_write_back && (fstat(file, &st) < 0 || truncate(mountpoint, st.st_size) < 0))
		stop(mountpoint);
}

static void run(struct fuse_session *session, const char *mountpoint)
{
	pthread_t thread[THREADS];
	int i;

	mallopt(M_MMAP_THRESHOLD, 32 << 20);	/* buffers are kept, not asked of the kernel */
	for (i = 0; i < THREADS; i++) {
		errno = pthread_create(&thread[i], NULL, serve, session);
		if (errno)
			stop("thread");
	}
	set_read_ahead(mountpoint);
	tell_size(mountpoint);
	puts("ready");
	fflush(stdout);
	for (i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
}

int main(int argc, char **argv)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_session *session;

	has_write_back = argc == 4 && !strcmp(argv[1], "-w");
	if (argc != 3 + has_write_back) {
		fputs("usage: passthrough [-w] FILE MOUNTPOINT\n", stderr);
		return 64;
	}
	file = open(argv[argc - 2], O_RDWR | O_CLOEXEC);
	if (file < 0)
		stop(argv[argc - 2]);
	fuse_opt_add_arg(&args, argv[0]);
	fuse_opt_add_arg(&args, "-omax_read=1048576");
	session = fuse_session_new(&args, &ops, sizeof(ops), NULL);
	if (!session || fuse_session_mount(session, argv[argc - 1]) < 0)
		return EXIT_FAILURE;
	run(session, argv[argc - 1]);
	fuse_session_unmount(session);
	fuse_session_destroy(session);
	fuse_opt_free_args(&args);
	return EXIT_SUCCESS;
}
