//! `vmwire pki renew`: the same certificate for another year.

use std::path::PathBuf;

use vmwire_tls::date::Date;
use vmwire_tls::pki::{certificates, describe, key_fingerprint};

use super::super::problem::Problem;
use super::directory::{Office, Signing};
use super::files::{self, PUBLIC, SECRET};
use super::issue::{Files, Name};
use super::{Context, Exit, IssuedJson, Kind, refused_file};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Whose it is
    #[arg(value_enum, value_name = "server|client", hide_possible_values = true)]
    kind: Kind,

    /// A client's name, or the first name of a server
    #[arg(value_name = "NAME")]
    name: String,

    /// Make a new key too; roles that were given to the old one have to be given again
    #[arg(long)]
    new_key: bool,

    /// Where the files are [default: issued/NAME in the authority's directory, or there itself for its own server]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,

    #[command(flatten)]
    signing: Signing,
}

pub(super) fn run(arguments: &Arguments, now: Date, context: &mut Context<'_>) -> Result<Exit, Problem> {
    let Arguments { kind, name, new_key, to, signing } = arguments;
    let name = Name::of(*kind, name, &[])?.first();
    let office = signing.office()?;
    let paths = match to {
        Some(place) => Files::at(place, *kind),
        None => find(&office, *kind, &name)?,
    };
    let bytes = files::read(&paths.certificate)?;
    let about = |error| refused_file(&paths.certificate, &error);
    let old = certificates(&bytes).map_err(about)?.swap_remove(0);
    let described = describe(&old).map_err(about)?;
    if described.purpose != kind.purpose() {
        let text = format!("{} is that of a {}", paths.certificate.display(), described.purpose.word());
        return Err(Problem::new(Exit::Failed, "PKI", text).hint("vmwire pki show tells what it is"));
    }

    let (key, issued) = if *new_key {
        let (key, issued) = office.authority.renew_with_new_key(&old, now).map_err(about)?;
        (Some(key), issued)
    } else {
        // The key may be elsewhere; one that is here is the one it is for.
        if let Some(key) = files::read_key(&paths.key)? {
            let fingerprint = key_fingerprint(&key).map_err(|error| refused_file(&paths.key, &error))?;
            if fingerprint != described.key {
                let (key, certificate) = (paths.key.display(), paths.certificate.display());
                let text = format!("{key} does not belong to {certificate}");
                return Err(Problem::new(Exit::Failed, "PKI", text)
                    .hint("if an earlier run with --new-key was broken off, do it again with --new-key"));
            }
        }
        (None, office.authority.renew(&old, now).map_err(about)?)
    };
    office.remember(*kind, &name, &issued)?;
    if let Some(key) = &key {
        files::replace(&paths.key, key.as_bytes(), SECRET)?;
    }
    files::replace(&paths.certificate, issued.pem.as_bytes(), PUBLIC)?;
    let key_path = files::is_there(&paths.key).then_some(paths.key.as_path());
    let json = IssuedJson::of(&issued)?.at(&paths.certificate, key_path);
    context.output.thing(&json, |json| json.rows(issued.not_after))?;
    context.output.note(&format!(
        "the old one stays valid until {}; should that not be: vmwire pki revoke {}",
        described.not_after, described.serial
    ));
    Ok(Exit::Ok)
}

/// Where [`super::issue`] or [`super::init`] put them.
fn find(office: &Office, kind: Kind, name: &str) -> Result<Files, Problem> {
    let issued = Files::at(&office.directory.issued_to(name), kind);
    let own = Files::at(office.directory.path(), kind);
    if files::is_there(&issued.certificate) {
        return Ok(issued);
    }
    let is_own = |bytes: Vec<u8>| {
        let certificate = certificates(&bytes).ok()?.swap_remove(0);
        let described = describe(&certificate).ok()?;
        let names = [format!("DNS:{name}"), format!("IP:{name}")];
        (described.names.iter().any(|own| names.contains(own)) || described.subject == format!("CN={name}"))
            .then_some(())
    };
    if files::read_if_there(&own.certificate)?.and_then(is_own).is_some() {
        return Ok(own);
    }
    let text =
        format!("there is no certificate of the {} {name} in {}", kind.word(), office.directory.path().display());
    Err(Problem::new(Exit::NotFound, "NOT_FOUND", text)
        .hint("--to says in which directory it is; one whose key is elsewhere is signed again: vmwire pki sign"))
}
