/* Preloaded into a test: fails what the store asks of the disk for as long as a file says so.
   FAULTS/fsync: fsync and fdatasync of the store's files. FAULTS/write: writes to them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int fails(int fd, const char *what, int error) {
    const char *faults = getenv("FAULTS");
    char path[4096], file[4096];
    snprintf(path, sizeof path, "%s/%s", faults ? faults : "", what);
    if (access(path, F_OK) != 0) return 0;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(path, file, sizeof file - 1);
    file[length < 0 ? 0 : length] = 0;
    if (!strstr(file, "/store.db")) return 0;
    errno = error;
    return 1;
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

int fsync(int fd) { REAL(fsync); return fails(fd, "fsync", EIO) ? -1 : real(fd); }
int fdatasync(int fd) { REAL(fdatasync); return fails(fd, "fsync", EIO) ? -1 : real(fd); }
ssize_t write(int fd, const void *b, size_t n) {
    REAL(write);
    return fails(fd, "write", ENOSPC) ? -1 : real(fd, b, n);
}
ssize_t pwrite(int fd, const void *b, size_t n, off_t o) {
    REAL(pwrite);
    return fails(fd, "write", ENOSPC) ? -1 : real(fd, b, n, o);
}
ssize_t pwrite64(int fd, const void *b, size_t n, off64_t o) {
    REAL(pwrite64);
    return fails(fd, "write", ENOSPC) ? -1 : real(fd, b, n, o);
}
