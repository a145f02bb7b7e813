#![doc = include_str!("../README.md")]
// With all features everything is used; without one, what only it uses is not. Without any compression there is no value of `Compression`.
#![cfg_attr(
    not(all(feature = "zlib", feature = "zstd", feature = "encryption", feature = "chain")),
    allow(unused, unreachable_code, clippy::unnecessary_wraps, clippy::unused_self)
)]

#[cfg(feature = "chain")]
mod chained;
mod codec;
mod compress;
mod condition;
mod config;
mod copy;
mod cursor;
mod decode;
mod encoded;
#[cfg(feature = "shredding")]
mod erase;
mod fork;
mod frame;
#[cfg(feature = "chain")]
mod link;
#[cfg(feature = "notary")]
mod notary;
#[cfg(feature = "signatures")]
mod note;
mod pages;
mod retrying;
#[cfg(feature = "shredding")]
mod shred;
#[cfg(any(feature = "shredding", feature = "notary"))]
mod state;
mod traced;

#[cfg(feature = "encryption")]
mod cipher;
#[cfg(feature = "encryption")]
mod key;
#[cfg(feature = "encryption")]
mod ring;

#[cfg(feature = "chain")]
pub use chained::{Chained, Finding, Report};
pub use codec::{Clear, Codec};
pub use compress::Compression;
#[cfg(feature = "zstd")]
pub use compress::Dictionary;
pub use copy::{Copied, copy};
pub use decode::{DecodeError, Undecodable};
pub use encoded::{Encoded, Sealed};
#[cfg(feature = "shredding")]
pub use erase::{Erasure, ErasureReport, Remains, SweptBy};
pub use fork::{Difference, Fork, difference};
#[cfg(feature = "encryption")]
pub use key::{InvalidKey, Key, KeyId};
#[cfg(feature = "chain")]
pub use link::{ChainKey, Hash, Head, InvalidHash, Link};
#[cfg(feature = "notary")]
pub use notary::{Checkpoint, ConsistencyProof, Divergence, InclusionProof, Notary, entry};
#[cfg(feature = "signatures")]
pub use note::{InvalidNote, Signer, Verifier};
pub use retrying::{Backoff, Retrying, Sleep};
#[cfg(feature = "encryption")]
pub use ring::{KeyError, KeyProvider, KeyRing};
#[cfg(feature = "shredding")]
pub use shred::{
    DataKey, DataKeyId, Forgotten, IsForgotten, Personal, Shredding, StoredKeys, Subject,
    SubjectKeys,
};
pub use traced::{Metrics, Traced};
