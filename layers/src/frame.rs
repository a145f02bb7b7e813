//! The bytes of a frame. All numbers are big-endian.
//!
//! ```text
//! frame = version 01 | algorithm: 00 none, 01 AES-256-GCM-SIV, 02 AES-GCM | [key id u32 | nonce 12] | body, sealed: + tag 16
//! body  = compression: 00 raw, 01 zlib, 02 zstd, 03 zstd + dictionary | [dictionary id u32] | [length of plain, varint] | packed
//! plain = flags: bits 0-6 encoding 0 json, 1 bytes, 2 named; bit 7 metadata follows
//!         | [length u8 | encoding] | [length varint | metadata] | payload
//! bound = each part behind its length as u32: "annals-frame", header (version to nonce), category, stream, event id,
//!         event name, occurred_at in microseconds as i128, count of tags as u32, tags in order, 00 or 01 and the metadata
//!         that is stored beside the frame
//! ```

use annals::{Encoding, Metadata, NewEvent, Payload, StreamId};
use bytes::{Buf, BufMut, Bytes};

use crate::cursor::Cursor;
use crate::decode::DecodeError;

/// The encoding under which frames are stored.
pub(crate) const FRAME: Encoding = Encoding::from_static("annals-frame");
/// The encoding of what a read returns of an event that it cannot open, if it is asked to.
pub(crate) const SEALED: Encoding = Encoding::from_static("annals-sealed");
/// More than a frame adds to payload and metadata.
pub(crate) const OVERHEAD: u32 = 320;

const VERSION: u8 = 1;
const CLEAR: u8 = 0;

type Decoded<T> = Result<T, DecodeError>;

/// What is sealed: encoding, payload, and metadata unless it is stored beside the frame.
pub(crate) struct Plain {
    pub(crate) payload: Payload,
    pub(crate) metadata: Option<Metadata>,
}

impl Plain {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let (payload, encoding) = (self.payload.as_bytes(), self.payload.encoding());
        let metadata = self.metadata.as_ref().map(Metadata::as_bytes);
        let room = payload.len() + metadata.map_or(0, Bytes::len) + encoding.as_str().len() + 16;
        let mut plain = Vec::with_capacity(room);
        let code = match encoding {
            json if *json == Encoding::JSON => 0,
            bytes if *bytes == Encoding::BYTES => 1,
            _ => 2,
        };
        plain.push(code | u8::from(metadata.is_some()) << 7);
        if code == 2 {
            put_short(&mut plain, encoding.as_str());
        }
        if let Some(metadata) = metadata {
            put_varint(&mut plain, metadata.len() as u64);
            plain.extend_from_slice(metadata);
        }
        plain.extend_from_slice(payload);
        plain
    }

    /// Its parts share the bytes.
    pub(crate) fn from_bytes(mut plain: Bytes) -> Decoded<Self> {
        let mut rest = Cursor::new(&plain);
        let flags = rest.byte()?;
        let encoding = match flags & 0x7F {
            0 => Encoding::JSON,
            1 => Encoding::BYTES,
            2 => rest.encoding()?,
            _ => return Err(DecodeError::Damaged("no such flags")),
        };
        let length = match flags & 0x80 {
            0 => None,
            _ => Some(usize::try_from(rest.varint()?).unwrap_or(usize::MAX)),
        };
        let start = rest.place();
        rest.take(length.unwrap_or(0))?;
        plain.advance(start);
        let metadata = length.map(|length| Metadata::from_store(plain.split_to(length)));
        Ok(Self { payload: Payload::from_store(encoding, plain), metadata })
    }
}

/// What a frame begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) algorithm: u8,
    pub(crate) key: Option<(u32, [u8; 12])>,
}

impl Header {
    pub(crate) const CLEAR: Self = Self { algorithm: CLEAR, key: None };

    pub(crate) fn put(&self, frame: &mut Vec<u8>) {
        frame.extend_from_slice(&[VERSION, self.algorithm]);
        if let Some((id, nonce)) = &self.key {
            frame.put_u32(*id);
            frame.extend_from_slice(nonce);
        }
    }

    /// The header of `frame`, and how many bytes it has.
    pub(crate) fn read(frame: &[u8]) -> Decoded<(Self, usize)> {
        let mut rest = Cursor::new(frame);
        let version = rest.byte()?;
        if version != VERSION {
            return Err(DecodeError::Unknown("frame version", version));
        }
        let algorithm = rest.byte()?;
        let key = if algorithm == CLEAR { None } else { Some((rest.u32()?, rest.array()?)) };
        Ok((Self { algorithm, key }, rest.place()))
    }
}

/// What a body begins with, and its packed bytes.
pub(crate) struct Body {
    pub(crate) compression: u8,
    pub(crate) dictionary: Option<u32>,
    /// How long the plain bytes are; `None` of raw ones.
    pub(crate) length: Option<u64>,
    pub(crate) packed: Bytes,
}

impl Body {
    pub(crate) fn put(body: &mut Vec<u8>, compression: u8, dictionary: Option<u32>, length: usize) {
        body.push(compression);
        if let Some(id) = dictionary {
            body.put_u32(id);
        }
        put_varint(body, length as u64);
    }

    pub(crate) fn read(mut body: Bytes) -> Decoded<Self> {
        let mut rest = Cursor::new(&body);
        let compression = rest.byte()?;
        let dictionary = if compression == 3 { Some(rest.u32()?) } else { None };
        let length = match compression {
            0 => None,
            1..=3 => Some(rest.varint()?),
            code => return Err(DecodeError::Unknown("compression", code)),
        };
        let start = rest.place();
        body.advance(start);
        Ok(Self { compression, dictionary, length, packed: body })
    }
}

/// The associated data of an event's frame: everything that the frame must not be moved away from.
pub(crate) fn bound(header: &[u8], stream: &StreamId, event: &NewEvent) -> Vec<u8> {
    let mut bound = Vec::with_capacity(256);
    let mut part = |bytes: &[u8]| {
        // Names have at most 255 bytes, and metadata less than a store's largest payload, which is a `u32`.
        bound.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        bound.extend_from_slice(bytes);
    };
    part(FRAME.as_str().as_bytes());
    part(header);
    part(stream.category.as_str().as_bytes());
    part(stream.name.as_str().as_bytes());
    part(event.id.as_uuid().as_bytes());
    part(event.name.as_str().as_bytes());
    part(&event.occurred_at.unix_timestamp_nanos().div_euclid(1_000).to_be_bytes());
    part(&u32::try_from(event.tags.len()).unwrap_or(u32::MAX).to_be_bytes());
    for tag in &event.tags {
        part(tag.as_str().as_bytes());
    }
    match &event.metadata {
        None => part(&[0]),
        Some(metadata) => {
            part(&[1]);
            part(metadata.as_bytes());
        }
    }
    bound
}

fn put_short(bytes: &mut Vec<u8>, name: &str) {
    // A name has at most 255 bytes.
    bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(name.as_bytes());
}

/// LEB128: seven bits a byte, the lowest first, the highest bit set on all but the last.
fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = u8::try_from(value & 0x7F).unwrap_or(0);
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}
