//! Signatures below certificates and revocation lists, of which those that were right once are not computed again.
//!
//! Whether a signature is right follows from the algorithm, the key, what is signed and the signature, and from nothing
//! else: neither from a date, nor from whom is trusted or revoked. So the sum of these four is remembered when it was right,
//! and a judgement that comes to it again goes on without its tenth of a millisecond. All that can change is judged anew each
//! time, by the one verifier: which way leads to an authority, by which key, who is revoked, what has ended. An authority with
//! another key has other signatures.
//!
//! ```text
//!   verifier ──▶ algorithm, key, message, signature ──▶ sum ──▶ known to be right ──────────────▶ right
//!                                                         └──▶ not known ──▶ computed ──▶ right: remembered
//!                                                                                   └───▶ wrong: each time anew
//! ```
//! Wrong ones are not remembered, for anybody can make those up. Right ones come from keys that are trusted, or from those
//! whom these have made authorities.
//!
//! Whoever is there already is judged in a hurry, together with all others: there a signature that was right by one key is
//! wrong by every other. To make a key by which it were right as well is something that nobody does who means well, and
//! then somebody is sent away who may come back, for with who comes it is computed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::LazyLock;

use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};

/// Signatures that are remembered at least, if there were as many: one for each of as many clients. Twice as many at most.
const REMEMBERED_MAX: usize = 16 * 1024;

/// What a signature counts for that has to be computed, in bytes of which a sum is made in the same time.
const COMPUTED_WORK: usize = 128 * 1024;

type Sum = [u8; SHA256_OUTPUT_LEN];

thread_local! {
    static RIGHT: RefCell<Right> = RefCell::default();
}

/// Sums of signatures that are right, and of the keys by which they are.
///
/// Two halves: when the newer one is full it becomes the older one, and what nobody has asked for since the time before
/// is forgotten.
#[derive(Default)]
struct Right {
    newer: HashMap<Sum, Sum>,
    older: HashMap<Sum, Sum>,
    work: usize,
    hurries: bool,
}

/// What is remembered of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Right,
    /// It is right by another key.
    Others,
    Not,
}

/// An algorithm, with a look at what is remembered before it.
#[derive(Debug)]
struct Remembering {
    algorithm: &'static dyn SignatureVerificationAlgorithm,
    /// Its place among all of them: two may have the same names and other limits.
    number: usize,
}

/// Judges somebody who is there already. Answers with the verdict the work for signatures: bytes of which sums were made, and
/// what stands for those that were computed.
pub(super) fn judge_in_a_hurry<T>(judge: impl FnOnce() -> T) -> (T, usize) {
    RIGHT.with_borrow_mut(|right| (right.work, right.hurries) = (0, true));
    let verdict = judge();
    let work = RIGHT.with_borrow_mut(|right| {
        right.hurries = false;
        right.work
    });
    (verdict, work)
}

/// The same provider, which remembers what certificates and lists are signed with. Signatures of handshakes are none of
/// these: each is made once.
pub(super) fn remembering(provider: &CryptoProvider) -> CryptoProvider {
    static ALGORITHMS: LazyLock<Vec<Remembering>> = LazyLock::new(|| {
        let WebPkiSupportedAlgorithms { all, .. } = super::provider().signature_verification_algorithms;
        all.iter().enumerate().map(|(number, algorithm)| Remembering { algorithm: *algorithm, number }).collect()
    });
    static ALL: LazyLock<Vec<&'static dyn SignatureVerificationAlgorithm>> =
        LazyLock::new(|| ALGORITHMS.iter().map(|algorithm| algorithm as &dyn SignatureVerificationAlgorithm).collect());
    let mut provider = provider.clone();
    provider.signature_verification_algorithms.all = &ALL;
    provider
}

impl Right {
    fn look(&mut self, sum: &Sum, key: &Sum) -> Known {
        if let Some(key) = self.older.remove(sum) {
            self.remember(*sum, key);
        }
        match self.newer.get(sum) {
            Some(known) if known == key => Known::Right,
            Some(_) => Known::Others,
            None => Known::Not,
        }
    }

    fn remember(&mut self, sum: Sum, key: Sum) {
        if self.newer.len() >= REMEMBERED_MAX {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(sum, key);
    }
}

/// Each part behind its length, so that no two rows of parts are the same bytes.
fn sum(parts: &[&[u8]]) -> Sum {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&part.len().to_be_bytes());
        context.update(part);
    }
    let mut sum = [0; SHA256_OUTPUT_LEN];
    sum.copy_from_slice(context.finish().as_ref());
    sum
}

