/* Faults of a disk and of a clock, in whatever process this library is loaded into by LD_PRELOAD.
 *
 * LRPS_FAULT_ARMED names a file. While it holds EIO or ENOSPC, each write to a checkpoint below LRPS_FAULT_FOLDER fails
 * so; while it holds "short", each writes half of what it was given; while it holds "fsync N" or "rename N", each of
 * these calls below that folder fails with error number N; while it holds "clock N", the time of day is N seconds off.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* What the file holds; empty if there is none. */
static void armed(char *kind, size_t size) {
    const char *file = getenv("LRPS_FAULT_ARMED");
    int saved = errno, from = file ? (int)syscall(SYS_openat, AT_FDCWD, file, O_RDONLY) : -1;
    ssize_t length = from < 0 ? 0 : read(from, kind, size - 1);
    if (from >= 0) close(from);
    kind[length > 0 ? length : 0] = 0;
    errno = saved;
}

/* Whether a path is below the folder, and has a part. */
static int below(const char *path, const char *part) {
    const char *folder = getenv("LRPS_FAULT_FOLDER");
    return folder && strncmp(path, folder, strlen(folder)) == 0 && strstr(path, part) != NULL;
}

/* The same for the file of a descriptor. */
static int open_below(int descriptor, const char *part) {
    char link[64], path[PATH_MAX];
    int saved = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = saved;
    path[length > 0 ? length : 0] = 0;
    return below(path, part);
}

/* How many of so many bytes are to be written; -1 with errno set if none can be. */
static ssize_t allowed(int descriptor, size_t count) {
    char kind[32];
    armed(kind, sizeof kind);
    if (!*kind || !open_below(descriptor, "/checkpoints/iter_")) return (ssize_t)count;
    if (!strncmp(kind, "short", 5)) return count > 1 ? (ssize_t)(count / 2) : (ssize_t)count;
    if (!strncmp(kind, "EIO", 3)) return errno = EIO, -1;
    if (!strncmp(kind, "ENOSPC", 6)) return errno = ENOSPC, -1;
    return (ssize_t)count;
}

ssize_t write(int descriptor, const void *bytes, size_t count) {
    ssize_t now = allowed(descriptor, count);
    return now < 0 ? now : NEXT(write)(descriptor, bytes, (size_t)now);
}

ssize_t pwrite(int descriptor, const void *bytes, size_t count, off_t at) {
    ssize_t now = allowed(descriptor, count);
    return now < 0 ? now : NEXT(pwrite)(descriptor, bytes, (size_t)now, at);
}

ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    ssize_t now = allowed(descriptor, (size_t)count);
    return now < 0 ? now : NEXT(writev)(descriptor, parts, (int)now);
}

/* The error number that a call is to fail with; 0 if it is not. */
static int wanted(const char *call) {
    char kind[32];
    armed(kind, sizeof kind);
    size_t length = strlen(call);
    return !strncmp(kind, call, length) && kind[length] == ' ' ? atoi(kind + length) : 0;
}

int fsync(int descriptor) {
    int error = wanted("fsync");
    return error && open_below(descriptor, "") ? (errno = error, -1) : NEXT(fsync)(descriptor);
}

int rename(const char *from, const char *to) {
    int error = wanted("rename");
    return error && below(to, "") ? (errno = error, -1) : NEXT(rename)(from, to);
}

static long jump(void) {
    char kind[32];
    armed(kind, sizeof kind);
    return strncmp(kind, "clock ", 6) ? 0 : atol(kind + 6);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = NEXT(clock_gettime)(clock, now);
    if (!result && clock == CLOCK_REALTIME) now->tv_sec += jump();
    return result;
}

int gettimeofday(struct timeval *now, void *zone) {
    int result = (int)syscall(SYS_gettimeofday, now, zone);
    if (!result) now->tv_sec += jump();
    return result;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
