//! The hand-over list and its bell under the model checker: every interleaving of producers and the
//! consumer, as the loop thread is one.
#![cfg(loom)]

use gilscope_queue_model::inbox::Inbox;
use gilscope_queue_model::message::{message, read};
use gilscope_queue_model::stack::{Pushed, Stack};
use loom::sync::Arc;
use loom::thread::{self, JoinHandle};

/// Explores what up to three preemptions can do; more adds hours and, with two producers, nothing.
fn model(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(test);
}

fn take(stack: &Stack) -> Vec<(usize, usize)> {
    // SAFETY: every message of these tests is from `message`.
    stack.take().map(|link| unsafe { read(link) }).collect()
}

/// A thread that pushes its messages; how many of its pushes had to wake.
fn producer(stack: &Arc<Stack>, producer: usize, messages: usize) -> JoinHandle<usize> {
    let stack = Arc::clone(stack);
    thread::spawn(move || {
        // SAFETY: a fresh message each.
        let push = |number| unsafe { stack.push(message(producer, number)) };
        (0..messages)
            .filter(|number| push(*number) == Pushed::MustWake)
            .count()
    })
}

/// Nothing lost, nothing twice, and each producer's in the order of its pushes.
fn check_complete(taken: &[(usize, usize)], producers: usize, messages: usize) {
    for producer in 0..producers {
        let of = taken
            .iter()
            .filter(|(by, _)| *by == producer)
            .map(|(_, number)| *number);
        assert_eq!(of.collect::<Vec<_>>(), (0..messages).collect::<Vec<_>>());
    }
    assert_eq!(taken.len(), producers * messages);
}

#[test]
fn loom_stack_loses_and_repeats_nothing_and_keeps_order() {
    model(|| {
        let stack = Arc::new(Stack::new());
        let producers = [producer(&stack, 0, 2), producer(&stack, 1, 2)];
        let mut taken = take(&stack);
        taken.extend(take(&stack));
        for producer in producers {
            assert_eq!(producer.join().unwrap(), 0, "the consumer never slept");
        }
        taken.extend(take(&stack));
        check_complete(&taken, 2, 2);
    });
}

#[test]
fn loom_stack_one_sleep_is_ended_by_one_push() {
    model(|| {
        let stack = Arc::new(Stack::new());
        assert!(stack.try_sleep());
        let producers = [producer(&stack, 0, 2), producer(&stack, 1, 1)];
        let woken: usize = producers.into_iter().map(|it| it.join().unwrap()).sum();
        assert_eq!(woken, 1);
        assert_eq!(take(&stack).len(), 3);
    });
}

#[test]
fn loom_stack_sleeps_only_when_empty() {
    model(|| {
        let stack = Arc::new(Stack::new());
        let pushing = producer(&stack, 0, 1);
        let slept = stack.try_sleep();
        let woken = pushing.join().unwrap();
        assert_eq!(
            woken,
            usize::from(slept),
            "a sleep that no push ends, or a needless wake"
        );
        assert_eq!(take(&stack), [(0, 0)]);
        assert!(stack.try_sleep());
        assert!(
            stack.try_sleep(),
            "asleep already is as good as going to sleep"
        );
        assert!(stack.is_empty());
    });
}

/// The loop thread: drains, sleeps, waits. If a wake were lost it would wait for ever, which the
/// checker reports.
fn consume(inbox: &Inbox, messages: usize) -> Vec<(usize, usize)> {
    let mut taken = Vec::new();
    loop {
        // SAFETY: every message of these tests is from `message`.
        taken.extend(inbox.take().map(|link| unsafe { read(link) }));
        if taken.len() >= messages {
            return taken;
        }
        if inbox.try_sleep() {
            inbox.bell().wait_and_clear();
        }
    }
}

#[test]
fn loom_stack_no_wake_is_lost() {
    model(|| {
        let inbox = Arc::new(Inbox::new().unwrap());
        let post = |by: usize, messages: usize| {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || {
                for number in 0..messages {
                    // SAFETY: a fresh message.
                    assert!(
                        !unsafe { inbox.post(message(by, number)) },
                        "nobody closed it"
                    );
                }
            })
        };
        let producers = [post(0, 2), post(1, 1)];
        let taken = consume(&inbox, 3);
        for producer in producers {
            producer.join().unwrap();
        }
        assert_eq!(taken.iter().filter(|(by, _)| *by == 0).count(), 2);
        assert_eq!(taken.len(), 3);
    });
}
