use super::*;

const P: Patches = Patches { height: 3, width: 3, kernel: (2, 2), stride: 1, padding: [(0, 0); 2], dilation: 1 };

#[test]
fn windows_overlap_and_ties_go_to_the_first() {
    let image = [1.0f64, 2.0, 2.0, 0.0, 2.0, 1.0, 5.0, 0.0, 4.0];
    assert_eq!(forward(&image, &P, Pooling::Max), [2.0, 2.0, 5.0, 4.0]);
    assert_eq!(forward(&image, &P, Pooling::Average), [1.25, 1.75, 1.75, 1.75]);
    let max = backward(&image, &[1.0, 1.0, 1.0, 1.0], &P, Pooling::Max);
    assert_eq!(max, [0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0]);
    let average = backward(&image, &[4.0, 0.0, 0.0, 4.0], &P, Pooling::Average);
    assert_eq!(average, [1.0, 1.0, 0.0, 1.0, 2.0, 1.0, 0.0, 1.0, 1.0]);
}

#[test]
fn a_nan_comes_through_the_maximum_and_the_first_takes_the_cotangent() {
    let image = [1.0f32, f32::NAN, 2.0, 0.0, f32::NAN, 0.0, 0.0, 0.0, 0.0];
    let pooled = forward(&image, &P, Pooling::Max);
    assert!(pooled.iter().all(|y| y.is_nan()));
    let g = backward(&image, &[1.0, 2.0, 4.0, 8.0], &P, Pooling::Max);
    assert_eq!(g, [0.0, 3.0, 0.0, 0.0, 12.0, 0.0, 0.0, 0.0, 0.0]);
    let beside = [0.0f32, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, f32::NAN];
    assert_eq!(forward(&beside, &P, Pooling::Max)[..3], [1.0, 2.0, 0.0]);
}

/// Pooled images and the cotangent of the images, window by window and element by element.
fn naive<T: Real>(images: &[T], cotangents: &[T], p: &Patches, pooling: Pooling) -> (Vec<T>, Vec<T>) {
    let (rows, cols) = p.output().unwrap_or((0, 0));
    let (mut pooled, mut of_images) = (Vec::new(), vec![T::zero(); images.len()]);
    let share = T::from_f64(1.0 / p.area() as f64);
    for start in (0..images.len()).step_by(p.height * p.width) {
        for y in 0..rows {
            for x in 0..cols {
                let g = cotangents[pooled.len()];
                let (mut sum, mut best) = (T::zero(), None);
                for ky in 0..p.kernel.0 {
                    for kx in 0..p.kernel.1 {
                        let pixel = start + (y * p.stride + ky) * p.width + x * p.stride + kx;
                        sum += images[pixel];
                        best = match best {
                            Some(best) if T::is_nan(images[best]) => Some(best),
                            Some(best) if !images[pixel].is_nan() && images[pixel] <= images[best] => Some(best),
                            _ => Some(pixel),
                        };
                        if pooling == Pooling::Average {
                            of_images[pixel] += g * share;
                        }
                    }
                }
                match (pooling, best) {
                    (Pooling::Max, Some(best)) => {
                        pooled.push(images[best]);
                        of_images[best] += g;
                    }
                    _ => pooled.push(sum * share),
                }
            }
        }
    }
    (pooled, of_images)
}

fn shapes() -> Vec<Patches> {
    let mut shapes = Vec::new();
    for (height, width) in [(1, 1), (1, 9), (5, 5), (13, 13), (6, 4), (8, 16), (7, 30), (70, 65)] {
        for kernel in [(1, 1), (2, 2), (3, 3), (1, 4), (2, 3), (5, 2), (5, 5), (7, 9)] {
            for stride in [1, 2, 3, 5] {
                shapes.push(Patches { height, width, kernel, stride, padding: [(0, 0); 2], dilation: 1 });
            }
        }
    }
    shapes.retain(|p| p.output().is_some());
    let sparse = shapes.iter().filter(|p| Grid::new(p).is_some_and(|grid| grid.is_sparse())).count();
    assert!(sparse > 20 && shapes.len() - sparse > 60, "{sparse} of {}", shapes.len());
    shapes
}

