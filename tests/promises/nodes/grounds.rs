//! Runs of rounds of the library, on a few made-up records.

use candle_core::{DType, Device};
use dp_accountant::{Delta, Ledger, NoiseMultiplier};
use dpsgd::Result;
use dpsgd::checkpoint::Checkpoint;
use dpsgd::clip::ClipNorm;
use dpsgd::data::Dataset;
use dpsgd::distributed::uplink::Trust;
use dpsgd::distributed::{
    FirstMemory, Grounds, Local, Method, Rounds, Setting, Start, Variate, Visibility, Width, point_of,
};
use dpsgd::model::Architecture;
use dpsgd::nn::Parameters;
use dpsgd::plan::{Draft, Plan};
use dpsgd::seed::Key;
use dpsgd::train::{Training, Wish};
use std::num::NonZeroUsize;

pub(super) const NODES: usize = 3;
const RECORDS: usize = 48;

/// Every algorithm, those that can begin in several ways in each of them.
pub(super) fn methods() -> Vec<Method> {
    let (step, radius, longest) = (0.1, ClipNorm::new(0.5).unwrap(), Some(0.3));
    let (topology, local_steps, outer_step) = ("ring".to_string(), 3, 0.7);
    let top_k = || "top-k:20%".parse().unwrap();
    let mut methods = vec![
        Method::ClipGd { step, radius },
        Method::Clip21 { step, radius, visibility: Visibility::Hidden, participants: None },
        Method::Clip21Sgd2m { step, radius, client_momentum: 0.3, server_momentum: 0.4 },
        Method::NormEc { step, rate: 0.5, alpha: 0.5, normalised_steps: true },
        Method::DiceSgd { step, radius, feedback: radius },
        Method::Celgc { step, longest, local_steps },
        Method::Celgc { step, longest: None, local_steps },
        Method::ParallelClip { step, longest },
        Method::Episode { step, longest, local_steps },
        Method::Dcgd { step, compress: "rand-k:20%".parse().unwrap() },
        Method::ErrorFeedback { step, compress: top_k() },
        Method::Dsgd { step, local_steps, topology: topology.clone() },
    ];
    for first_memory in [FirstMemory::Zero, FirstMemory::Compressed, FirstMemory::Full] {
        methods.push(Method::Ef21 { step, compress: top_k(), first_memory });
    }
    for start in [Start::Mean, Start::Own] {
        methods.push(Method::GradientTracking { step, local_steps, start, topology: topology.clone() });
        methods.push(Method::Kgt { step, outer_step, local_steps, start, topology: topology.clone() });
        for variate in [Variate::Gradient, Variate::Steps] {
            methods.push(Method::Scaffold { step, outer_step, local_steps, variate, start });
        }
    }
    methods
}

/// Made-up records in two classes.
pub(super) fn data() -> Dataset {
    let features = (0..RECORDS * 6).map(|i| ((i * 7919) % 101) as f32 / 50.0 - 1.0).collect();
    let labels = (0..RECORDS as u32).map(|i| i % 2).collect();
    Dataset::from_dense("made up", &[6], features, vec!["a".into(), "b".into()], labels).unwrap()
}

/// Unequal shards.
pub(super) fn shards() -> Vec<Vec<usize>> {
    vec![(0..10).collect(), (10..36).collect(), (36..RECORDS).collect()]
}

pub(super) fn setting(method: Method) -> Setting {
    let (trust, width, model) = (Trust::Local, Width::F32, Architecture::Logistic);
    Setting { method, nodes: NODES, trust, width, model, minibatch: None }
}

/// That protects records in so many rounds of a method.
pub(super) fn plan(method: &Method, rounds: u32) -> Plan {
    let answers = method.answers(rounds).try_into().unwrap();
    let draft = Draft::new(RECORDS, 16, answers, ClipNorm::new(0.7).unwrap(), Delta::new(1e-5).unwrap());
    draft.with_noise(NoiseMultiplier::new(1.0).unwrap()).unwrap()
}

/// Where a run has stopped.
pub(super) struct Stopped {
    pub(super) ended: Result<Wish>,
    pub(super) ledger: Ledger,
    pub(super) spent: u32,
    /// Rounds done.
    pub(super) round: u32,
    /// Where the parameters are.
    pub(super) point: Vec<f64>,
    pub(super) checkpoint: Option<Checkpoint>,
}

/// Runs from the first round, or from a checkpoint, until `watch` wishes to stop or nothing is left to do.
pub(super) fn run(
    (plan, setting): (&Plan, Setting),
    (data, shards): (&Dataset, &[Vec<usize>]),
    from: Option<&Checkpoint>,
    watch: &mut (dyn FnMut(u32) -> Wish + Send),
) -> Result<Stopped> {
    let key = Key::from_seed(9);
    let parameters = Parameters::new(Key::from_seed(5), DType::F32, &Device::Cpu);
    setting.model.build_for(&data.form(), parameters.var_builder())?;
    let physical_batch = NonZeroUsize::new(64).unwrap();
    let grounds =
        Grounds { shared: &key, own: &key, data, shards, apart: false, parameters: &parameters, physical_batch };
    let mut local = Local::new(shards.len())?;
    let mut rounds = Rounds::new(plan, setting, grounds, true, &mut local)?;
    if let Some(checkpoint) = from {
        rounds.resume(checkpoint)?;
    }
    let ended = rounds.train(&mut |progress| Ok(watch(progress.step)));
    let checkpoint = rounds.checkpoint(serde_json::Value::Null)?;
    let (ledger, spent, round) = (rounds.ledger().clone(), rounds.spent_steps()?, rounds.step());
    Ok(Stopped { ended, ledger, spent, round, point: point_of(&parameters)?, checkpoint })
}

/// A watcher that stops after a round.
pub(super) fn until(last: u32) -> impl FnMut(u32) -> Wish + Send {
    move |round| if round == last { Wish::Stop } else { Wish::Continue }
}
