//! The one byte in which the other end says why it hung up, in words.

use rustls::AlertDescription;

use super::Side;

/// What the other end's alert says (RFC 8446 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alert(u8);

impl Alert {
    /// The number of the alert on the wire.
    pub fn number(self) -> u8 {
        self.0
    }

    /// Whether it says that our certificate, or that we have none, is the reason.
    pub fn refuses_certificate(self) -> bool {
        matches!(
            AlertDescription::from(self.0),
            AlertDescription::CertificateRequired
                | AlertDescription::NoCertificate
                | AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied
                | AlertDescription::DecryptError
        )
    }

    /// What it means, and what to do about it, when it comes from this side.
    pub(super) fn words(self, from: Side) -> String {
        let ours = match from {
            Side::Client => "the certificate of this daemon",
            Side::Server => "your certificate",
        };
        match AlertDescription::from(self.0) {
            AlertDescription::CertificateRequired | AlertDescription::NoCertificate => format!(
                "it wants a certificate and got none (alert certificate required): {}",
                "get one with \"vmwire enroll\", or name it in the client's configuration"
            ),
            AlertDescription::UnknownCA => format!(
                "it does not trust the authority that issued {ours} (alert unknown ca): is it the CA of this daemon?"
            ),
            AlertDescription::CertificateRevoked => {
                format!("{ours} was revoked (alert certificate revoked): get a new one, with a new key")
            }
            AlertDescription::CertificateExpired => format!(
                "{ours} has expired or is not valid yet by its clock (alert certificate expired): \
                 compare its dates with both clocks"
            ),
            AlertDescription::BadCertificate => {
                format!("{ours} is not taken (alert bad certificate): its own log says why")
            }
            AlertDescription::UnsupportedCertificate => {
                format!("{ours} was not issued for this use (alert unsupported certificate)")
            }
            AlertDescription::CertificateUnknown => {
                format!("{ours} is not taken (alert certificate unknown): its own log says why")
            }
            AlertDescription::AccessDenied => "it knows you and does not let you in (alert access denied)".to_owned(),
            AlertDescription::DecryptError => format!(
                "a signature did not fit (alert decrypt error): was the authority of {ours} made anew under its old name?"
            ),
            AlertDescription::NoApplicationProtocol => {
                "it does not serve what was asked for on this port (alert no application protocol)".to_owned()
            }
            AlertDescription::HandshakeFailure
            | AlertDescription::ProtocolVersion
            | AlertDescription::InsufficientSecurity => {
                format!("no version of TLS or no cipher is common to both (alert {})", self.name())
            }
            AlertDescription::UnrecognisedName => {
                "it does not know the host that was asked for (alert unrecognised name)".to_owned()
            }
            AlertDescription::InternalError => {
                "it failed inside (alert internal error): its own log says why".to_owned()
            }
            _ => format!("alert {}", self.name()),
        }
    }

    /// Its name in the RFC, or its number.
    fn name(self) -> String {
        let known = AlertDescription::from(self.0);
        match known {
            AlertDescription::Unknown(number) => format!("number {number}"),
            known => {
                let mut name = String::new();
                for character in known.as_str().unwrap_or_default().chars() {
                    if character.is_uppercase() && !name.is_empty() {
                        name.push(' ');
                    }
                    name.extend(character.to_lowercase());
                }
                name
            }
        }
    }
}

impl From<AlertDescription> for Alert {
    fn from(description: AlertDescription) -> Self {
        Self(description.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_alert_has_its_words() {
        let rows = [
            (
                41,
                Side::Server,
                "it wants a certificate and got none (alert certificate required): get one with \
                 \"vmwire enroll\", or name it in the client's configuration",
            ),
            (43, Side::Server, "your certificate was not issued for this use (alert unsupported certificate)"),
            (
                44,
                Side::Client,
                "the certificate of this daemon was revoked (alert certificate revoked): get a new one, \
                 with a new key",
            ),
            (
                46,
                Side::Client,
                "the certificate of this daemon is not taken (alert certificate unknown): its own log \
                 says why",
            ),
            (49, Side::Server, "it knows you and does not let you in (alert access denied)"),
            (40, Side::Server, "no version of TLS or no cipher is common to both (alert handshake failure)"),
            (70, Side::Server, "no version of TLS or no cipher is common to both (alert protocol version)"),
            (80, Side::Server, "it failed inside (alert internal error): its own log says why"),
            (112, Side::Server, "it does not know the host that was asked for (alert unrecognised name)"),
            (20, Side::Client, "alert bad record mac"),
            (255, Side::Server, "alert number 255"),
        ];
        for (number, from, words) in rows {
            assert_eq!(Alert::from(AlertDescription::from(number)).words(from), words);
        }
    }
}
