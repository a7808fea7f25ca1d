"""C-STORE of objects that the server does not have yet, by one or more associations at once."""

from functools import partial

from bench import clients
from bench.corpus import CT, SMALL, Images, fresh_tag
from bench.trial import BOTH, NAGLE, NODELAY, Operation, Result, Trial

NAGLE_SHARE = 40  # images of an association in that mode, where each may take 90 ms


def store(trial: Trial, images: Images, count: int, associations: int) -> Result:
    """Store `count` images, each association its share."""
    peer = trial.peer
    share = max(1, trial.amount(count) // associations)
    if trial.mode == NAGLE:
        share = min(share, NAGLE_SHARE)
    with trial.folder() as folder:
        files = images.write(share * associations, fresh_tag(), folder)
        size = sum(path.stat().st_size for path in files)
        shares = [files[first : first + share] for first in range(0, len(files), share)]
        with trial.watched():
            wall = clients.run_together([clients.storescu(peer, s) for s in shares], trial.nodelay)
    return Result(len(files), wall, size)


def _operation(
    name: str, images: Images, count: int, associations: int, modes: tuple[str, ...]
) -> Operation:
    size = "CT of 526 kB" if images is CT else "images of 16 kB"
    about = f"C-STORE of {count} {size}, {associations} association(s)"
    run = partial(store, images=images, count=count, associations=associations)
    return Operation(name, about, run, modes)


OPERATIONS = (
    _operation("store_ct_1", CT, 1000, 1, BOTH),
    _operation("store_ct_4", CT, 1000, 4, (NODELAY,)),
    _operation("store_ct_50", CT, 1000, 50, (NODELAY,)),
    _operation("store_small_1", SMALL, 2000, 1, BOTH),
    _operation("store_small_16", SMALL, 2000, 16, (NODELAY,)),
)
