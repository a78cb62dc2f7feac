/* Preloaded into a test. Fails what the store asks of the disk for as long as a file says so:
   FAULTS/fsync (fsync and fdatasync, with EIO), FAULTS/write (writes, with ENOSPC). And keeps in
   FAULTS/disk what a disk would hold if the power failed now: only what was fsynced since it was
   written. After a failed fsync the system forgets what was to be written, as Linux does: the next
   one succeeds without it. Looks at FAULTS/spool/store.db and its log; one thread writes them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

enum { FILES = 2, WRITES = 1 << 16 };
static const char *names[FILES] = {"store.db", "store.db-wal"};
static struct { off_t at; size_t length; } unsynced[FILES][WRITES];
static int count[FILES];

static int file_of_path(const char *path) {
    char ours[4096];
    for (int file = 0; file < FILES; file++) {
        snprintf(ours, sizeof ours, "%s/spool/%s", getenv("FAULTS"), names[file]);
        if (strcmp(path, ours) == 0) return file;
    }
    return -1;
}

static int file_of(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    return file_of_path(path);
}

static int asked_for(const char *fault) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", getenv("FAULTS"), fault);
    return access(path, F_OK) == 0;
}

static void on_disk(int file, char *path, size_t size) {
    snprintf(path, size, "%s/disk/%s", getenv("FAULTS"), names[file]);
}

static int open_disk(int file) {
    char path[4096];
    on_disk(file, path, sizeof path);
    int disk = open(path, O_RDWR | O_CREAT, 0600);
    if (disk < 0) abort();
    return disk;
}

static void synced(int fd, int file) {
    REAL(pwrite);
    int disk = open_disk(file);
    for (int i = 0; i < count[file]; i++) {
        size_t length = unsynced[file][i].length;
        char *bytes = malloc(length);
        ssize_t got = pread(fd, bytes, length, unsynced[file][i].at);
        if (got > 0 && real(disk, bytes, got, unsynced[file][i].at) != got) abort();
        free(bytes);
    }
    close(disk);
}

static int sync_with(int fd, int (*real)(int)) {
    int file = file_of(fd), result;
    if (file >= 0 && asked_for("fsync")) {
        errno = EIO;
        result = -1;
    } else {
        result = real(fd);
        if (file >= 0 && result == 0) synced(fd, file);
    }
    if (file >= 0) count[file] = 0;
    return result;
}

int fsync(int fd) { REAL(fsync); return sync_with(fd, real); }
int fdatasync(int fd) { REAL(fdatasync); return sync_with(fd, real); }

/* Whether the write is to fail; notes it where it is not. */
static int refused(int fd, off_t at, size_t length) {
    int file = file_of(fd);
    if (file < 0) return 0;
    if (asked_for("write")) {
        errno = ENOSPC;
        return 1;
    }
    if (count[file] == WRITES) abort();
    unsynced[file][count[file]].at = at;
    unsynced[file][count[file]++].length = length;
    return 0;
}

ssize_t write(int fd, const void *b, size_t n) {
    REAL(write);
    return refused(fd, lseek(fd, 0, SEEK_CUR), n) ? -1 : real(fd, b, n);
}
ssize_t pwrite(int fd, const void *b, size_t n, off_t at) {
    REAL(pwrite);
    return refused(fd, at, n) ? -1 : real(fd, b, n, at);
}
ssize_t pwrite64(int fd, const void *b, size_t n, off64_t at) {
    REAL(pwrite64);
    return refused(fd, at, n) ? -1 : real(fd, b, n, at);
}

/* What shortens a file may reach the disk at once. */
static int shortened(int fd, off_t length, int result) {
    int file = file_of(fd);
    if (file >= 0 && result == 0) {
        REAL(ftruncate);
        int disk = open_disk(file);
        struct stat before;
        if (fstat(disk, &before) != 0 || (before.st_size > length && real(disk, length) != 0)) abort();
        close(disk);
    }
    return result;
}

int ftruncate(int fd, off_t n) { REAL(ftruncate); return shortened(fd, n, real(fd, n)); }
int ftruncate64(int fd, off64_t n) { REAL(ftruncate64); return shortened(fd, n, real(fd, n)); }

int unlink(const char *path) {
    REAL(unlink);
    int file = file_of_path(path);
    if (file >= 0) {
        char disk[4096];
        on_disk(file, disk, sizeof disk);
        real(disk);
    }
    return real(path);
}
