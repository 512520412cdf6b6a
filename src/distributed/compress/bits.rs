//! Numbers of any count of bits, one after another in bytes.

use crate::distributed::wire::Width;
use crate::{Error, Result};

/// Bits that a number below `count` takes: ceil(log2 count).
pub(super) fn bits_below(count: usize) -> u32 {
    count.checked_sub(1).map_or(0, |largest| usize::BITS - largest.leading_zeros())
}

/// Writes numbers, the least significant bit first. What is left of the last byte is 0.
#[derive(Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    pending: u128,
    filled: u32,
}

impl BitWriter {
    /// The lowest `bits` of `value`, at most 64.
    pub(super) fn put(&mut self, value: u64, bits: u32) {
        self.pending |= u128::from(value) << self.filled;
        self.filled += bits;
        while self.filled >= 8 {
            self.bytes.push(self.pending as u8);
            self.pending >>= 8;
            self.filled -= 8;
        }
    }

    /// A number of a width.
    pub(super) fn number(&mut self, number: f64, width: Width) {
        self.put(bits_of(number, width), bits_in(width));
    }

    /// A number that is not negative, or NaN: without its sign.
    pub(super) fn magnitude(&mut self, number: f64, width: Width) {
        self.put(bits_of(number.abs(), width), bits_in(width) - 1);
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.filled > 0 {
            self.bytes.push(self.pending as u8);
        }
        self.bytes
    }
}

/// Reads what a [`BitWriter`] has written.
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    position: usize,
    pending: u128,
    filled: u32,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0, pending: 0, filled: 0 }
    }

    /// A number of so many bits, at most 64.
    pub(super) fn take(&mut self, bits: u32) -> Result<u64> {
        while self.filled < bits {
            let Some(byte) = self.bytes.get(self.position) else { return Err(self.refused("longer")) };
            self.pending |= u128::from(*byte) << self.filled;
            (self.position, self.filled) = (self.position + 1, self.filled + 8);
        }
        let value = self.pending & ((1_u128 << bits) - 1);
        self.pending >>= bits;
        self.filled -= bits;
        Ok(value as u64)
    }

    /// A number of a width.
    pub(super) fn number(&mut self, width: Width) -> Result<f64> {
        Ok(number_of(self.take(bits_in(width))?, width))
    }

    /// A number written by [`BitWriter::magnitude`]: finite, or NaN.
    pub(super) fn magnitude(&mut self, width: Width) -> Result<f64> {
        match number_of(self.take(bits_in(width) - 1)?, width) {
            f64::INFINITY => Err(Error::value("size in a message", "infinity", "a finite one")),
            size => Ok(size),
        }
    }

    /// The message has ended: nothing but the zeros that fill a byte is left.
    pub(super) fn end(&self) -> Result<()> {
        if self.position < self.bytes.len() {
            return Err(self.refused("shorter"));
        }
        match self.pending {
            0 => Ok(()),
            left => Err(Error::value("last bits of a message", left, "0")),
        }
    }

    fn refused(&self, instead: &str) -> Error {
        Error::value("message", format!("{} bytes", self.bytes.len()), format!("a {instead} one, of this compressor"))
    }
}

fn bits_in(width: Width) -> u32 {
    8 * width.bytes() as u32
}

fn bits_of(number: f64, width: Width) -> u64 {
    match width {
        Width::F32 => u64::from((number as f32).to_bits()),
        Width::F64 => number.to_bits(),
    }
}

fn number_of(bits: u64, width: Width) -> f64 {
    match width {
        Width::F32 => f64::from(f32::from_bits(bits as u32)),
        Width::F64 => f64::from_bits(bits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let parts = [(1, 1), (0, 3), (u64::MAX, 64), (5, 3), (0, 0), (0x1ff, 9), (1 << 62, 63), (0, 1)];
        let mut writer = BitWriter::default();
        parts.iter().for_each(|(value, bits)| writer.put(*value, *bits));
        writer.number(-1.5, Width::F32);
        writer.magnitude(2.5, Width::F64);
        let bytes = writer.finish();
        assert_eq!(bytes.len(), (parts.iter().map(|(_, bits)| bits).sum::<u32>() + 32 + 63).div_ceil(8) as usize);
        let mut reader = BitReader::new(&bytes);
        for (value, bits) in parts {
            assert_eq!(reader.take(bits).unwrap(), value);
        }
        assert_eq!(reader.number(Width::F32).unwrap(), -1.5);
        assert!(reader.end().is_err(), "a number is left");
        assert_eq!(reader.magnitude(Width::F64).unwrap(), 2.5);
        reader.end().unwrap();
        assert!(reader.take(8).is_err());
        let mut reader = BitReader::new(&[0b1000_0001]);
        reader.take(3).unwrap();
        assert!(reader.end().is_err(), "what fills a byte is not 0");
    }

    #[test]
    fn bits_of_places() {
        for (count, bits) in [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (256, 8), (257, 9)] {
            assert_eq!(bits_below(count), bits, "{count}");
        }
    }
}
