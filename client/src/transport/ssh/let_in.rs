//! What a person can do where a host lets nobody in. Pure.
//!
//! Whether the key could not be used here, or was not taken there, shows in the words of the ssh program alone; what they
//! are about is known from why the program was taken.

use std::path::Path;

use super::Reason;
use super::error::{arguments, arguments_without_key, quoted};
use crate::uri::{SshBy, SshTarget};

/// How a host calls letting in who has a ticket of Kerberos.
pub(super) const GSSAPI: &str = "gssapi-with-mic";

/// The first step where only a key opens, so that nobody gets in to put his own there himself.
pub(super) fn let_somebody(what: &str, user: Option<&str>, host: &str) -> String {
    let user = user.unwrap_or_default();
    format!("let somebody who is in put {what} into ~{user}/.ssh/authorized_keys on {host}")
}

/// The step beside that, where a ticket would do as well.
pub(super) fn or_a_ticket(place: &SshTarget) -> &'static str {
    match place.by() {
        SshBy::Ssh2 => "; or get a ticket with kinit, and leave transport=ssh2 out",
        SshBy::Auto | SshBy::Program => "; or get a ticket with kinit, and have GSSAPIAuthentication yes",
    }
}

/// What leads on after the ssh program was not let in, by what it and the host have `said`.
/// `key` is the user's own, in a file, if there is any.
pub(super) fn hint(place: &SshTarget, said: &[String], reason: Option<&Reason>, key: Option<&Path>) -> String {
    if let Some(hint) = unusable(place, said, reason) {
        return hint;
    }
    let another = untaken(place, said, reason, key);
    match reason {
        // Without its PIN a token does not show what it has, be it right or not.
        Some(Reason::Pkcs11(provider)) if said.iter().any(|line| line == "pin required") => format!(
            "its PIN is asked for at a terminal alone, and an agent that has it needs none: ssh-add -s {}; or {another}",
            quoted(provider)
        ),
        _ => another,
    }
}

/// What leads on where nothing that was shown is known there.
fn untaken(place: &SshTarget, said: &[String], reason: Option<&Reason>, key: Option<&Path>) -> String {
    let (host, ssh) = (place.host(), arguments(place));
    let takes = |method: &str| takes(said).any(|taken| taken == method);
    let brings = takes("password") || takes("keyboard-interactive");
    let public = match key {
        Some(key) => format!("your public key ({}.pub)", key.display()),
        None => "your public key".to_owned(),
    };
    let first = match reason {
        // It is in no file that ssh-copy-id would find.
        Some(Reason::Pkcs11(provider)) => {
            let print = format!("what is printed by: ssh-keygen -D {}", quoted(provider));
            format!(
                "{} (where that prints nothing, the token is not there or has no key)",
                let_somebody("the key of your token", place.user(), host) + ", which is " + &print
            )
        }
        // ssh-copy-id takes one -i, and the URI may name the same key.
        Some(Reason::SecurityKey(file)) if brings => format!(
            "put your key there: ssh-copy-id -i {} {}",
            quoted(&format!("{}.pub", file.display())),
            arguments_without_key(place)
        ),
        Some(Reason::SecurityKey(file)) => {
            let_somebody(&format!("your public key ({}.pub)", file.display()), place.user(), host)
        }
        Some(Reason::Gssapi) => format!(
            "is the ticket still good (klist, kinit), and may its owner be this user there (.k5login)? Or {}",
            let_somebody(&public, place.user(), host)
        ),
        _ if brings => format!("put your key there: ssh-copy-id {ssh}"),
        _ => let_somebody(&public, place.user(), host),
    };
    let makes = match reason {
        Some(Reason::Pkcs11(_) | Reason::SecurityKey(_)) => "",
        _ if key.is_some() => "",
        _ => "; ssh-keygen makes one",
    };
    let ticket = if takes(GSSAPI) && reason != Some(&Reason::Gssapi) { or_a_ticket(place) } else { "" };
    format!(
        "{first}{makes}{ticket}; for another key write ?keyfile=PATH behind the URI, for another user \
         qemu+ssh://USER@{host}/system"
    )
}

/// Why a key in a token could not even be used, if that is what was said.
fn unusable(place: &SshTarget, said: &[String], reason: Option<&Reason>) -> Option<String> {
    let heard = |words: &str| said.iter().any(|line| line.contains(words));
    let touched = matches!(reason, Some(Reason::SecurityKey(_)));
    if ["is not a PKCS11 library", "is not an OpenSSH FIDO library", "dlopen "].into_iter().any(heard) {
        let settings = "PKCS11Provider or SecurityKeyProvider";
        return Some(format!("name the token's library in {settings}; what is set: ssh -G {}", arguments(place)));
    }
    if heard("device not found") {
        return Some("plug the security key in, and try again".to_owned());
    }
    if heard("PIN incorrect") || touched && heard("incorrect passphrase supplied") {
        return Some(
            "try again at a terminal with the right PIN; a token locks itself after some wrong ones".to_owned(),
        );
    }
    None
}

