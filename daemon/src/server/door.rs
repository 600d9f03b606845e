//! What the core and its driver get of the process: the loop's watch and the file helper, and nothing else.

use std::io;
use std::time::Instant;

use mio::Token;
use mio::event::Source;

use super::Who;
use crate::driver::{FileRequest, FileTicket, Host};
use crate::event_loop::Readiness;
use crate::files::Files;

/// The loop and the file helper, lent out for a while within a turn.
pub(super) struct Door<'a> {
    pub(super) now: Instant,
    pub(super) readiness: &'a mut Readiness<Who>,
    pub(super) files: &'a mut Files,
}

impl Host for Door<'_> {
    fn watch(&mut self, source: &mut dyn Source) -> io::Result<Token> {
        self.readiness.watch(source, Who::Driver)
    }

    fn unwatch(&mut self, source: &mut dyn Source, token: Token) {
        self.readiness.unwatch(source, token);
    }

    fn file(&mut self, request: FileRequest) -> FileTicket {
        self.files.submit(self.now, self.readiness, Who::Files, &request)
    }
}
