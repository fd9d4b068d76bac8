//! What the files contain.

mod common;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use common::{alone, one_call, run, stamped};
use gilscope_instrument::{
    CallStamps, Detail, Flags, LoopRecorder, Status, attach_sink, clock, detach_sink, intern,
    set_detail, sink, stats,
};
use serde_json::Value;

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("gilscope-{}-{name}", std::process::id()))
}

/// A turn with a call that awaits twice and fails, and a task in it.
fn scene(recorder: &LoopRecorder) -> CallStamps {
    let mut stamps = CallStamps::begin();
    stamps.parent = 0xABC;
    stamps.enqueued();
    recorder.returned(clock::now());
    recorder.attached();
    let call = recorder.open(&stamps, intern("mod.fn"));
    for _ in 0..2 {
        recorder.poll_start(call);
        recorder.poll_end(call);
        recorder.suspended(call, intern("mod.py:3 in fn"));
        recorder.woken(call);
    }
    recorder.poll_start(call);
    let task = recorder.task_open(call, intern("mod.child"));
    recorder.task_poll_start(task);
    recorder.task_poll_end(task);
    recorder.task_close(task, Status::Ok);
    recorder.poll_end(call);
    recorder.error(call, "ValueError", "no \"good\"\n", "");
    recorder.close(call, Status::Error, Flags::UNDELIVERED);
    recorder.turn_end();
    stamps
}

fn lines(record: impl FnOnce(&LoopRecorder)) -> Vec<Value> {
    let recorder = LoopRecorder::new(4, "loop-4");
    let path = temporary("lines.jsonl");
    let id = attach_sink(Box::new(sink::JsonLines::new(&path).unwrap()));
    record(&recorder);
    detach_sink(id).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn find<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["span"] == kind).collect()
}

