"""The queue for the one engine."""

import threading

from app.engines.fair_queue import FairQueue


def test_tickets_take_their_turn_in_order_of_arrival() -> None:
    fair_queue = FairQueue()
    first, second, third = (fair_queue.join() for _ in range(3))
    assert [ticket.num_ahead() for ticket in (first, second, third)] == [0, 1, 2]
    assert first.wait(0)
    assert not second.wait(0)
    first.leave()
    assert second.wait(0)
    assert third.num_ahead() == 1


def test_leaving_from_the_middle_moves_the_others_up() -> None:
    fair_queue = FairQueue()
    first, second, third = (fair_queue.join() for _ in range(3))
    second.leave()
    second.leave()
    assert third.num_ahead() == 1
    first.leave()
    assert third.wait(0)


def test_a_waiting_ticket_wakes_when_its_turn_comes() -> None:
    fair_queue = FairQueue()
    first, second = fair_queue.join(), fair_queue.join()
    woken = threading.Event()

    def wait() -> None:
        if second.wait(10):
            woken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    first.leave()
    thread.join(10)
    assert woken.is_set()


def test_whoever_holds_the_engine_takes_what_fits_and_passes_nobody_over() -> None:
    fair_queue = FairQueue()
    holder, fitting, other, late = (fair_queue.join() for _ in range(4))
    for ticket, offer in ((fitting, "same"), (other, None), (late, "same")):
        ticket.offer = offer

    def take() -> object:
        return fair_queue.take_next(lambda offer: offer == "same")

    assert take() is fitting and fitting.is_taken
    assert fitting.wait(0) and fitting.num_ahead() == 0, "it hears of it at once"
    assert take() is None, "another one waits before the next that fits"
    assert (fair_queue.length, other.num_ahead(), late.num_ahead()) == (3, 1, 2)
    fitting.leave()
    other.leave()
    assert take() is late
    assert take() is None and holder.wait(0)


def test_who_holds_an_engine_is_not_taken() -> None:
    fair_queue = FairQueue(2)
    tickets = [fair_queue.join() for _ in range(2)]
    assert fair_queue.take_next(lambda offer: True) is None
    assert all(ticket.wait(0) and not ticket.is_taken for ticket in tickets)
