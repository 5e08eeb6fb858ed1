"""What preflight catches: planted bugs, more written once the checks were done, and healthy set-ups.

Run: python -m bench.mutations
"""

from tests.mutations import BUGS, HEALTHY, LATER, NO_BUG, Bug, base, caught_by


def caught(bugs: tuple[Bug, ...]) -> int:
    """Print what each bug was caught by; return how many were."""
    n = 0
    for bug in bugs:
        check = caught_by(base(imbalanced=bug.imbalanced), bug)
        n += check is not None
        print(f"{bug.name:<52} {check or 'NOT CAUGHT'}", flush=True)
    return n


def false_alarms() -> int:
    """Print what each healthy set-up fails by; return how many fail."""
    n = 0
    for name, make in HEALTHY.items():
        check = caught_by(make(), NO_BUG)
        n += check is not None
        print(f"{name:<52} {check or 'passes'}", flush=True)
    return n


def main() -> None:
    """Print the tables and the three figures."""
    n_first, n_later, n_alarms = caught(BUGS), caught(LATER), false_alarms()
    print(f"caught {n_first} of {len(BUGS)} bugs and {n_later} of {len(LATER)} that nobody had in mind")
    print(f"{n_alarms} false alarms in {len(HEALTHY)} healthy set-ups")


if __name__ == "__main__":
    main()
