//! Partitions: which streams a processor takes, so that several of one name share the work.

use annals::StreamId;

use crate::error::{ProcessingError, Result};

/// How the streams are divided among the processors of one name. Each stream belongs to exactly one part, and stays
/// there as long as the division stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Partitions {
    /// One part with all streams.
    #[default]
    Whole,
    /// So many parts, by [`stream_hash`] modulo their number.
    Hash(u16),
    /// A part for each beginning of `category/name`, the longest that fits, and a last part for all that begins with
    /// none of them. Sorted.
    Prefixes(Vec<String>),
}

/// One part of a division.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Partition {
    of: Partitions,
    nth: u16,
}

impl Partitions {
    /// So many parts by hash.
    ///
    /// # Errors
    /// [`Misuse`](ProcessingError::Misuse) for no part, or more than 1,024.
    pub fn hash(parts: u16) -> Result<Self> {
        if parts == 0 || parts > 1_024 {
            return Err(ProcessingError::misuse("a division has 1 to 1,024 parts"));
        }
        Ok(Self::Hash(parts))
    }

    /// A part for each of these beginnings of `category/name`, and one more for the rest.
    ///
    /// # Errors
    /// [`Misuse`](ProcessingError::Misuse) for a beginning that is empty or given twice, or more than 1,023 of them.
    pub fn prefixes<T: Into<String>>(prefixes: impl IntoIterator<Item = T>) -> Result<Self> {
        let mut prefixes: Vec<String> = prefixes.into_iter().map(Into::into).collect();
        prefixes.sort_unstable();
        let twice = prefixes.windows(2).any(|pair| matches!(pair, [a, b] if a == b));
        if twice || prefixes.iter().any(String::is_empty) || prefixes.len() > 1_023 {
            let text = "prefixes are at most 1,023 texts, none of them empty or given twice";
            return Err(ProcessingError::misuse(text));
        }
        Ok(Self::Prefixes(prefixes))
    }

    /// How many parts there are.
    #[must_use]
    pub fn len(&self) -> u16 {
        match self {
            Self::Whole => 1,
            Self::Hash(parts) => *parts,
            Self::Prefixes(prefixes) => u16::try_from(prefixes.len() + 1).unwrap_or(u16::MAX),
        }
    }

    /// Never: a division has at least one part.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The part of this number, from 0.
    ///
    /// # Errors
    /// [`Misuse`](ProcessingError::Misuse) if there is none.
    pub fn nth(&self, nth: u16) -> Result<Partition> {
        if nth < self.len() {
            return Ok(self.part(nth));
        }
        Err(ProcessingError::misuse(format!("there is no part {nth} of {}", self.len())))
    }

    /// The part of a number that is known to be one.
    pub(crate) fn part(&self, nth: u16) -> Partition {
        Partition { of: self.clone(), nth }
    }

    /// All parts, in order.
    pub fn parts(&self) -> impl Iterator<Item = Partition> {
        (0..self.len()).map(|nth| self.part(nth))
    }

    /// The number of the part that `stream` belongs to.
    #[must_use]
    pub fn part_of(&self, stream: &StreamId) -> u16 {
        match self {
            Self::Whole => 0,
            Self::Hash(parts) => {
                u16::try_from(stream_hash(stream) % u64::from(*parts).max(1)).unwrap_or(0)
            }
            Self::Prefixes(prefixes) => {
                let text = stream.to_string();
                let fits = prefixes.iter().enumerate().filter(|(_, one)| text.starts_with(*one));
                let longest = fits.max_by_key(|(_, prefix)| prefix.len());
                let nth = longest.map_or(prefixes.len(), |(nth, _)| nth);
                u16::try_from(nth).unwrap_or(u16::MAX)
            }
        }
    }

    /// What was [described](Self::describe), unless by prefixes.
    pub(crate) fn described(text: &str) -> Option<Self> {
        match text.strip_prefix("hash of ") {
            Some(parts) => Self::hash(parts.parse().ok()?).ok(),
            None => (text == "whole").then_some(Self::Whole),
        }
    }

    /// What is stored of it, and compared.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Whole => "whole".into(),
            Self::Hash(parts) => format!("hash of {parts}"),
            Self::Prefixes(prefixes) => {
                format!("prefixes {}", serde_json::Value::from(prefixes.clone()))
            }
        }
    }
}

impl Partition {
    /// The division that it is a part of.
    #[must_use]
    pub fn of(&self) -> &Partitions {
        &self.of
    }

    /// Its number, from 0.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.nth
    }

    /// Whether it takes the events of `stream`.
    #[must_use]
    pub fn contains(&self, stream: &StreamId) -> bool {
        self.of.part_of(stream) == self.nth
    }

    /// Its part of the ids of documents.
    pub(crate) fn id(&self) -> String {
        match &self.of {
            Partitions::Whole => "whole".into(),
            of => format!("{}-of-{}", self.nth, of.len()),
        }
    }
}

/// The hash that divides streams: FNV-1a with 64 bits over category, a zero byte and name, and the finaliser of
/// `SplitMix64`, which spreads names that differ in their last letters. It never changes; the test vectors are part of it.
///
/// ```
/// # use annals::StreamId;
/// # use annals_processing::stream_hash;
/// assert_eq!(stream_hash(&StreamId::from_static("orders", "o-1")), 0xc2a4_55b8_8f74_80f3);
/// ```
#[must_use]
pub fn stream_hash(stream: &StreamId) -> u64 {
    let (category, name) = (stream.category.as_str(), stream.name.as_str());
    let bytes = category.bytes().chain([0]).chain(name.bytes());
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325, step);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
