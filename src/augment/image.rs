//! Copies of one image.

use crate::{Error, Result};

/// The frame of an image: `channels` planes of `height` rows of `width` pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Image {
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
}

/// What happens to one copy: so many pixels down and right, or up and left below zero; then it is mirrored left to right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copy {
    pub(super) down: isize,
    pub(super) right: isize,
    pub(super) flip: bool,
}

impl Image {
    /// Of records of `shape`.
    pub(super) fn of(shape: &[usize]) -> Result<Self> {
        match *shape {
            [height, width] => Ok(Self { channels: 1, height, width }),
            [channels, height, width] => Ok(Self { channels, height, width }),
            _ => {
                let found = format!("records of shape {shape:?}");
                let allowed = "images [height, width] or [channels, height, width]; declare one with --shape";
                Err(Error::value("augment", found, allowed))
            }
        }
    }

    /// Writes the copy over `copied`, both of the frame's size. What moves in are zeros.
    pub(super) fn copy(self, original: &[f32], by: Copy, copied: &mut [f32]) {
        copied.fill(0.0);
        let (down, right) = (by.down.unsigned_abs(), by.right.unsigned_abs());
        let (Some(rows), Some(columns)) = (self.height.checked_sub(down), self.width.checked_sub(right)) else {
            return;
        };
        let start = |by: isize, left: usize| if by > 0 { (0, left) } else { (left, 0) };
        let ((from_row, to_row), (from_column, to_column)) = (start(by.down, down), start(by.right, right));
        for channel in 0..self.channels {
            for row in 0..rows {
                let at = |row: usize, column: usize| (channel * self.height + row) * self.width + column;
                let from = &original[at(from_row + row, from_column)..][..columns];
                copied[at(to_row + row, to_column)..][..columns].copy_from_slice(from);
            }
        }
        if by.flip {
            copied.chunks_exact_mut(self.width).for_each(<[f32]>::reverse);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pixel_goes_where_the_definition_puts_it() {
        let image = Image { channels: 2, height: 4, width: 3 };
        let original: Vec<f32> = (1..=24).map(|i| i as f32).collect();
        for down in -5..=5 {
            for right in -4..=4 {
                for flip in [false, true] {
                    let mut copied = vec![f32::NAN; 24];
                    image.copy(&original, Copy { down, right, flip }, &mut copied);
                    for (i, value) in copied.iter().enumerate() {
                        let (channel, row, column) = (i / 12, (i / 3 % 4) as isize, (i % 3) as isize);
                        let column = if flip { 2 - column } else { column };
                        let (row, column) = (row - down, column - right);
                        let inside = (0..4).contains(&row) && (0..3).contains(&column);
                        let expected =
                            if inside { original[channel * 12 + row as usize * 3 + column as usize] } else { 0.0 };
                        assert_eq!(*value, expected, "down {down}, right {right}, flip {flip}, element {i}");
                    }
                }
            }
        }
    }
}