impl SignatureVerificationAlgorithm for Remembering {
    fn verify_signature(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let (signed, key) = (sum(&[&self.number.to_be_bytes(), message, signature]), sum(&[public_key]));
        let (known, hurries) = RIGHT.with_borrow_mut(|right| {
            right.work += public_key.len() + message.len() + signature.len();
            (right.look(&signed, &key), right.hurries)
        });
        match known {
            Known::Right => return Ok(()),
            Known::Others if hurries => return Err(InvalidSignature),
            Known::Others | Known::Not => {}
        }
        RIGHT.with_borrow_mut(|right| right.work += COMPUTED_WORK);
        self.algorithm.verify_signature(public_key, message, signature)?;
        RIGHT.with_borrow_mut(|right| right.remember(signed, key));
        Ok(())
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.signature_alg_id()
    }

    fn fips(&self) -> bool {
        self.algorithm.fips()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use rustls::pki_types::CertificateDer;

    use super::*;
    use crate::config::{KeyPair, ServerContext, ServerMaterial, ServerOptions};
    use crate::date::{Clock, Date};
    use crate::error::Refusal;
    use crate::pki::{Authority, HostName, HostNames, Issued, Reason, RevocationList, Revoked};

    /// 2026-06-01 00:00:00 UTC.
    const NOW: Date = Date(1_780_272_000);

    fn authority() -> Authority {
        Authority::create("CA", NOW).unwrap().authority
    }

    fn authority_and_client() -> (Authority, Issued) {
        let authority = authority();
        let client = authority.issue_client(&"anna".parse().unwrap(), NOW).unwrap().1;
        (authority, client)
    }

    fn list(authority: &Authority, revoked: &[&Issued]) -> String {
        let reason = Reason::Unspecified;
        let revoked: Vec<_> =
            revoked.iter().map(|issued| Revoked { serial: issued.serial.clone(), since: NOW, reason }).collect();
        authority.sign_revocations(&RevocationList::default(), &revoked, NOW).unwrap()
    }

    /// What a daemon is that believes these authorities, so many days later.
    fn believes(authorities: &[&Authority], lists: &[&str], days: u64) -> ServerContext {
        let host = HostNames::new(["vm1".parse::<HostName>().unwrap()]).unwrap();
        let (key, server) = authorities[0].issue_server(&host, NOW).unwrap();
        let authorities: String = authorities.iter().map(|authority| authority.pem()).collect();
        let lists: Vec<&[u8]> = lists.iter().map(|list| list.as_bytes()).collect();
        let material = ServerMaterial {
            pair: KeyPair { certificates: server.pem.as_bytes(), key: key.as_bytes() },
            authorities: authorities.as_bytes(),
            revocation_lists: &lists,
        };
        let now = UNIX_EPOCH + Duration::from_secs(NOW.0.cast_unsigned() + days * 86_400);
        ServerContext::build(&material, Clock::new(move || now), ServerOptions::default()).unwrap()
    }

    /// What becomes of a client, and how many signatures were computed for it.
    fn judge(context: &ServerContext, client: &[u8]) -> (Result<(), Refusal>, usize) {
        let (verdict, work) = context.judge_counting(&[CertificateDer::from(client)]);
        (verdict.map(|_| ()), work / COMPUTED_WORK)
    }

    #[test]
    fn what_was_right_is_not_computed_again_and_each_change_counts_all_the_same() {
        let (other, (authority, client)) = (authority(), authority_and_client());
        let context = believes(&[&authority], &[], 0);
        assert_eq!(judge(&context, &client.der), (Ok(()), 1));
        assert_eq!(judge(&context, &client.der), (Ok(()), 0));

        // A list has a signature of its own, once.
        let empty = list(&authority, &[]);
        let context = believes(&[&authority], &[&empty], 0);
        assert_eq!(judge(&context, &client.der), (Ok(()), 1));
        assert_eq!(judge(&context, &client.der), (Ok(()), 0));
        let named = list(&authority, &[&client]);
        let (verdict, computed) = judge(&believes(&[&authority], &[&named], 0), &client.der);
        assert!(matches!(verdict, Err(Refusal::Revoked { .. })) && computed == 1, "{verdict:?}, {computed}");

        // Nor do dates and authorities stay what they were.
        let (verdict, computed) = judge(&believes(&[&authority], &[&empty], 400), &client.der);
        assert!(matches!(verdict, Err(Refusal::Expired { .. })) && computed == 0, "{verdict:?}, {computed}");
        // It has the same name.
        let context = believes(&[&other], &[], 0);
        let (verdict, computed) = judge(&context, &client.der);
        assert!(matches!(verdict, Err(Refusal::BadSignature { .. })) && computed == 0, "{verdict:?}, {computed}");
        let verdict = context.judge(&[CertificateDer::from(client.der.as_slice())]);
        assert!(matches!(verdict, Err(Refusal::BadSignature { .. })), "{verdict:?}");
        assert_eq!(RIGHT.with_borrow(|right| right.work) / COMPUTED_WORK, 1, "with who comes it is computed");
        assert_eq!(judge(&believes(&[&other, &authority], &[], 0), &client.der), (Ok(()), 0));
        // The other one's list is none, whatever it is signed with.
        let false_one = list(&other, &[]);
        let (verdict, _) = judge(&believes(&[&authority], &[&false_one], 0), &client.der);
        assert_eq!(verdict, Err(Refusal::ListUnusable));
    }

    #[test]
    fn another_signature_and_what_says_something_else_are_computed_and_refused() {
        let (authority, client) = authority_and_client();
        let context = believes(&[&authority], &[], 0);
        assert_eq!(judge(&context, &client.der), (Ok(()), 1));
        let name = client.der.windows(4).rposition(|window| window == b"anna").unwrap();
        for place in [name, client.der.len() - 1] {
            let mut changed = client.der.clone();
            changed[place] ^= 1;
            for _ in 0..2 {
                let (verdict, computed) = judge(&context, &changed);
                assert!(matches!(verdict, Err(Refusal::BadSignature { .. })) && computed == 1, "{place}: {verdict:?}");
            }
        }
    }

    #[test]
    fn no_two_rows_of_parts_have_the_same_sum() {
        let rows: [&[&[u8]]; 4] = [&[b"a", b"bc", b"d"], &[b"ab", b"c", b"d"], &[b"a", b"bcd"], &[b"", b"abc", b"d"]];
        assert_eq!(rows.map(sum).into_iter().collect::<std::collections::HashSet<Sum>>().len(), rows.len());
    }

    /// Right whatever it is shown, and wrong if it is shown a key that says so.
    #[derive(Debug)]
    struct Obliging;

    impl SignatureVerificationAlgorithm for Obliging {
        fn verify_signature(&self, key: &[u8], _message: &[u8], _signature: &[u8]) -> Result<(), InvalidSignature> {
            if key == b"wrong" { Err(InvalidSignature) } else { Ok(()) }
        }

        fn public_key_alg_id(&self) -> AlgorithmIdentifier {
            rustls::pki_types::alg_id::ED25519
        }

        fn signature_alg_id(&self) -> AlgorithmIdentifier {
            rustls::pki_types::alg_id::ED25519
        }
    }

    #[test]
    fn what_is_remembered_is_of_that_algorithm_key_message_and_signature_alone() {
        let of = |number| Remembering { algorithm: &Obliging, number };
        let computed = |number, key: &[u8], message: &[u8], signature: &[u8]| {
            let verify = || of(number).verify_signature(key, message, signature).is_ok();
            let (right, work) = judge_in_a_hurry(verify);
            (right, work / COMPUTED_WORK)
        };
        assert_eq!(computed(0, b"key", b"message", b"signature"), (true, 1));
        assert_eq!(computed(0, b"key", b"message", b"signature"), (true, 0));
        assert_eq!(computed(1, b"key", b"message", b"signature"), (true, 1));
        assert_eq!(computed(0, b"key", b"another", b"signature"), (true, 1));
        assert_eq!(computed(0, b"key", b"message", b"another"), (true, 1));
        assert_eq!(computed(0, b"other", b"message", b"signature"), (false, 0), "it is of the first key");
        // Whoever comes with it is believed, and then it is of that one.
        assert!(of(0).verify_signature(b"other", b"message", b"signature").is_ok());
        assert_eq!(computed(0, b"other", b"message", b"signature"), (true, 0));
        for _ in 0..2 {
            assert_eq!(computed(0, b"wrong", b"made up", b"signature"), (false, 1));
        }
    }

    #[test]
    fn so_many_are_remembered_and_of_more_those_that_are_asked_for() {
        const KEY: Sum = [7; SHA256_OUTPUT_LEN];
        let sum = |number: usize| {
            let mut sum = [0; SHA256_OUTPUT_LEN];
            sum[..8].copy_from_slice(&number.to_be_bytes());
            sum
        };
        let mut right = Right::default();
        for number in 0..REMEMBERED_MAX {
            right.remember(sum(number), KEY);
        }
        assert!((0..REMEMBERED_MAX).all(|number| right.look(&sum(number), &KEY) == Known::Right));
        for number in REMEMBERED_MAX..10 * REMEMBERED_MAX {
            right.remember(sum(number), KEY);
            assert_eq!(right.look(&sum(0), &KEY), Known::Right, "it is asked for all the time");
            assert!(right.newer.len() + right.older.len() <= 2 * REMEMBERED_MAX);
        }
        assert_eq!(right.look(&sum(1), &KEY), Known::Not, "nobody has asked for it");
    }
}
