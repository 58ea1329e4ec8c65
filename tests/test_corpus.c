/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Images that other programs made ($VHD_CORPUS), through the engine: each reads as its manifest has
 * it, each odd one gets the answer that its README has, and opening one for writing harms nothing.
 *
 * The hashes are the oracle. SHA-256 is sha256sum's, at the other end of a pipe.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/runner.h"
#include "vhd/vhd.h"

#define CHUNK 65536u			/* bytes; what data_sha256 is made of */
#define BUF_SIZE (1u << 20)
#define WHOLE_MAX (1ull << 30)		/* bytes of disk that are hashed with all their zeros */
#define AGAIN_MAX (32ull << 20)		/* likewise, where it is not the first time */
#define SHA_LEN 64			/* hexadecimal digits */

struct row {
	char name[128];		/* without .xz */
	char type[16];
	uint64_t size;
	char raw_sha[SHA_LEN + 1], data_sha[SHA_LEN + 1];	/* empty: none */
	char peers[128];
};

/* What is neither "opens without a word" nor "reads as raw_sha256". */
struct odd {
	const char *name;
	const char *refused;	/* -EILSEQ, and these words (parted by |) in the sentence */
	const char *warned;	/* opens, and this is said once */
	const char *raw_sha;	/* where the manifest has none */
	uint64_t size;		/* likewise */
	bool is_lasting;	/* a read-write open leaves it as it is */
};

static const struct odd odds[] = {
	{ "m03-no-trailing-footer.vhd", .warned = "trailing footer" },
	{ "m10-leading-cur8M-trailing-cur10M.vhd", .warned = "disagree" },
	{ "m14-fixed-512-bytes-after-footer.vhd", .warned = "footer", .size = 10485760,
	  .is_lasting = true,
	  .raw_sha = "95e481fb2c175dca12f64c5acb239f5362be4a3894405a5b41efe94a79e2f0b7" },
	{ "m15-dynamic-512-bytes-after-footer.vhd", .warned = "trailing footer" },
	{ "m08-bat-beyond-eof.vhd", .refused = "past|beyond|end" },
	{ "m11-bad-footer-checksum-both.vhd", .refused = "checksum" },
	{ "dfvfs-image.vhd", .refused = "checksum" },
	{ "dfvfs-image-differential.vhd", .refused = "checksum" },
	{ "m13-max-entries-too-small.vhd", .refused = "max table entries" },
	{ "m26-block-1.5M-not-pow2.vhd", .refused = "block size" },
	{ "qemu-afl5.img", .refused = "footer|header|table|checksum|size|offset" },
	{ "nodevhd-footer.bin", .refused = "current size" },
	{ "nodevhd-header.bin", .refused = "block table" },
};

#define CHILD "govhd-win8-child.vhd"
#define PARENT "govhd-win8.vhd"
#define PARENT_AS "win8.vhd"

static struct row rows[256];
static size_t rows_len;
static char dir[256];

/* --- the manifest and the images ------------------------------------------------------------- */

/* Cuts the next tab-separated field off *line. */
static char *next_field(char **line)
{
	char *field = strsep(line, "\t\n");

	return field ? field : (char *)"";
}

static void read_row(char *line, char columns[][32], size_t columns_len)
{
	struct row *row = &rows[rows_len++];

	for (size_t i = 0; i < columns_len; i++) {
		const char *field = next_field(&line);

		if (!strcmp(columns[i], "name"))
			snprintf(row->name, sizeof(row->name), "%s", field);
		else if (!strcmp(columns[i], "type"))
			snprintf(row->type, sizeof(row->type), "%s", field);
		else if (!strcmp(columns[i], "virtual_size"))
			row->size = strtoull(field, NULL, 10);
		else if (!strcmp(columns[i], "raw_sha256") && strlen(field) == SHA_LEN)
			snprintf(row->raw_sha, sizeof(row->raw_sha), "%s", field);
		else if (!strcmp(columns[i], "data_sha256") && strlen(field) == SHA_LEN)
			snprintf(row->data_sha, sizeof(row->data_sha), "%s", field);
		else if (!strcmp(columns[i], "peers"))
			snprintf(row->peers, sizeof(row->peers), "%s", field);
	}
}

