//! The part of a URI behind its question mark, and the writing of bytes as `%XX`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::{Transport, UriError};

/// Parameters that a transport has, each once, not decoded.
pub(super) struct Query<'a>(BTreeMap<&'static str, &'a str>);

impl<'a> Query<'a> {
    pub(super) fn read(text: &'a str, transport: Transport, known: &[&'static str]) -> Result<Self, UriError> {
        let mut found = BTreeMap::new();
        for parameter in text.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').ok_or_else(|| UriError::NoValue(parameter.to_owned()))?;
            let Some(&name) = known.iter().find(|&&known| known == name) else {
                return Err(UriError::Parameter { transport, name: name.to_owned() });
            };
            if found.insert(name, value).is_some() {
                return Err(UriError::Twice(name.to_owned()));
            }
        }
        Ok(Self(found))
    }

    /// A parameter that is a path.
    pub(super) fn path(&self, name: &'static str) -> Result<Option<PathBuf>, UriError> {
        let Some(&value) = self.0.get(name) else { return Ok(None) };
        let path = PathBuf::from(OsString::from_vec(percent_decode(value, name)?));
        if !path.is_absolute() {
            return Err(UriError::NotAbsolute { name, path: value.to_owned() });
        }
        Ok(Some(path))
    }

    /// A parameter that is a word.
    pub(super) fn text(&self, name: &'static str) -> Result<Option<String>, UriError> {
        let Some(&value) = self.0.get(name) else { return Ok(None) };
        let decoded = String::from_utf8(percent_decode(value, name)?);
        decoded.map(Some).map_err(|_| UriError::Choice { name, value: value.to_owned() })
    }
}

pub(super) fn percent_decode(text: &str, part: &'static str) -> Result<Vec<u8>, UriError> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
        let value = match (digit(), digit()) {
            (Some(high), Some(low)) => u8::try_from(high * 16 + low).ok(),
            _ => None,
        };
        match value {
            None => return Err(UriError::Percent(part)),
            Some(0) => return Err(UriError::Nul(part)),
            Some(value) => decoded.push(value),
        }
    }
    Ok(decoded)
}

/// Letters, digits and `plain` as they are, everything else by its number.
pub(super) fn percent_encode(bytes: &[u8], plain: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}
