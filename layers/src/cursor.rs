//! Reading bytes that nobody has checked.

use annals::Encoding;

use crate::decode::DecodeError;

type Decoded<T> = Result<T, DecodeError>;

/// A place in bytes that are read; whatever goes beyond their end is an error.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes were read.
    pub(crate) const fn place(&self) -> usize {
        self.at
    }

    const CUT: DecodeError = DecodeError::Damaged("it is cut");

    pub(crate) fn take(&mut self, count: usize) -> Decoded<&'a [u8]> {
        let end = self.at.checked_add(count).ok_or(Self::CUT)?;
        let taken = self.bytes.get(self.at..end).ok_or(Self::CUT)?;
        self.at = end;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| Self::CUT)
    }

    pub(crate) fn byte(&mut self) -> Decoded<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Decoded<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// A number of at most ten bytes, in its shortest form.
    pub(crate) fn varint(&mut self) -> Decoded<u64> {
        let mut value: u64 = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let low = u64::from(byte & 0x7F);
            if low << shift >> shift != low || (byte == 0 && shift > 0) {
                break;
            }
            value |= low << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Damaged("no such number"))
    }

    pub(crate) fn encoding(&mut self) -> Decoded<Encoding> {
        let length = self.byte()?;
        let name = self.take(length.into())?;
        let name = std::str::from_utf8(name).ok().and_then(|name| Encoding::new(name).ok());
        name.ok_or(DecodeError::Damaged("no such encoding"))
    }
}
