"""Other libraries' log lines are kept from one thread's work alone, also where two threads overlap."""

import logging
import threading

from userlib.logs import quiet


def test_threads_that_overlap(caplog):
    first_is_out, second_is_in = threading.Event(), threading.Event()

    def second():
        with quiet():
            second_is_in.set()
            first_is_out.wait(10)
            logging.warning("of the second, within")
        logging.warning("of the second, afterwards")

    thread = threading.Thread(target=second)
    with quiet():
        thread.start()
        second_is_in.wait(10)
        with quiet():
            logging.error("of the first, within both")
        logging.warning("of the first, within")
    logging.warning("of the first, afterwards")
    first_is_out.set()
    thread.join()
    assert caplog.messages == ["of the first, afterwards", "of the second, afterwards"]
    assert logging.root.manager.disable == 0
