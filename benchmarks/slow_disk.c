/* A disk that is slow or that fails, for a process that has this library in LD_PRELOAD.
 *
 * SLOW_DISK_MS    every fsync takes so many milliseconds longer
 * SLOW_DISK_LOG   a file that gets one byte for each fsync, after it is done
 * SLOW_DISK_FAILS while this file is there, fsync fails with EIO
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int slowly(const char *name, int fd)
{
    const char *ms = getenv("SLOW_DISK_MS");
    const char *fails = getenv("SLOW_DISK_FAILS");
    const char *log = getenv("SLOW_DISK_LOG");
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    if (ms != NULL) {
        long wanted = atol(ms);
        struct timespec pause = {wanted / 1000, wanted % 1000 * 1000000};
        while (nanosleep(&pause, &pause) != 0 && errno == EINTR)
            ;
    }
    if (fails != NULL && access(fails, F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    int result = real(fd);
    if (log != NULL) {
        int to = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (to >= 0) {
            ssize_t written = write(to, ".", 1);
            (void)written;
            close(to);
        }
    }
    return result;
}

int fsync(int fd) { return slowly("fsync", fd); }
int fdatasync(int fd) { return slowly("fdatasync", fd); }
