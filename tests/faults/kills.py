"""Processes that die at a random moment, or are asked to stop."""

from functools import partial

from tests.faults.harness import Place, fault, must
from tests.faults.works import WORKS


def killed(work: str, place: Place) -> str:
    """kill -9 somewhere in the work; the same command goes on and ends as if nothing had been."""
    place.clean(work)
    for _ in range(20):  # until the work was not the faster
        folder = place.fresh()
        after = place.draw.uniform(0.0, 1.0) * place.seconds[work]
        answer = place.server.do(work, folder, signal="SIGKILL", after=after)
        if answer["status"] == -9:
            break
        place.seconds[work] = min(place.seconds[work], answer["seconds"])
        place.forget(folder)
    must(answer["status"] == -9, "the work always ended before it could be killed")
    kept = WORKS[work].kept(folder)
    place.goes_on(work, folder)
    place.forget(folder)
    return f"killed after {after:.2f} s, {kept} kept"


def killed_twice(work: str, place: Place) -> str:
    """The process that goes on is killed too."""
    place.clean(work)
    folder = place.fresh()
    for _ in range(2):
        after = place.draw.uniform(0.3, 1.0) * place.seconds[work]
        place.server.do(work, folder, signal="SIGKILL", after=after)
    place.goes_on(work, folder)
    place.forget(folder)
    return "killed twice"


def stopped(work: str, place: Place) -> str:
    """Ctrl-C: the work ends by itself, without a traceback, and goes on later."""
    place.clean(work)
    folder = place.fresh()
    after = place.draw.uniform(0.0, 1.0) * place.seconds[work]
    answer = place.server.do(work, folder, signal="SIGINT", after=after)
    must(answer["status"] in (0, 130, -2), f"ended with {answer['status']}: {answer['said'][-1500:]}")
    place.goes_on(work, folder)
    place.forget(folder)
    return f"ended with {answer['status']}"


for name, times in {
    "training": 30,
    "caching tokens": 30,
    "drawing scenes": 30,
    "building an index": 30,
    "a study": 30,
}.items():
    fault(f"kill -9: {name}", times=times, quick=True)(partial(killed, name))
    fault(f"kill -9 twice: {name}", times=3)(partial(killed_twice, name))
fault("Ctrl-C: training", times=10, quick=True)(partial(stopped, "training"))
fault("Ctrl-C: caching tokens", times=5)(partial(stopped, "caching tokens"))
