/* Makes one call of the C library fail: LD_PRELOAD it, then arm() from the process under test.
 * Counts the calls of one kind that touch a path below a prefix; the at-th of them returns an error. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char prefix[PATH_MAX];
static int kind = -1, at = 0, error_number = 0, count = 0;
enum { WRITE, SYNC, RENAME, OPEN, ALLOCATE };

void arm(int which, int place, int number, const char *below) {
    strncpy(prefix, below, sizeof prefix - 1);
    at = place; error_number = number; count = 0; kind = which;
}

int counted(void) { return count; }

static int fails(int which, const char *path) {
    if (which != kind || !path || strncmp(path, prefix, strlen(prefix)) != 0) return 0;
    if (__sync_add_and_fetch(&count, 1) != at) return 0;
    errno = error_number;
    return 1;
}

static int fails_at(int which, int handle) {
    char link[64], path[PATH_MAX];
    if (which != kind) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return fails(which, path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int h, const void *b, size_t n) { return fails_at(WRITE, h) ? -1 : REAL(write)(h, b, n); }
ssize_t writev(int h, const struct iovec *v, int n) { return fails_at(WRITE, h) ? -1 : REAL(writev)(h, v, n); }
ssize_t pwrite(int h, const void *b, size_t n, off_t o) { return fails_at(WRITE, h) ? -1 : REAL(pwrite)(h, b, n, o); }
ssize_t pwrite64(int h, const void *b, size_t n, off64_t o) { return fails_at(WRITE, h) ? -1 : REAL(pwrite64)(h, b, n, o); }
int fsync(int h) { return fails_at(SYNC, h) ? -1 : REAL(fsync)(h); }
int fdatasync(int h) { return fails_at(SYNC, h) ? -1 : REAL(fdatasync)(h); }
int rename(const char *a, const char *b) { return fails(RENAME, b) ? -1 : REAL(rename)(a, b); }
int renameat(int i, const char *a, int j, const char *b) { return fails(RENAME, b) ? -1 : REAL(renameat)(i, a, j, b); }
int renameat2(int i, const char *a, int j, const char *b, unsigned f) {
    return fails(RENAME, b) ? -1 : REAL(renameat2)(i, a, j, b, f);
}
int posix_fallocate(int h, off_t o, off_t n) { return fails_at(ALLOCATE, h) ? error_number : REAL(posix_fallocate)(h, o, n); }
int posix_fallocate64(int h, off64_t o, off64_t n) {
    return fails_at(ALLOCATE, h) ? error_number : REAL(posix_fallocate64)(h, o, n);
}
int ftruncate(int h, off_t n) { return fails_at(ALLOCATE, h) ? -1 : REAL(ftruncate)(h, n); }
int ftruncate64(int h, off64_t n) { return fails_at(ALLOCATE, h) ? -1 : REAL(ftruncate64)(h, n); }

static int mode_of(int flags, va_list rest) { return flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, int) : 0; }
#define OPENER(name)                                                                  \
    int name(const char *path, int flags, ...) {                                      \
        va_list rest; va_start(rest, flags); int mode = mode_of(flags, rest); va_end(rest); \
        if ((flags & O_ACCMODE) != O_RDONLY && fails(OPEN, path)) return -1;          \
        return REAL(name)(path, flags, mode);                                         \
    }
OPENER(open)
OPENER(open64)
#define OPENER_AT(name)                                                               \
    int name(int folder, const char *path, int flags, ...) {                          \
        va_list rest; va_start(rest, flags); int mode = mode_of(flags, rest); va_end(rest); \
        if ((flags & O_ACCMODE) != O_RDONLY && fails(OPEN, path)) return -1;          \
        return REAL(name)(folder, path, flags, mode);                                 \
    }
OPENER_AT(openat)
OPENER_AT(openat64)
