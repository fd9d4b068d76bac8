//! A stack as people read it, and where in it their own code is.
//!
//! Invariant: says what was written, and guesses at nothing.

use super::frames::{Frame, frames_of};

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
pub(super) fn of(written: &str, folders: &Folders) -> (Vec<String>, Option<usize>) {
    let user = frames_of(written).position(|frame| folders.is_users(frame.file));
    let line = |frame: Frame<'_>| {
        let function = frame
            .function
            .rsplit("<locals>.")
            .next()
            .unwrap_or_default();
        format!("{}:{} in {function}", frame.file, frame.line)
    };
    (frames_of(written).map(line).collect(), user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_user_function_is_found() {
        let frames = [
            ("/usr/lib/python3.12/threading.py", "629", "Event.wait"),
            ("/venv/gilscope/_runtime.py", "3", "call"),
            ("<frozen runpy>", "88", "_run_code"),
            ("/srv/my \"app\".py", "12", "serve.<locals>.busy"),
            ("/usr/lib/python3.12/site-packages/x.py", "?", "outer"),
        ];
        let written: Vec<_> = frames
            .iter()
            .map(|(file, line, function)| format!("{file}\0{line}\0{function}\0"))
            .collect();
        let folders = Folders {
            standard: "/usr/lib/python3.12/".into(),
            ours: "/venv/gilscope/".into(),
        };
        let (frames, user) = of(&written.concat(), &folders);
        assert_eq!(frames.len(), 5);
        assert_eq!(user, Some(3));
        assert_eq!(frames[3], "/srv/my \"app\".py:12 in busy");
        assert_eq!(
            frames[4],
            "/usr/lib/python3.12/site-packages/x.py:? in outer"
        );
    }

    #[test]
    fn nothing_written_has_no_frames() {
        assert_eq!(of("", &Folders::default()), (vec![], None));
    }
}
