"""What preflight catches: 33 planted bugs, and 22 set-ups with nothing wrong.

Run: python -m bench.mutations
"""

from tests.mutations import BUGS, HEALTHY, NO_BUG, base, caught_by


def main() -> None:
    """Print what each bug was caught by, and every false alarm."""
    setups = {flag: base(imbalanced=flag) for flag in (False, True)}
    caught = {bug.name: caught_by(setups[bug.imbalanced], bug) for bug in BUGS}
    for name, check in caught.items():
        print(f"{name:<52} {check or 'NOT CAUGHT'}")
    alarms = {name: caught_by(make(), NO_BUG) for name, make in HEALTHY.items()}
    for name, check in alarms.items():
        print(f"{name:<52} {check or 'passes'}")
    n_caught, n_alarms = sum(map(bool, caught.values())), sum(map(bool, alarms.values()))
    print(f"caught {n_caught} of {len(caught)} bugs; {n_alarms} false alarms in {len(alarms)} set-ups")


if __name__ == "__main__":
    main()
