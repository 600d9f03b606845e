//! Questions that only a person can answer while a connection is made: whether a host is the one that is meant, and the
//! secrets that open the way to it. Who gives no [`Ask`] in the [`Options`](crate::connection::Options) is asked nothing.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

/// Somebody who can be asked. Threads that connect to several hosts share one, so it sees to it that only one question is
/// asked at a time.
pub trait Ask: fmt::Debug + Send + Sync {
    /// Whether there is anybody at all.
    fn is_there(&self) -> bool;

    /// Whether this host, of which nothing is known, is the one that is meant.
    ///
    /// # Errors
    /// When nobody can be asked any more.
    fn is_meant(&self, host: &UnknownHost<'_>) -> io::Result<bool>;

    /// What is asked for; `None` when the person breaks off.
    ///
    /// # Errors
    /// When nobody can be asked any more.
    fn answer(&self, question: &Question<'_>) -> io::Result<Option<Secret>>;

    /// Whether the terminal may be left to a program of its own for as long as it runs. Not where other connections are
    /// made at the same time: a password typed for one host would go to whichever of them reads first.
    fn is_alone(&self) -> bool {
        true
    }

    /// What was said on the way by ssh or the far side, which is no failure of ours. The text is not ours either.
    fn tell(&self, _place: &str, _line: &str) {}
}

/// A host that shows a key which was never seen before.
#[derive(Debug, Clone, Copy)]
pub struct UnknownHost<'a> {
    /// Its name as it will be remembered: `vm1.example.org`, or `[vm1.example.org]:2222` off the usual port.
    pub name: &'a str,
    /// The kind of its key: `ED25519`, `ECDSA`, `RSA`.
    pub key: &'a str,
    /// The key's fingerprint, `SHA256:` and 43 characters.
    pub fingerprint: &'a str,
    /// Where it will be remembered.
    pub file: &'a Path,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub enum Question<'a> {
    /// What a key file is encrypted with.
    Passphrase {
        /// The file.
        file: &'a Path,
        /// The answer before this one was wrong.
        again: bool,
    },
    /// The password of a user of a host.
    Password {
        /// The user.
        user: &'a str,
        /// The host.
        host: &'a str,
        /// The answer before this one was wrong.
        again: bool,
    },
    /// Whatever the host wants to know. Its words are its own.
    Interactive {
        /// The user.
        user: &'a str,
        /// The host.
        host: &'a str,
        /// What the host says before it asks.
        instructions: &'a str,
        /// What it asks.
        text: &'a str,
        /// Whether what is typed may be seen.
        echo: bool,
    },
}

/// An answer that nobody else is to see: its memory is wiped when it goes, and it cannot be printed.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Keeps a text secret from here on.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// When connecting has to be done, and whoever can be asked on the way. The time in which a person thinks does not count.
#[derive(Debug)]
pub(crate) struct Asking {
    ask: Option<Arc<dyn Ask>>,
    until: Cell<Instant>,
}

impl Asking {
    pub(crate) fn new(ask: Option<Arc<dyn Ask>>, until: Instant) -> Self {
        Self { ask, until: Cell::new(until) }
    }

    /// When to give up, as far as it is known now.
    pub(crate) fn until(&self) -> Instant {
        self.until.get()
    }

    /// How long it is until then.
    pub(crate) fn left(&self) -> Duration {
        self.until().saturating_duration_since(Instant::now())
    }

    /// Whoever can be told something later.
    pub(crate) fn teller(&self) -> Option<Arc<dyn Ask>> {
        self.ask.clone().filter(|ask| ask.is_there())
    }

    /// Whether a program may ask by itself.
    pub(crate) fn is_alone(&self) -> bool {
        self.ask.as_ref().is_some_and(|ask| ask.is_there() && ask.is_alone())
    }

    /// Whether anybody can be asked.
    #[cfg(feature = "ssh2")]
    pub(crate) fn is_there(&self) -> bool {
        self.ask.as_ref().is_some_and(|ask| ask.is_there())
    }

    /// Whether a host is meant; it is not where there is nobody to say so.
    #[cfg(feature = "ssh2")]
    pub(crate) fn is_meant(&self, host: &UnknownHost<'_>) -> io::Result<bool> {
        Ok(self.off_the_clock(|ask| ask.is_meant(host))?.unwrap_or(false))
    }

    /// An answer; `None` where there is nobody, or the person breaks off.
    #[cfg(feature = "ssh2")]
    pub(crate) fn answer(&self, question: &Question<'_>) -> io::Result<Option<Secret>> {
        Ok(self.off_the_clock(|ask| ask.answer(question))?.flatten())
    }

    #[cfg(feature = "ssh2")]
    fn off_the_clock<T>(&self, question: impl FnOnce(&dyn Ask) -> io::Result<T>) -> io::Result<Option<T>> {
        let Some(ask) = self.ask.as_deref().filter(|ask| ask.is_there()) else { return Ok(None) };
        let began = Instant::now();
        let answer = question(ask);
        self.until.set(self.until() + began.elapsed());
        answer.map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        let secret = Secret::new("swordfish".to_owned());
        assert_eq!(format!("{secret:?}"), "Secret");
        assert_eq!(secret.reveal(), "swordfish");
    }
}
