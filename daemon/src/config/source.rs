//! Where a configuration comes from, so that it can be read again.

use std::io;
use std::path::{Path, PathBuf};

use super::{Blamed, Config, ConfigError, Environment, FILE_BYTES_MAX};
use crate::access::Users;
use crate::arguments::Arguments;
use crate::driver::ReadFile;
use crate::regular_file::{Links, read, read_text};

/// The users and the groups of the host.
const ACCOUNTS: [&str; 2] = ["/etc/passwd", "/etc/group"];

/// A list of users or groups longer than this is not one of this host.
const ACCOUNTS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The command line, the surroundings, and the file that they lead to.
#[derive(Debug, Clone)]
pub struct Source {
    /// The command line.
    pub arguments: Arguments,
    /// The surroundings.
    pub environment: Environment,
}

impl Source {
    /// The file, if there is a place for one.
    fn path(&self) -> Option<PathBuf> {
        match &self.arguments.config {
            Some(path) => Some(self.environment.current_dir.join(path)),
            None => self.environment.config_file(),
        }
    }

    /// Reads the file and joins it with the rest. At the start, when there is nobody yet to keep waiting.
    ///
    /// # Errors
    /// See [`ConfigError`]. That the default file is not there is no error.
    pub fn load(&self) -> Result<Config, ConfigError> {
        let Some(path) = self.path() else { return self.resolve(None) };
        match read_text(&path, FILE_BYTES_MAX, Links::Follow) {
            Ok(text) => self.resolve(Some(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.arguments.config.is_none() => {
                self.resolve(None)
            }
            Err(error) => Err(ConfigError::File { path, error }),
        }
    }

    /// Tells why something of the configuration cannot be used, with where it was said.
    pub fn blame(&self, blamed: Blamed, why: String) -> ConfigError {
        let key = blamed.key();
        let option = match key {
            "state_dir" if self.arguments.state_dir.is_some() => Some("--state-dir"),
            "runtime_dir" if self.arguments.runtime_dir.is_some() => Some("--runtime-dir"),
            "listen" if !self.arguments.listen.is_empty() => Some("--listen"),
            _ => None,
        };
        if let Some(option) = option {
            return ConfigError::Path { option, why };
        }
        let path = self.path().unwrap_or_default();
        let text = read_text(&path, FILE_BYTES_MAX, Links::Follow).unwrap_or_default();
        match blamed.located(&text, &why) {
            Some(error) => ConfigError::Content { path, error },
            None => ConfigError::Default { key, why },
        }
    }

    /// What the file helper is to read for [`Source::take_up`].
    pub fn files(&self) -> Vec<ReadFile> {
        let file = |path, bytes_max, optional| ReadFile { path, bytes_max, private: false, optional };
        let accounts = ACCOUNTS.map(|path| file(PathBuf::from(path), ACCOUNTS_BYTES_MAX, true));
        let optional = self.arguments.config.is_none();
        accounts.into_iter().chain(self.path().map(|path| file(path, FILE_BYTES_MAX, optional))).collect()
    }

    /// Joins what was read anew with the rest.
    ///
    /// # Errors
    /// In words.
    pub fn take_up(&mut self, read: Vec<Option<Vec<u8>>>) -> Result<Config, String> {
        let mut read = read.into_iter();
        let [users, groups, text] = [(); 3].map(|()| read.next().flatten());
        let [users, groups] = [users, groups].map(Option::unwrap_or_default);
        self.environment.users = parse(&users, &groups);
        let text = text.map(String::from_utf8).transpose();
        let text = text.map_err(|error| format!("{}: {error}", self.path().unwrap_or_default().display()))?;
        self.resolve(text.as_deref()).map_err(|error| error.to_string())
    }

    fn resolve(&self, text: Option<&str>) -> Result<Config, ConfigError> {
        let path = self.path().unwrap_or_default();
        Config::resolve(text.map(|text| (path.as_path(), text)), &self.arguments, &self.environment)
    }
}

/// The users and groups of the host; where there are no such lists, there is nobody to name.
pub(super) fn users() -> Users {
    let [users, groups] =
        ACCOUNTS.map(|path| read(Path::new(path), ACCOUNTS_BYTES_MAX, Links::Follow).unwrap_or_default());
    parse(&users, &groups)
}

/// Nobody says in which encoding the real names there are; the others are in ASCII.
fn parse(users: &[u8], groups: &[u8]) -> Users {
    Users::parse(&String::from_utf8_lossy(users), &String::from_utf8_lossy(groups))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_name_in_another_encoding_keeps_nobody_from_being_named_nor_the_file_from_being_read_again() {
        let environment = Environment { root: true, ..Environment::default() };
        let mut source = Source { arguments: Arguments::default(), environment };
        let users = b"ana:x:1000:1000:Ana Mu\xf1oz:/:/bin/sh\nbob:x:1001:1001::/:/bin/sh\n".to_vec();
        let mut take_up = |text: &[u8]| source.take_up(vec![Some(users.clone()), None, Some(text.to_vec())]);
        for name in ["ana", "bob"] {
            let text = format!("[[rule]]\nidentity = \"user:{name}\"\nrole = \"observer\"\n");
            assert_eq!(take_up(text.as_bytes()).unwrap().rules.len(), 1, "{name}");
        }
        let told = take_up(b"log = \"\xf1\"").unwrap_err();
        assert!(told.starts_with("/etc/vmwire/vmwired.toml: "), "{told}");
    }
}
