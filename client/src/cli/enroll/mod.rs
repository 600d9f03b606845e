//! `vmwire enroll`: a token becomes a certificate. The key is made here and never leaves.
//!
//! ```text
//!   token read ─▶ DIR/.HOST.new/ made, client.key in it ─▶ token spent ─▶ certificate and CA checked, written
//!                                                                           └▶ DIR/.HOST.new becomes DIR/HOST
//! ```
//! A daemon that has given a certificate for a token gives the same key the same one again: when the answer is lost, what was
//! sent stays in `.HOST.new`, and the next run with that token goes on with it.
//!
//! The files get their place all at once, so that neither a crash nor a full disk leaves a certificate without its key or
//! beside another CA's. What must be possible afterwards is tried before the token is spent.

mod place;
#[cfg(test)]
mod tests;
mod typed;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use vmwire_protocol::message::{EnrollAnswer, EnrollCall, role};
use vmwire_protocol::token::{Token, TokenError};
use vmwire_protocol::xdr::{Opaque, Text};
use vmwire_tls::config::ClientContext;
use vmwire_tls::date::{Clock, Date};
use vmwire_tls::error::{Refusal, Side};
use vmwire_tls::identity::Fingerprint;
use vmwire_tls::pki::{ClientName, PkiError, Request, certificates_pem, describe, key_fingerprint};

use super::named::name_of;
use super::output::Table;
use super::pki::nanoseconds;
use super::problem::Problem;
use super::{Context, Exit};
use crate::connection::{NotEnrolled, enroll};
use crate::error::{Error, Lost};
use crate::transport::{CERTIFICATE, Environment};
use crate::uri::{HostPort, TLS_PORT, Uri};
use place::Place;

/// How long the daemon may take where nothing else is said.
const TIME: Duration = Duration::from_secs(20);

/// TLS has no protocol in common with us (RFC 7301 section 3.2).
const NO_APPLICATION_PROTOCOL: u8 = 120;

#[derive(Debug, clap::Args)]
#[command(after_help = "The token is read from standard input: never from the command line, which others can see.\n\n\
                        Examples:\n  vmwire enroll\n  ssh vm1 vmwire client invite alice --role operator | vmwire enroll\n")]
pub(crate) struct Arguments {
    /// The directory below which the files are put, in one called as the host
    /// [default: /etc/vmwire/pki for root, $XDG_CONFIG_HOME/vmwire/pki for others]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Put the new files in place of those that are there
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Serialize)]
struct Enrolled {
    name: String,
    role: String,
    uri: String,
    directory: String,
    key: String,
    not_after_ns: u64,
    #[serde(skip)]
    not_after: Date,
}

pub(crate) fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Problem> {
    let directory = match &arguments.dir {
        Some(directory) => std::path::absolute(directory)
            .map_err(|error| Problem::local(format!("there is no place {}", directory.display()), &error))?,
        None => {
            Environment::of_process().pki().map_err(|error| Problem::usage(error.to_string()).hint("say --dir DIR"))?
        }
    };
    let text = typed::token(context.output)?;
    let now = Date::from(SystemTime::now());
    let enrolled = with_token(&text, &directory, arguments.dir.is_some(), arguments.force, context.timeout, now)?;
    context.output.thing(&enrolled, |enrolled| {
        let mut table = Table::labels();
        table.label("enrolled as", format!("{} ({})", enrolled.name, enrolled.role));
        table.label("until", enrolled.not_after.to_string());
        table.label("files", enrolled.directory.as_str());
        table.label("key", enrolled.key.as_str());
        table.label("next", format!("vmwire -c {} vm list", quoted(&enrolled.uri)));
        table
    })?;
    Ok(Exit::Ok)
}

/// As a shell takes it.
fn quoted(uri: &str) -> String {
    if uri.contains(['?', '[', '&', '%']) { format!("'{uri}'") } else { uri.to_owned() }
}

fn with_token(
    text: &str,
    directory: &Path,
    named: bool,
    force: bool,
    timeout: Option<Duration>,
    now: Date,
) -> Result<Enrolled, Problem> {
    let token = Token::parse(text).map_err(no_token)?;
    let host = HostPort::read(&token.address, Some(TLS_PORT)).map_err(|error| {
        Problem::new(Exit::Failed, "ENROLL", format!("the token names no daemon that can be reached: {error}"))
            .hint("have one made that does: vmwire client invite NAME --address HOST:PORT")
    })?;
    let authority = Fingerprint::from(token.ca.0);

    let token_sum = Fingerprint::of(&token.secret.reveal().0);
    let (mut place, earlier) = Place::new(directory, host.host(), force, token_sum)?;
    let name = "client".parse::<ClientName>().map_err(|error| failed(&error))?;
    // What was sent with this token before is what the daemon gives its certificate to, and to nobody else.
    let again = earlier.and_then(|key| Request::again(&name, &key).ok());
    let sent_before = again.is_some();
    let request = again.map_or_else(|| Request::new(&name), Ok).map_err(|error| failed(&error))?;
    if !sent_before {
        place.key(&request.key_pem, token_sum)?;
    }

    let context = ClientContext::enroll(authority, Clock::new(SystemTime::now))
        .map_err(|error| Problem::new(Exit::Failed, "ENROLL", error.to_string()))?;
    let csr = Opaque::new(request.csr_der).map_err(|error| Problem::new(Exit::Failed, "ENROLL", error.to_string()))?;
    let call = EnrollCall { secret: token.secret, name: Text::clipped(""), request: csr };
    place.keep();
    let answer = enroll(&host, &context, call, timeout.unwrap_or(TIME)).map_err(|refused| {
        if refused.is_unspent() && (!sent_before || matches!(refused.error, Error::Failure(_))) {
            place.discard();
        }
        not_enrolled(refused, timeout)
    })?;

    let validity = check(&answer, &request.key_pem, authority).inspect_err(|_| place.discard())?;
    let not_after = now_within(validity, now)?;
    let chain = answer.chain.iter().map(|der| der.as_slice().to_vec());
    place.certificates(&certificates_pem(chain), &certificates_pem([answer.ca.as_slice()]))?;
    let (directory, host_alone) = (place.take()?, Uri::of_host(host.clone(), None));
    let key = key_fingerprint(request.key_pem.as_bytes()).map_err(|error| failed(&error))?;
    let uri = if named { Uri::of_host(host, Some(directory.clone())) } else { host_alone };
    Ok(Enrolled {
        name: answer.name.to_string(),
        role: name_of(answer.role, role::name),
        uri: uri.to_string(),
        directory: directory.display().to_string(),
        key: key.to_string(),
        not_after_ns: nanoseconds(not_after),
        not_after,
    })
}