static void read_manifest(const char *corpus)
{
	char path[512], columns[32][32];
	size_t columns_len = 0, max = 0;
	char *line = NULL, *rest;
	FILE *file;

	snprintf(path, sizeof(path), "%s/manifest.tsv", corpus);
	file = fopen(path, "re");
	if (!file || getline(&line, &max, file) < 0)
		runner_skip("no manifest at %s", path);
	rest = line;
	while (rest && columns_len < 32)
		snprintf(columns[columns_len++], 32, "%s", next_field(&rest));
	while (getline(&line, &max, file) > 0 && rows_len < sizeof(rows) / sizeof(rows[0]))
		read_row(line, columns, columns_len);
	free(line);
	fclose(file);
}

__attribute__((format(printf, 1, 2))) static int shell(const char *fmt, ...)
{
	char command[2048];
	va_list args;

	va_start(args, fmt);
	vsnprintf(command, sizeof(command), fmt, args);
	va_end(args);
	return system(command);
}

/* Unpacks an image, with its holes, as `as` in our folder; path gets its path. */
static void unpack_as(const char *name, const char *as, char *path, size_t len)
{
	int status;

	snprintf(path, len, "%s/%s", dir, as);
	status = shell("xz -dc '%s/%s.xz' > '%s'", corpus_dir(), name, path);
	CU_ASSERT_EQUAL_FATAL(status, 0);
}

static void unpack(const struct row *row, char *path, size_t len)
{
	unpack_as(row->name, row->name, path, len);
	if (!strcmp(row->name, CHILD)) {
		char parent[512];

		unpack_as(PARENT, PARENT_AS, parent, sizeof(parent));
	}
}

static const struct odd *odd_of(const struct row *row)
{
	for (size_t i = 0; i < sizeof(odds) / sizeof(odds[0]); i++)
		if (!strcmp(odds[i].name, row->name))
			return &odds[i];
	return NULL;
}

static bool is_refused(const struct row *row)
{
	const struct odd *odd = odd_of(row);

	return odd && odd->refused;
}

/* --- hashing --------------------------------------------------------------------------------- */

struct hash {
	FILE *pipe;
	char path[512];
};

static void hash_start(struct hash *hash)
{
	char command[600];

	snprintf(hash->path, sizeof(hash->path), "%s/sum", dir);
	snprintf(command, sizeof(command), "sha256sum > '%s'", hash->path);
	hash->pipe = popen(command, "we");
	CU_ASSERT_PTR_NOT_NULL_FATAL(hash->pipe);
}

static void hash_add(struct hash *hash, const void *buf, size_t len)
{
	CU_ASSERT_EQUAL_FATAL(fwrite(buf, 1, len, hash->pipe), len);
}

static void hash_end(struct hash *hash, char sum[SHA_LEN + 1])
{
	FILE *file;

	CU_ASSERT_EQUAL_FATAL(pclose(hash->pipe), 0);
	file = fopen(hash->path, "re");
	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	CU_ASSERT_EQUAL(fread(sum, 1, SHA_LEN, file), SHA_LEN);
	sum[SHA_LEN] = '\0';
	fclose(file);
}

static void expect_read(vhd_image *img, void *buf, size_t len, uint64_t off)
{
	struct vhd_err err = { 0 };
	int rc = vhd_pread(img, buf, len, off, &err);

	if (rc)
		printf("\n  read of %zu at %" PRIu64 ": %s\n", len, off, err.msg);
	CU_ASSERT_EQUAL_FATAL(rc, 0);
}

/* The whole disk, in pieces of odd lengths so that the edges of blocks are met. */
static void hash_whole(vhd_image *img, char sum[SHA_LEN + 1])
{
	uint8_t *buf = malloc(BUF_SIZE);
	uint64_t off = 0, size = vhd_size(img);
	struct hash hash;

	hash_start(&hash);
	while (off < size) {
		size_t len = size - off < BUF_SIZE - 4608 ? (size_t)(size - off) : BUF_SIZE - 4608;

		expect_read(img, buf, len, off);
		hash_add(&hash, buf, len);
		off += len;
	}
	hash_end(&hash, sum);
	free(buf);
}

