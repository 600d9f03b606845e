//! Proving who comes, in the ssh program's order: the agent's keys, key files, and, where there is a person, whatever the
//! host asks and the password.

use std::path::Path;
use std::sync::mpsc;
use std::time::Instant;

use ssh2::{KeyboardInteractivePrompt, Prompt, Session};

use super::Wanted;
use super::agent::{AgentError, Held, is_certificate, is_in_a_token};
use super::error::{Denied, NativeError, Note, Stage};
use super::host_key::HostKey;
use super::key_file::{BY_THE_PROGRAM, KeyFile, KeyFileError, public_of};
use super::session::{Failed, SOCKET_GONE, Talk, code};
use crate::ask::{Asking, Question, Secret};

/// What libssh2 answers when the host refuses what it was shown, and when the host has gone before it could answer.
const REFUSED: i32 = -18;
const PASSWORD_EXPIRED: i32 = -15;
const UNANSWERED: &str = "Waiting for";

/// And when it takes a signature, but wants more than that.
const UNVERIFIED: i32 = -19;
const NOT_ENOUGH: &str = "Invalid signature";

/// Ways to be let in that a host has, and how long their names are: there are five, and none has 32 letters.
const METHODS_MAX: usize = 16;
const METHOD_BYTES_MAX: usize = 64;

/// Questions that a host may ask one after the other, and how long their words may be. Two or three are usual; whoever answers
/// more is being kept.
const QUESTIONS_MAX: usize = 32;
const WORDS_BYTES_MAX: usize = 1024;

/// How often a passphrase is asked for, as in the ssh program.
const PASSPHRASE_TRIES: usize = 3;

/// Lets the host know who we are, until it believes it.
pub(super) fn authenticate(talk: &Talk, wanted: &Wanted, asking: &Asking) -> Result<(), NativeError> {
    let mut attempts = Attempts {
        talk,
        wanted,
        asking,
        tried: Vec::new(),
        shown: 0,
        by_agent: Vec::new(),
        notes: Vec::new(),
        takes: Vec::new(),
    };
    if attempts.is_let_in()? {
        return Ok(());
    }
    Err(NativeError::Denied(Denied {
        user: wanted.user.clone(),
        tried: attempts.tried,
        takes: attempts.takes,
        notes: attempts.notes,
        nobody_to_ask: !asking.is_there(),
    }))
}

/// What came of one key.
enum Tried {
    LetIn,
    Refused,
    /// It could not be used; in libssh2's words.
    Unusable(String),
}

struct Attempts<'a> {
    talk: &'a Talk,
    wanted: &'a Wanted,
    asking: &'a Asking,
    tried: Vec<String>,
    /// How many keys and passwords that is.
    shown: usize,
    /// Keys that the agent has shown already.
    by_agent: Vec<HostKey>,
    notes: Vec<Note>,
    /// The ways in which the host lets people prove who they are.
    takes: Vec<String>,
}

