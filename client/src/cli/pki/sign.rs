//! `vmwire pki sign`: a certificate for a key that stays where it was made.

use std::io::Read;
use std::path::{Path, PathBuf};

use vmwire_tls::date::Date;
use vmwire_tls::pki::{CSR_BYTES_MAX, request};

use super::super::output::Format;
use super::super::problem::Problem;
use super::directory::Signing;
use super::issue::Name;
use super::{Context, Exit, IssuedJson, Kind, files, refused_file};

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("whose").required(true))]
pub(crate) struct Arguments {
    /// The request (PKCS#10, PEM or DER); - for standard input
    #[arg(value_name = "FILE")]
    request: PathBuf,

    /// It is of this client
    #[arg(long, value_name = "NAME", group = "whose")]
    client: Option<String>,

    /// It is of the server with this name or address
    #[arg(long, value_name = "HOST", group = "whose")]
    server: Option<String>,

    /// Another name or address of the server; may be given several times
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,

    #[command(flatten)]
    signing: Signing,
}

pub(super) fn run(arguments: &Arguments, now: Date, context: &mut Context<'_>) -> Result<Exit, Problem> {
    let (kind, name) = match (&arguments.server, &arguments.client) {
        (Some(name), _) => (Kind::Server, name.as_str()),
        (None, name) => (Kind::Client, name.as_deref().unwrap_or_default()),
    };
    let name = Name::of(kind, name, &arguments.hosts)?;
    let bytes = bytes(&arguments.request)?;
    let about = |error| refused_file(&arguments.request, &error);
    let request = request(&bytes).map_err(about)?;
    let office = arguments.signing.office()?;
    let signed = match &name {
        Name::Server(names) => office.authority.sign_server(&request, names, now),
        Name::Client(name) => office.authority.sign_client(&request, name, now),
    };
    let issued = signed.map_err(about)?;
    office.remember(kind, &name.first(), &issued)?;
    match context.output.format() {
        Format::Table => context.output.write(issued.pem.as_bytes())?,
        Format::Json => {
            let json = IssuedJson { certificate_pem: Some(issued.pem.clone()), ..IssuedJson::of(&issued)? };
            context.output.json(&json)?;
        }
    }
    context.output.note(&format!("signed for {} until {}, key {}", name.first(), issued.not_after, issued.key));
    Ok(Exit::Ok)
}

fn bytes(path: &Path) -> Result<Vec<u8>, Problem> {
    if path != Path::new("-") {
        return files::read_if_there(path)?.ok_or_else(|| {
            Problem::new(Exit::NotFound, "NOT_FOUND", format!("there is no {}", path.display()))
                .hint("vmwire enroll and openssl req -new make requests")
        });
    }
    // PEM is longer than what is in it by a third; more than that says the same as twice as much.
    let limit = u64::try_from(4 * CSR_BYTES_MAX).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    std::io::stdin()
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| Problem::local("cannot read standard input", &error))?;
    Ok(bytes)
}