static void hash_chunk(vhd_image *img, struct hash *hash, uint8_t *buf, uint64_t off)
{
	static const uint8_t zeros[CHUNK];
	uint64_t left = vhd_size(img) - off, len = left < CHUNK ? left : CHUNK;
	uint8_t head[16];

	expect_read(img, buf, (size_t)len, off);
	if (!memcmp(buf, zeros, (size_t)len))
		return;
	for (int i = 0; i < 8; i++) {
		head[i] = (uint8_t)(off >> (8 * i));
		head[8 + i] = (uint8_t)(len >> (8 * i));
	}
	hash_add(hash, head, sizeof(head));
	hash_add(hash, buf, (size_t)len);
}

/* Only what the extents say is data is read; the sum is right only if they miss nothing. */
static void hash_data(vhd_image *img, char sum[SHA_LEN + 1])
{
	uint8_t *buf = malloc(CHUNK);
	struct vhd_extent ext;
	uint64_t off = 0, done = 0;
	struct hash hash;
	int rc;

	hash_start(&hash);
	while ((rc = vhd_next_extent(img, off, UINT64_MAX, &ext, NULL)) == 1) {
		CU_ASSERT_EQUAL_FATAL(ext.off, off);
		CU_ASSERT_FATAL(ext.len > 0 && ext.len <= vhd_size(img) - off);
		off += ext.len;
		if (!ext.is_data)
			continue;
		if (done < ext.off / CHUNK * CHUNK)
			done = ext.off / CHUNK * CHUNK;
		for (; done < off; done += CHUNK)
			hash_chunk(img, &hash, buf, done);
	}
	CU_ASSERT_EQUAL(rc, 0);
	CU_ASSERT_EQUAL(off, vhd_size(img));
	hash_end(&hash, sum);
	free(buf);
}

/* --- opening --------------------------------------------------------------------------------- */

struct said {
	unsigned count;
	char first[1024];
};

static void hear(void *arg, const char *sentence)
{
	struct said *said = arg;

	if (!said->count++)
		snprintf(said->first, sizeof(said->first), "%s", sentence);
}

static vhd_image *expect_open(const char *path, bool is_readonly, struct said *said)
{
	struct vhd_open_opts opts = { .is_readonly = is_readonly, .warn = hear, .warn_arg = said };
	struct vhd_err err = { 0 };
	vhd_image *img = NULL;
	int rc;

	memset(said, 0, sizeof(*said));
	rc = vhd_open(&img, path, &opts, &err);
	if (rc)
		printf("\n  %s: %s\n", path, err.msg);
	CU_ASSERT_EQUAL_FATAL(rc, 0);
	return img;
}

static void expect_closed(vhd_image *img)
{
	struct vhd_err err = { 0 };
	int rc = vhd_close(img, &err);

	if (rc)
		printf("\n  close: %s\n", err.msg);
	CU_ASSERT_EQUAL(rc, 0);
}

static void expect_said(const struct row *row, const struct said *said)
{
	const struct odd *odd = odd_of(row);
	const char *wanted = odd ? odd->warned : NULL;
	bool is_right = wanted ? said->count == 1 && strstr(said->first, wanted) : !said->count;

	if (!is_right)
		printf("\n  %s: said %u times, first: %s\n", row->name, said->count, said->first);
	CU_ASSERT(is_right);
}

/* Terabytes of zeros are no test, and a gigabyte is one only once: whole_max is how large a disk is
 * hashed with its zeros if there is a sum of its data too. */
static void expect_content(const struct row *row, vhd_image *img, uint64_t whole_max)
{
	const struct odd *odd = odd_of(row);
	const char *raw = odd && odd->raw_sha ? odd->raw_sha : row->raw_sha;
	char sum[SHA_LEN + 1];

	CU_ASSERT_EQUAL(vhd_size(img), odd && odd->size ? odd->size : row->size);
	if (raw[0] && (vhd_size(img) <= whole_max ||
		       (vhd_size(img) <= WHOLE_MAX && !row->data_sha[0]))) {
		hash_whole(img, sum);
		if (strcmp(sum, raw))
			printf("\n  %s: reads as %s instead of %s\n", row->name, sum, raw);
		CU_ASSERT_STRING_EQUAL(sum, raw);
	}
	if (row->data_sha[0]) {
		hash_data(img, sum);
		if (strcmp(sum, row->data_sha))
			printf("\n  %s: data is %s instead of %s\n", row->name, sum, row->data_sha);
		CU_ASSERT_STRING_EQUAL(sum, row->data_sha);
	}
	CU_ASSERT(raw[0] || row->data_sha[0]);
}

