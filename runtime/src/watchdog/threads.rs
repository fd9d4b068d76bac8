//! The threads of this process, as the system lists them.
//!
//! Invariant: needs neither Python nor any of those threads.

/// A thread, and whether it runs now.
pub(super) struct Thread {
    pub(super) tid: u32,
    pub(super) runs: bool,
}

/// Threads of ours that never hold the GIL, by how the fifteen letters begin that the system keeps of a
/// name.
const NEVER: [&str; 4] = [
    "gilscope-watchd",
    "gilscope-conver",
    "gilscope-otlp",
    "gilscope-tokio",
];

/// Threads that may hold the GIL, without those that wait for it.
pub(super) fn candidates(waiting: &[u32]) -> Vec<Thread> {
    let Ok(folder) = std::fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    let tids = folder.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let tids = tids.filter(|tid: &u32| !waiting.contains(tid));
    tids.filter_map(|tid| {
        let (name, state) = read(tid)?;
        let may = !NEVER.iter().any(|never| name.starts_with(never));
        may.then_some(Thread {
            tid,
            // On a processor, or in a system call that nothing interrupts.
            runs: matches!(state, 'R' | 'D'),
        })
    })
    .collect()
}

/// What the system calls a thread, or its number: most are called as their process.
pub(super) fn name(tid: u32) -> String {
    let process = read(std::process::id()).map(|(name, _)| name);
    match read(tid) {
        Some((name, _)) if Some(&name) != process.as_ref() => name,
        _ => tid.to_string(),
    }
}

fn read(tid: u32) -> Option<(String, char)> {
    let stat = std::fs::read(format!("/proc/self/task/{tid}/stat")).ok()?;
    parse(&String::from_utf8_lossy(&stat))
}

/// `12 (name, which may have brackets) S …`
fn parse(stat: &str) -> Option<(String, char)> {
    let (before, after) = stat.rsplit_once(") ")?;
    let (_, name) = before.split_once(" (")?;
    Some((name.to_owned(), after.chars().next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_have_anything_in_it() {
        let parsed = parse("12 (a) b (c) R 1 2 3");
        assert_eq!(parsed, Some(("a) b (c".to_owned(), 'R')));
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn this_thread_is_listed_and_the_waiting_are_not() {
        // SAFETY: no arguments, no effect.
        let me = unsafe { libc::gettid() } as u32;
        assert!(candidates(&[]).iter().any(|thread| thread.tid == me));
        assert!(candidates(&[me]).iter().all(|thread| thread.tid != me));
    }
}
