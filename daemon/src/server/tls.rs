//! What TLS listeners need: the files, what is made of them, and those who shake hands.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use mio::net::TcpStream;
use vmwire_tls::config::{Expiry, KeyPair, MaterialError, Part, ServerContext, ServerMaterial, ServerOptions, notice};
use vmwire_tls::date::{Clock, Date};
use vmwire_tls::identity::AlternativeName;
use vmwire_tls::pki::{INDEX_FILE, certificates, describe};

use super::Who;
use super::enrolment::PkiSigner;
use super::handshakes::Handshakes;
use super::judging::date;
use super::watch::Watch;
use crate::config::{TLS_PORT, TlsFiles};
use crate::dispatch::CertificateFacts;
use crate::driver::ReadFile;
use crate::enrolment::Authority;
use crate::event_loop::{Now, Readiness};
use crate::files::child::read_all;

/// How often it is looked whether something expires.
const CHECK_TIME: Duration = Duration::from_secs(3600);

/// Certificates and lists longer than this are none.
const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What is made of the files, and who is not known yet.
pub(super) struct Tls {
    pub(super) context: ServerContext,
    /// Counts contexts, so that whoever began under an older one can be told.
    pub(super) generation: u64,
    pub(super) facts: Vec<CertificateFacts>,
    /// A list of revoked certificates is in force.
    has_list: bool,
    pub(super) handshakes: Handshakes,
    /// The port that clients are told of.
    pub(super) port: u16,
    /// Who makes certificates for the invited, until the core has it.
    authority: Option<Box<PkiSigner>>,
    /// Which notice was given last of what ends soon, by whatever context it was part of.
    told: Vec<(Expiry, i64)>,
    check_at: Instant,
}

/// Why there is no TLS.
#[derive(Debug)]
pub enum TlsError {
    /// A file is not there.
    Missing(String),
    /// A file cannot be read.
    File(String),
    /// A list of revoked certificates was in force, and its file is gone.
    ListLost(PathBuf),
    /// They do not fit together.
    Material {
        /// The files that were read.
        files: Box<TlsFiles>,
        /// What is wrong.
        error: MaterialError,
    },
}

impl Tls {
    /// Whether the changed files would be noticed; see [`Watch::of_files`].
    pub(super) fn watch(files: &TlsFiles) -> Option<Watch> {
        match Watch::of_files(paths(files)) {
            Ok(watch) => Some(watch),
            Err(error) => {
                log::warn!("changes of the files of TLS are not noticed: {error}; SIGHUP has them read again");
                None
            }
        }
    }

    /// Reads the files. At the start, when there is nobody yet to keep waiting.
    pub(super) fn start(files: &TlsFiles, now: Now) -> Result<Self, TlsError> {
        let wanted = requests(files);
        let read = read_all(&wanted).map_err(|why| unread(&wanted, why))?;
        let (context, authority) = context(files, &read)?;
        let mut tls = Self {
            generation: 0,
            port: TLS_PORT,
            authority,
            facts: Vec::new(),
            has_list: false,
            handshakes: Handshakes::new(),
            told: Vec::new(),
            check_at: now.monotonic,
            context,
        };
        tls.set_facts(&read, now);
        Ok(tls)
    }

    /// Takes up another context. Nobody resumes what they had under the former one.
    pub(super) fn take_up(&mut self, (context, authority): Made, read: &[Option<Vec<u8>>], now: Now) {
        self.context = context;
        self.authority = authority;
        self.generation += 1;
        self.set_facts(read, now);
    }

    /// What is made of files that were read anew. A list that need not be there may not go away either: everybody whom it
    /// names would come in again.
    pub(super) fn made_anew(&self, files: &TlsFiles, read: &[Option<Vec<u8>>]) -> Result<Made, TlsError> {
        if self.has_list && list(read).is_none() {
            return Err(TlsError::ListLost(files.crl.path.clone()));
        }
        context(files, read)
    }

    fn set_facts(&mut self, read: &[Option<Vec<u8>>], now: Now) {
        self.facts = facts(&self.context, read);
        self.has_list = list(read).is_some();
        self.check_at = now.monotonic;
    }