static void show_problem(void *arg, const struct vhd_problem *problem)
{
	if (problem->severity == VHD_ERROR)
		printf("\n  %s: %s: %s\n", (const char *)arg, problem->kind, problem->message);
}

static void check_image(const struct row *row, char *path, struct vhd_check_result *result)
{
	struct vhd_check_opts opts = { .report = is_refused(row) ? NULL : show_problem,
				       .report_arg = path };
	struct vhd_err err = { 0 };
	int rc = vhd_check(path, &opts, result, &err);

	if (rc)
		printf("\n  %s: %s\n", path, err.msg);
	CU_ASSERT_EQUAL_FATAL(rc, 0);
}

/* --- the tests ------------------------------------------------------------------------------- */

static void every_image_reads_as_the_manifest_has_it(void)
{
	unsigned count = 0;

	for (size_t i = 0; i < rows_len; i++) {
		char path[512];
		struct said said;
		vhd_image *img;

		if (is_refused(&rows[i]))
			continue;
		unpack(&rows[i], path, sizeof(path));
		img = expect_open(path, true, &said);
		expect_said(&rows[i], &said);
		expect_content(&rows[i], img, WHOLE_MAX);
		expect_closed(img);
		unlink(path);
		count++;
	}
	printf("%u images ", count);
	CU_ASSERT(count >= 60);
}

/* One of the words, which are parted by bars, is in text. */
static bool has_word(const char *text, const char *words)
{
	char *copy = strdup(words), *rest = copy, *word;
	bool is_found = false;

	while ((word = strsep(&rest, "|")))
		is_found |= strcasestr(text, word) != NULL;
	free(copy);
	return is_found;
}

static void expect_refused(const struct odd *odd, const char *path, bool is_readonly)
{
	struct vhd_open_opts opts = { .is_readonly = is_readonly };
	struct vhd_err err = { 0 };
	vhd_image *img = NULL;
	int rc = vhd_open(&img, path, &opts, &err);
	bool is_right = rc == -EILSEQ && err.code == rc && strstr(err.msg, odd->name) &&
			has_word(strstr(err.msg, odd->name) + strlen(odd->name), odd->refused) &&
			!strchr(err.msg, '\n');

	if (!is_right)
		printf("\n  %s: %d, %s\n", odd->name, rc, err.msg);
	CU_ASSERT(is_right);
	if (!rc)
		vhd_close(img, NULL);
}

static void every_bad_image_is_refused_by_a_sentence_and_left_alone(void)
{
	for (size_t i = 0; i < sizeof(odds) / sizeof(odds[0]); i++) {
		char path[512], copy[600];

		if (!odds[i].refused)
			continue;
		unpack_as(odds[i].name, odds[i].name, path, sizeof(path));
		snprintf(copy, sizeof(copy), "%s.copy", path);
		CU_ASSERT_EQUAL_FATAL(shell("cp --sparse=always '%s' '%s'", path, copy), 0);
		expect_refused(&odds[i], path, true);
		expect_refused(&odds[i], path, false);
		CU_ASSERT_EQUAL(shell("cmp '%s' '%s'", path, copy), 0);
		unlink(path);
		unlink(copy);
	}
}

