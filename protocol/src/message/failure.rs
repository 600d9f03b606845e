//! FAILURE: why a call has no answer, for people and for machines.

use super::named::named_numbers;
use crate::wire_struct;
use crate::xdr::{List, Text};

named_numbers! {
    /// What went wrong, as a number. Frozen; an unknown one reads as [`INTERNAL`](code::INTERNAL).
    code {
        /// The body could not be decoded.
        MALFORMED = 1 => "MALFORMED",
        /// The major asked for is not spoken; `majors` lists those that are.
        VERSION_MISMATCH = 2 => "VERSION_MISMATCH",
        /// No minor of this major has this number.
        UNKNOWN_PROCEDURE = 3 => "UNKNOWN_PROCEDURE",
        /// A newer minor has it than the one agreed; `minor` names it.
        UNSUPPORTED = 4 => "UNSUPPORTED",
        /// The packet bore another serial than the next one. Closes.
        SERIAL = 5 => "SERIAL",
        /// The header announced a length that may not come. Closes.
        BAD_LENGTH = 6 => "BAD_LENGTH",
        /// The bytes are not of this protocol. Closes.
        BAD_MAGIC = 7 => "BAD_MAGIC",
        /// The deadline passed; `begun` says whether the work goes on. Closes when it is the deadline of half a packet.
        DEADLINE_EXCEEDED = 8 => "DEADLINE_EXCEEDED",
        /// The call was cancelled; `begun` says whether the work goes on.
        CANCELLED = 9 => "CANCELLED",
        /// The identity may not do this.
        DENIED = 10 => "DENIED",
        /// The object does not exist, or may not be seen.
        NOT_FOUND = 11 => "NOT_FOUND",
        /// An object of that name or identity exists already.
        EXISTS = 12 => "EXISTS",
        /// Somebody else is at it; `holder` says who.
        BUSY = 13 => "BUSY",
        /// The request makes no sense as it stands, or not in this state.
        INVALID = 14 => "INVALID",
        /// Too many calls or connections.
        OVERLOADED = 15 => "OVERLOADED",
        /// The hypervisor or the host refused or failed.
        DRIVER = 16 => "DRIVER",
        /// The guest agent refused or failed.
        AGENT = 17 => "AGENT",
        /// A defect of the daemon.
        INTERNAL = 18 => "INTERNAL",
        /// The answer does not fit into a packet.
        ANSWER_TOO_LARGE = 19 => "ANSWER_TOO_LARGE",
        /// The daemon is leaving. Closes.
        GOING_AWAY = 20 => "GOING_AWAY",
    }
}

wire_struct! {
    /// One fact about a failure that a machine may need.
    pub struct FailureDetail {
        /// The name of the fact; `SPEC.md` lists them.
        pub key: Text<64>,
        /// The fact.
        pub value: Text<1024>,
    }
}

wire_struct! {
    /// Why a call has no answer. Its first two fields are frozen in every major.
    #[derive(Default)]
    pub struct Failure {
        /// One of [`code`].
        pub code: u32,
        /// In words, lower case, without a full stop.
        pub message: Text<1024>,
        /// What sort of object it is about, as in `vm`; empty for none.
        pub object_kind: Text<32>,
        /// Which object; empty for none.
        pub object_name: Text<256>,
        /// What led to it, outermost first.
        pub causes: List<Text<1024>, 16>,
        /// What the person could do; may be empty.
        pub hint: Text<1024>,
        /// When to try again, in milliseconds; 0 says nothing about it.
        pub retry_after_ms: u32,
        /// What machines need.
        pub details: List<FailureDetail, 16>,
    }
}

impl Failure {
    /// A failure with a code and words; texts too long for the wire are clipped.
    pub fn new(code: u32, message: &str) -> Self {
        Self { code, message: Text::clipped(message), ..Self::default() }
    }

    /// The same, about an object.
    #[must_use]
    pub fn about(mut self, kind: &str, name: &str) -> Self {
        self.object_kind = Text::clipped(kind);
        self.object_name = Text::clipped(name);
        self
    }

    /// The same, with what the person could do.
    #[must_use]
    pub fn hint(mut self, hint: &str) -> Self {
        self.hint = Text::clipped(hint);
        self
    }

    /// The same, with one more cause; causes beyond the sixteenth are left out.
    #[must_use]
    pub fn cause(mut self, cause: &str) -> Self {
        let _full = self.causes.push(Text::clipped(cause));
        self
    }

    /// The same, with one more fact; facts beyond the sixteenth are left out.
    #[must_use]
    pub fn detail(mut self, key: &str, value: &str) -> Self {
        let _full = self.details.push(FailureDetail { key: Text::clipped(key), value: Text::clipped(value) });
        self
    }

    /// The value of a fact, if it is there.
    pub fn fact(&self, key: &str) -> Option<&str> {
        self.details.iter().find(|detail| detail.key.as_str() == key).map(|detail| detail.value.as_str())
    }

    /// Whether the code is the given one, where an unknown code reads as `INTERNAL`.
    pub fn is(&self, code: u32) -> bool {
        let own = if code::name(self.code).is_some() { self.code } else { code::INTERNAL };
        own == code
    }
}