    /// Who makes certificates for the invited, and what their tokens say of this daemon. What it has signed is remembered where
    /// `vmwire pki` remembers it.
    pub(super) fn take_authority(&mut self, files: &TlsFiles) -> Option<Authority> {
        let signer = self.authority.take()?;
        let host = reached_by(&self.context.identity().names);
        let index = files.client_ca.with_file_name(INDEX_FILE);
        Some(Authority { host, port: self.port, index, ca: signer.fingerprint(), signer })
    }

    /// What expires soon, and was not told of yet: purpose, days, and words.
    pub(super) fn take_expiring(&mut self, now: Now) -> Vec<(&'static str, u32, String)> {
        if self.check_at > now.monotonic {
            return Vec::new();
        }
        self.check_at = now.monotonic + CHECK_TIME;
        let today = date(now);
        let expiries = self.context.expiries();
        self.told.retain(|(known, _)| expiries.contains(known));
        let mut expiring = Vec::new();
        for expiry in expiries {
            let Some(due) = notice(expiry.days_left(today)) else { continue };
            match self.told.iter_mut().find(|(known, _)| known == expiry) {
                Some((_, told)) if *told <= due => continue,
                Some((_, told)) => *told = due,
                None => self.told.push((expiry.clone(), due)),
            }
            let days = u32::try_from(expiry.days_left(today)).unwrap_or(0);
            expiring.push((purpose(expiry.part), days, expiry.words(today)));
        }
        expiring
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        Some(self.handshakes.poll_timeout().map_or(self.check_at, |at| at.min(self.check_at)))
    }

    /// Begins to shake hands with somebody.
    pub(super) fn begin(&mut self, now: Now, socket: TcpStream, address: SocketAddr, readiness: &mut Readiness<Who>) {
        self.handshakes.begin(now, socket, address, (self.context.clone(), self.generation), readiness);
    }
}

/// The first name of the certificate by which others can reach this host; one that means the host itself, where there is no
/// other. Empty if it has none.
fn reached_by(names: &[AlternativeName]) -> String {
    let hosts = || {
        names.iter().filter_map(|name| match name {
            AlternativeName::Dns(name) if !name.starts_with('*') => Some((name.clone(), is_localhost(name))),
            AlternativeName::Ip(address @ IpAddr::V6(_)) => Some((format!("[{address}]"), address.is_loopback())),
            AlternativeName::Ip(address) => Some((address.to_string(), address.is_loopback())),
            _ => None,
        })
    };
    let remote = hosts().find(|(_, own)| !own);
    remote.or_else(|| hosts().next()).map(|(host, _)| host).unwrap_or_default()
}

fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || name.starts_with("localhost.")
}

/// All files.
pub(super) fn paths(files: &TlsFiles) -> impl Iterator<Item = &Path> {
    let TlsFiles { certificate, key, client_ca, crl, ca_key, .. } = files;
    [certificate, key, client_ca, &crl.path, &ca_key.path].into_iter().map(PathBuf::as_path)
}

/// What is to be read.
pub(super) fn requests(files: &TlsFiles) -> Vec<ReadFile> {
    let file = |path: &Path, private, optional| ReadFile {
        path: path.to_owned(),
        bytes_max: FILE_BYTES_MAX,
        private,
        optional,
    };
    vec![
        file(&files.certificate, false, false),
        file(&files.key, true, false),
        file(&files.client_ca, false, false),
        file(&files.crl.path, false, !files.crl.required),
        file(&files.ca_key.path, true, !files.ca_key.required),
    ]
}

/// Whether files could not be read because there are none, which is mended otherwise than by changing those that there are.
#[expect(clippy::disallowed_methods, reason = "at the start there is nobody yet to keep waiting")]
fn unread(wanted: &[ReadFile], why: String) -> TlsError {
    if wanted.iter().any(|file| !file.optional && !file.path.exists()) {
        TlsError::Missing(why)
    } else {
        TlsError::File(why)
    }
}

/// The list of revoked certificates, if there is one, in the order of the requests.
fn list(read: &[Option<Vec<u8>>]) -> Option<&[u8]> {
    read.get(3)?.as_deref()
}

/// What is made of the files: the context, and who makes certificates for the invited.
pub(super) type Made = (ServerContext, Option<Box<PkiSigner>>);