static void a_child_is_refused_without_its_parent_and_reads_with_a_given_one(void)
{
	struct vhd_open_opts opts = { .is_readonly = true };
	char child[512], parent[512], wrong[512];
	struct vhd_err err = { 0 };
	vhd_image *img = NULL;
	struct vhd_info info;

	unpack_as(CHILD, CHILD, child, sizeof(child));
	unpack_as(PARENT, "moved away.vhd", parent, sizeof(parent));
	snprintf(wrong, sizeof(wrong), "%s/%s", dir, PARENT_AS);
	unlink(wrong);
	CU_ASSERT_EQUAL(vhd_open(&img, child, &opts, &err), -ENOENT);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, PARENT_AS));

	opts.parent = parent;
	CU_ASSERT_EQUAL_FATAL(vhd_open(&img, child, &opts, &err), 0);
	CU_ASSERT_EQUAL(vhd_get_info(img, &info, &err), 0);
	CU_ASSERT_STRING_EQUAL(info.parent_path, parent);
	CU_ASSERT_PTR_NOT_NULL(vhd_parent(img));
	expect_closed(img);

	/* Another VHD under the parent's name is not the parent. */
	unpack_as("govhd-vbox.vhd", PARENT_AS, wrong, sizeof(wrong));
	opts.parent = wrong;
	CU_ASSERT_NOT_EQUAL(vhd_open(&img, child, &opts, &err), 0);
	unlink(wrong);
}

static bool is_writable(const struct row *row)
{
	return !is_refused(row) && strcmp(row->type, "differencing");
}

/* What was odd about the footers is mended, so nothing is said any more. */
static void expect_mended(const struct row *row, const struct said *said)
{
	const struct odd *odd = odd_of(row);

	if (odd && odd->is_lasting) {
		expect_said(row, said);
		return;
	}
	if (said->count)
		printf("\n  %s: still says: %s\n", row->name, said->first);
	CU_ASSERT_EQUAL(said->count, 0);
}

static void opening_for_writing_and_closing_changes_no_content(void)
{
	for (size_t i = 0; i < rows_len; i++) {
		struct vhd_check_result result;
		char path[512];
		struct said said;
		vhd_image *img;

		if (!is_writable(&rows[i]))
			continue;
		unpack(&rows[i], path, sizeof(path));
		img = expect_open(path, false, &said);
		expect_said(&rows[i], &said);
		expect_closed(img);
		check_image(&rows[i], path, &result);
		CU_ASSERT_EQUAL(result.errors, 0);

		img = expect_open(path, true, &said);
		expect_mended(&rows[i], &said);
		expect_content(&rows[i], img, is_long() ? WHOLE_MAX : AGAIN_MAX);
		expect_closed(img);
		unlink(path);
	}
}

/* What the file's size is to be, or is. */
static uint64_t compact(const char *path, bool is_dry, bool align)
{
	const struct vhd_reclaim_opts opts = { .dry_run = is_dry, .align = align };
	struct vhd_reclaim_result result;
	struct vhd_info info;
	struct said said;
	vhd_image *img = expect_open(path, is_dry, &said);

	CU_ASSERT_EQUAL(vhd_get_info(img, &info, NULL), 0);
	CU_ASSERT_EQUAL(vhd_compact(img, &opts, &result, NULL),
			info.type == VHD_FIXED ? -ENOTSUP : 0);
	expect_closed(img);
	return result.file_size_after;
}

/* As it was laid, and laid anew; the size is the one that was told before, and stays. Fixed ones
 * are refused, and told nothing of. */
static void what_is_compacted_reads_alike(void)
{
	for (size_t i = 0; i < 2 * rows_len; i++) {
		const struct row *row = &rows[i / 2];
		struct vhd_check_result result;
		char path[512];
		struct stat st;
		struct said said;
		vhd_image *img;
		uint64_t size;

		if (!is_writable(row))
			continue;
		unpack(row, path, sizeof(path));
		size = compact(path, true, i % 2);
		CU_ASSERT_EQUAL(compact(path, false, i % 2), size);
		CU_ASSERT_EQUAL(compact(path, false, i % 2), size);
		CU_ASSERT(!size || (!stat(path, &st) && (uint64_t)st.st_size == size));
		check_image(row, path, &result);
		CU_ASSERT_EQUAL(result.errors, 0);
		img = expect_open(path, true, &said);
		expect_content(row, img, is_long() ? WHOLE_MAX : AGAIN_MAX);
		expect_closed(img);
		unlink(path);
	}
}

static bool does_qemu_read_it(const struct row *row)
{
	return !strncmp(row->peers, "qemu=own", 8) || !strncmp(row->peers, "qemu SIZE", 9);
}

