//! Cursors: where a page of a find ended.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::document::DocumentId;
use crate::error::{Result, StateError};

/// A place in the result of a find. It holds what the document was sorted by, so it stays where it is if the document
/// changes or goes. Its text may travel in addresses. Anybody who decodes it sees the values of the sort.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cursor(Form);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Form {
    At { find: Uuid, spot: Spot },
    Of(DocumentId),
}

/// The keys of what a document is sorted by, each ascending, and its id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Spot {
    pub(crate) keys: Vec<Bytes>,
    pub(crate) id: DocumentId,
}

/// What a cursor says of its place.
pub(crate) enum Anchor<'a> {
    At(&'a Spot),
    Of(&'a DocumentId),
}

const AT: u8 = 1;
const OF: u8 = 2;

impl Cursor {
    /// The place of the document of this id as it is when the find is made. If there is none then, the page is empty.
    #[must_use]
    pub fn of(id: DocumentId) -> Self {
        Self(Form::Of(id))
    }

    pub(crate) fn at(find: Uuid, spot: Spot) -> Self {
        Self(Form::At { find, spot })
    }

    pub(crate) fn anchor(&self) -> Anchor<'_> {
        match &self.0 {
            Form::At { spot, .. } => Anchor::At(spot),
            Form::Of(id) => Anchor::Of(id),
        }
    }

    pub(crate) fn check(&self, fingerprint: Uuid, sorts: usize) -> Result<()> {
        match &self.0 {
            Form::At { find, spot } if *find != fingerprint || spot.keys.len() != sorts => {
                Err(StateError::invalid("the cursor is one of another find"))
            }
            _ => Ok(()),
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        match &self.0 {
            Form::Of(id) => [&[OF], id.as_str().as_bytes()].concat(),
            Form::At { find, spot } => {
                let mut bytes = [&[AT], &find.as_bytes()[..]].concat();
                let parts = [spot.id.as_str().as_bytes()].into_iter();
                for part in parts.chain(spot.keys.iter().map(|key| &key[..])) {
                    bytes.extend((part.len() as u64).to_be_bytes());
                    bytes.extend(part);
                }
                bytes
            }
        }
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let id = |bytes: &[u8]| DocumentId::new(std::str::from_utf8(bytes).ok()?).ok();
        let (form, rest) = bytes.split_first()?;
        match *form {
            OF => Some(Self(Form::Of(id(rest)?))),
            AT => {
                let (find, mut rest) = rest.split_first_chunk::<16>()?;
                let mut parts = Vec::new();
                while let Some((length, after)) = rest.split_first_chunk::<8>() {
                    let length = usize::try_from(u64::from_be_bytes(*length)).ok()?;
                    let (part, after) = after.split_at_checked(length)?;
                    parts.push(Bytes::copy_from_slice(part));
                    rest = after;
                }
                let mut parts = parts.into_iter();
                let id = id(&parts.next()?)?;
                let spot = Spot { keys: parts.collect(), id };
                rest.is_empty().then(|| Self::at(Uuid::from_bytes(*find), spot))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.to_bytes()))
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Form::At { spot: Spot { id, .. }, .. } | Form::Of(id)) = &self.0;
        write!(f, "Cursor({id})")
    }
}

impl FromStr for Cursor {
    type Err = StateError;

    fn from_str(text: &str) -> Result<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok();
        let cursor = bytes.and_then(|bytes| Self::from_bytes(&bytes));
        cursor.ok_or_else(|| StateError::invalid("the text is no cursor"))
    }
}

impl TryFrom<String> for Cursor {
    type Error = StateError;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> Self {
        cursor.to_string()
    }
}
