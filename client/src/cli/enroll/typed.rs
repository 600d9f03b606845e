//! The token as it is handed over: through a pipe, or typed and pasted at a terminal that does not show it.

use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;

use super::super::hidden::{self, BYTES_MAX};
use super::super::output::Output;
use super::super::problem::Problem;
use super::Exit;

/// Reads the token from standard input.
pub(super) fn token(output: &mut Output) -> Result<String, Problem> {
    let stdin = io::stdin();
    let failed = |error: io::Error| Problem::local("standard input cannot be read", &error);
    let bytes = if stdin.is_terminal() {
        let typed = hidden::line(stdin.as_fd(), || {
            output.help("token: ");
            Ok(())
        });
        output.begin_line();
        match typed.map_err(failed)? {
            Some(mut typed) => std::mem::take(&mut *typed),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_token_at_all_is_told_before_it_is_read_as_one() {
        assert_eq!(text(b"  vmw1-AA \r\n").unwrap(), "vmw1-AA");
        assert!(text(b" \n").unwrap_err().message.contains("no token on standard input"));
        assert!(text(&[b'a'; 5000]).unwrap_err().message.contains("more than 4096 bytes"));
    }
}
