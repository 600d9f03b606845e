//! Sets that may grow: numbers with names, of which a receiver accepts those it does not know.

/// Makes a module of `u32` constants with their names.
macro_rules! named_numbers {
    ($(#[$meta:meta])* $set:ident { $($(#[$doc:meta])* $NAME:ident = $number:literal => $text:literal,)+ }) => {
        $(#[$meta])*
        pub mod $set {
            $($(#[$doc])* pub const $NAME: u32 = $number;)+

            /// Every number of the set with its name, ascending.
            pub const ALL: &[(u32, &str)] = &[$(($number, $text)),+];

            /// The name of a number, if this version knows it.
            pub fn name(number: u32) -> Option<&'static str> {
                ALL.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
            }

            /// The number of a name, if this version knows it.
            pub fn number(name: &str) -> Option<u32> {
                ALL.iter().find(|(_, known)| *known == name).map(|(number, _)| *number)
            }
        }
    };
}

pub(crate) use named_numbers;
