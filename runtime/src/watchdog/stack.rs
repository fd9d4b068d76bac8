//! What `faulthandler` wrote, taken apart.
//!
//! Invariant: whatever comes through the pipe, frames are what is kept, and not more than 100.

const MOST: usize = 100;

/// Whose files are not the user's, by the beginnings of their names.
#[derive(Clone, Debug, Default)]
pub(super) struct Folders {
    pub(super) standard: String,
    pub(super) ours: String,
}

impl Folders {
    fn is_users(&self, file: &str) -> bool {
        let installed = file.contains("/site-packages/") || file.contains("/dist-packages/");
        let is_in = |folder: &str| !folder.is_empty() && file.starts_with(folder);
        let ours = file.starts_with("gilscope/") || is_in(&self.ours);
        let standard = file.starts_with('<') || (is_in(&self.standard) && !installed);
        !ours && !standard
    }
}

/// The frames of a stack, innermost first, `file:line in function`, and which is the innermost of the
/// user's code.
pub(super) fn parse(written: &str, folders: &Folders) -> (Vec<String>, Option<usize>) {
    let frames = written.lines().filter_map(frame).take(MOST);
    let frames: Vec<_> = frames.collect();
    let user = frames.iter().position(|(file, _)| folders.is_users(file));
    (frames.into_iter().map(|(_, frame)| frame).collect(), user)
}

/// `  File "/srv/app.py", line 12 in busy`
fn frame(line: &str) -> Option<(&str, String)> {
    let rest = line.strip_prefix("  File \"")?;
    let (file, rest) = rest.rsplit_once("\", line ")?;
    let (number, function) = rest.split_once(" in ")?;
    Some((file, format!("{file}:{number} in {function}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_user_function_is_found() {
        let written = "Stack (most recent call first):
  File \"/usr/lib/python3.12/threading.py\", line 629 in wait
  File \"/venv/gilscope/_runtime.py\", line 3 in call
  File \"<frozen runpy>\", line 88 in _run_code
  File \"/srv/my \\\"app\\\".py\", line 12 in busy
  File \"/usr/lib/python3.12/site-packages/x.py\", line ??? in outer
  ...
";
        let folders = Folders {
            standard: "/usr/lib/python3.12/".into(),
            ours: "/venv/gilscope/".into(),
        };
        let (frames, user) = parse(written, &folders);
        assert_eq!(frames.len(), 5);
        assert_eq!(user, Some(3));
        assert_eq!(frames[3], "/srv/my \\\"app\\\".py:12 in busy");
        assert_eq!(
            frames[4],
            "/usr/lib/python3.12/site-packages/x.py:??? in outer"
        );
    }

    #[test]
    fn what_is_no_stack_has_no_frames() {
        let nothing = Folders::default();
        assert_eq!(
            parse("  File \"a\", line 1\n\n  <no Python frame>", &nothing),
            (vec![], None)
        );
        let (frames, user) = parse(&"  File \"a\", line 1 in f\n".repeat(1000), &nothing);
        assert_eq!((frames.len(), user), (MOST, Some(0)));
    }
}
