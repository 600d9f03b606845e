//! The token as it is handed over: through a pipe, or typed and pasted at a terminal that does not show it.

use std::io::{self, IsTerminal, Read};
use std::os::fd::{AsFd, BorrowedFd};

use super::super::output::Output;
use super::super::problem::Problem;
use super::super::raw::Raw;
use super::Exit;

/// More than any token has, with room for the lines around it.
const BYTES_MAX: usize = 4096;

/// Reads the token from standard input.
pub(super) fn token(output: &mut Output) -> Result<String, Problem> {
    let stdin = io::stdin();
    let failed = |error: io::Error| Problem::local("standard input cannot be read", &error);
    let bytes = if stdin.is_terminal() {
        output.help("token: ");
        let typed = at_terminal(stdin.as_fd());
        output.begin_line();
        match typed.map_err(failed)? {
            Some(typed) => typed,
            None => return Err(Problem::new(Exit::Failed, "LOCAL", "broken off before there was a token")),
        }
    } else {
        let mut bytes = Vec::new();
        stdin.lock().take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        bytes
    };
    text(&bytes)
}

/// What was handed over, if it may be a token at all.
fn text(bytes: &[u8]) -> Result<String, Problem> {
    if bytes.len() > BYTES_MAX {
        return Err(Problem::usage(format!("this is no token: it has more than {BYTES_MAX} bytes"))
            .hint("a token is one line, as vmwire client invite prints it"));
    }
    let text = String::from_utf8_lossy(bytes).trim().to_owned();
    if text.is_empty() {
        return Err(Problem::usage("there was no token on standard input")
            .hint("paste it at the prompt, or pipe it: vmwire enroll < FILE"));
    }
    Ok(text)
}

/// Reads a line that is not shown; `None` when it is broken off.
fn at_terminal(terminal: BorrowedFd<'_>) -> io::Result<Option<Vec<u8>>> {
    let _raw = Raw::enter(terminal)?;
    let mut typed = Vec::new();
    loop {
        let mut byte = [0];
        match rustix::io::read(terminal, &mut byte) {
            Ok(0) => return Ok(Some(typed)),
            Ok(_) => {
                if let Some(line) = key(&mut typed, byte[0]) {
                    return Ok(line);
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// One key: the line when it is whole, `Some(None)` when it is broken off.
fn key(typed: &mut Vec<u8>, byte: u8) -> Option<Option<Vec<u8>>> {
    match byte {
        b'\r' | b'\n' => return Some(Some(std::mem::take(typed))),
        // ^C, ^D, ^\, ^Z
        0x03 | 0x04 | 0x1c | 0x1a => return Some(None),
        // ^U
        0x15 => typed.clear(),
        0x08 | 0x7f => {
            typed.pop();
        }
        _ if typed.len() <= BYTES_MAX => typed.push(byte),
        _ => {}
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Option<Option<Vec<u8>>> {
        let mut typed = Vec::new();
        bytes.iter().find_map(|&byte| key(&mut typed, byte))
    }

    #[test]
    fn a_line_is_typed_mended_and_broken_off() {
        assert_eq!(keys(b"vmw1-AB\x7fA\r"), Some(Some(b"vmw1-AA".to_vec())));
        assert_eq!(keys(b"nonsense\x15vmw1-\n"), Some(Some(b"vmw1-".to_vec())));
        assert_eq!(keys(b"vmw1\x03\r"), Some(None));
        assert_eq!(keys(b"vmw1"), None);
        assert!(keys(&[&[b'a'; 10_000][..], b"\r"].concat()).unwrap().unwrap().len() <= BYTES_MAX + 1);
    }

    #[test]
    fn what_is_no_token_at_all_is_told_before_it_is_read_as_one() {
        assert_eq!(text(b"  vmw1-AA \r\n").unwrap(), "vmw1-AA");
        assert!(text(b" \n").unwrap_err().message.contains("no token on standard input"));
        assert!(text(&[b'a'; 5000]).unwrap_err().message.contains("more than 4096 bytes"));
    }
}
