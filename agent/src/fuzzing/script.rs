//! Requests among what is none, of which it is known what has to be answered: the bytes of a fuzzer choose the pieces, so that whatever
//! it comes up with, the truth about it is at hand.
//!
//! ```text
//!   Between ──half a request──▶ Inside ──a reset, or a line that begins a request──▶ Between
//!      └──────────any bytes──────▶ Anywhere ──a reset──▶ Between
//! ```
//!
//! A request between messages is answered at once, once, and with its own number. A reset is answered by one error, and whatever
//! was begun is gone. Half a request is given up, by one error, for one that begins a line, if it was not about to hold an
//! object itself. Anywhere a request may be taken for part of something; then a number is not answered, and never late.

use super::{Stream, shape};
use crate::json::Value;

/// Bytes that make the stream begin anew.
const RESETS: [u8; 5] = [0xff, 0xfe, 0x04, 0x00, 0x1f];
/// What means nothing between messages.
const BLANKS: [&str; 4] = [" ", "\n", "\r\n", "\t\n \n"];
/// Requests that are answered alike, that are refused for their name, their arguments, their members, and one with a byte before it.
const REQUESTS: [&str; 5] = [
    r#"{"execute":"guest-ping","id":#}"#,
    r#"{"execute":"guest-nope","id":#}"#,
    r#"{'id':#,'execute':'guest-sync','arguments':{'id':{}}}"#,
    r#"{"execute":"guest-ping","surplus":[{}],"id":#}"#,
    r#"{"execute":"guest-sync-delimited","arguments":{"id":1},"id":#}"#,
];
/// Messages that are wrong in the middle, and end.
const WRONG: [&str; 6] = [
    r#"{"execute" 5, [1, {}]}"#,
    r#"{"a":1,"a":{}}"#,
    r#"{"a":nope,"b":[{}]}"#,
    "[1 2, [[]]]",
    r#"{"\x":[]}"#,
    "[{},}]",
];
/// Numbers of whole requests count from here. No other piece has the digit 7.
const FIRST_NUMBER: i64 = 7_000_000;
/// The number in requests that are cut.
const CUT_NUMBER: &str = "123456";

/// A piece of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// A request, on a line of its own or not.
    Request(&'static str, &'static str),
    /// The beginning of one.
    Half(String),
    /// A message that is refused.
    Wrong(&'static str),
    Reset(u8),
    Blank(&'static str),
    Bytes(Vec<u8>),
}

/// Where in the stream we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Between,
    /// In half a request, which may go on with an object or not.
    Inside {
        may_hold: bool,
    },
    Anywhere,
}

/// What the fuzzer's bytes choose.
fn pieces(mut choices: &[u8]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut next = || {
        let (first, rest) = choices.split_first()?;
        choices = rest;
        Some(usize::from(*first))
    };
    while let Some(choice) = next() {
        let detail = choice / 8;
        pieces.push(match choice % 8 {
            0 => Piece::Request("\n", REQUESTS[detail % REQUESTS.len()]),
            1 => Piece::Request("", REQUESTS[detail % REQUESTS.len()]),
            2 => {
                let whole = REQUESTS[detail % REQUESTS.len()].replace('#', CUT_NUMBER);
                let cut = 1 + next().unwrap_or_default() % (whole.len() - 1);
                Piece::Half(whole[..cut].to_owned())
            }
            3 => Piece::Reset(RESETS[detail % RESETS.len()]),
            4 => Piece::Blank(BLANKS[detail % BLANKS.len()]),
            5 => Piece::Wrong(WRONG[detail % WRONG.len()]),
            _ => {
                let bytes = (0..=detail).map_while(|_| next()).filter_map(|byte| u8::try_from(byte).ok());
                Piece::Bytes(bytes.map(|byte| if byte == b'7' { b'1' } else { byte }).collect())
            }
        });
    }
    pieces
}

