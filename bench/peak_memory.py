"""The most memory that a process has held, by Linux' books of that process alone.

`resource.getrusage(RUSAGE_SELF).ru_maxrss` will not do: the kernel hands it on through exec, so a small
process started by a large one (a worker of pytest, a bench that holds its images) reports the large one's
peak. `VmHWM` belongs to the address space, which exec makes anew, and can be set back (proc(5)).
"""

import ctypes
import gc
import re
from pathlib import Path

STATUS = Path("/proc/self/status")
SET_BACK = "5"  # what clear_refs takes for "forget the peak"


def peak_mib() -> float:
    """Return the largest resident set of this process since it began or since `forget_peak`, in MiB."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"{STATUS} has no VmHWM: peaks are read from Linux' proc file system")
    return int(found[1]) / 1024


def forget_peak() -> float:
    """Start the peak anew from what is held now; return that, in MiB.

    What glibc keeps of freed memory goes back to the system first: what is taken next would hide in it.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    STATUS.with_name("clear_refs").write_text(SET_BACK)
    return peak_mib()
