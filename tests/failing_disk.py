"""A disk that fails at the Nth write, and a clock that is wrong: calls of the C library answered otherwise.

The stage is imported once and forked for every N, so that all N can be tried.
"""

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static int at = 0, number = 0, calls = 0;
static char below[4096];

void fault_arm(const char *folder, int nth, int error) {
    strncpy(below, folder, sizeof below - 1);
    at = nth, number = error, calls = 0;
}
int fault_calls(void) { return calls; }

static int is_below(const char *path) { return below[0] && !strncmp(path, below, strlen(below)); }
static int counted(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return is_below(path) && ++calls >= at && at;
}
/* A full disk stays full; number 0 asks for one short write, which is no error. */
#define FAULT(fd) if (counted(fd) && number) { errno = number; return -1; }

ssize_t write(int fd, const void *data, size_t n) {
    FAULT(fd)
    if (at && !number && calls == at && n > 1) n /= 2;
    return syscall(SYS_write, fd, data, n);
}
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t o) {
    FAULT(fd)
    return syscall(SYS_pwrite64, fd, data, n, o);
}
ssize_t sendfile64(int fd, int in, off64_t *o, size_t n) {
    FAULT(fd)
    return syscall(SYS_sendfile, fd, in, o, n);
}
ssize_t sendfile(int fd, int in, off_t *o, size_t n) { return sendfile64(fd, in, o, n); }
ssize_t pwrite(int fd, const void *data, size_t n, off_t o) { return pwrite64(fd, data, n, o); }
ssize_t writev(int fd, const struct iovec *v, int n) { FAULT(fd) return syscall(SYS_writev, fd, v, n); }
int clock_gettime(clockid_t clock, struct timespec *t) {
    const char *skew = getenv("CLOCK_SKEW");
    int code = syscall(SYS_clock_gettime, clock, t);
    if (skew && clock == CLOCK_REALTIME) {
        /* Steady skew, or one that jumps back and forth at every look. */
        static int looks = 0;
        long seconds = strtol(skew, 0, 10);
        t->tv_sec += strchr(skew, 'j') && ++looks % 2 ? -seconds : seconds;
    }
    return code;
}
int fsync(int fd) { FAULT(fd) return syscall(SYS_fsync, fd); }
int rename(const char *from, const char *to) {
    char path[4096];
    if (to[0] != '/' && getcwd(path, sizeof path)) {
        strncat(path, "/", 2);
        strncat(path, to, 2000);
        to = path;
    }
    if (is_below(to) && ++calls >= at && at && number) { errno = number; return -1; }
    return syscall(SYS_rename, from, to);
}
"""


def build(folder: Path) -> Path:
    """Compile the shim; skipped where there is no compiler, or no Linux."""
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("a C compiler on Linux is needed to make writes fail")
    (folder / "shim.c").write_text(SOURCE)
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(folder / "shim.so"), str(folder / "shim.c")]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "shim.so"


def tried(main: str, arguments: list[str], nth: int, error: int, log: Path) -> tuple[int, int]:
    """Run a stage's module in a child whose Nth write fails; return exit code and how many writes it made.

    Only in a process that the shim was loaded into. What the stage said is in `log`.
    """
    import runpy

    shim = ctypes.CDLL(None)
    counts = log.with_suffix(".calls")
    child = os.fork()
    if child == 0:
        with log.open("w") as stream:
            os.dup2(stream.fileno(), 2)
        code = 70
        sys.argv = [main, *arguments]
        shim.fault_arm(os.getcwd().encode(), nth, error)
        try:
            runpy.run_module(main, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException as broken:  # noqa: BLE001 (whatever a stage lets through is what is looked for)
            import traceback

            traceback.print_exception(broken)
        calls = shim.fault_calls()
        shim.fault_arm(b"", 0, 0)
        counts.write_text(str(calls))
        sys.stderr.flush()
        os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), int(counts.read_text())
