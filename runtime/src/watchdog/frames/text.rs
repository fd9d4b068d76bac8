//! Frames as text: the fields of each, ended by zeroes, in memory that is there already.
//!
//! Invariant: a frame is written whole or not at all; what is written is UTF-8.

/// A file, a line and a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::watchdog) struct Frame<'a> {
    pub(in crate::watchdog) file: &'a str,
    pub(in crate::watchdog) line: &'a str,
    pub(in crate::watchdog) function: &'a str,
}

/// Where frames are written to.
pub(in crate::watchdog) struct Text<'a> {
    room: &'a mut [u8],
    written: usize,
    is_full: bool,
}

impl<'a> Text<'a> {
    pub(in crate::watchdog) fn new(room: &'a mut [u8]) -> Self {
        Self {
            room,
            written: 0,
            is_full: false,
        }
    }

    /// Bytes of whole frames.
    pub(in crate::watchdog) fn written(&self) -> usize {
        self.written
    }

    /// Takes back what was written of a frame that could not be finished.
    pub(super) fn frame(&mut self, write: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        let before = self.written;
        let whole = write(self).filter(|()| !self.is_full);
        if whole.is_none() {
            self.written = before;
        }
        whole
    }

    pub(super) fn character(&mut self, character: char) {
        let mut bytes = [0; 4];
        let bytes = character.encode_utf8(&mut bytes).as_bytes();
        match self.room.get_mut(self.written..self.written + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.written += bytes.len();
            }
            None => self.is_full = true,
        }
    }

    pub(super) fn number(&mut self, number: u32) {
        let mut power = 1_000_000_000;
        while power > 1 && number < power {
            power /= 10;
        }
        while power > 0 {
            let digit = number / power % 10;
            self.character(char::from(b'0' + digit as u8));
            power /= 10;
        }
    }

    pub(super) fn end_of_field(&mut self) {
        self.character('\0');
    }
}

/// What was written, apart.
pub(in crate::watchdog) fn frames_of(written: &str) -> impl Iterator<Item = Frame<'_>> {
    let mut fields = written.split_terminator('\0');
    std::iter::from_fn(move || {
        Some(Frame {
            file: fields.next()?,
            line: fields.next()?,
            function: fields.next()?,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_does_not_fit_is_left_out() {
        let mut room = [0; 16];
        let mut text = Text::new(&mut room);
        let frame = |text: &mut Text<'_>, file: &str| {
            text.frame(|text| {
                file.chars().for_each(|each| text.character(each));
                text.end_of_field();
                text.number(1205);
                text.end_of_field();
                text.character('ü');
                text.end_of_field();
                Some(())
            })
        };
        assert_eq!(frame(&mut text, "a.py"), Some(()));
        let written = text.written();
        assert_eq!(frame(&mut text, "b.py"), None);
        assert_eq!(text.written(), written);
        let text = std::str::from_utf8(&room[..written]).unwrap();
        let whole = Frame {
            file: "a.py",
            line: "1205",
            function: "ü",
        };
        assert_eq!(frames_of(text).collect::<Vec<_>>(), [whole]);
    }

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 7, 10, 90_210, u32::MAX] {
            let mut room = [0; 16];
            let mut text = Text::new(&mut room);
            text.number(number);
            let written = text.written();
            assert_eq!(room[..written], *number.to_string().as_bytes());
        }
    }
}
