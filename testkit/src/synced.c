/* Preloaded into the processes whose store loses its power: what they sync is copied, and nothing reaches the disk.
 *
 * A file FILE that is synced is copied to FILE.synced, in place of the copy before, and only then is the call over: a
 * process that is killed meanwhile leaves the older copy. The variable ANNALS_TESTKIT_SYNCED names a file that is made
 * when the library is loaded. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

__attribute__((constructor)) static void loaded(void) {
    const char *mark = getenv("ANNALS_TESTKIT_SYNCED");
    int made = mark ? open(mark, O_CREAT | O_WRONLY, 0644) : -1;
    if (made >= 0) close(made);
}

static int copy(int from, const char *to) {
    char part[1 << 16];
    off_t at = 0;
    int copied = open(to, O_CREAT | O_TRUNC | O_WRONLY, 0644);
    if (copied < 0) return -1;
    for (;;) {
        ssize_t read = pread(from, part, sizeof part, at);
        if (read <= 0) {
            close(copied);
            return (int)read;
        }
        for (ssize_t done = 0; done < read;) {
            ssize_t written = write(copied, part + done, (size_t)(read - done));
            if (written <= 0) {
                close(copied);
                return -1;
            }
            done += written;
        }
        at += read;
    }
}

static int keep(int file) {
    char own[64], path[PATH_MAX], part[PATH_MAX + 64], kept[PATH_MAX + 64];
    struct stat found;
    if (fstat(file, &found) != 0) return -1;
    /* A folder has no content of its own, and a file without a name is lost in any case. */
    if (!S_ISREG(found.st_mode) || found.st_nlink == 0) return 0;
    snprintf(own, sizeof own, "/proc/self/fd/%d", file);
    ssize_t length = readlink(own, path, sizeof path - 1);
    if (length <= 0) return -1;
    path[length] = 0;
    snprintf(part, sizeof part, "%s.part-%d-%d", path, (int)getpid(), (int)gettid());
    snprintf(kept, sizeof kept, "%s.synced", path);
    /* By a descriptor of its own: the caller's may be for writing only. */
    int from = open(own, O_RDONLY);
    if (from < 0) return -1;
    int copied = copy(from, part);
    close(from);
    return copied == 0 ? rename(part, kept) : -1;
}

int fsync(int file) { return keep(file); }

int fdatasync(int file) { return keep(file); }
