//! The manual's tables are the ones generated from the list of points.

use gilscope_instrument::point::{Point, point_table, span_table};
use gilscope_instrument::{SpanKind, Status};

#[test]
fn test_the_manual_has_the_generated_tables() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/spans.md");
    let manual = std::fs::read_to_string(path).unwrap();
    for table in [span_table(), point_table()] {
        assert!(
            manual.contains(&table),
            "docs/spans.md lacks this table:\n\n{table}"
        );
    }
}

#[test]
fn test_the_lists_are_in_the_order_of_their_numbers() {
    for (number, point) in Point::ALL.into_iter().enumerate() {
        assert_eq!(point as usize, number);
    }
    for (number, kind) in SpanKind::ALL.into_iter().enumerate() {
        assert_eq!(kind as usize, number);
    }
    for (number, status) in Status::ALL.into_iter().enumerate() {
        assert_eq!(status as usize, number);
    }
}

#[test]
fn test_the_parts_of_a_call_follow_each_other() {
    use SpanKind::{Callback, Enqueue, GilWait, Poll, Queued, Ready, Suspended};
    let parts = [
        Enqueue, Queued, GilWait, Ready, Poll, Suspended, Poll, Callback,
    ];
    assert_eq!(
        (parts[0].from(), parts[7].until()),
        (SpanKind::Call.from(), SpanKind::Call.until())
    );
    for pair in parts.windows(2) {
        assert_eq!(pair[0].until(), pair[1].from());
    }
}