/// The ways in which the host lets people in, as ssh says it in the end.
fn takes(said: &[String]) -> impl Iterator<Item = &str> {
    let lines = said.iter().filter_map(|line| line.split_once("Permission denied ("));
    lines.flat_map(|(_, methods)| methods.split([',', ')']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uri::Uri;

    fn of(takes: &str, said: &str, reason: Option<&Reason>) -> String {
        of_uri("qemu+ssh://me@vm1:2222/system", takes, said, reason)
    }

    fn of_uri(uri: &str, takes: &str, said: &str, reason: Option<&Reason>) -> String {
        let uri: Uri = uri.parse().unwrap();
        let said = [said.to_owned(), format!("me@vm1: Permission denied ({takes}).")];
        hint(uri.ssh().unwrap(), &said, reason, None)
    }

    #[test]
    fn nobody_is_sent_to_copy_a_key_to_where_only_a_key_opens() {
        let of = |takes: &str| of(takes, "", None);
        assert!(
            of("publickey,password").starts_with("put your key there: ssh-copy-id -p 2222 me@vm1; ssh-keygen makes")
        );
        assert!(of("publickey,keyboard-interactive").starts_with("put your key there"));
        let only = "let somebody who is in put your public key into ~me/.ssh/authorized_keys on vm1; ssh-keygen makes";
        assert!(of("publickey").starts_with(only), "{}", of("publickey"));
        let uri: Uri = "qemu+ssh://vm1/system".parse().unwrap();
        let said = ["me@vm1: Permission denied (publickey).".to_owned()];
        let named = hint(uri.ssh().unwrap(), &said, None, Some(Path::new("/k")));
        let expected = "let somebody who is in put your public key (/k.pub) into ~/.ssh/authorized_keys on vm1; for";
        assert!(named.starts_with(expected), "{named}");
        assert!(
            !of("publickey").contains("kinit")
                && of("publickey,gssapi-with-mic").contains("; or get a ticket with kinit")
        );
    }

    #[test]
    fn what_a_token_says_is_no_matter_of_the_hosts() {
        let pkcs11 = || Some(Reason::Pkcs11("/p 11.so".into()));
        let touched = || Some(Reason::SecurityKey("/k".into()));
        let failed = "sign_and_send_pubkey: signing failed for ED25519-SK \"/k\": ";
        let wrong = format!("{failed}incorrect passphrase supplied to decrypt private key");
        let absent = format!("{failed}device not found");
        for (said, reason, expected) in [
            ("pin required", pkcs11(), "ssh-add -s '/p 11.so'"),
            ("PKCS#11 login failed: PIN incorrect", pkcs11(), "with the right PIN"),
            (&wrong, touched(), "with the right PIN"),
            (&wrong, None, "authorized_keys"),
            (&absent, touched(), "plug the security key in"),
            ("provider /x.so is not a PKCS11 library", pkcs11(), "ssh -G -p 2222 me@vm1"),
            (
                "",
                pkcs11(),
                "put the key of your token into ~me/.ssh/authorized_keys on vm1, which is what is printed by: ssh-keygen -D '/p 11.so' (where",
            ),
            ("", touched(), "put your public key (/k.pub) into ~me/.ssh/authorized_keys on vm1; for another key"),
            ("", Some(Reason::Gssapi), "is the ticket still good (klist, kinit)"),
        ] {
            let hint = of("publickey", said, reason.as_ref());
            assert!(hint.contains(expected), "{said} {reason:?}: {hint}");
        }
        let copied = of("publickey,password", "", touched().as_ref());
        assert!(copied.starts_with("put your key there: ssh-copy-id -i /k.pub -p 2222 me@vm1; for"), "{copied}");
        let uri = "qemu+ssh://me@vm1/system?keyfile=/k";
        let named = of_uri(uri, "publickey,password", "", touched().as_ref());
        assert!(named.starts_with("put your key there: ssh-copy-id -i /k.pub me@vm1; for"), "{named}");
        let other = of_uri(uri, "publickey,password", "", None);
        assert!(other.starts_with("put your key there: ssh-copy-id -i /k me@vm1; ssh-keygen"), "{other}");
    }
}
