//! See `vmwire_protocol::fuzzing::server_session`.
#![no_main]

use std::sync::LazyLock;
use std::time::Instant;

/// One beginning for all runs of the process: a run may not depend on when it takes place.
static NOW: LazyLock<Instant> = LazyLock::new(Instant::now);

libfuzzer_sys::fuzz_target!(|data: &[u8]| vmwire_protocol::fuzzing::server_session(data, *NOW));