impl Attempts<'_> {
    fn is_let_in(&mut self) -> Result<bool, NativeError> {
        if self.ask_for_methods()? {
            return Ok(true);
        }
        self.show_banner();
        if self.wanted.public_keys && self.takes("publickey") && (self.agent()? || self.key_files()?) {
            return Ok(true);
        }
        if !self.may_ask() {
            // A host that wants more than a key says so only now; one that has had enough has said all it will.
            if self.shown > 0 && self.ask_for_methods().unwrap_or(false) {
                return Ok(true);
            }
            return Ok(false);
        }
        // Where two proofs are wanted the first has changed what is taken.
        if !self.takes("password") && !self.takes("keyboard-interactive") && self.ask_for_methods()? {
            return Ok(true);
        }
        Ok(self.wanted.interactive && self.takes("keyboard-interactive") && self.interactive()?
            || self.wanted.passwords && self.takes("password") && self.password()?)
    }

    fn takes(&self, method: &str) -> bool {
        self.takes.iter().any(|takes| takes == method)
    }

    fn may_ask(&self) -> bool {
        self.asking.is_there()
    }

    /// Asks to come in with nothing, as everybody does to learn what would be needed. `true` where that is enough.
    fn ask_for_methods(&mut self) -> Result<bool, NativeError> {
        let (session, user) = (&self.talk.session, &self.wanted.user);
        let listed = self.talk.drive(
            || self.asking.until(),
            || if session.authenticated() { Ok(String::new()) } else { session.auth_methods(user).map(str::to_owned) },
        );
        if session.authenticated() {
            return Ok(true);
        }
        let listed = listed.map_err(|failed| self.failure(failed))?;
        let listed = listed.split(',').filter(|method| !method.is_empty() && method.len() <= METHOD_BYTES_MAX);
        self.takes = listed.take(METHODS_MAX).map(str::to_owned).collect();
        Ok(false)
    }

    /// What hosts say to whoever knocks.
    fn show_banner(&self) {
        if let Ok(Some(banner)) = self.talk.session.userauth_banner() {
            for line in banner.lines().take(50).filter(|line| !line.trim().is_empty()) {
                log::info!("{}: {}", self.wanted.place, line.escape_debug());
            }
        }
    }

    fn failure(&self, failed: Failed) -> NativeError {
        match self.talk.failure(Stage::Proof, failed) {
            // With one alone nobody has had enough.
            NativeError::Closed(Stage::Proof) if self.shown > 1 => NativeError::HungUp(self.tried.clone()),
            other => other,
        }
    }

    fn note(&mut self, words: impl Into<String>, hint: Option<String>) {
        self.notes.push(Note { words: words.into(), hint });
    }

    fn agent(&mut self) -> Result<bool, NativeError> {
        let Some(Held { path, keys }) = &self.wanted.agent else { return Ok(false) };
        let held = match keys {
            Ok(held) => held,
            Err(error) => {
                let hint = match error {
                    AgentError::Silent => Some("go without it: SSH_AUTH_SOCK= vmwire …".to_owned()),
                    AgentError::Unreachable(_) | AgentError::Nonsense => None,
                };
                self.note(format!("the agent at {} {error}", path.display()), hint);
                return Ok(false);
            }
        };
        let keys = self.chosen(held.clone());
        if keys.is_empty() {
            return Ok(false);
        }
        self.shown += keys.len();
        self.by_agent.clone_from(&keys);
        self.tried.push(match keys.len() {
            1 => "the agent's key".to_owned(),
            count => format!("the agent's {count} keys"),
        });
        let (sender, receiver) = mpsc::channel();
        let (talk, user, until) = (self.talk.another(), self.wanted.user.clone(), self.asking.until());
        let socket = path.clone();
        let shown = std::thread::Builder::new().name("ssh-agent".to_owned()).spawn(move || {
            // Whoever asked may have given up.
            let _ = sender.send(show_keys(&talk, &socket, &user, &keys, until));
        });
        shown.map_err(|error| NativeError::Library(error.to_string()))?;
        match receiver.recv_timeout(self.asking.left()) {
            Ok(Ok(let_in)) => Ok(let_in),
            Ok(Err(failed)) => Err(self.failure(failed)),
            Err(_) => {
                // The thread has the session. It ends when the agent does anything.
                self.talk.pipe.close();
                Err(NativeError::AgentHangs(path.clone()))
            }
        }
    }

    /// Keys of the agent in the order in which they are shown: those that a file names, then, if they may be, the others.
    fn chosen(&mut self, held: Vec<HostKey>) -> Vec<HostKey> {
        let usable = held.into_iter().filter(|key| !is_certificate(key.kind()));
        let (in_a_token, mut rest): (Vec<_>, Vec<_>) = usable.partition(|key| is_in_a_token(key.kind()));
        if let (Some(key), false) = (in_a_token.first(), self.wanted.identities_only) {
            let words =
                format!("the agent's key {} is kept in a token, which only the ssh program can use", key.fingerprint());
            self.note(words, Some(BY_THE_PROGRAM.to_owned()));
        }
        let mut chosen = Vec::new();
        for named in self.wanted.identities.iter().filter_map(|path| public_of(path)) {
            if let Some(at) = rest.iter().position(|key| *key == named) {
                chosen.push(rest.remove(at));
            }
        }
        if !self.wanted.identities_only {
            chosen.extend(rest);
        }
        chosen
    }

    fn key_files(&mut self) -> Result<bool, NativeError> {
        for path in &self.wanted.identities {
            let key = match KeyFile::read(path) {
                Ok(key) => key,
                Err(KeyFileError::Missing) if !self.wanted.identity_named => continue,
                Err(error) => {
                    self.note(format!("{} {error}", path.display()), error.hint(path));
                    continue;
                }
            };
            if key.public.as_ref().is_some_and(|public| self.by_agent.contains(public)) {
                continue;
            }
            self.tried.push(path.display().to_string());
            self.shown += 1;
            if self.key_file(&key)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn key_file(&mut self, key: &KeyFile) -> Result<bool, NativeError> {
        let path = key.path.display().to_string();
        // With a public key the host is asked first, and the private one read only if it would be taken.
        if !key.encrypted || key.public.is_some() {
            match self.show(key, None)? {
                Tried::LetIn => return Ok(true),
                Tried::Refused => return Ok(false),
                Tried::Unusable(_) if key.encrypted => {}
                Tried::Unusable(words) => {
                    self.note(format!("{path} cannot be used: {words}"), None);
                    return Ok(false);
                }
            }
        }
        if !self.may_ask() {
            self.note(
                format!("{path} is encrypted, and there is no terminal to ask for its passphrase at"),
                Some(format!("ssh-add {path}")),
            );
            return Ok(false);
        }
        for again in 0..PASSPHRASE_TRIES {
            let question = Question::Passphrase { file: &key.path, again: again > 0 };
            let Some(passphrase) = self.asking.answer(&question).map_err(NativeError::ask)? else {
                self.note(format!("the passphrase for {path} was not given"), None);
                return Ok(false);
            };
            match self.show(key, Some(&passphrase))? {
                Tried::LetIn => return Ok(true),
                Tried::Refused => return Ok(false),
                Tried::Unusable(words) => log::debug!("{path}: {words}"),
            }
        }
        self.note(format!("the passphrase for {path} was wrong {PASSPHRASE_TRIES} times"), None);
        Ok(false)
    }

    fn show(&self, key: &KeyFile, passphrase: Option<&Secret>) -> Result<Tried, NativeError> {
        let public = key.public.as_ref().map(HostKey::line);
        let shown = self.talk.drive(
            || self.asking.until(),
            || {
                let passphrase = passphrase.map(Secret::reveal);
                self.talk.session.userauth_pubkey_memory(&self.wanted.user, public.as_deref(), &key.text, passphrase)
            },
        );
        outcome(shown).map_err(|failed| self.failure(failed))
    }

    fn interactive(&mut self) -> Result<bool, NativeError> {
        self.tried.push("what the host asked".to_owned());
        for _ in 0..self.wanted.tries {
            let mut person = Person {
                wanted: self.wanted,
                asking: self.asking,
                questions: 0,
                asked: false,
                left: false,
                enough: false,
            };
            let tried = self.talk.drive(
                || self.asking.until(),
                || self.talk.session.userauth_keyboard_interactive(&self.wanted.user, &mut person),
            );
            let (asked, left) = (person.asked, person.left);
            if person.enough {
                self.note(format!("the host asked more than {QUESTIONS_MAX} questions"), None);
                return Ok(false);
            }
            match outcome(tried).map_err(|failed| self.failure(failed))? {
                Tried::LetIn => return Ok(true),
                Tried::Refused | Tried::Unusable(_) if left || !asked => break,
                Tried::Refused | Tried::Unusable(_) => {}
            }
        }
        Ok(false)
    }

    fn password(&mut self) -> Result<bool, NativeError> {
        self.tried.push("the password".to_owned());
        for again in 0..self.wanted.tries {
            let question =
                Question::Password { user: &self.wanted.user, host: self.wanted.place.host(), again: again > 0 };
            let Some(password) = self.asking.answer(&question).map_err(NativeError::ask)? else {
                self.note("the password was not given", None);
                return Ok(false);
            };
            self.shown += 1;
            let tried = self.talk.drive(
                || self.asking.until(),
                || self.talk.session.userauth_password(&self.wanted.user, password.reveal()),
            );
            if let Err(Failed::Ssh(error)) = &tried
                && code(error) == PASSWORD_EXPIRED
            {
                let hint = format!("ssh {}", self.wanted.place);
                self.note("the password has expired, and has to be changed there", Some(hint));
                return Ok(false);
            }
            match outcome(tried).map_err(|failed| self.failure(failed))? {
                Tried::LetIn => return Ok(true),
                Tried::Refused => {}
                Tried::Unusable(words) => {
                    self.note(format!("the password could not be sent: {words}"), None);
                    return Ok(false);
                }
            }
        }
        Ok(false)
    }
}

/// What the host made of something shown, unless it has gone or there is no time left.
fn outcome(shown: Result<(), Failed>) -> Result<Tried, Failed> {
    match shown {
        Ok(()) => Ok(Tried::LetIn),
        Err(Failed::Ssh(error)) if code(&error) == REFUSED => Ok(Tried::Refused),
        Err(Failed::Ssh(error)) if code(&error) == UNVERIFIED && error.message().starts_with(NOT_ENOUGH) => {
            Ok(Tried::Refused)
        }
        Err(Failed::Ssh(error)) if SOCKET_GONE.contains(&code(&error)) || error.message().starts_with(UNANSWERED) => {
            Err(Failed::Gone)
        }
        Err(Failed::Ssh(error)) => Ok(Tried::Unusable(error.message().to_owned())),
        Err(other) => Err(other),
    }
}

/// Shows keys of the agent one after the other, until one is taken. The agent may keep this waiting for ever.
fn show_keys(talk: &Talk, path: &Path, user: &str, keys: &[HostKey], until: Instant) -> Result<bool, Failed> {
    let session: &Session = &talk.session;
    let listed = session.agent().and_then(|mut agent| {
        agent.set_identity_path(path)?;
        agent.connect()?;
        agent.list_identities()?;
        let listed = agent.identities()?;
        Ok((agent, listed))
    });
    let (agent, listed) = match listed {
        Ok(listed) => listed,
        Err(error) => {
            log::debug!("the agent at {}: {error}", path.display());
            return Ok(false);
        }
    };
    for key in keys {
        let Some(identity) = listed.iter().find(|identity| identity.blob() == key.blob()) else { continue };
        match outcome(talk.drive(|| until, || agent.userauth(user, identity)))? {
            Tried::LetIn => return Ok(true),
            Tried::Refused => {}
            Tried::Unusable(words) => log::debug!("the agent's key {}: {words}", key.fingerprint()),
        }
    }
    Ok(false)
}

/// The beginning of what a host says.
fn clipped(words: &str) -> &str {
    words.get(..words.floor_char_boundary(WORDS_BYTES_MAX)).unwrap_or(words)
}

/// The person who answers what the host asks.
struct Person<'a> {
    wanted: &'a Wanted,
    asking: &'a Asking,
    questions: usize,
    asked: bool,
    left: bool,
    /// There were too many questions.
    enough: bool,
}

impl KeyboardInteractivePrompt for Person<'_> {
    fn prompt(&mut self, _user: &str, instructions: &str, prompts: &[Prompt<'_>]) -> Vec<String> {
        let mut answers = Vec::new();
        for (index, prompt) in prompts.iter().enumerate() {
            self.asked = true;
            self.questions += 1;
            if self.questions > QUESTIONS_MAX {
                self.enough = true;
                return Vec::new();
            }
            let question = Question::Interactive {
                user: &self.wanted.user,
                host: self.wanted.place.host(),
                instructions: if index == 0 { clipped(instructions) } else { "" },
                text: clipped(&prompt.text),
                echo: prompt.echo,
            };
            match self.asking.answer(&question) {
                // libssh2 takes it out of our hands, and does not wipe it.
                Ok(Some(answer)) => answers.push(answer.reveal().to_owned()),
                Ok(None) | Err(_) => {
                    self.left = true;
                    return Vec::new();
                }
            }
        }
        answers
    }
}