/// Shows an agent the stream that these bytes choose, and judges every answer.
///
/// # Panics
/// A request is answered twice, late or wrongly, or not at all though nothing stood before it; or a reset does not reset.
pub fn requests(choices: &[u8]) {
    let mut stream = Stream::new();
    let mut place = Place::Between;
    let mut number = FIRST_NUMBER;
    let mut all = Vec::new();
    let mut lines = Vec::new();
    for piece in pieces(choices) {
        let bytes = match &piece {
            Piece::Request(before, request) => {
                number += 1;
                format!("{before}{}", request.replace('#', &number.to_string())).into_bytes()
            }
            Piece::Wrong(wrong) => wrong.as_bytes().to_vec(),
            Piece::Half(half) => half.as_bytes().to_vec(),
            Piece::Reset(byte) => vec![*byte],
            Piece::Blank(blank) => blank.as_bytes().to_vec(),
            Piece::Bytes(bytes) => bytes.clone(),
        };
        let answers = stream.answers(&bytes);
        let shown: Vec<Shown> = answers.iter().map(|line| show(line)).collect();
        place = judge(&piece, place, number, &shown);
        all.extend_from_slice(&bytes);
        lines.extend(answers.iter().map(|line| shape(line)));
    }
    // However it is cut, the same is answered.
    let mut stream = Stream::new();
    let one_by_one: Vec<_> = all.iter().flat_map(|byte| stream.answers(&[*byte])).map(|line| shape(&line)).collect();
    assert_eq!(lines, one_by_one, "cutting changes what is answered");
}

/// What an answer is about.
#[derive(Debug, PartialEq)]
enum Shown {
    /// A request of ours.
    Number(i64),
    /// An error that is no answer to a request.
    Error,
    /// A request that the fuzzer made.
    Other,
}

fn show(line: &[u8]) -> Shown {
    match shape(line) {
        (_, Some(Value::Integer(number)), _) if number >= FIRST_NUMBER => Shown::Number(number),
        (_, None, true) => Shown::Error,
        _ => Shown::Other,
    }
}

/// Judges what was answered to a piece, and says where we are behind it.
fn judge(piece: &Piece, place: Place, number: i64, answers: &[Shown]) -> Place {
    let own = answers.iter().filter(|shown| matches!(shown, Shown::Number(_))).count();
    match (piece, place) {
        (Piece::Request(..), Place::Between) => {
            assert_eq!(answers, [Shown::Number(number)], "a request is not answered once");
            Place::Between
        }
        (Piece::Request("\n", _), Place::Inside { may_hold: false }) => {
            assert_eq!(answers, [Shown::Error, Shown::Number(number)], "half a request is not given up for the next");
            Place::Between
        }
        (Piece::Request(..), Place::Inside { .. } | Place::Anywhere) => {
            assert!(own <= 1, "a request is answered {own} times");
            assert!(own == 0 || answers.last() == Some(&Shown::Number(number)), "a request is answered late");
            Place::Anywhere
        }
        (Piece::Wrong(_), Place::Between) => {
            assert_eq!(answers, [Shown::Error], "what is wrong is not refused once");
            Place::Between
        }
        (Piece::Reset(_), Place::Between | Place::Inside { .. }) => {
            assert_eq!(answers, [Shown::Error], "a reset is not answered by one error");
            Place::Between
        }
        (Piece::Reset(_), Place::Anywhere) => {
            // A number or a word ends only here.
            assert!(answers.len() <= 2 && answers.last() == Some(&Shown::Error), "a reset is answered by {answers:?}");
            assert_eq!(own, 0, "a request is answered late");
            Place::Between
        }
        (Piece::Blank(_), Place::Between) => {
            assert_eq!(answers, [], "nothing was asked");
            Place::Between
        }
        (Piece::Half(half), Place::Between) => {
            assert_eq!(answers, [], "half a request is answered");
            Place::Inside { may_hold: half.ends_with([':', '[']) }
        }
        (Piece::Half(_) | Piece::Wrong(_) | Piece::Blank(_) | Piece::Bytes(_), _) => {
            assert_eq!(own, 0, "a request is answered that was not just made");
            Place::Anywhere
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_request_is_answered_once_or_what_it_stood_in_was_reset_by_one_error(
            choices in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            requests(&choices);
        }
    }

    #[test]
    fn every_half_of_every_request_is_given_up_for_a_reset_and_for_the_next_line() {
        for request in 0..REQUESTS.len() {
            let half = u8::try_from(request * 8 + 2).unwrap();
            for cut in 0..70 {
                for then in 0..REQUESTS.len() {
                    let (whole, reset) = (u8::try_from(then * 8).unwrap(), u8::try_from(then * 8 + 3).unwrap());
                    requests(&[half, cut, whole, 3, whole]);
                    requests(&[half, cut, reset, whole, reset, whole]);
                }
            }
        }
    }
}
