//! Numbers as bytes on the wire.

use crate::{Error, Result};
use std::sync::Arc;

/// What one node says to another. Clones share the bytes.
pub type Message = Arc<[u8]>;

/// How a number is written on the wire. Whoever sends counts on what arrives: a vector is rounded to the width before anybody uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Width {
    /// Four bytes: for the parameters of networks, which are f32 themselves.
    F32,
    /// Eight bytes: nothing is lost.
    #[default]
    F64,
}

impl Width {
    /// Bytes of a number.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// The number as it arrives.
    pub fn rounded(self, number: f64) -> f64 {
        match self {
            Self::F32 => f64::from(number as f32),
            Self::F64 => number,
        }
    }

    /// Appends numbers, one after another, the least significant byte first.
    pub fn write(self, numbers: &[f64], bytes: &mut Vec<u8>) {
        let (from, size) = (bytes.len(), self.bytes());
        // Places of known length are filled several at a time.
        bytes.resize(from + numbers.len() * size, 0);
        let places = bytes[from..].chunks_exact_mut(size).zip(numbers);
        match self {
            Self::F32 => places.for_each(|(place, number)| place.copy_from_slice(&(*number as f32).to_le_bytes())),
            Self::F64 => places.for_each(|(place, number)| place.copy_from_slice(&number.to_le_bytes())),
        }
    }

    /// The numbers of a message.
    ///
    /// # Errors
    /// When the message has not the length of `count` numbers.
    pub fn read(self, bytes: &[u8], count: usize) -> Result<Vec<f64>> {
        if count.checked_mul(self.bytes()) != Some(bytes.len()) {
            let allowed = format!("{count} numbers of {} bytes", self.bytes());
            return Err(Error::value("message", format!("{} bytes", bytes.len()), allowed));
        }
        let numbers = bytes.chunks_exact(self.bytes());
        Ok(match self {
            Self::F32 => numbers.map(|n| f64::from(f32::from_le_bytes([n[0], n[1], n[2], n[3]]))).collect(),
            Self::F64 => {
                numbers.map(|n| f64::from_le_bytes([n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7]])).collect()
            }
        })
    }

    /// The vector as a message of its own.
    pub fn message(self, numbers: &[f64]) -> Message {
        let mut bytes = Vec::new();
        self.write(numbers, &mut bytes);
        bytes.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrives_is_what_was_sent_rounded_to_the_width() {
        let numbers = [0.0, -0.0, 1.0 / 3.0, -1e-40, 1e300, f64::MIN_POSITIVE, f64::INFINITY];
        for width in [Width::F32, Width::F64] {
            let message = width.message(&numbers);
            assert_eq!(message.len(), numbers.len() * width.bytes());
            let read = width.read(&message, numbers.len()).unwrap();
            for (read, sent) in read.iter().zip(numbers) {
                assert_eq!(read.to_bits(), width.rounded(sent).to_bits(), "{sent} at {width:?}");
            }
        }
        assert_eq!(Width::F32.rounded(1e300), f64::INFINITY);
    }

    #[test]
    fn a_message_of_another_length_is_refused() {
        let message = Width::F64.message(&[1.0, 2.0]);
        for (width, count) in [(Width::F64, 3), (Width::F64, 1), (Width::F32, 2), (Width::F64, usize::MAX)] {
            assert!(width.read(&message, count).is_err(), "{count} at {width:?}");
        }
    }
}
