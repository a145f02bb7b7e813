//! Keys: bytes whose order is that of the values, and of which none begins another.
//!
//! A key begins with a tag of its kind, and ends where only a smaller byte could follow. So keys of several values can be
//! written one after the other and still compare part by part, and a descending part is a key with every bit inverted.
//! Numbers are written as sign, exponent and digits, so their length follows from how many digits they have.

use serde_json::Value;

use super::number::Decimal;
use super::order::{Kind, sorted};

const END: u8 = 0x00;
const NULL: u8 = 0x01;
const FALSE: u8 = 0x02;
const TRUE: u8 = 0x03;
const NEGATIVE: u8 = 0x04;
const ZERO: u8 = 0x05;
const POSITIVE: u8 = 0x06;
const TEXT: u8 = 0x07;
const ARRAY: u8 = 0x08;
const OBJECT: u8 = 0x09;

/// The first and the last tag of a kind.
pub(crate) fn kind_tags(kind: Kind) -> (u8, u8) {
    match kind {
        Kind::Null => (NULL, NULL),
        Kind::Bool => (FALSE, TRUE),
        Kind::Number => (NEGATIVE, POSITIVE),
        Kind::Text => (TEXT, TEXT),
        Kind::Array => (ARRAY, ARRAY),
        Kind::Object => (OBJECT, OBJECT),
    }
}

/// Inverts the order of keys.
pub(crate) fn invert(key: &mut [u8]) {
    for byte in key {
        *byte = !*byte;
    }
}

/// Writes the key of `value` to the end of `key`.
pub(crate) fn encode(value: &Value, key: &mut Vec<u8>) {
    match value {
        Value::Null => key.push(NULL),
        Value::Bool(false) => key.push(FALSE),
        Value::Bool(true) => key.push(TRUE),
        Value::Number(number) => encode_number(&Decimal::of(number), key),
        Value::String(text) => encode_text(text.as_bytes(), key),
        Value::Array(parts) => {
            key.push(ARRAY);
            for part in parts {
                encode(part, key);
            }
            key.push(END);
        }
        Value::Object(object) => {
            key.push(OBJECT);
            for (name, value) in sorted(object) {
                encode_text(name, key);
                encode(value, key);
            }
            key.push(END);
        }
    }
}

/// The bytes 0 and 1 become two, so that the end is below everything that goes on.
pub(crate) fn encode_text(text: &[u8], key: &mut Vec<u8>) {
    key.push(TEXT);
    for byte in text {
        match byte {
            0 => key.extend([1, 1]),
            1 => key.extend([1, 2]),
            byte => key.push(*byte),
        }
    }
    key.push(END);
}

/// Two digits a byte, from 1 to 100, so that the end is below them. The last digit may be alone: what follows it is 0.
fn encode_number(number: &Decimal, key: &mut Vec<u8>) {
    if number.digits.is_empty() {
        return key.push(ZERO);
    }
    key.push(if number.negative { NEGATIVE } else { POSITIVE });
    let start = key.len();
    // With the sign's bit flipped, exponents compare as unsigned numbers do.
    let exponent = number.exponent.cast_unsigned() ^ (1 << 31);
    key.extend(exponent.to_be_bytes());
    for pair in number.digits.chunks(2) {
        let tens = pair.first().copied().unwrap_or(0);
        let ones = pair.get(1).copied().unwrap_or(0);
        key.push(tens * 10 + ones + 1);
    }
    key.push(END);
    if number.negative
        && let Some(magnitude) = key.get_mut(start..)
    {
        invert(magnitude);
    }
}
