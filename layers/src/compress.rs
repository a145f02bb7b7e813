//! Compression of plain bytes, with a bound on what comes out.

use std::fmt;

use annals::{Error, Result};

use crate::decode::DecodeError;

/// How payloads are compressed. What does not get smaller is stored as it is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Compression {
    /// zlib at this level, from 1 (fast) to 9 (small).
    #[cfg(feature = "zlib")]
    Zlib(u32),
    /// zstd at this level, from 1 (fast) to 19 (small); 3 is a good choice. Below about 1 KiB only a dictionary pays.
    #[cfg(feature = "zstd")]
    Zstd(i32),
    /// zstd with a dictionary.
    #[cfg(feature = "zstd")]
    Dictionary(Dictionary),
}

/// A zstd dictionary: what events have in common, kept once.
///
/// It is as much a part of the log as its events: without it they cannot be read. `Debug` shows its id only.
#[cfg(feature = "zstd")]
#[derive(Clone)]
pub struct Dictionary {
    id: u32,
    level: i32,
    bytes: std::sync::Arc<[u8]>,
}

#[cfg(feature = "zstd")]
impl Dictionary {
    /// Makes the bytes of a dictionary of at most `max_bytes` out of samples, such as the payloads of some thousand
    /// events. 16 KiB are a good size.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there are too few samples for that.
    pub fn train<S: AsRef<[u8]>>(samples: &[S], max_bytes: usize) -> Result<Vec<u8>> {
        zstd::dict::from_samples(samples, max_bytes).map_err(Error::invalid)
    }

    /// The dictionary of this id, for compression at this level of zstd. An id names one dictionary for ever.
    #[must_use]
    pub fn new(id: u32, bytes: &[u8], level: i32) -> Self {
        Self { id, level, bytes: bytes.into() }
    }

    /// The id that frames name it by.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }
}

#[cfg(feature = "zstd")]
impl fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dictionary").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The codes of frames.
#[cfg(feature = "zlib")]
pub(crate) const ZLIB: u8 = 1;
#[cfg(feature = "zstd")]
pub(crate) const ZSTD: u8 = 2;
#[cfg(feature = "zstd")]
pub(crate) const ZSTD_DICTIONARY: u8 = 3;

impl Compression {
    pub(crate) const fn name(&self) -> &'static str {
        match *self {
            #[cfg(feature = "zlib")]
            Self::Zlib(_) => "zlib",
            #[cfg(feature = "zstd")]
            Self::Zstd(_) => "zstd",
            #[cfg(feature = "zstd")]
            Self::Dictionary(_) => "zstd-dictionary",
        }
    }

    pub(crate) const fn code(&self) -> u8 {
        match *self {
            #[cfg(feature = "zlib")]
            Self::Zlib(_) => ZLIB,
            #[cfg(feature = "zstd")]
            Self::Zstd(_) => ZSTD,
            #[cfg(feature = "zstd")]
            Self::Dictionary(_) => ZSTD_DICTIONARY,
        }
    }

    pub(crate) const fn dictionary(&self) -> Option<u32> {
        match *self {
            #[cfg(feature = "zstd")]
            Self::Dictionary(ref dictionary) => Some(dictionary.id),
            #[cfg(any(feature = "zlib", feature = "zstd"))]
            _ => None,
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let is_possible = match *self {
            #[cfg(feature = "zlib")]
            Self::Zlib(level) => (1..=9).contains(&level),
            #[cfg(feature = "zstd")]
            Self::Zstd(level) => (1..=22).contains(&level),
            #[cfg(feature = "zstd")]
            Self::Dictionary(ref dictionary) => (1..=22).contains(&dictionary.level),
        };
        if is_possible {
            return Ok(());
        }
        Err(Error::invalid(format!("{} has no such level", self.name())))
    }
}

/// Compresses. Contexts are kept and used again: to make one costs more than to compress a small event.
#[derive(Debug)]
pub(crate) struct Packer {
    compression: Compression,
    #[cfg(feature = "zstd")]
    contexts: Pool<zstd::bulk::Compressor<'static>>,
}

impl Packer {
    pub(crate) fn new(compression: Compression) -> Self {
        Self {
            compression,
            #[cfg(feature = "zstd")]
            contexts: Pool::default(),
        }
    }

    pub(crate) const fn compression(&self) -> &Compression {
        &self.compression
    }

