//! The ring under the model checker: every interleaving of a producer and a consumer.
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p gilscope-instrument --release --test loom_ring`.
#![cfg(loom)]

use gilscope_instrument::ring::{Consumer, Pushed, Words, ring};
use loom::thread;

fn words(value: u64) -> Words {
    [value; 8]
}

/// Reads what is published now; every slot must be whole.
fn read(consumer: &mut Consumer) -> Vec<u64> {
    let end = consumer.published();
    let mut values = Vec::new();
    while let Some(slot) = consumer.next(end) {
        assert_eq!(slot, words(slot[0]), "a torn slot");
        values.push(slot[0]);
    }
    consumer.release();
    values
}

#[test]
fn loom_ring_records_arrive_whole_and_in_order() {
    loom::model(|| {
        let (producer, mut consumer) = ring(4);
        let writer = thread::spawn(move || {
            let mut stored = Vec::new();
            for value in 1..=3u64 {
                if producer.push([words(2 * value), words(2 * value + 1)]) != Pushed::Full {
                    stored.extend([2 * value, 2 * value + 1]);
                }
            }
            stored
        });
        let mut got = read(&mut consumer);
        assert_eq!(got.len() % 2, 0, "half of a record was published");
        got.extend(read(&mut consumer));
        let stored = writer.join().unwrap();
        got.extend(read(&mut consumer));
        assert_eq!(got, stored);
        assert_eq!(consumer.dropped() as usize, 3 - stored.len() / 2);
    });
}

#[test]
fn loom_ring_reuses_slots_only_after_release() {
    loom::model(|| {
        let (producer, mut consumer) = ring(4);
        for value in 1..=4u64 {
            assert_ne!(producer.push([words(value)]), Pushed::Full);
        }
        let writer = thread::spawn(move || producer.push([words(5)]) != Pushed::Full);
        let mut got = read(&mut consumer);
        let stored = writer.join().unwrap();
        got.extend(read(&mut consumer));
        let expected: Vec<u64> = (1..=if stored { 5 } else { 4 }).collect();
        assert_eq!(got, expected);
    });
}