#[test]
fn test_json_lines_one_object_per_span() {
    let _alone = alone();
    let mut stamps = CallStamps::default();
    let lines = lines(|recorder| stamps = scene(recorder));
    let call = find(&lines, "call")[0];
    assert_eq!(call["id"], format!("{:016x}", stamps.id));
    assert_eq!(
        call["trace"],
        format!("{:016x}{:016x}", stamps.trace[0], stamps.trace[1])
    );
    assert_eq!(
        (&call["parent"], &call["name"]),
        (&"0000000000000abc".into(), &"mod.fn".into())
    );
    assert_eq!(
        (&call["status"], &call["polls"]),
        (&"error".into(), &3.into())
    );
    assert_eq!(call["flags"], serde_json::json!(["undelivered"]));
    let error = serde_json::json!({ "type": "ValueError", "message": "no \"good\"\n" });
    assert_eq!(call["error"], error);
    assert_eq!(call["start_ns"], clock::unix_ns(stamps.called));
    let suspended = find(&lines, "suspended");
    assert_eq!(
        (suspended.len(), &suspended[0]["at"]),
        (2, &"mod.py:3 in fn".into())
    );
    assert!(suspended[0]["wake_ns"].as_u64() >= suspended[0]["start_ns"].as_u64());
    let (turn, task) = (find(&lines, "loop.turn")[0], find(&lines, "task")[0]);
    assert_eq!((&turn["calls"], &turn["call"]), (&2.into(), &Value::Null));
    assert!(turn["cpu_ns"].is_u64() && turn.get("at").is_none());
    assert!(turn["gil_wait_ns"].as_u64() > Some(0) && turn.get("wake_ns").is_none());
    assert_eq!((&task["parent"], &task["call"]), (&call["id"], &call["id"]));
    assert!(
        find(&lines, "poll")
            .iter()
            .all(|poll| poll["turn"] == turn["id"])
    );
    let ids: HashSet<&str> = lines
        .iter()
        .map(|line| line["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), lines.len(), "every span has its own id");
}

#[test]
fn test_json_lines_parts_sum_exactly_in_nanoseconds() {
    let _alone = alone();
    let lines = lines(|recorder| {
        for polls in 1..50 {
            one_call(recorder, &stamped(), intern("sum"), polls);
        }
    });
    let mut sums: HashMap<&str, u64> = HashMap::new();
    for line in lines.iter().filter(|line| line["span"] != "call") {
        *sums.entry(line["parent"].as_str().unwrap()).or_default() +=
            line["dur_ns"].as_u64().unwrap();
    }
    for call in find(&lines, "call") {
        assert_eq!(call["dur_ns"], sums[call["id"].as_str().unwrap()]);
    }
}

#[test]
fn test_json_lines_call_detail_has_parts_in_the_call() {
    let _alone = alone();
    set_detail(Detail::Call);
    let lines = lines(|recorder| one_call(recorder, &stamped(), intern("parts"), 2));
    set_detail(Detail::Full);
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["parts"].as_object().unwrap().len(), 7);
    assert!(lines[0]["parts"]["gil.wait_ns"].is_u64());
}

#[test]
fn test_json_lines_escape_what_user_code_named() {
    let _alone = alone();
    let names = [
        "q\"uote",
        "back\\slash",
        "new\nline",
        "\u{1}\u{7f}",
        "gr\u{fc}n \u{1f40d}",
    ];
    let lines = lines(|recorder| {
        for name in names {
            one_call(recorder, &stamped(), intern(name), 1);
        }
        one_call(recorder, &stamped(), intern(""), 1);
    });
    let calls = find(&lines, "call");
    let found: HashSet<&str> = calls
        .iter()
        .filter_map(|call| call["name"].as_str())
        .collect();
    assert_eq!(found, names.into_iter().collect());
    let nameless = calls.iter().filter(|call| call["name"].is_null());
    assert_eq!(nameless.count(), 1);
}

#[test]
fn test_json_lines_every_flag_in_order() {
    let _alone = alone();
    let all = Flags(u16::MAX);
    let lines = lines(|recorder| {
        let call = recorder.open(&stamped(), intern("flags"));
        recorder.close(call, Status::Ok, all);
    });
    let words: Vec<&str> = all.names().collect();
    assert!(words.len() > 2);
    assert_eq!(find(&lines, "call")[0]["flags"], serde_json::json!(words));
}

fn chrome(limit: usize, record: impl FnOnce(&LoopRecorder)) -> (Vec<Value>, Value) {
    let recorder = LoopRecorder::new(4, "loop-4");
    let path = temporary("chrome.json");
    let sink = sink::Chrome::with_name(&path, "a test")
        .unwrap()
        .limit(limit);
    let id = attach_sink(Box::new(sink));
    record(&recorder);
    detach_sink(id).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    let mut file: Value = serde_json::from_str(&text).unwrap();
    let Value::Array(events) = file["traceEvents"].take() else {
        panic!("no events")
    };
    (events, file)
}

fn with_phase<'a>(events: &'a [Value], ph: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["ph"] == ph).collect()
}

