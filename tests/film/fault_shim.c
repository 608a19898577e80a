/* Makes the n-th change below a folder fail: loaded with LD_PRELOAD, so it sits under Python, PyAV and everything else.
 *
 * fault_arm(folder, at, kind, trace) begins to count the calls that change something below `folder`; call number `at`
 * (from 1; 0 for none) is treated as `kind` says:
 *   KILL    a write is done by half, any other call not at all; then the process gets SIGKILL
 *   NOSPC   a write is done by half once, and from then on every call that needs room answers ENOSPC, as a full disk does
 *   IO      that one call answers EIO
 *   READ_IO counts reads in place of changes: that one answers EIO
 * With `trace` every counted call is written to that file descriptor as a line "name path[ -> path]".
 * An armed process does not really wait for the disk in fsync: a killed process loses nothing of what the kernel has.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT, KILL, NOSPC, IO, READ_IO };
enum { NEEDS_ROOM = 1, IS_READ = 2 };

static char folder[PATH_MAX];
static long fault_at, counted;
static int fault_kind, trace_fd = -1, armed;

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

void fault_arm(const char *path, long at, int kind, int trace) {
    snprintf(folder, sizeof folder, "%s", path);
    fault_at = at, fault_kind = kind, trace_fd = trace, counted = 0, armed = 1;
}

long fault_count(void) { return counted; }

static int below(const char *path) {
    size_t length = strlen(folder);
    return strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static void path_of_fd(int fd, char *out) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, out, PATH_MAX - 1);
    out[size < 0 ? 0 : size] = 0;
}

static void path_at(int fd, const char *path, char *out) {
    if (path[0] == '/' || fd == AT_FDCWD) {
        snprintf(out, PATH_MAX, "%s", path);
        return;
    }
    path_of_fd(fd, out);
    size_t length = strlen(out);
    snprintf(out + length, PATH_MAX - length, "/%s", path);
}

/* 0: let it pass; otherwise the errno to answer; -1: a write to do by half, then to end as fault_kind says. */
static int fault(const char *name, const char *path, const char *to, int flags) {
    if (!armed || (!below(path) && !(to && below(to)))) return 0;
    if (((flags & IS_READ) != 0) != (fault_kind == READ_IO)) return 0;
    counted++;
    if (trace_fd >= 0) dprintf(trace_fd, to ? "%s %s -> %s\n" : "%s %s\n", name, path, to);
    if (!fault_at || counted < fault_at) return 0;
    int first = counted == fault_at, writes = strstr(name, "write") != NULL;
    switch (fault_kind) {
        case KILL:
            if (writes) return -1;
            raise(SIGKILL);
            return EINTR;
        case NOSPC:
            if (!(flags & NEEDS_ROOM)) return 0;
            return first && writes ? -1 : ENOSPC;
        case IO:
        case READ_IO:
            return first ? EIO : 0;
    }
    return 0;
}

static int refuse(int error) {
    errno = error;
    return -1;
}

static ssize_t half(ssize_t written) {
    if (fault_kind == KILL) raise(SIGKILL);
    return written;
}

#define WRITE(name, declaration, arguments, half_arguments) \
    ssize_t name declaration { \
        REAL(name); \
        char path[PATH_MAX]; \
        path_of_fd(fd, path); \
        int error = fault(#name, path, NULL, NEEDS_ROOM); \
        if (error == -1) { \
            ssize_t done = size / 2 ? real half_arguments : 0; \
            return done || fault_kind == KILL ? half(done) : refuse(ENOSPC); \
        } \
        return error ? refuse(error) : real arguments; \
    }

WRITE(write, (int fd, const void *data, size_t size), (fd, data, size), (fd, data, size / 2))
WRITE(pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at), (fd, data, size / 2, at))
WRITE(pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at), (fd, data, size / 2, at))
WRITE(writev, (int fd, const struct iovec *data, int size), (fd, data, size), (fd, data, size / 2))