/// Makes a context of what was read, in the order of the requests.
pub(super) fn context(files: &TlsFiles, read: &[Option<Vec<u8>>]) -> Result<Made, TlsError> {
    let [certificates, key, authorities, list, ca_key] = read else {
        return Err(TlsError::File("the file helper read something else than it was asked for".to_owned()));
    };
    let lists: Vec<&[u8]> = list.iter().map(Vec::as_slice).collect();
    let material = ServerMaterial {
        pair: KeyPair {
            certificates: certificates.as_deref().unwrap_or_default(),
            key: key.as_deref().unwrap_or_default(),
        },
        authorities: authorities.as_deref().unwrap_or_default(),
        revocation_lists: &lists,
    };
    let signer = ca_key.as_deref().and_then(|key| match PkiSigner::new(material.authorities, key) {
        Ok(signer) => Some(Box::new(signer)),
        Err(error) => {
            log::warn!("nobody can be enrolled: {error} ({})", files.ca_key.path.display());
            None
        }
    });
    let options = ServerOptions { enroll: signer.is_some(), key_log: files.key_log };
    let context = ServerContext::build(&material, Clock::new(SystemTime::now), options)
        .map_err(|error| TlsError::Material { files: Box::new(files.clone()), error })?;
    Ok((context, signer))
}

fn purpose(part: Part) -> &'static str {
    match part {
        Part::Certificate | Part::Key => "server",
        Part::Authorities => "client-ca",
        Part::RevocationList => "crl",
    }
}

/// What was read, for who asks.
fn facts(context: &ServerContext, read: &[Option<Vec<u8>>]) -> Vec<CertificateFacts> {
    let seconds = |date: Date| u64::try_from(date.seconds()).unwrap_or(0);
    let of_file = |purpose, file: Option<&Option<Vec<u8>>>, most| {
        let ders = file.and_then(Option::as_deref).and_then(|pem| certificates(pem).ok()).unwrap_or_default();
        let described = ders.iter().take(most).filter_map(|der| describe(der).ok()).collect::<Vec<_>>();
        described.into_iter().map(move |certificate| CertificateFacts {
            purpose,
            subject: certificate.subject,
            not_before_s: seconds(certificate.not_before),
            not_after_s: seconds(certificate.not_after),
            fingerprint: Some(*certificate.certificate.bytes()),
            problem: String::new(),
        })
    };
    let lists = context.expiries().iter().filter(|expiry| expiry.part == Part::RevocationList);
    let lists = lists.map(|expiry| CertificateFacts {
        purpose: "crl",
        subject: expiry.subject.clone(),
        not_before_s: 0,
        not_after_s: seconds(expiry.not_after),
        fingerprint: None,
        problem: String::new(),
    });
    // Of the daemon's own file those that lead to its authority are the authority's matter.
    of_file("server", read.first(), 1).chain(of_file("client-ca", read.get(2), usize::MAX)).chain(lists).collect()
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(why) => write!(f, "no TLS: {why}; `vmwire pki init --server NAME` makes what is needed"),
            Self::File(why) => write!(f, "no TLS: {why}"),
            Self::ListLost(path) => write!(
                f,
                "{} is gone, and whoever was revoked would be let in: put it back, or start vmwired again to go without",
                path.display()
            ),
            Self::Material { files, error } => {
                let TlsFiles { certificate, key, client_ca, crl, .. } = &**files;
                let [certificate, key, client_ca, crl] =
                    [certificate, key, client_ca, &crl.path].map(|path| path.display());
                write!(f, "no TLS: {error} (certificate {certificate}, key {key}, client_ca {client_ca}, crl {crl})")
            }
        }
    }
}

impl std::error::Error for TlsError {}

#[cfg(test)]
mod tests {
    use vmwire_tls::pki::{self, HostNames, RevocationList};

    use super::*;
    use crate::config::OptionalFile;

    #[test]
    fn clients_are_told_of_the_first_name_that_is_not_the_hosts_own() {
        let dns = |name: &str| AlternativeName::Dns(name.to_owned());
        let ip = |address: &str| AlternativeName::Ip(address.parse().unwrap());
        let own = [dns("localhost"), ip("127.0.0.1"), ip("::1")];
        assert_eq!(
            reached_by(&[dns("*.example.org"), dns("LOCALHOST.localdomain"), ip("::1")]),
            "LOCALHOST.localdomain"
        );
        assert_eq!(reached_by(&own), "localhost");
        assert_eq!(reached_by(&[&own[..], &[ip("fd00::7"), dns("vm1")]].concat()), "[fd00::7]");
        assert_eq!(reached_by(&[dns("*.example.org")]), "");
    }

