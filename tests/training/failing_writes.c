/* Preloaded in a test: writes to a checkpoint's data fail with the error number FAIL_ERRNO once the file FAIL_FROM exists. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

ssize_t write(int file, const void *bytes, size_t count) {
    static ssize_t (*real)(int, const void *, size_t);
    const char *from = getenv("FAIL_FROM"), *number = getenv("FAIL_ERRNO");
    if (!real) real = dlsym(RTLD_NEXT, "write");
    if (from && number && access(from, F_OK) == 0) {
        char link[64], name[4096];
        snprintf(link, sizeof link, "/proc/self/fd/%d", file);
        ssize_t length = readlink(link, name, sizeof name - 1);
        if (length > 0 && (name[length] = 0, strstr(name, "/checkpoints/"))) {
            errno = atoi(number);
            return -1;
        }
    }
    return real(file, bytes, count);
}
