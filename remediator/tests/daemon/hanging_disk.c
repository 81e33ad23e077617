/* A disk that does not answer: loaded before libc, no fsync ends while the file
   that HANGS_WHILE names is there. */
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int answer(long call, int fd) {
    const char *file = getenv("HANGS_WHILE");
    while (file && access(file, F_OK) == 0)
        usleep(20 * 1000);
    return syscall(call, fd);
}

int fsync(int fd) { return answer(SYS_fsync, fd); }
int fdatasync(int fd) { return answer(SYS_fdatasync, fd); }
