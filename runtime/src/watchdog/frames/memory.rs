//! Memory of this process, copied by the kernel.
//!
//! Invariant: an address that is not mapped is an answer, not a crash; no lock, no allocation, `errno` is the
//! caller's to keep.

/// So many bytes from there.
pub(super) fn bytes<const N: usize>(address: usize) -> Option<[u8; N]> {
    let mut copy = [0; N];
    fill(address, &mut copy).then_some(copy)
}

/// The word there.
pub(super) fn word_at(address: usize) -> Option<usize> {
    bytes(address).map(usize::from_ne_bytes)
}

/// Copies from there; whether all of it could be read.
pub(super) fn fill(address: usize, copy: &mut [u8]) -> bool {
    let local = libc::iovec {
        iov_base: copy.as_mut_ptr().cast(),
        iov_len: copy.len(),
    };
    let remote = libc::iovec {
        iov_base: address as *mut _,
        iov_len: copy.len(),
    };
    // SAFETY: no arguments, no effect; `local` is `copy`, and the kernel looks itself whether `remote` is there.
    let read = unsafe {
        libc::process_vm_readv(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0)
    };
    usize::try_from(read) == Ok(copy.len())
}

/// A word of what was copied.
pub(super) fn word(bytes: &[u8], offset: usize) -> usize {
    let mut word = [0; size_of::<usize>()];
    word.copy_from_slice(&bytes[offset..offset + size_of::<usize>()]);
    usize::from_ne_bytes(word)
}

/// An `int` of what was copied.
pub(super) fn int(bytes: &[u8], offset: usize) -> i32 {
    let mut int = [0; 4];
    int.copy_from_slice(&bytes[offset..offset + 4]);
    i32::from_ne_bytes(int)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_copied_and_the_rest_is_not() {
        let there = *b"there it";
        let address = there.as_ptr() as usize;
        assert_eq!(bytes(address), Some(there));
        assert_eq!(word_at(address), Some(usize::from_ne_bytes(there)));
        assert_eq!(bytes::<4>(8), None);
        assert_eq!(bytes::<4>(usize::MAX - 1), None);
        assert_eq!(int(&[9, 1, 0, 0, 0], 1), i32::from_ne_bytes([1, 0, 0, 0]));
    }
}