/* Writes the disk as a raw file with holes. */
static void write_raw(vhd_image *img, const char *raw)
{
	uint8_t *buf = malloc(BUF_SIZE);
	int fd = open(raw, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct vhd_extent ext;

	CU_ASSERT_FATAL(fd >= 0 && !ftruncate(fd, (off_t)vhd_size(img)));
	for (uint64_t off = 0; vhd_next_extent(img, off, BUF_SIZE, &ext, NULL) == 1;
	     off += ext.len) {
		if (!ext.is_data)
			continue;
		expect_read(img, buf, (size_t)ext.len, ext.off);
		CU_ASSERT_EQUAL_FATAL(pwrite(fd, buf, (size_t)ext.len, (off_t)ext.off),
				      (ssize_t)ext.len);
	}
	close(fd);
	free(buf);
}

/* Some writes over the whole disk: its first and last bytes, and edges between. */
static void scribble(vhd_image *img, uint64_t *state)
{
	uint64_t size = vhd_size(img);
	uint8_t buf[3000];

	for (int i = 0; i < 12; i++) {
		uint64_t max = sizeof(buf) < size ? sizeof(buf) : size;
		size_t len = 1 + (size_t)runner_below(state, max);
		uint64_t off = i == 0 ? 0 : i == 1 ? size - len :
			       runner_below(state, size - len + 1);

		for (size_t j = 0; j < len; j++)
			buf[j] = (uint8_t)runner_random(state);
		CU_ASSERT_EQUAL_FATAL(vhd_pwrite(img, buf, len, off, NULL), 0);
	}
}

/* qemu is no judge of what it wrote itself, but of what we wrote it is. */
static void what_we_write_into_an_image_qemu_reads_alike(void)
{
	uint64_t state = runner_seed();

	if (shell("command -v qemu-img >/dev/null")) {
		puts("left out: no qemu-img here");
		return;
	}
	for (size_t i = 0; i < rows_len; i++) {
		struct vhd_check_result result;
		char path[512], raw[600];
		struct said said;
		vhd_image *img;

		if (!is_writable(&rows[i]) || !does_qemu_read_it(&rows[i]))
			continue;
		unpack(&rows[i], path, sizeof(path));
		img = expect_open(path, false, &said);
		scribble(img, &state);
		expect_closed(img);
		check_image(&rows[i], path, &result);
		CU_ASSERT_EQUAL(result.errors, 0);
		img = expect_open(path, true, &said);
		snprintf(raw, sizeof(raw), "%s.raw", path);
		write_raw(img, raw);
		expect_closed(img);
		CU_ASSERT_EQUAL(shell("qemu-img compare --image-opts -q 'driver=vpc,"
				      "force_size_calc=current_size,file.filename=%s' "
				      "'driver=raw,file.filename=%s'", path, raw), 0);
		unlink(path);
		unlink(raw);
	}
}

static void clean_up(void)
{
	if (dir[0])
		shell("rm -rf '%s'", dir);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "every_image_reads_as_the_manifest_has_it",
		  every_image_reads_as_the_manifest_has_it },
		{ "every_bad_image_is_refused_by_a_sentence_and_left_alone",
		  every_bad_image_is_refused_by_a_sentence_and_left_alone },
		{ "a_child_is_refused_without_its_parent_and_reads_with_a_given_one",
		  a_child_is_refused_without_its_parent_and_reads_with_a_given_one },
		{ "opening_for_writing_and_closing_changes_no_content",
		  opening_for_writing_and_closing_changes_no_content },
		{ "what_is_compacted_reads_alike", what_is_compacted_reads_alike },
		{ "what_we_write_into_an_image_qemu_reads_alike",
		  what_we_write_into_an_image_qemu_reads_alike },
		{ NULL, NULL },
	};
	const char *temp = getenv("TMPDIR");

	if (!corpus_dir())
		runner_skip("no corpus of images");
	if (shell("command -v xz >/dev/null && command -v sha256sum >/dev/null"))
		runner_skip("no xz or no sha256sum here");
	snprintf(dir, sizeof(dir), "%s/vhd-corpus.XXXXXX", temp ? temp : "/tmp");
	if (!mkdtemp(dir))
		runner_skip("no folder for temporary files");
	atexit(clean_up);
	read_manifest(corpus_dir());
	return run_suite(argc, argv, "corpus", tests);
}