/// Checks what the daemon has sent: it is for our key, and of the authority that the token names. Answers from when to when
/// it is valid.
fn check(answer: &EnrollAnswer, key_pem: &str, authority: Fingerprint) -> Result<(Date, Date), Problem> {
    let spent = |message: String| {
        Problem::new(Exit::Failed, "ENROLL", message)
            .hint("no certificate was kept; the token is spent: tell the host's admin, and ask for another")
    };
    let unreadable = |what: &str| spent(format!("the daemon has sent {what} that cannot be read"));
    let first = answer.chain.first().ok_or_else(|| spent("the daemon has sent no certificate".to_owned()))?;
    let own = describe(first.as_slice()).map_err(|_| unreadable("a certificate"))?;
    let root = describe(answer.ca.as_slice()).map_err(|_| unreadable("a CA certificate"))?;
    let key = key_fingerprint(key_pem.as_bytes()).map_err(|error| failed(&error))?;
    if own.key != key {
        return Err(spent(format!("the daemon has sent a certificate for another key ({})", own.key)));
    }
    if root.key != authority {
        return Err(spent(format!("the daemon has sent another CA ({}) than the token names ({authority})", root.key)));
    }
    Ok((own.not_before, own.not_after))
}

/// That a certificate is valid now; answers until when. One of two clocks is wrong if it is not.
fn now_within((not_before, not_after): (Date, Date), now: Date) -> Result<Date, Problem> {
    if now < not_before || now > not_after {
        return Err(Problem::new(
            Exit::Failed,
            "ENROLL",
            format!("the certificate is valid from {not_before} to {not_after}, and this clock says {now}"),
        )
        .hint("set this clock and spend the same token again within its hour; or set that of the daemon's host, and ask for another"));
    }
    Ok(not_after)
}

fn failed(error: &PkiError) -> Problem {
    Problem::new(Exit::Failed, "ENROLL", error.to_string()).hint(error.hint())
}

fn no_token(error: TokenError) -> Problem {
    Problem::usage(error.to_string()).hint(match error {
        TokenError::NotAToken => "vmwire client invite NAME on the daemon's host prints one",
        TokenError::NewerForm => "install a newer vmwire here",
        TokenError::Cut | TokenError::TooLong => "copy it again, the whole line",
        TokenError::Character(_) | TokenError::Mistyped => "copy it rather than typing it; it is good still",
    })
}

/// What the daemon, or the way to it, said no with.
fn not_enrolled(NotEnrolled { error, may_be_spent }: NotEnrolled, timeout: Option<Duration>) -> Problem {
    let late = timeout.is_some() && error.is_late();
    let hint = match &error {
        Error::Connect { .. } => Some(
            "the token says where the daemon is; if it is reached by another address from here, have one made with \
             vmwire client invite NAME --address HOST:PORT. The token is good still"
                .to_owned(),
        ),
        Error::Tls(tls) => match &tls.refusal {
            Refusal::WrongName { .. } => Some(
                "the token names an address that is not in the daemon's certificate: have one made with vmwire client \
                 invite NAME --address HOST:PORT, by a name that is. The token is good still"
                    .to_owned(),
            ),
            Refusal::Alert { from: Side::Server, alert } if alert.number() == NO_APPLICATION_PROTOCOL => Some(
                "this daemon enrols nobody, for its host has no ca.key: get a certificate with vmwire pki sign"
                    .to_owned(),
            ),
            _ => None,
        },
        Error::Lost(Lost::Handshake(_)) => None,
        _ if may_be_spent => Some(
            "the token may be spent. Try it again from here within its hour, in the same directory: the same key gets the same \
             certificate"
                .to_owned(),
        ),
        _ => None,
    };
    let problem = Problem::from(error);
    let problem = if late { Problem { exit: Exit::Deadline, code: "DEADLINE_EXCEEDED", ..problem } } else { problem };
    match hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

/// What is there already, in words.
fn taken(directory: &Path) -> Problem {
    Problem::new(Exit::Failed, "EXISTS", format!("there is a {CERTIFICATE} in {} already", directory.display())).hint(
        "this has not spent the token; --force puts the new files in place of the old ones; --dir DIR puts them elsewhere",
    )
}
