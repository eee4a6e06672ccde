//! A descriptor that is put by for a client: when all others are taken, by whatever part of the program, somebody can
//! still be served.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// See the module's docs.
#[derive(Debug, Default)]
pub(super) struct Spare(Option<OwnedFd>);

impl Spare {
    /// Puts one by, unless there is one. It refers to the same as another one does, as it must refer to something.
    ///
    /// # Errors
    ///
    /// `EMFILE` or `ENFILE` where there is none to be had.
    pub(super) fn put_by(&mut self, same: impl AsFd) -> io::Result<()> {
        if self.0.is_none() {
            self.0 = Some(same.as_fd().try_clone_to_owned()?);
        }
        Ok(())
    }

    /// Lets go of it, so that it is the next to be had.
    pub(super) fn let_go(&mut self) {
        self.0 = None;
    }
}
