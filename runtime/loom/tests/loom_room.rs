//! Room in the queue under the model checker: permits are given back without the lock, while others
//! take one, get in line or leave it.
#![cfg(loom)]

use gilscope_queue_model::room::{Room, Taken};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

type Wake = Box<dyn FnOnce() + Send>;

/// A room without a free permit, and what counts the wakes of who waits for one.
fn full() -> (Arc<Room<Wake>>, Arc<AtomicUsize>) {
    let room = Arc::new(Room::<Wake>::new(1));
    assert_eq!(room.try_take(), Taken::Yes);
    (room, Arc::new(AtomicUsize::new(0)))
}

fn waker(woken: &Arc<AtomicUsize>) -> Wake {
    let woken = Arc::clone(woken);
    Box::new(move || {
        woken.fetch_add(1, Ordering::Relaxed);
    })
}

fn give_back(room: &Room<Wake>) {
    if room.put_back() {
        room.serve();
    }
}

#[test]
fn loom_room_wakes_who_waits_while_the_permit_comes_back() {
    loom::model(|| {
        let (room, woken) = full();
        let giver = thread::spawn({
            let room = Arc::clone(&room);
            move || give_back(&room)
        });
        let number = room.wait(waker(&woken));
        giver.join().unwrap();
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        assert!(room.use_grant(number));
        assert_eq!((room.taken(), room.try_take()), (1, Taken::Full));
    });
}

#[test]
fn loom_room_gives_a_permit_once_and_to_who_waits_first() {
    loom::model(|| {
        let (room, woken) = full();
        let number = room.wait(waker(&woken));
        let taker = thread::spawn({
            let room = Arc::clone(&room);
            move || room.try_take()
        });
        // As the loop thread does, which serves the line later.
        assert!(room.put_back());
        assert_eq!(taker.join().unwrap(), Taken::Full);
        if room.owes() {
            room.serve();
        }
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        assert!(room.use_grant(number));
    });
}

#[test]
fn loom_room_gets_back_the_permit_of_who_leaves() {
    loom::model(|| {
        let (room, woken) = full();
        let number = room.wait(waker(&woken));
        let giver = thread::spawn({
            let room = Arc::clone(&room);
            move || give_back(&room)
        });
        room.leave(number);
        giver.join().unwrap();
        assert_eq!(room.taken(), 0);
        assert_eq!(room.try_take(), Taken::Yes);
    });
}

#[test]
fn loom_room_that_closes_wakes_who_waits_once() {
    loom::model(|| {
        let (room, woken) = full();
        let threads = [give_back, Room::close].map(|act| {
            let room = Arc::clone(&room);
            thread::spawn(move || act(&room))
        });
        room.wait(waker(&woken));
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        assert_eq!(room.try_take(), Taken::Closed);
    });
}
