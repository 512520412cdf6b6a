//! Check K3: what local steps do to the noise of gradients.

use super::{error, ring};
use dpsgd::Result;
use dpsgd::distributed::objective::{Objective, Quadratic};
use dpsgd::distributed::{Algorithm, Dsgd, GradientTracking, Kgt, Local, Nodes, Oracle, Start};
use dpsgd::noise::StandardNormals;
use dpsgd::seed::Key;

/// Gradients with Gaussian noise that is a function of the key and the number of the answer.
pub(super) struct Noisy {
    objective: Quadratic,
    key: Key,
    deviation: f64,
    answers: u32,
}

impl Noisy {
    /// Noise of variance 1 in total.
    pub(super) fn new(objective: Quadratic, key: Key) -> Self {
        let deviation = (objective.dim() as f64).sqrt().recip();
        Self { objective, key, deviation, answers: 0 }
    }
}

impl Oracle for Noisy {
    fn dim(&self) -> usize {
        self.objective.dim()
    }

    fn gradient(&mut self, point: &[f64]) -> Result<Vec<f64>> {
        let mut noise = vec![0.0; self.dim()];
        StandardNormals::new(&self.key, self.answers).fill(&mut noise);
        self.answers += 1;
        let noisy = self.objective.gradient(point).into_iter().zip(noise).map(|(g, noise)| g + self.deviation * noise);
        Ok(noisy.collect())
    }

    fn loss(&mut self, point: &[f64]) -> Result<f64> {
        Ok(self.objective.value(point))
    }

    fn answers(&self) -> u32 {
        self.answers
    }

    fn resume(&mut self, answers: u32) {
        self.answers = answers;
    }
}

/// The mean error over the last two thirds of `max(1500, 20000 / K)` rounds, ten numbers, eight nodes that agree.
fn mean_error(algorithm: &mut dyn Algorithm, local_steps: usize, key: &Key) -> f64 {
    let noisy = |i: u32| {
        let key = key.derived(&format!("{} {local_steps} {i}", algorithm.name()));
        Box::new(Noisy::new(Quadratic::around(&[0.0; 10], f64::from(i) / 8.0), key)) as Box<dyn Oracle>
    };
    let (mut nodes, mut local) = (Nodes::new(0, (1..=8).map(noisy).collect()).unwrap(), Local::new(8).unwrap());
    let rounds = (20_000 / local_steps).max(1500);
    let mut sum = 0.0;
    for round in 0..rounds {
        algorithm.round(&mut nodes, &mut local).unwrap();
        if round >= rounds / 3 {
            sum += error(&algorithm.points(), &[0.0; 10]);
        }
    }
    sum / (rounds - rounds / 3) as f64
}

/// K-GT, Periodical GT and D-SGD.
fn of_all(local_steps: u32, seed: u64) -> [f64; 3] {
    let (key, start) = (Key::from_seed(seed), || vec![0.0; 10]);
    let mut kgt = Kgt::new(start(), 8, (0.02, 1.0), local_steps, Start::Mean, ring(8)).unwrap();
    let mut periodical = GradientTracking::new(start(), 8, 0.02, local_steps, Start::Own, ring(8)).unwrap();
    let mut dsgd = Dsgd::new(start(), 8, 0.02, local_steps, ring(8)).unwrap();
    let algorithms: [&mut dyn Algorithm; 3] = [&mut kgt, &mut periodical, &mut dsgd];
    algorithms.map(|algorithm| mean_error(algorithm, local_steps as usize, &key))
}

/// Over seeds 0 to 5, Periodical GT over K-GT is 6.5 to 7.2 at K = 16, and K-GT over D-SGD 0.90 to 1.06 at all K: with any of
/// them nothing here alarms. The seed is fixed.
#[test]
fn k3_kgt_averages_noise_over_local_steps_and_periodical_gradient_tracking_does_not() {
    for local_steps in [1, 4, 16] {
        let [kgt, periodical, dsgd] = of_all(local_steps, 0);
        assert!((kgt / dsgd - 1.0).abs() < 0.2, "{kgt} and not {dsgd} with {local_steps} local steps");
        let ratio = periodical / kgt;
        match local_steps {
            // One local step is gradient tracking: the control.
            1 => assert!((ratio - 1.0).abs() < 0.2, "{ratio}"),
            4 => assert!(ratio > 1.2, "{ratio}"),
            _ => assert!(ratio > 3.0, "{ratio}"),
        }
    }
}
