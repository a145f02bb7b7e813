//! The two numbers of an event, as types that never mix.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// The largest number that a store assigns: what a signed 64-bit column holds.
            pub const MAX: Self = Self(i64::MAX as u64);

            /// The number as a typed one. Above [`Self::MAX`] it may be asked for, and is never found.
            #[must_use]
            pub const fn new(value: u64) -> Self {
                Self(value)
            }

            /// The plain number.
            #[must_use]
            pub const fn value(self) -> u64 {
                self.0
            }

            /// The number that follows, or `None` after [`Self::MAX`].
            #[must_use]
            pub const fn next(self) -> Option<Self> {
                if self.0 < Self::MAX.0 { Some(Self(self.0 + 1)) } else { None }
            }
        }

        impl $name {
            /// The number before, or `None` before 0.
            #[must_use]
            pub const fn prev(self) -> Option<Self> {
                match self.0.checked_sub(1) {
                    Some(value) => Some(Self(value)),
                    None => None,
                }
            }
        }

        impl TryFrom<i64> for $name {
            type Error = std::num::TryFromIntError;

            /// Fails for a negative number.
            fn try_from(value: i64) -> Result<Self, Self::Error> {
                u64::try_from(value).map(Self)
            }
        }

        impl std::str::FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl From<$name> for u64 {
            fn from(number: $name) -> Self {
                number.0
            }
        }
    )*};
}

numbers! {
    /// The place of an event in its stream: the first is 0, and there are no holes.
    Position;
    /// The place of an event in the log: the first is at least 1, and numbers rise in commit order.
    SequenceNumber;
}

impl Position {
    /// The position of a stream's first event.
    pub const FIRST: Self = Self(0);
}

impl SequenceNumber {
    /// Before every event: the lower bound of a read or condition that begins at the beginning.
    pub const START: Self = Self(0);
}
