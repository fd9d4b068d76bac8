//! The end of an inbox under the model checker: a message that is posted while the loop thread
//! closes is disposed of by exactly one of the two.
#![cfg(loom)]

use gilscope_queue_model::inbox::Inbox;
use gilscope_queue_model::message::{message, read};
use loom::sync::Arc;
use loom::thread;

/// Takes what is there, as whoever must dispose of it.
fn dispose(inbox: &Inbox) -> Vec<(usize, usize)> {
    // SAFETY: every message of these tests is from `message`.
    inbox.take().map(|link| unsafe { read(link) }).collect()
}

/// Posts, and disposes if the inbox is closed, as `host::own` does.
fn post(inbox: &Inbox, by: usize, number: usize) -> Vec<(usize, usize)> {
    // SAFETY: a fresh message.
    if unsafe { inbox.post(message(by, number)) } {
        dispose(inbox)
    } else {
        Vec::new()
    }
}

fn closing(producers: usize, messages: usize, asleep: bool) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let inbox = Arc::new(Inbox::new().unwrap());
        if asleep {
            assert!(inbox.try_sleep());
        }
        let threads: Vec<_> = (0..producers)
            .map(|by| {
                let inbox = Arc::clone(&inbox);
                let post = move |number| post(&inbox, by, number);
                thread::spawn(move || (0..messages).flat_map(post).collect::<Vec<_>>())
            })
            .collect();
        // The loop thread's last act.
        inbox.close();
        let mut disposed = dispose(&inbox);
        for thread in threads {
            disposed.extend(thread.join().unwrap());
        }
        disposed.sort_unstable();
        let number = |i: usize| (i / messages, i % messages);
        let expected: Vec<_> = (0..producers * messages).map(number).collect();
        assert_eq!(disposed, expected);
        assert!(inbox.is_empty());
    });
}

#[test]
fn loom_inbox_post_after_close_is_disposed_of_once() {
    closing(1, 2, false);
}

#[test]
fn loom_inbox_posters_and_closer_share_what_is_left() {
    closing(2, 1, false);
}

#[test]
fn loom_inbox_close_while_asleep() {
    closing(2, 1, true);
}

#[test]
fn loom_inbox_after_close_every_post_says_so() {
    loom::model(|| {
        let inbox = Inbox::new().unwrap();
        inbox.close();
        assert_eq!(post(&inbox, 0, 0), [(0, 0)]);
    });
}
