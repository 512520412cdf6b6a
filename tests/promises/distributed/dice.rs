//! DiceSGD: check R10 of the reproduction suite.

use super::{at_once, centres, nodes, radius};
use dpsgd::distributed::{Algorithm, Dice, Width};

#[test]
fn r10_feedback_repairs_clipping_where_its_own_clip_is_wide_enough() {
    for (feedback, end, error, tolerance) in
        [(0.1, 1.0, -1.0 / 30.0, 1e-12), (1.0, 1.0, -1.0 / 30.0, 1e-12), (0.02, 0.08, -9936.6, 0.1)]
    {
        let (mut nodes, mut local) = nodes(centres(&[0.0, 0.0, 3.0]));
        let mut dice = Dice::new(vec![10.0], 0.05, (radius(0.1), radius(feedback)), Width::F64).unwrap();
        let mut half = 0.0;
        at_once(|| {
            for step in 0..20_000 {
                dice.round(&mut nodes, &mut local).unwrap();
                if step + 1 == 10_000 {
                    half = dice.error()[0];
                }
            }
        });
        // f' = x - 1: 0, or -0.92 where the error's clip is below the 1/30 that it has to give back.
        let found = dice.points()[0][0];
        assert!((found - end).abs() < 1e-12, "{found} and not {end} at C2 = {feedback}");
        assert!((dice.error()[0] - error).abs() <= tolerance, "{} and not {error}", dice.error()[0]);
        // Where x stands still beside the optimum, every step takes f' away for good.
        let grown = dice.error()[0] - half;
        let expected = if end == 1.0 { 0.0 } else { 10_000.0 * (end - 1.0) };
        assert!((grown - expected).abs() < 1e-6, "{grown} and not {expected}");
    }
}
