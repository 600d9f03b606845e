//! The command line: `vmwire NOUN VERB`.

mod exit;

pub use exit::Exit;
