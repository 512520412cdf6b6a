//! A loop of one's own over the parts: sampler, per-example gradients, the door into a sum, the door out of it, optimiser, ledger.
//!
//! `cargo run --release --example own_loop`

use candle_core::{DType, Device};
use dpsgd::clip::{ClipNorm, ClippedSum, Flat};
use dpsgd::data::embedded::optdigits;
use dpsgd::dp_accountant::{
    Accountant, Auto, Delta, Epsilon, Event, Ledger, NoiseMultiplier, Relation, SamplingRate, calibrate,
};
use dpsgd::evaluate::accuracy;
use dpsgd::grad::{Recorded, probe_isolation};
use dpsgd::model::Architecture;
use dpsgd::nn::Parameters;
use dpsgd::noise::{Gaussian, Mechanism};
use dpsgd::optim::{Optimizer, Sgd, SgdConfig};
use dpsgd::run::Run;
use dpsgd::sample::{Poisson, Sampling};
use dpsgd::seed::Key;
use dpsgd::train::tensors;

const STEPS: u32 = 60;
const EXPECTED_BATCH: f64 = 956.0;

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (train, test) = optdigits()?;
    // A run whose guarantee is to hold takes Key::from_os(): a seed in a source file is no secret.
    let (key, run) = (Key::from_seed(1), Run::default());
    let parameters = Parameters::new(key.clone(), DType::F32, &Device::Cpu);
    let model = Architecture::Mlp.build(train.shape(), train.classes().len(), parameters.var_builder())?;
    // A model that lets examples influence each other has no per-example gradients to clip.
    probe_isolation(&model, &parameters, train.shape(), train.classes().len(), run.engine(), &key)?;

    // The noise that the budget needs, before anything is spent.
    let (accountant, delta, target) = (Auto::new(Relation::AddRemove), Delta::new(1e-5)?, Epsilon::new(3.0)?);
    let rate = SamplingRate::new(EXPECTED_BATCH / train.len() as f64)?;
    let plan = |z: NoiseMultiplier| Event::gaussian(z).poisson_sampled(rate).repeated(u64::from(STEPS));
    let noise = calibrate::noise_multiplier(&accountant, plan, target, delta)?.value;

    let mut sampler = Poisson::new(train.len(), rate, key.clone(), 0);
    let mut optimizer = Sgd::new(SgdConfig { learning_rate: 0.5, momentum: 0.9, ..SgdConfig::default() })?;
    let mut ledger = Ledger::new();
    for step in 0..STEPS {
        // Batch -> PerExample -> ClippedSum: the batch's real size is private and stays inside.
        let batch = sampler.next_batch();
        let gradients = batch.micro_batches(run.physical_batch).map(|rows| {
            let (xs, ys) = tensors(&train, rows, &parameters)?;
            Recorded::new(&model, &parameters, &xs, &ys, run.engine())
        });
        // A clip norm that shrinks on a schedule of one's own: whatever it is, the noise is scaled with it.
        let clip_norm = ClipNorm::new(1.0 / (1.0 + f64::from(step) / 100.0))?;
        let sum = ClippedSum::new(&parameters, &Flat::new(clip_norm), gradients)?;
        // ClippedSum -> Release, and what it costs.
        let (release, event) = Gaussian::new(noise, EXPECTED_BATCH, key.clone(), step)?.release(sum)?;
        ledger.record(sampler.amplify(event));
        optimizer.step(&parameters, release)?;
    }

    let spent = accountant.epsilon(&ledger.event(), delta)?.upper();
    let accuracy = accuracy(&model, &test, &parameters, run.physical_batch)?;
    println!("{STEPS} steps by hand: {:.1} % of the test digits at epsilon {spent:.3}", 100.0 * accuracy);
    assert_eq!(ledger.event(), plan(noise), "the ledger holds what was planned");
    assert!(spent <= target.get(), "epsilon {spent}");
    assert!(accuracy > 0.88, "accuracy {accuracy}");
    Ok(())
}