    /// An authority, and a host's files that it has signed.
    struct Signed {
        authority: pki::Authority,
        files: TlsFiles,
        texts: [String; 3],
        dir: tempfile::TempDir,
    }

    impl Signed {
        fn make(now: Now) -> Self {
            let date = date(now);
            let authority = pki::Authority::create("Example Ltd", date).unwrap().authority;
            let dir = tempfile::tempdir().unwrap();
            let file = |name: &str| dir.path().join(name);
            let optional = |name| OptionalFile { path: file(name), required: false };
            let files = TlsFiles {
                certificate: file("server.crt"),
                key: file("server.key"),
                client_ca: file("ca.crt"),
                crl: optional("crl.pem"),
                ca_key: optional("ca.key"),
                key_log: false,
            };
            let mut signed = Self { authority, files, texts: Default::default(), dir };
            signed.renew(now);
            signed
        }

        /// Another certificate for another key.
        fn renew(&mut self, now: Now) {
            let names = HostNames::new(["vm1.example.org".parse().unwrap()]).unwrap();
            let (key, issued) = self.authority.issue_server(&names, date(now)).unwrap();
            self.texts = [issued.pem, key, self.authority.pem()];
            for ((name, text), mode) in
                ["server.crt", "server.key", "ca.crt"].iter().zip(&self.texts).zip([0o644, 0o600, 0o644])
            {
                let path = self.dir.path().join(name);
                std::fs::write(&path, text).unwrap();
                std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
            }
        }

        /// Reads them again, and a list.
        fn take_up(&self, tls: &mut Tls, list: Option<&str>, now: Now) -> Result<(), String> {
            let [certificate, key, authority] = &self.texts;
            let texts = [Some(certificate.as_str()), Some(key), Some(authority), list, None];
            let read = texts.map(|text| text.map(|text| text.as_bytes().to_vec()));
            let made = tls.made_anew(&self.files, &read).map_err(|error| error.to_string())?;
            tls.take_up(made, &read, now);
            Ok(())
        }
    }

    #[test]
    fn a_list_that_need_not_be_there_may_not_go_away_once_it_is() {
        let now = Now::read();
        let signed = Signed::make(now);
        let list = signed.authority.sign_revocations(&RevocationList::default(), &[], date(now)).unwrap();
        let mut tls = Tls::start(&signed.files, now).unwrap();
        let mut take = |list| signed.take_up(&mut tls, list, now);
        take(None).unwrap();
        take(Some(&list)).unwrap();
        for _ in 0..2 {
            let told = take(None).unwrap_err();
            assert!(told.contains("crl.pem is gone, and whoever was revoked would be let in: put it back"), "{told}");
        }
        take(Some(&list)).unwrap();
    }

    #[test]
    fn what_ends_is_told_30_and_7_days_and_a_day_before_and_at_its_end_and_once_each_however_often_files_are_read() {
        let begin = Now::read();
        let mut signed = Signed::make(begin);
        let mut tls = Tls::start(&signed.files, begin).unwrap();
        let day = |days: u32, hours: u32| begin.later(CHECK_TIME * (24 * days + hours));
        let mut told = Vec::new();
        // It is valid for 397 days.
        for hours in (360 * 24..=400 * 24).step_by(6) {
            let now = day(0, hours);
            told.extend(tls.take_expiring(now).into_iter().map(|(purpose, days, _)| (purpose, days, hours)));
            signed.take_up(&mut tls, None, now).unwrap();
            assert_eq!(tls.poll_timeout(), Some(now.monotonic), "what was read anew is looked at");
        }
        let hours = |days: u32| (397 - days) * 24 + 6;
        assert_eq!(
            told,
            [29, 6, 0]
                .map(|days| ("server", days, hours(days + 1)))
                .into_iter()
                .chain([("server", 0, hours(0))])
                .collect::<Vec<_>>()
        );

        // Another one has notices of its own.
        signed.renew(day(400, 0));
        signed.take_up(&mut tls, None, day(400, 0)).unwrap();
        assert_eq!(tls.take_expiring(day(400, 0)), []);
        let [(_, days, words)] = &tls.take_expiring(day(400 + 391, 0))[..] else { panic!("it is told") };
        assert!(*days == 6 && words.contains("(CN=vm1.example.org) expires in 6 days"), "{words}");
    }
}
