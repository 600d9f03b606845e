//! `vmwire pki issue`: a key and a certificate for a host or a person, with the authority's certificate beside them.

use std::path::{Path, PathBuf};

use vmwire_tls::date::Date;
use vmwire_tls::pki::{ClientName, HostName, HostNames};

use super::super::problem::Problem;
use super::directory::{Office, Signing};
use super::files::{self, Created, PUBLIC, SECRET};
use super::{Context, Exit, IssuedJson, Kind, refused};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Whose it is
    #[arg(value_enum, value_name = "server|client", hide_possible_values = true)]
    kind: Kind,

    /// A client's name, or the name or address by which clients reach the server
    #[arg(value_name = "NAME")]
    name: String,

    /// Another name or address of the server; may be given several times
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,

    /// Where the files are put [default: issued/NAME in the authority's directory]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,

    #[command(flatten)]
    signing: Signing,
}

/// A name that was checked.
pub(super) enum Name {
    Server(HostNames),
    Client(ClientName),
}

/// The files of one certificate.
pub(super) struct Files {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

pub(super) fn run(arguments: &Arguments, now: Date, context: &mut Context<'_>) -> Result<Exit, Problem> {
    let Arguments { kind, name, hosts, to, signing } = arguments;
    let checked = Name::of(*kind, name, hosts)?;
    let office = signing.office()?;
    let place = to.clone().unwrap_or_else(|| office.directory.issued_to(&checked.first()));
    let paths = Files::at(&place, *kind);
    paths.must_be_free(*kind, name)?;
    let authority_needed = authority_needed(&place, &office)?;

    let made = match &checked {
        Name::Server(names) => office.authority.issue_server(names, now),
        Name::Client(name) => office.authority.issue_client(name, now),
    };
    let (key, issued) = made.map_err(|error| refused(&error))?;
    if to.is_none() {
        // What is in there is other people's.
        files::make_directory(&office.directory.issued(), 0o700)?;
    }
    files::make_directory(&place, 0o700)?;
    office.remember(*kind, &checked.first(), &issued)?;
    let mut created = Created::default();
    created.file(&paths.key, key.as_bytes(), SECRET)?;
    if authority_needed {
        created.file(&place.join("ca.crt"), office.authority.pem().as_bytes(), PUBLIC)?;
    }
    created.file(&paths.certificate, issued.pem.as_bytes(), PUBLIC)?;
    created.keep();
    let json = IssuedJson::of(&issued)?.at(&paths.certificate, Some(&paths.key));
    context.output.thing(&json, |json| json.rows(issued.not_after))?;
    context.output.note(&format!(
        "copy what is in {} into /etc/vmwire/pki or ~/.config/vmwire/pki of {name}, and keep no copy of the key",
        place.display()
    ));
    Ok(Exit::Ok)
}

impl Name {
    pub(super) fn of(kind: Kind, name: &str, hosts: &[String]) -> Result<Self, Problem> {
        match kind {
            Kind::Server => {
                let all = std::iter::once(name).chain(hosts.iter().map(String::as_str));
                let all = all.map(str::parse::<HostName>).collect::<Result<Vec<_>, _>>();
                all.and_then(HostNames::new).map(Self::Server).map_err(|error| refused(&error))
            }
            Kind::Client if !hosts.is_empty() => {
                Err(Problem::usage("a client is reached by nobody and needs no --host").hint("leave it out"))
            }
            Kind::Client => name.parse().map(Self::Client).map_err(|error| refused(&error)),
        }
    }

    /// By which it is known.
    pub(super) fn first(&self) -> String {
        match self {
            Self::Server(names) => names.all()[0].to_string(),
            Self::Client(name) => name.as_str().to_owned(),
        }
    }
}

impl Files {
    pub(super) fn at(place: &Path, kind: Kind) -> Self {
        let word = kind.word();
        Self { certificate: place.join(format!("{word}.crt")), key: place.join(format!("{word}.key")) }
    }

    /// Nothing is written over, and what an earlier run left behind is told from what it finished.
    fn must_be_free(&self, kind: Kind, name: &str) -> Result<(), Problem> {
        let exists = |text: String| Problem::new(Exit::Failed, "EXISTS", text);
        let (certificate, key) = (self.certificate.display(), self.key.display());
        match (files::is_there(&self.certificate), files::is_there(&self.key)) {
            (false, false) => Ok(()),
            (false, true) => Err(exists(format!("there is {key} without {certificate}"))
                .hint(format!("if an earlier run was broken off, nobody has a certificate for that key: rm {key}"))),
            (true, _) => Err(exists(format!("there is a {certificate} already"))
                .hint(format!("vmwire pki renew {} {name} makes it anew; or say --to DIR", kind.word()))),
        }
    }
}

/// Whether the authority's certificate has to be written beside the others; that of another is not theirs.
fn authority_needed(place: &Path, office: &Office) -> Result<bool, Problem> {
    let path = place.join("ca.crt");
    match files::read_if_there(&path)? {
        None => Ok(true),
        Some(bytes)
            if bytes == office.authority.pem().as_bytes() || path == office.directory.authority_certificate() =>
        {
            Ok(false)
        }
        Some(_) => Err(Problem::new(Exit::Failed, "EXISTS", format!("{} is of another authority", path.display()))
            .hint("say --to DIR, where nothing of another authority is")),
    }
}
