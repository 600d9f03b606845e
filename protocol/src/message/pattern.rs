//! Patterns of filters and of rules, in which `*` stands for any text and `?` for one character.
//!
//! All places of the pattern that the text may have reached are the bits of one number, so that a character of the text
//! takes the same few instructions whatever the pattern. Trying the places one after the other would let a pattern of
//! 128 bytes cost a hundred times as much as another.

use super::filter::FilterError;

/// The longest pattern, in bytes. It has no more characters than that, and so no more than the bits of `Places`.
pub const PATTERN_BYTES_MAX: usize = 128;

/// Places of a pattern: bit *n* is its *n*th character, the stars not counted.
type Places = u128;

const _: () = assert!(PATTERN_BYTES_MAX == 128 && Places::BITS == 128);

/// A pattern, ready to be held against many texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// The places that take a character, for each of the first 256.
    low: Box<[Places; 256]>,
    /// The same for those behind them that the pattern names.
    high: Vec<(char, Places)>,
    /// The places that take any character.
    any: Places,
    /// The places behind which a star stands.
    stars: Places,
    /// Whether it begins with a star.
    star_first: bool,
    /// The last place. None: there are only stars, or nothing at all.
    last: Places,
}

impl Pattern {
    /// Makes a pattern ready.
    ///
    /// # Errors
    /// When it has more than [`PATTERN_BYTES_MAX`] bytes.
    pub fn new(text: &str) -> Result<Self, FilterError> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(FilterError::LongPattern);
        }
        let mut pattern =
            Self { low: Box::new([0; 256]), high: Vec::new(), any: 0, stars: 0, star_first: false, last: 0 };
        let mut place: Places = 1;
        for character in text.chars() {
            if character == '*' {
                pattern.stars |= pattern.last;
                pattern.star_first |= pattern.last == 0;
                continue;
            }
            match u8::try_from(character) {
                Ok(b'?') => pattern.any |= place,
                Ok(low) => pattern.low[usize::from(low)] |= place,
                Err(_) => match pattern.high.iter_mut().find(|(known, _)| *known == character) {
                    Some((_, places)) => *places |= place,
                    None => pattern.high.push((character, place)),
                },
            }
            pattern.last = place;
            place <<= 1;
        }
        let any = pattern.any;
        for places in pattern.low.iter_mut().chain(pattern.high.iter_mut().map(|(_, places)| places)) {
            *places |= any;
        }
        Ok(pattern)
    }

    /// Whether the whole text is as the pattern says.
    pub fn matches(&self, text: &str) -> bool {
        if self.last == 0 {
            return self.star_first || text.is_empty();
        }
        let again = Places::from(self.star_first);
        // What has been reached, and whether the first place may be reached now.
        let (mut reached, mut first): (Places, Places) = (0, 1);
        for character in text.chars() {
            let takes = match u8::try_from(character) {
                Ok(low) => self.low[usize::from(low)],
                Err(_) => self.takes_high(character),
            };
            reached = (((reached << 1) | first) & takes) | (reached & self.stars);
            first = again;
            if reached | first == 0 {
                return false;
            }
        }
        reached & self.last != 0
    }

    fn takes_high(&self, character: char) -> Places {
        self.high.iter().find(|(known, _)| *known == character).map_or(self.any, |(_, places)| *places)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern).unwrap().matches(text)
    }

    #[test]
    fn patterns_stand_for_what_a_shell_user_expects() {
        let rows = [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("**", "ab", true),
            ("web*", "web-1", true),
            ("web*", "db", false),
            ("web*", "we", false),
            ("*-1", "web-1", true),
            ("w?b", "web", true),
            ("w?b", "wb", false),
            ("w?b", "xwebx", false),
            ("*a*b*c*", "xxaxxbxxcxx", true),
            ("*a*b*c", "xxaxxbxxcxx", false),
            ("?", "ä", true),
            ("?", "語", true),
            ("*語*é", "a語bcé", true),
            ("語", "誤", false),
            // No character takes another's meaning away: there is no escape.
            ("a\\*", "a\\b", true),
            ("a\\*", "a*", false),
            ("[ab]", "a", false),
            ("[ab]", "[ab]", true),
        ];
        for (pattern, text, expected) in rows {
            assert_eq!(matches(pattern, text), expected, "{pattern:?} {text:?}");
        }
    }

    #[test]
    fn the_longest_patterns_reach_to_their_last_character() {
        let (a, e) = ("a".repeat(128), "é".repeat(64));
        assert!(matches(&a, &a) && matches(&e, &e));
        for (pattern, text) in [(&a[..], &a[1..]), (&a[1..], &a), (&e, &e[2..]), (&e[2..], &e)] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
        assert!(matches(&format!("*{}b", &a[2..]), &format!("{a}{a}b")));
        assert!(!matches(&format!("*{}b", &a[2..]), &format!("{}b", &a[3..])));
        assert!(matches(&"?".repeat(128), &"語".repeat(128)));
        assert_eq!(Pattern::new(&"a".repeat(129)), Err(FilterError::LongPattern));
    }

    /// The definition, by a table of which beginnings of the pattern fit which beginnings of the text.
    fn model(pattern: &str, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let mut fits: Vec<bool> = (0..=text.len()).map(|length| length == 0).collect();
        for p in pattern.chars() {
            let before = fits.clone();
            for length in 0..=text.len() {
                fits[length] = match p {
                    '*' => before[length] || length > 0 && fits[length - 1],
                    _ => length > 0 && before[length - 1] && (p == '?' || p == text[length - 1]),
                };
            }
        }
        fits[text.len()]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn matches_as_the_obvious_definition_does(pattern in "[abé語*?]{0,8}", text in "[abé語]{0,10}") {
            prop_assert_eq!(matches(&pattern, &text), model(&pattern, &text));
        }

        #[test]
        fn matches_any_text_as_the_obvious_definition_does(pattern in "[a*?\\\\]{0,60}", text in "[ab*?\\\\\u{0}-\u{10ffff}]{0,40}") {
            prop_assert_eq!(matches(&pattern, &text), model(&pattern, &text));
        }

        #[test]
        fn a_pattern_made_out_of_a_text_matches_it(
            text in "\\PC{0,30}",
            holes in proptest::collection::vec((0_usize..30, prop_oneof![Just("*"), Just("?")]), 0..6),
        ) {
            let mut parts: Vec<String> = text.chars().map(String::from).collect();
            for (at, hole) in holes {
                if let Some(part) = parts.get_mut(at) {
                    *part = hole.to_owned();
                }
            }
            let pattern = parts.concat();
            prop_assume!(pattern.len() <= PATTERN_BYTES_MAX);
            prop_assert!(matches(&pattern, &text));
        }
    }
}
