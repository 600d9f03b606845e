//! A realm of Kerberos on the loopback: its centre, which gives out tickets, and the files by which everybody finds it.

use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::{Place, eventually, skip};

/// Where Debian has the programs of the centre.
const CENTRE: &str = "/usr/sbin/krb5kdc";

/// A realm with the user `me`, who may be root, and the host that the loopback is. Ended when dropped.
#[derive(Debug)]
pub(crate) struct Kerberos {
    centre: Child,
    place: Place,
}

impl Kerberos {
    /// Starts one, or says that a story is skipped.
    pub(crate) fn start(test: &str) -> Option<Self> {
        if !["/usr/sbin/kadmin.local", "/usr/bin/kinit", CENTRE].iter().all(|path| PathBuf::from(path).exists()) {
            skip(test, "there is no krb5-kdc with krb5-admin-server and krb5-user");
            return None;
        }
        let place = Place::new();
        std::fs::create_dir(place.join("logins")).unwrap();
        place.write("logins/root", "me@STORY\n");
        // The port is free now; who takes it meanwhile makes the centre end, and then another is tried.
        let centre = eventually("the centre has a port", || {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            configure(&place, port);
            if !place.join("principal").exists() {
                fill(&place);
            }
            start_centre(&place)
        });
        Some(Self { centre, place })
    }

    /// What everybody finds the realm by.
    pub(crate) fn config(&self) -> PathBuf {
        self.place.join("krb5.conf")
    }

    /// The key of the host that the loopback is.
    pub(crate) fn host_key(&self) -> PathBuf {
        self.place.join("host.keytab")
    }

    /// Where the user's tickets are kept.
    pub(crate) fn tickets(&self) -> PathBuf {
        self.place.join("tickets")
    }

    /// From now on the user may not be root.
    pub(crate) fn forbid(&self) {
        self.place.write("logins/root", "");
    }

    /// The user gets a ticket.
    pub(crate) fn kinit(&self) {
        let keys = self.place.join("me.keytab");
        run(
            &self.place,
            "kinit",
            &["-c", self.tickets().to_str().unwrap(), "-k", "-t", keys.to_str().unwrap(), "me@STORY"],
        );
    }
}

impl Drop for Kerberos {
    fn drop(&mut self) {
        let _ended_already = self.centre.kill();
        let _ = self.centre.wait();
    }
}

fn configure(place: &Place, port: u16) {
    let dir = place.path().display();
    let realm = format!(
        "[libdefaults]\n default_realm = STORY\n dns_lookup_kdc = false\n dns_lookup_realm = false\n \
         dns_canonicalize_hostname = false\n rdns = false\n udp_preference_limit = 1\n k5login_directory = {dir}/logins\n\
         [realms]\n STORY = {{\n  kdc = 127.0.0.1:{port}\n }}\n[domain_realm]\n 127.0.0.1 = STORY\n\
         [logging]\n default = FILE:{dir}/log\n kdc = FILE:{dir}/log\n"
    );
    place.write("krb5.conf", realm);
    let centre = format!(
        "[kdcdefaults]\n kdc_listen = 127.0.0.1:{port}\n kdc_tcp_listen = 127.0.0.1:{port}\n[realms]\n STORY = {{\n  \
         database_name = {dir}/principal\n  key_stash_file = {dir}/stash\n  acl_file = {dir}/acl\n }}\n"
    );
    place.write("kdc.conf", centre);
}

/// Makes the database and who is in it.
fn fill(place: &Place) {
    run(place, "/usr/sbin/kdb5_util", &["create", "-s", "-r", "STORY", "-P", "master"]);
    for (name, keys) in [("me", "me.keytab"), ("host/127.0.0.1", "host.keytab")] {
        let keys = place.join(keys);
        run(place, "/usr/sbin/kadmin.local", &["-r", "STORY", "-q", &format!("addprinc -randkey {name}")]);
        run(place, "/usr/sbin/kadmin.local", &["-r", "STORY", "-q", &format!("ktadd -k {} {name}", keys.display())]);
    }
}

/// A program of Kerberos, which finds the realm.
fn command(place: &Place, program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("KRB5_CONFIG", place.join("krb5.conf")).env("KRB5_KDC_PROFILE", place.join("kdc.conf"));
    command.env_remove("KRB5CCNAME").stdin(Stdio::null());
    command
}

fn run(place: &Place, program: &str, arguments: &[&str]) {
    let output = command(place, program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
}

/// Starts the centre; `None` when it ends at once.
fn start_centre(place: &Place) -> Option<Child> {
    let log = || std::fs::read_to_string(place.join("log")).unwrap_or_default();
    let begun = log().matches("commencing operation").count();
    let said = File::create(place.join("centre")).unwrap();
    let mut command = command(place, CENTRE);
    let mut centre =
        command.args(["-n", "-r", "STORY"]).stdout(said.try_clone().unwrap()).stderr(said).spawn().unwrap();
    eventually("the centre listens or ends", || {
        if centre.try_wait().unwrap().is_some() {
            assert!(log().contains("Address already in use"), "{}", log());
            return Some(false);
        }
        (log().matches("commencing operation").count() > begun).then_some(true)
    })
    .then_some(centre)
}