#define READ(name, declaration, arguments) \
    ssize_t name declaration { \
        REAL(name); \
        char path[PATH_MAX]; \
        path_of_fd(fd, path); \
        int error = fault(#name, path, NULL, IS_READ); \
        return error ? refuse(error) : real arguments; \
    }

READ(read, (int fd, void *data, size_t size), (fd, data, size))
READ(pread, (int fd, void *data, size_t size, off_t at), (fd, data, size, at))
READ(pread64, (int fd, void *data, size_t size, off64_t at), (fd, data, size, at))

#define ON_FD(name, declaration, arguments, flags, done) \
    int name declaration { \
        REAL(name); \
        char path[PATH_MAX]; \
        path_of_fd(fd, path); \
        int error = fault(#name, path, NULL, flags); \
        return error ? refuse(error) : done; \
    }

ON_FD(fsync, (int fd), (fd), NEEDS_ROOM, armed ? 0 : real(fd))
ON_FD(fdatasync, (int fd), (fd), NEEDS_ROOM, armed ? 0 : real(fd))
ON_FD(ftruncate, (int fd, off_t size), (fd, size), 0, real(fd, size))
ON_FD(ftruncate64, (int fd, off64_t size), (fd, size), 0, real(fd, size))

static int opening(const char *name, int fd, const char *given, int flags) {
    char path[PATH_MAX];
    path_at(fd, given, path);
    int changes = (flags & O_CREAT) || (flags & O_TRUNC);
    if (!changes && (flags & O_ACCMODE) == O_RDONLY) return fault(name, path, NULL, IS_READ);
    return fault(name, path, NULL, changes ? NEEDS_ROOM : 0);
}

#define OPEN(name, declaration, fd, arguments) \
    int name declaration { \
        REAL(name); \
        mode_t mode = 0; \
        if (flags & (O_CREAT | __O_TMPFILE)) { \
            va_list rest; \
            va_start(rest, flags); \
            mode = va_arg(rest, mode_t); \
            va_end(rest); \
        } \
        int error = opening(#name, fd, path, flags); \
        return error ? refuse(error) : real arguments; \
    }

OPEN(open, (const char *path, int flags, ...), AT_FDCWD, (path, flags, mode))
OPEN(open64, (const char *path, int flags, ...), AT_FDCWD, (path, flags, mode))
OPEN(openat, (int fd, const char *path, int flags, ...), fd, (fd, path, flags, mode))
OPEN(openat64, (int fd, const char *path, int flags, ...), fd, (fd, path, flags, mode))

#define FOPEN(name) \
    FILE *name(const char *path, const char *mode) { \
        REAL(name); \
        int changes = mode[0] != 'r' || strchr(mode, '+') != NULL; \
        int error = opening(#name, AT_FDCWD, path, changes ? O_WRONLY | O_CREAT : O_RDONLY); \
        if (!error) return real(path, mode); \
        errno = error; \
        return NULL; \
    }

FOPEN(fopen)
FOPEN(fopen64)

#define ON_PATH(name, declaration, fd, arguments, flags) \
    int name declaration { \
        REAL(name); \
        char full[PATH_MAX]; \
        path_at(fd, path, full); \
        int error = fault(#name, full, NULL, flags); \
        return error ? refuse(error) : real arguments; \
    }

/* A mkdir of what is there already changes nothing, so it is not counted. */
#define MKDIR(name, declaration, fd, arguments) \
    int name declaration { \
        REAL(name); \
        char full[PATH_MAX]; \
        path_at(fd, path, full); \
        int error = access(full, F_OK) ? fault(#name, full, NULL, NEEDS_ROOM) : 0; \
        return error ? refuse(error) : real arguments; \
    }

MKDIR(mkdir, (const char *path, mode_t mode), AT_FDCWD, (path, mode))
MKDIR(mkdirat, (int fd, const char *path, mode_t mode), fd, (fd, path, mode))
ON_PATH(unlink, (const char *path), AT_FDCWD, (path), 0)
ON_PATH(unlinkat, (int fd, const char *path, int flags), fd, (fd, path, flags), 0)
ON_PATH(rmdir, (const char *path), AT_FDCWD, (path), 0)

#define RENAME(name, declaration, old_fd, new_fd, arguments) \
    int name declaration { \
        REAL(name); \
        char from[PATH_MAX], to[PATH_MAX]; \
        path_at(old_fd, old, from); \
        path_at(new_fd, new, to); \
        int error = fault(#name, from, to, NEEDS_ROOM); \
        return error ? refuse(error) : real arguments; \
    }

RENAME(rename, (const char *old, const char *new), AT_FDCWD, AT_FDCWD, (old, new))
RENAME(renameat, (int old_fd, const char *old, int new_fd, const char *new), old_fd, new_fd, (old_fd, old, new_fd, new))