    /// `None` if the compressor failed, which none does; the event is then stored as it is.
    #[allow(unused_variables, reason = "without a feature nothing is compressed")]
    pub(crate) fn pack(&self, plain: &[u8]) -> Option<Vec<u8>> {
        match &self.compression {
            #[cfg(feature = "zlib")]
            Compression::Zlib(level) => {
                use std::io::Write as _;
                let level = flate2::Compression::new(*level);
                let room = Vec::with_capacity(plain.len() / 2 + 64);
                let mut encoder = flate2::write::ZlibEncoder::new(room, level);
                encoder.write_all(plain).ok()?;
                encoder.finish().ok()
            }
            #[cfg(feature = "zstd")]
            Compression::Zstd(level) => self.zstd(plain, *level, &[]),
            #[cfg(feature = "zstd")]
            Compression::Dictionary(dictionary) => {
                self.zstd(plain, dictionary.level, &dictionary.bytes)
            }
            #[cfg(not(any(feature = "zlib", feature = "zstd")))]
            _ => None,
        }
    }

    #[cfg(feature = "zstd")]
    fn zstd(&self, plain: &[u8], level: i32, dictionary: &[u8]) -> Option<Vec<u8>> {
        use zstd::zstd_safe::CParameter;
        let make = || {
            let mut context = zstd::bulk::Compressor::with_dictionary(level, dictionary)?;
            // Both are in the frame already.
            context.set_parameter(CParameter::ContentSizeFlag(false))?;
            context.set_parameter(CParameter::DictIdFlag(false))?;
            Ok(context)
        };
        self.contexts.with(make, |context| context.compress(plain)).ok()
    }
}

/// Decompresses what one compression made.
#[derive(Debug, Default)]
pub(crate) struct Unpacker {
    #[cfg(feature = "zstd")]
    dictionary: Option<Dictionary>,
    #[cfg(feature = "zstd")]
    contexts: Pool<zstd::bulk::Decompressor<'static>>,
}

impl Unpacker {
    #[cfg(feature = "zstd")]
    pub(crate) fn new(dictionary: Dictionary) -> Self {
        Self { dictionary: Some(dictionary), contexts: Pool::default() }
    }

    /// The `length` plain bytes that `packed` stands for. The caller has bounded `length`; nothing larger is made.
    #[allow(
        unused_variables,
        clippy::unused_self,
        reason = "without a feature nothing is decompressed"
    )]
    pub(crate) fn unpack(
        &self,
        code: u8,
        packed: &[u8],
        length: usize,
    ) -> Result<Vec<u8>, DecodeError> {
        let plain: Option<Vec<u8>> = match code {
            #[cfg(feature = "zlib")]
            ZLIB => unzlib(packed, length),
            #[cfg(feature = "zstd")]
            ZSTD | ZSTD_DICTIONARY => {
                let dictionary = self.dictionary.as_ref().map(|dictionary| &*dictionary.bytes);
                let make =
                    || zstd::bulk::Decompressor::with_dictionary(dictionary.unwrap_or_default());
                self.contexts.with(make, |context| context.decompress(packed, length)).ok()
            }
            code => return Err(DecodeError::Unknown("compression", code)),
        };
        let damaged = DecodeError::Damaged("what is compressed is not what the frame says");
        plain.filter(|plain| plain.len() == length).ok_or(damaged)
    }
}

/// Makes no more than the room for `length` bytes; `None` if that is not all, or if something follows.
#[cfg(feature = "zlib")]
fn unzlib(packed: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(length);
    let mut zlib = flate2::Decompress::new(true);
    let status = zlib.decompress_vec(packed, &mut plain, flate2::FlushDecompress::Finish).ok()?;
    let is_all = zlib.total_in() == packed.len() as u64;
    (status == flate2::Status::StreamEnd && is_all).then_some(plain)
}

/// Contexts that are not in use, at most [`POOLED`] of them.
#[cfg(feature = "zstd")]
struct Pool<T>(std::sync::Mutex<Vec<T>>);

#[cfg(feature = "zstd")]
const POOLED: usize = 16;

#[cfg(feature = "zstd")]
impl<T> Pool<T> {
    fn with<R>(
        &self,
        make: impl FnOnce() -> std::io::Result<T>,
        work: impl FnOnce(&mut T) -> std::io::Result<R>,
    ) -> std::io::Result<R> {
        let pooled = self.lock().pop();
        let mut context = match pooled {
            Some(context) => context,
            None => make()?,
        };
        let done = work(&mut context)?;
        // One that failed is not used again.
        let mut pool = self.lock();
        if pool.len() < POOLED {
            pool.push(context);
        }
        Ok(done)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<T>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(feature = "zstd")]
impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self(std::sync::Mutex::default())
    }
}

#[cfg(feature = "zstd")]
impl<T> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pool")
    }
}