/// Whole numbers, so that sums in any order are exact: with ties in every window, and perhaps a NaN in every seventh pixel.
fn numbers<T: Real>(count: usize, nan: bool) -> Vec<T> {
    let number = |i: usize| if nan && i * i % 7 == 4 { f64::NAN } else { ((i * 7 + i / 11 * 5) % 5) as f64 - 2.0 };
    (0..count).map(|i| T::from_f64(number(i))).collect()
}

fn agree<T: Real>(p: &Patches, pooling: Pooling, nan: bool) {
    let (rows, cols) = p.output().unwrap_or((0, 0));
    // More than one piece of small images, and a last piece that is not full.
    let images = if p.height < 10 { 2 * PIECE / (p.height * p.width) + 3 } else { 3 };
    let (xs, g) = (numbers::<T>(images * p.height * p.width, nan), numbers::<T>(images * rows * cols, false));
    let expected = naive(&xs, &g, p, pooling);
    let same = |a: &[T], b: &[T]| {
        let close = |(a, b): (&T, &T)| (a.wide() - b.wide()).abs() < 1e-5 || (a.is_nan() && b.is_nan());
        a.len() == b.len() && a.iter().zip(b).all(close)
    };
    assert!(same(&forward(&xs, p, pooling), &expected.0), "{pooling:?} {p:?}");
    assert!(same(&backward(&xs, &g, p, pooling), &expected.1), "cotangents, {pooling:?} {p:?}");
}

#[test]
fn all_shapes_are_pooled_as_window_by_window() {
    for p in shapes() {
        for pooling in [Pooling::Max, Pooling::Average] {
            agree::<f32>(&p, pooling, false);
            agree::<f64>(&p, pooling, false);
        }
        agree::<f32>(&p, Pooling::Max, true);
        agree::<f64>(&p, Pooling::Max, true);
    }
}

#[test]
fn neither_the_other_images_nor_the_number_of_threads_changes_a_bit() {
    let uneven = |i: usize, factor: usize| ((i * factor) % 1013) as f32 / 101.0 - 5.0;
    for p in shapes() {
        let (rows, cols) = p.output().unwrap_or((0, 0));
        let (area, outputs) = (p.height * p.width, rows * cols);
        let images = (2 * PIECE / area + 3).min(50);
        let mut xs: Vec<f32> = (0..images * area).map(|i| uneven(i, 37)).collect();
        let mut g: Vec<f32> = (0..images * outputs).map(|i| uneven(i, 53)).collect();
        // The neighbours of the last but one are full of what must not get out.
        xs[(images - 1) * area..].fill(f32::NAN);
        g[(images - 1) * outputs..].fill(f32::NAN);
        xs[(images - 3) * area..(images - 2) * area].fill(f32::INFINITY);
        g[(images - 3) * outputs..(images - 2) * outputs].fill(f32::INFINITY);
        for pooling in [Pooling::Max, Pooling::Average] {
            let with = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                let both = || (forward(&xs, &p, pooling), backward(&xs, &g, &p, pooling));
                let (pooled, of_images) = pool.map(|pool| pool.install(both)).unwrap_or_default();
                let bits = |xs: Vec<f32>| xs.into_iter().map(f32::to_bits).collect::<Vec<_>>();
                (bits(pooled), bits(of_images))
            };
            let (together, place) = (with(1), images - 2);
            assert!(!together.0.is_empty() && together == with(3), "{p:?}");
            let (x, g) = (&xs[place * area..][..area], &g[place * outputs..][..outputs]);
            let alone = (forward(x, &p, pooling), backward(x, g, &p, pooling));
            let same = |all: &[u32], alone: &[f32]| {
                all[place * alone.len()..].iter().zip(alone).all(|(a, b)| *a == b.to_bits())
            };
            assert!(same(&together.0, &alone.0) && same(&together.1, &alone.1), "{pooling:?} {p:?}");
        }
    }
}
