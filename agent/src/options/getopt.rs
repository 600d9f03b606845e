//! Words of a command line in the syntax of `getopt_long`: `-dv`, `-pPATH`, `-p PATH`, `--path PATH`, `--path=PATH`, `--pa PATH` as long as
//! nothing else begins so; an option's argument that may be missing stands right behind it; `--` ends the options.

use std::fmt;

/// Whether an option takes an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    Argument,
    MaybeArgument,
}

/// An option: its letter, its names, whether it takes an argument.
pub(super) type Known = (char, &'static [&'static str], Takes);

/// Why words are no command line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    Unknown(String),
    Ambiguous(String),
    NeedsArgument(String),
    TakesNoArgument(String),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Unknown(option) => write!(f, "unrecognized option '{option}'"),
            Wrong::Ambiguous(option) => write!(f, "option '{option}' is ambiguous"),
            Wrong::NeedsArgument(option) => write!(f, "option '{option}' requires an argument"),
            Wrong::TakesNoArgument(option) => write!(f, "option '{option}' doesn't allow an argument"),
        }
    }
}

/// The options among these words, by their letters, in order. Words that are none are passed over.
pub(super) fn parse(words: &[String], known: &[Known]) -> Result<Vec<(char, Option<String>)>, Wrong> {
    let mut options = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            break;
        }
        if let Some(long) = word.strip_prefix("--") {
            let (name, attached) = match long.split_once('=') {
                Some((name, argument)) => (name, Some(argument.to_owned())),
                None => (long, None),
            };
            let (letter, takes) = long_option(name, known)?;
            let argument = match (takes, attached) {
                (Takes::Nothing, Some(_)) => return Err(Wrong::TakesNoArgument(format!("--{name}"))),
                (Takes::Argument, None) => {
                    Some(words.next().cloned().ok_or_else(|| Wrong::NeedsArgument(format!("--{name}")))?)
                }
                (_, attached) => attached,
            };
            options.push((letter, argument));
        } else if let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            let mut rest = letters;
            while let Some(letter) = rest.chars().next() {
                rest = &rest[letter.len_utf8()..];
                let found = known.iter().find(|(known, ..)| *known == letter);
                let (_, _, takes) = found.ok_or_else(|| Wrong::Unknown(format!("-{letter}")))?;
                let attached = (!rest.is_empty()).then(|| rest.to_owned());
                let argument = match takes {
                    Takes::Nothing => {
                        options.push((letter, None));
                        continue;
                    }
                    Takes::MaybeArgument => attached,
                    Takes::Argument => Some(
                        attached
                            .or_else(|| words.next().cloned())
                            .ok_or_else(|| Wrong::NeedsArgument(format!("-{letter}")))?,
                    ),
                };
                options.push((letter, argument));
                break;
            }
        }
    }
    Ok(options)
}

fn long_option(name: &str, known: &[Known]) -> Result<(char, Takes), Wrong> {
    let all = || known.iter().flat_map(|(letter, names, takes)| names.iter().map(move |name| (*letter, *name, *takes)));
    if let Some((letter, _, takes)) = all().find(|(_, known, _)| *known == name) {
        return Ok((letter, takes));
    }
    let mut alike = all().filter(|(_, known, _)| known.starts_with(name));
    let (letter, _, takes) = alike.next().ok_or_else(|| Wrong::Unknown(format!("--{name}")))?;
    if alike.any(|(other, ..)| other != letter) {
        return Err(Wrong::Ambiguous(format!("--{name}")));
    }
    Ok((letter, takes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Known] = &[
        ('p', &["path"], Takes::Argument),
        ('f', &["pidfile"], Takes::Argument),
        ('F', &["fsfreeze-hook"], Takes::MaybeArgument),
        ('d', &["daemonize"], Takes::Nothing),
        ('v', &["verbose"], Takes::Nothing),
        ('b', &["block-rpcs", "blacklist"], Takes::Argument),
    ];

    fn parsed(words: &[&str]) -> Result<Vec<(char, Option<String>)>, Wrong> {
        parse(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>(), KNOWN)
    }

    fn option(letter: char, argument: &str) -> (char, Option<String>) {
        (letter, Some(argument.to_owned()))
    }

    #[test]
    fn options_are_read_in_all_their_forms() {
        assert_eq!(
            parsed(&["-dvp/a", "x", "-p", "/b", "--path", "/c", "--path=/d", "--pat=", "-", "-F", "y", "-F/h"])
                .unwrap(),
            [
                ('d', None),
                ('v', None),
                option('p', "/a"),
                option('p', "/b"),
                option('p', "/c"),
                option('p', "/d"),
                option('p', ""),
                ('F', None),
                option('F', "/h"),
            ],
        );
        assert_eq!(
            parsed(&["--fsfreeze-hook", "x", "--fsfreeze-hook=/h", "--", "-d"]).unwrap(),
            [('F', None), option('F', "/h")]
        );
        assert_eq!(parsed(&["--blacklist=x", "--bl", "y"]).unwrap(), [option('b', "x"), option('b', "y")]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(parsed(&["--foo"]), Err(Wrong::Unknown("--foo".to_owned())));
        assert_eq!(parsed(&["-dx"]), Err(Wrong::Unknown("-x".to_owned())));
        assert_eq!(parsed(&["--p", "x"]), Err(Wrong::Ambiguous("--p".to_owned())));
        assert_eq!(parsed(&["-p"]), Err(Wrong::NeedsArgument("-p".to_owned())));
        assert_eq!(parsed(&["--path"]), Err(Wrong::NeedsArgument("--path".to_owned())));
        assert_eq!(parsed(&["--daemonize=1"]), Err(Wrong::TakesNoArgument("--daemonize".to_owned())));
    }
}