#[test]
fn test_chrome_speaks_the_dialect() {
    let _alone = alone();
    let mut stamps = CallStamps::default();
    let (events, file) = chrome(400_000, |recorder| stamps = scene(recorder));
    assert_eq!(file["otherData"]["dropped_spans"], 0);
    let named = |name| events.iter().filter(move |event| event["name"] == name);
    assert_eq!(
        named("process_name").next().unwrap()["args"]["name"],
        "a test"
    );
    assert_eq!(
        named("thread_name").next().unwrap()["args"]["name"],
        "loop-4"
    );
    assert_eq!(named("thread_sort_index").count(), 1);
    let begun = |name| {
        let begins = |event: &&Value| event["ph"] == "b" && event["name"] == name;
        &events.iter().find(begins).unwrap()["args"]
    };
    let id = Value::from(format!("{:016x}", stamps.id));
    let (call, task) = (begun("mod.fn"), begun("mod.child"));
    assert_eq!(
        (&call["parent"], &call["call"]),
        (&"0000000000000abc".into(), &Value::Null)
    );
    assert_eq!((&task["parent"], &task["call"]), (&id, &id));
    let slices = with_phase(&events, "X");
    let turn = slices
        .iter()
        .find(|slice| slice["name"] == "loop.turn")
        .unwrap();
    let within = |slice: &Value, at: &str| {
        let (start, end) = (turn["ts"].as_f64().unwrap(), turn["dur"].as_f64().unwrap());
        let at = slice[at].as_f64().unwrap();
        at >= start - 0.001 && at <= start + end + 0.001
    };
    let polls: Vec<_> = slices
        .iter()
        .filter(|slice| slice["name"] == "poll")
        .collect();
    assert_eq!(polls.len(), 4);
    assert!(
        polls
            .iter()
            .all(|poll| within(poll, "ts") && poll["tid"] == turn["tid"])
    );
    let starts: HashSet<String> = polls.iter().map(|poll| poll["ts"].to_string()).collect();
    let flows = with_phase(&events, "f");
    assert_eq!((flows.len(), with_phase(&events, "s").len()), (2, 2));
    assert!(
        flows
            .iter()
            .all(|f| f["bp"] == "e" && starts.contains(&f["ts"].to_string()))
    );
    assert!(with_phase(&events, "s").iter().all(|s| within(s, "ts")));
    let counters: Vec<_> = with_phase(&events, "C")
        .iter()
        .map(|c| c["args"]["calls"].as_i64().unwrap())
        .collect();
    assert_eq!(counters, [1, 0]);
}

#[test]
fn test_chrome_async_events_nest() {
    let _alone = alone();
    let mut ids = Vec::new();
    let (events, _) = chrome(400_000, |recorder| {
        for polls in [1, 2, 3, 200] {
            let stamps = stamped();
            ids.push(format!("{:#x}", stamps.id));
            one_call(recorder, &stamps, intern("nest"), polls);
        }
    });
    for id in ids {
        let mut own: Vec<_> = events
            .iter()
            .filter(|event| event["id2"]["local"] == *id)
            .collect();
        // As Perfetto does: by time, and where that is the same in the order of the file.
        own.sort_by(|a, b| {
            a["ts"]
                .as_f64()
                .unwrap()
                .total_cmp(&b["ts"].as_f64().unwrap())
        });
        let mut stack = Vec::new();
        for event in own {
            if event["ph"] == "b" {
                stack.push(&event["name"]);
                assert!(stack.len() <= 2 && stack[0] == "nest", "{stack:?}");
            } else {
                assert_eq!(stack.pop(), Some(&event["name"]));
            }
        }
        assert!(stack.is_empty());
    }
}

#[test]
fn test_chrome_stops_at_its_limit_and_says_so() {
    let _alone = alone();
    let (events, file) = chrome(50, |recorder| {
        (0..100).for_each(|_| one_call(recorder, &stamped(), intern("limit"), 1));
    });
    assert!(with_phase(&events, "M").len() == 3 && events.len() <= 50 + 3);
    let dropped = file["otherData"]["dropped_spans"].as_u64().unwrap();
    assert!(dropped > 0);
    assert_eq!(stats().dropped.sink, dropped);
}

#[test]
fn test_chrome_empty_file_is_valid() {
    let _alone = alone();
    let (events, _) = chrome(400_000, |_| ());
    assert_eq!(events.len(), 1);
}

#[test]
fn test_files_that_cannot_be_written_fail_at_once() {
    let missing = temporary("missing").join("file");
    assert!(sink::JsonLines::new(&missing).is_err());
    assert!(sink::Chrome::new(&missing).is_err());
}

#[test]
fn test_files_on_a_full_disk_fail_at_close_and_count() {
    let _alone = alone();
    let recorder = LoopRecorder::new(1, "full");
    let id = attach_sink(Box::new(sink::JsonLines::new("/dev/full").unwrap()));
    let call = recorder.open(&stamped(), intern("full"));
    run(&recorder, call, 2000);
    recorder.close(call, Status::Ok, Flags::default());
    let error = detach_sink(id).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    assert!(stats().dropped.sink > 0);
}
