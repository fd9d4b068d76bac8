//! Where the socket is: a folder that only this user can enter.
//!
//! Invariant: nothing is made in a folder, or taken from it, before it is seen to be this user's own
//! and closed to others.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// Longest path of a socket, its NUL included (`sockaddr_un`).
const LONGEST: usize = 108;

/// The user that this process acts for.
pub(super) fn own_uid() -> u32 {
    // SAFETY: no arguments, no effect.
    unsafe { libc::geteuid() }
}

/// The socket of this process; its folder is there, and safe.
pub(super) fn socket() -> io::Result<PathBuf> {
    let name = format!("{}.sock", std::process::id());
    let fits = |folder: &PathBuf| folder.as_os_str().len() + 1 + name.len() < LONGEST;
    let own = format!("gilscope-{}", own_uid());
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    // As the specification of that variable asks: otherwise it is to be ignored.
    let runtime = runtime.filter(|folder| folder.is_absolute() && check(folder).is_ok());
    let folder = match runtime.map(|folder| folder.join("gilscope")).filter(fits) {
        Some(folder) => folder,
        None => {
            let temporary = std::env::temp_dir().join(&own);
            if temporary.is_absolute() && fits(&temporary) {
                temporary
            } else {
                Path::new("/tmp").join(&own)
            }
        }
    };
    make(&folder)?;
    remove_stale(&folder);
    Ok(folder.join(name))
}

fn make(folder: &Path) -> io::Result<()> {
    let made = std::fs::DirBuilder::new().mode(0o700).create(folder);
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(io::Error::new(error.kind(), said(folder, &error)))
        }
        _ => check(folder),
    }
}

/// An error if it is not a folder, is a link to one, is somebody else's or open to others.
fn check(folder: &Path) -> io::Result<()> {
    let refuse = |why: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    let found = std::fs::symlink_metadata(folder);
    let found = found.map_err(|error| io::Error::new(error.kind(), said(folder, &error)))?;
    if !found.is_dir() {
        return refuse(said(folder, &"it is not a folder"));
    }
    if found.uid() != own_uid() {
        return refuse(said(folder, &format!("it belongs to user {}", found.uid())));
    }
    if found.mode() & 0o077 != 0 {
        let mode = found.mode() & 0o777;
        return refuse(said(
            folder,
            &format!("others may enter it (its mode is {mode:o}, not 700)"),
        ));
    }
    Ok(())
}

fn said(folder: &Path, why: &dyn std::fmt::Display) -> String {
    format!("{}: {why}", folder.display())
}

/// Removes sockets that processes have left behind which are no more, and one of this number.
fn remove_stale(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_suffix(".sock"));
        let Some(pid) = pid.and_then(|pid| pid.parse::<u32>().ok()) else {
            continue;
        };
        let socket = entry.file_type().is_ok_and(|kind| kind.is_socket());
        // One of another process that lives may be bound and not listen yet. And one whose process
        // does not live here may listen: there are containers that share a folder.
        if socket && (pid == std::process::id() || !lives(pid)) && is_refused(&entry.path()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn lives(pid: u32) -> bool {
    // SAFETY: signal 0 is sent to nobody.
    let sent = unsafe { libc::kill(pid.cast_signed(), 0) };
    sent == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

/// Whether nobody listens there. Does not wait.
fn is_refused(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    // SAFETY: all zero is a valid address.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    if bytes.len() >= address.sun_path.len() {
        return false;
    }
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = from.cast_signed();
    }
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: a new descriptor, used with an address of the given size and closed once.
    unsafe {
        let socket = libc::socket(libc::AF_UNIX, kind, 0);
        if socket < 0 {
            return false;
        }
        let size = size_of::<libc::sockaddr_un>() as libc::socklen_t;
        let connected = libc::connect(socket, (&raw const address).cast(), size);
        let refused =
            connected != 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ECONNREFUSED);
        libc::close(socket);
        refused
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::os::unix::net::UnixListener;

    use super::{check, is_refused, make, remove_stale};

    fn folder(name: &str) -> std::path::PathBuf {
        let folder = format!("gilscope-place-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        let _ = std::fs::remove_dir_all(&folder);
        folder
    }

    #[test]
    fn a_folder_is_made_for_its_owner_alone() {
        let folder = folder("made");
        make(&folder).expect("made");
        make(&folder).expect("taken as it is");
        let mode = std::fs::metadata(&folder).expect("there").permissions();
        assert_eq!(mode.mode() & 0o777, 0o700);
        std::fs::remove_dir(&folder).expect("removed");
    }

    #[test]
    fn a_folder_that_others_can_enter_a_link_and_a_file_are_refused() {
        let folder = folder("refused");
        make(&folder).expect("made");
        std::fs::set_permissions(&folder, Permissions::from_mode(0o750)).expect("set");
        let why = make(&folder).expect_err("open to the group").to_string();
        assert!(why.contains("750"), "{why}");
        std::fs::set_permissions(&folder, Permissions::from_mode(0o700)).expect("set");
        let (link, file) = (folder.join("link"), folder.join("file"));
        symlink(&folder, &link).expect("linked");
        std::fs::write(&file, "").expect("written");
        for wrong in [&link, &file] {
            let why = check(wrong).expect_err("not a folder").to_string();
            assert!(why.contains("not a folder"), "{why}");
        }
        std::fs::remove_dir_all(&folder).expect("removed");
    }

    #[test]
    fn only_what_dead_processes_left_is_removed() {
        let folder = folder("stale");
        make(&folder).expect("made");
        // No process has this number: it is above the most that there may be.
        let dead = folder.join("2000000001.sock");
        let listening = folder.join("2000000002.sock");
        let alive = folder.join("1.sock");
        let other = folder.join("2000000003.txt");
        drop(UnixListener::bind(&dead).expect("bound"));
        let listener = UnixListener::bind(&listening).expect("bound");
        drop(UnixListener::bind(&alive).expect("bound"));
        std::fs::write(&other, "").expect("written");
        assert!(is_refused(&dead) && !is_refused(&listening));
        remove_stale(&folder);
        assert!(!dead.exists());
        assert!(listening.exists() && alive.exists() && other.exists());
        drop(listener);
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
